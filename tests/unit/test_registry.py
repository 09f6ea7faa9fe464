"""The registry: the shipped one, and what a wrong one is refused for."""

from __future__ import annotations

import pytest

import edge_et
from edge_et.errors import ArtifactError, UnknownModel
from edge_et.registry import parse_registry, registry

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
    pair = registry().pair("starter")
    assert pair.extractor.path.parts[-3:] == ("models", "starter", "extractor")
    assert pair.reasoner.path.parts[-3:] == ("models", "starter", "reasoner")


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
