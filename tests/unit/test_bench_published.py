"""Result files that are committed, and the tables that documents show of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_et.errors import InputError
from edge_et_bench.published import filled, publishable, results_table
from edge_et_bench.record_files import read_runs, to_jsonl
from edge_et_bench.records import Configuration
from edge_et_bench.targets import TARGETS
from tests.bench import run_of

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "docs/performance.md")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_tables_in_documents_are_those_of_the_result_files(name: str) -> None:
    """edge-et bench tables README.md docs/performance.md"""
    assert filled(ROOT / name) == (ROOT / name).read_text(encoding="utf-8")


def test_a_place_is_filled_with_what_the_file_holds(tmp_path: Path) -> None:
    other = replace(
        run_of([4.0, 6.0], run_id="r1"), configuration=Configuration(label="b", runtime="llama.cpp")
    )
    (tmp_path / "runs.jsonl").write_text(to_jsonl([other, run_of([1.0, 2.0], label="edge-et a")]))
    document = tmp_path / "page.md"
    text = "before\n<!-- results: runs.jsonl -->\nold\n<!-- end of results -->\nafter\n"
    document.write_text(text)
    lines = filled(document).splitlines()
    assert lines[:2] == ["before", "<!-- results: runs.jsonl -->"]
    assert lines[-2:] == ["<!-- end of results -->", "after"]
    assert "old" not in lines
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert rows == ["runtime", "---", "edge-et a", "b"]  # ours first
    document.write_text(filled(document))
    assert filled(document) == document.read_text()


def test_columns_that_nobody_fills_are_left_out() -> None:
    heads = results_table([run_of([1.0])]).splitlines()[0]
    assert "peak MB" in heads and "decode of read" not in heads


def test_a_document_without_a_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("nothing")
    with pytest.raises(InputError, match=r"page\.md marks no place"):
        filled(tmp_path / "page.md")


def test_folders_of_this_machine_and_timelines_are_not_published(tmp_path: Path) -> None:
    configuration = Configuration(
        label="x", extractor="/home/me/models/one", options={"model": "/home/me/a.gguf", "n": "1"}
    )
    run = run_of([1.0, 2.0])
    run = replace(
        run,
        configuration=configuration,
        workload=replace(run.workload, image="/home/me/pictures/one.jpg"),
    )
    (one,) = publishable([run])
    (tmp_path / "r.jsonl").write_text(to_jsonl([one]))
    assert "/home" not in (tmp_path / "r.jsonl").read_text()
    (read,) = read_runs(tmp_path / "r.jsonl")
    assert read.configuration.options == {"model": "a.gguf", "n": "1"}
    assert (read.memory.timeline, read.samples) == ((), run.samples)


def test_a_place_for_targets_holds_files_against_them(tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_text(to_jsonl([run_of([1.0], label="edge-et a")]))
    document = tmp_path / "page.md"
    document.write_text("<!-- targets: runs.jsonl -->\nold\n<!-- end of targets -->\nafter\n")
    lines = filled(document).splitlines()
    assert lines[0] == "<!-- targets: runs.jsonl -->"
    assert lines[-2:] == ["<!-- end of targets -->", "after"]
    assert len([line for line in lines if "not measured" in line]) == len(TARGETS)
