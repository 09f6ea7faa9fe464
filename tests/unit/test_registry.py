"""The registry: the shipped one, and what a wrong one is refused for."""

from __future__ import annotations

import pytest

import edge_et
from edge_et.errors import ArtifactError, UnknownModel
from edge_et.registry import parse_registry, registry
from edge_et.store import Store

GOOD = """
schema = 1
[extractors.e]
source = "package:models/x/e"
summary = "sees"
[reasoners.r]
source = "package:models/x/r"
summary = "thinks"
[pairs.p]
extractor = "e"
reasoner = "r"
summary = "answers"
"""


def test_the_shipped_registry_has_the_starter():
    pair, store = registry().pair("starter"), Store()
    assert store.locate(pair.extractor).parts[-3:] == ("models", "starter", "extractor")
    assert store.locate(pair.reasoner).parts[-3:] == ("models", "starter", "reasoner")


def test_the_shipped_registry_has_the_published_pairs():
    known = registry()
    published = {"extract-think-0.6b": "qwen3-1.7b", "extract-think-1.7b": "qwen3-4b"}
    for name, reasoner in published.items():
        pair = known.pair(name)
        assert (pair.extractor.form, pair.reasoner.name) == ("checkpoint", reasoner)
    every = [*known.extractors.values(), *known.reasoners.values()]
    assert {m.form for m in every if m.source.endswith(".gguf")} == {"artifact"}


def test_a_name_is_a_pair_a_model_or_unknown():
    known = parse_registry(GOOD)
    assert [model.kind for model in known.models("p")] == ["extractor", "reasoner"]
    assert [model.kind for model in known.models("r")] == ["reasoner"]
    with pytest.raises(UnknownModel, match=r"known are: e, p, r"):
        known.models("x")


def test_records():
    pair = parse_registry(GOOD).pair("p")
    assert (pair.extractor.name, pair.reasoner.summary, pair.summary) == ("e", "thinks", "answers")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("schema = 1", "schema = 2"), "schema 1"),
        (("schema = 1", "schema = 1\ncolour = 1"), "unknown key 'colour'"),
        (('summary = "sees"', 'summry = "sees"'), "extractors.e: unknown key 'summry'"),
        (('summary = "sees"\n', ""), "extractors.e: summary is missing"),
        (('source = "package:models/x/e"', 'source = "ftp://x"'), "unknown kind of source"),
        (('summary = "sees"', 'summary = "sees"\nform = "x"'), "extractors.e: form is none of"),
        (('summary = "sees"', 'summary = "sees"\nsize_bytes = "9"'), "size_bytes is no number"),
        (('summary = "sees"', 'summary = "sees"\nlicense = 1'), "license is missing or no text"),
        (("[extractors.e]", '[extractors."../e"]'), "is no name"),
        (('extractor = "e"', 'extractor = "f"'), "pairs.p: there is no 'f'"),
        (("[pairs.p]", "[pairs]\np = 1\n[other]"), "unknown key 'other'"),
        (("[pairs.p]", "[pairs.p"), "models.toml"),
    ],
)
def test_a_wrong_registry_is_refused_with_its_place(change, complaint):
    with pytest.raises(ArtifactError, match=complaint):
        parse_registry(GOOD.replace(*change))


def test_an_unknown_pair_lists_the_known_ones():
    with pytest.raises(UnknownModel, match=r"known are: .*starter") as caught:
        edge_et.load("nope")
    assert caught.value.exit_code == 4


def test_which_pairs_think_without_reflexive_words():
    known = registry()
    suppressing = {name for name, pair in known.pairs.items() if pair.suppress_reflexive}
    assert suppressing == {name for name in known.pairs if name.startswith("extract-think")}
    assert not parse_registry(GOOD).pair("p").suppress_reflexive
    assert parse_registry(GOOD + "suppress_reflexive = true\n").pair("p").suppress_reflexive
    with pytest.raises(ArtifactError, match="neither true nor false"):
        parse_registry(GOOD + 'suppress_reflexive = "yes"\n')
