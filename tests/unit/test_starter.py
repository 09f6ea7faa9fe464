"""The pair that ships: whole, small, described, and within its parity tolerances."""

from pathlib import Path

import pytest

import edge_et
from edge_et.manifest import ExtractorManifest, ReasonerManifest, check_files, read_manifest

FOLDER = Path(edge_et.__file__).parent / "models" / "starter"
MAX_BYTES = 25_000_000


@pytest.mark.parametrize(
    ("name", "kind"), [("extractor", ExtractorManifest), ("reasoner", ReasonerManifest)]
)
def test_every_part_is_the_one_that_was_exported(name, kind):
    manifest = read_manifest(FOLDER / name, kind)
    check_files(FOLDER / name, manifest, hashes=True)
    assert manifest.source.license == "MIT"
    assert manifest.parity
    for result in manifest.parity:
        assert result.relative_error <= result.tolerance, result


def test_nothing_lies_there_that_no_manifest_names():
    """A stray file would ship in every wheel for ever."""
    extractor = read_manifest(FOLDER / "extractor", ExtractorManifest)
    reasoner = read_manifest(FOLDER / "reasoner", ReasonerManifest)
    named = {FOLDER / "extractor" / p.path for p in extractor.parts}
    named |= {FOLDER / "reasoner" / p.path for p in reasoner.parts}
    named |= {FOLDER / n / "edge_et.json" for n in ("extractor", "reasoner")}
    named.add(FOLDER / "CARD.md")
    assert {p for p in FOLDER.rglob("*") if p.is_file()} == named


def test_the_pair_is_small():
    assert sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()) <= MAX_BYTES


def test_the_card_says_what_it_cannot_see():
    card = (FOLDER / "CARD.md").read_text(encoding="utf-8")
    assert "cannot see photographs" in card
