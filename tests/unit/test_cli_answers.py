"""--form, --choices and --schema: what reaches the reasoner, and what is refused before loading."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import edge_et
from edge_et.cli.app import app
from tests.fakes import EOS, FakeReasoner, fake_chain

QUESTION = "What is it?"


@pytest.fixture
def answering(monkeypatch):
    """Return a function that makes `load` give a chain that answers in these words."""

    def install(*words):
        loads, reasoner = [], FakeReasoner(answer=words)
        monkeypatch.setattr(
            edge_et, "load", lambda *_, **__: loads.append(1) or fake_chain(reasoner=reasoner)
        )
        return loads, reasoner

    return install


def run(*arguments):
    return CliRunner().invoke(app, list(arguments), input="a ring")


@pytest.mark.parametrize("command", [("ask", "IMAGE"), ("think", "--from", "-")])
def test_choices_reach_the_prompt_and_one_of_them_comes_back(image, answering, command):
    _, reasoner = answering("Answer", ":", " D", EOS, "B")
    start = [image if word == "IMAGE" else word for word in command]
    done = run(*start, QUESTION, "--choices", "a star, ring")
    assert (done.exit_code, done.stdout) == (0, "ring\n")
    assert "under a grammar" in done.stderr
    assert "What is it? (A) a star (B) ring" in reasoner.asked[0]


def test_choices_with_commas(image, answering):
    answering("Answer", ":", " A")
    done = run("ask", image, QUESTION, "--choices", "red, round|blue", "-q")
    assert (done.stdout, done.stderr) == ("red, round\n", "")


def test_a_form(image, answering):
    _, reasoner = answering("Answer", ":", " three")
    assert run("ask", image, QUESTION, "--form", "number").stdout == "3\n"
    assert "other than the number" in reasoner.asked[0]


def test_a_schema(image, answering, tmp_path):
    path = tmp_path / "schema.json"
    path.write_text('{"type": "object", "properties": {"n": {"const": 3}}, "required": ["n"]}')
    answering("{", '"n"', ": ", "3", "}")
    done = run("ask", image, QUESTION, "--schema", str(path))
    assert (done.exit_code, done.stdout) == (0, '{"n": 3}\n')
    assert "grammar" not in done.stderr
    record = json.loads(run("ask", image, QUESTION, "--schema", str(path), "--json").stdout)
    assert (record["data"], record["form"], record["found"]) == ({"n": 3}, "json", "constrained")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--form", "poem"), "unknown form"),
        (("--choices", "one"), "two or more"),
        (("--schema", "missing.json"), "cannot be read"),
        (("--schema", "TEXT"), "is not JSON"),
        (("--schema", "LIST"), "a schema is a mapping"),
        (("--schema", "PATTERN"), "uses pattern"),
        (("--form", "short", "--choices", "a,b"), "give one"),
    ],
)
def test_what_cannot_be_held_is_refused_before_a_model_is_loaded(
    image, answering, tmp_path, options, what
):
    files = {"TEXT": "a text", "LIST": "[]", "PATTERN": '{"type": "string", "pattern": "a"}'}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    loads, _ = answering("red")
    arguments = [str(tmp_path / word) if word in files else word for word in options]
    done = run("ask", image, QUESTION, *arguments)
    assert (done.exit_code, done.stdout, loads) == (3, "", [])
    assert what in done.stderr
