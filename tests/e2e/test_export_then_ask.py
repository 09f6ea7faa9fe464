"""From a checkpoint to an answer by commands alone, and what the export says of its drift."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from edge_et.manifest import ExtractorManifest, Parity, read_manifest
from tests.e2e.exports import FAMILIES, REASONER, Exported
from tests.e2e.starter import Run

Export = Callable[[str], Exported]
ASK = ("ask", "examples/shapes.png", "How many red circles are there?", "--temperature", "0")
SHORT = ("--extract-budget", "16", "--think-budget", "8", "--answer-budget", "8")
CUT = 7
"""The exit code of an answer that reached its limit: what noise says has no end."""
NUMBERS = re.compile(
    r"(\w+) (\w+): relative error (\S+), max abs (\S+), cosine ([\d.]+)"
    r"(?:, first token (the same|ANOTHER), greedy (\d+) of (\d+))?"
)
PARTS = {
    "llava_qwen_3": {
        ("vision_encoder", "int8"), ("vision_encoder", "fp32"), ("decoder", "int8"),
        ("decoder", "q4"), ("end_to_end", "int8"), ("end_to_end", "q4"),
    },
    "llava_onevision": {("vision_encoder", "int8"), ("decoder", "w8a8"), ("end_to_end", "w8a8")},
    "smolvlm": {("vision_encoder", "int8"), ("decoder", "w8a8"), ("end_to_end", "w8a8")},
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_becomes_an_answer(edge_et: Run, exported: Export, family: str) -> None:
    pair = ("--extractor", str(exported(family).folder), "--reasoner", REASONER)
    done = edge_et(*ASK, *SHORT, *pair)
    assert done.returncode in (0, CUT), done.stderr
    record = json.loads(edge_et(*ASK, *SHORT, *pair, "--json").stdout)
    assert done.stdout == record["answer"] + "\n" != "\n"
    assert record["finish_reason"] in ("stop", "extraction_length", "length")
    assert record["extraction"]["generated_tokens"] > 0
    assert record["extraction"]["text"] in done.stderr


@pytest.mark.parametrize("family", FAMILIES)
def test_every_comparison_is_printed_and_kept(exported: Export, family: str) -> None:
    made = exported(family)
    kept = {(r.part, r.precision): r for r in read_manifest(made.folder, ExtractorManifest).parity}
    printed = {match.group(1, 2): match for match in NUMBERS.finditer(made.stderr)}
    assert set(kept) == set(printed) == PARTS[family]
    for key, result in kept.items():
        check_line(printed[key], result)


def check_line(line: re.Match[str], result: Parity) -> None:
    relative, largest, cosine, first, same, of = line.group(3, 4, 5, 6, 7, 8)
    assert float(relative) == pytest.approx(result.relative_error, rel=0.01)
    assert float(largest) == pytest.approx(result.max_abs_error, rel=0.01)
    assert float(cosine) == pytest.approx(result.cosine, abs=1e-6)
    # A gate that lets everything pass, or compares a thing with itself, would show here.
    assert 0 < result.relative_error < result.tolerance
    whole = result.part == "end_to_end"
    assert (first is not None) == whole
    if whole:
        assert result.greedy_agreement is not None
        assert (first == "the same") == result.top1
        assert int(same) == pytest.approx(result.greedy_agreement * 64)
        assert (int(of), result.greedy_tokens) == (64, 64)
