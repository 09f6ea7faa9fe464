"""The command line around fakes: what goes where, and the exit codes."""

from __future__ import annotations

import io
import json
from typing import get_args

import pytest
from typer.testing import CliRunner

import edge_et
from edge_et import errors
from edge_et.cli.app import app
from edge_et.cli.options import seconds_of
from edge_et.cli.output import _LIMITS, visible
from edge_et.memory.planning import LARGEST_IMAGE_PX
from edge_et.types import FinishReason
from tests.fakes import FakeExtractor, FakeReasoner, fake_chain, picture

QUESTION = "What colour is the star?"


@pytest.fixture
def use(monkeypatch):
    """Return a function that makes `load` give a chain of these halves, or raise."""

    def install(extractor=None, reasoner=None, fails=None):
        calls = []

        def load(pair, **options):
            calls.append((pair, options))
            if fails is not None:
                raise fails
            return fake_chain(extractor, reasoner, pair=pair)

        monkeypatch.setattr(edge_et, "load", load)
        return calls

    install()
    return install


def run(*arguments, stdin=None):
    return CliRunner().invoke(app, list(arguments), input=stdin)


def test_the_answer_is_all_of_stdout(image, use):
    result = run("ask", image, QUESTION)
    assert (result.exit_code, result.stdout) == (0, "red\n")
    assert "a red star left of a blue ring" in result.stderr
    assert "One star." in result.stderr
    assert "\x1b" not in result.stderr


def test_quiet_is_quiet(image, use):
    result = run("ask", image, QUESTION, "--quiet")
    assert (result.stdout, result.stderr) == ("red\n", "")


def test_stats_go_to_stderr(image, use):
    result = run("ask", image, QUESTION, "--quiet", "--stats")
    assert result.stdout == "red\n"
    assert "total" in result.stderr


def test_json_is_one_object(image, use):
    result = run("ask", image, QUESTION, "--json")
    record = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert record["answer"] == "red"
    assert record["thinking"] == "One star."
    assert record["extraction"]["text"] == "a red star left of a blue ring"
    assert record["extraction"]["focus_phrase"] == "the colour of the star"
    assert record["image"]["original_width_px"] == 48
    assert {"used_height_px", "tiles", "image_tokens", "notes"} <= set(record["image"])
    assert record["timings"]["total_s"] > 0
    assert (record["finish_reason"], record["pair"]) == ("stop", "starter")
    assert record["device"] == {"requested": "auto", "extractor": "cpu", "reasoner": "cpu"}
    assert result.stderr == ""


def test_jsonl_is_events_and_the_result(image, use):
    events = [
        json.loads(line) for line in run("ask", image, QUESTION, "--jsonl").stdout.splitlines()
    ]
    assert [e["event"] for e in events[:2]] == ["extraction", "extraction"]
    assert events[-1]["event"] == "result"
    assert events[-1]["answer"] == "red"
    said = "".join(e["text"] for e in events[:-1] if e["event"] == "answer")
    assert said == "Answer: red"


def test_an_image_from_stdin(use):
    data = io.BytesIO()
    picture().save(data, "PNG")
    result = run("ask", "-", QUESTION, stdin=data.getvalue())
    assert (result.exit_code, result.stdout) == (0, "red\n")


def test_options_reach_the_library(image, use):
    reasoner = FakeReasoner()
    calls = use(None, reasoner)
    result = run(
        "ask", image, QUESTION, "--pair", "p", "--device", "cpu", "--threads", "2", "--no-think",
        "--extractor", "e", "--reasoner", "r.gguf",
    )  # fmt: skip
    assert result.exit_code == 0
    pair, options = calls[0]
    assert pair == "p"
    assert (str(options["extractor"]), str(options["reasoner"])) == ("e", "r.gguf")
    assert (options["runtime"].device, options["runtime"].threads) == ("cpu", 2)
    assert "step by step" not in reasoner.asked[0]


@pytest.mark.parametrize(
    ("given", "layers"),
    [((), "auto"), (("--gpu-layers", "all"), "all"), (("--gpu-layers", "7"), 7)],
)
def test_settings_for_a_gpu_reach_the_library(image, use, given, layers):
    calls = use(None, FakeReasoner())
    assert run("ask", image, QUESTION, *given, "--no-cuda-graph").exit_code == 0
    assert run("think", "--from", "-", QUESTION, *given, stdin="a star").exit_code == 0
    runtimes = [options["runtime"] for _, options in calls]
    assert [runtime.gpu_layers for runtime in runtimes] == [layers, layers]
    assert not runtimes[0].cuda_graph


@pytest.mark.parametrize("command", ["ask", "think"])
def test_effort_deadline_and_suppression_reach_the_reasoner(image, use, monkeypatch, command):
    given = []
    monkeypatch.setattr(
        "edge_et.chain.Call.queued", lambda call: given.append(call.config), raising=True
    )
    source = (image,) if command == "ask" else ("--from", "-")
    options = ("--effort", "high", "--deadline", "1500ms", "--allow-reflexive")
    assert run(command, *source, QUESTION, *options, stdin="a star").exit_code == 0
    assert run(command, *source, QUESTION, stdin="a star").exit_code == 0
    assert [(c.effort, c.deadline_s, c.suppress_reflexive, c.think_tokens) for c in given] == [
        ("high", 1.5, False, 4096),
        ("medium", None, None, 1024),
    ]


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5.0), ("1.5", 1.5), ("800ms", 0.8), ("2m", 120.0), (" 3s", 3.0)]
)
def test_times(text, seconds):
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize("option", ["--deadline=soon", "--deadline=0s", "--effort=x"])
def test_wrong_times_and_efforts_are_2(image, use, option):
    assert run("ask", image, QUESTION, option).exit_code == 2


def test_an_answer_cut_for_the_deadline_is_7_and_says_so(image, use):
    use(None, FakeReasoner(rest="so ", pause_s=0.01))
    result = run("ask", image, QUESTION, "--deadline", "300ms")
    assert result.exit_code == 7
    assert result.stdout.strip()
    assert "limit reached: the answer was cut for the deadline (--deadline)" in result.stderr


def test_each_limit_has_its_words():
    """A reason without words would end in a KeyError."""
    assert set(_LIMITS) == set(get_args(FinishReason)) - {"stop"}


@pytest.mark.parametrize("command", ["ask", "extract"])
def test_the_image_budget_reaches_the_extractor(image, use, command):
    extractor = FakeExtractor()
    use(extractor)
    limits = ("--max-tiles", "5", "--max-image-tokens", "900")
    assert run(command, image, QUESTION, *limits).exit_code == 0
    assert run(command, image, QUESTION).exit_code == 0
    given = [(one.max_tiles, one.max_image_tokens) for one in extractor.limits]
    assert given == [(5, 900), (None, None)]
    assert run(command, image, QUESTION, "--max-tiles", "0").exit_code == 2


def test_what_was_done_to_the_image_is_said(tmp_path, use):
    image = str(tmp_path / "clear.png")
    picture().convert("RGBA").save(image)
    for command in ("ask", "extract"):
        assert "image: alpha over white\n" in run(command, image, QUESTION).stderr
    assert run("ask", image, QUESTION, "--quiet").stderr == ""
    assert run("ask", image, QUESTION, "--json").stderr == ""


def test_extract_prints_the_extraction_and_think_takes_it_up(image, use):
    extracted = run("extract", image, QUESTION)
    assert (extracted.exit_code, extracted.stdout) == (0, "a red star left of a blue ring\n")
    for notes in (extracted.stdout, run("extract", image, QUESTION, "--json").stdout):
        reasoner = FakeReasoner()
        use(None, reasoner)
        thought = run("think", "--from", "-", QUESTION, stdin=notes)
        assert (thought.exit_code, thought.stdout) == (0, "red\n")
        assert '"""\na red star left of a blue ring\n"""' in reasoner.asked[0]


def test_think_from_a_file(tmp_path, use):
    path = tmp_path / "notes.txt"
    path.write_text("a star\n", encoding="utf-8")
    assert run("think", "--from", str(path), QUESTION).stdout == "red\n"
    assert run("think", "--from", str(tmp_path / "no"), QUESTION).exit_code == 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.EdgeETError("x"), 1),
        (errors.MissingDependency("x"), 2),
        (errors.InputError("x"), 3),
        (errors.ImageError("x"), 3),
        (errors.ContextOverflow("x"), 3),
        (errors.MissingArtifact("x"), 4),
        (errors.ChecksumMismatch("x"), 4),
        (errors.UnknownModel("x"), 4),
        (errors.LoadFailed("x"), 4),
        (errors.DeviceUnavailable("x"), 5),
        (errors.Cancelled("x"), 130),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
        (ValueError("x"), 1),
    ],
)
def test_exit_codes_of_errors(image, use, monkeypatch, error, code):
    # the runner's stdout has no descriptor to point elsewhere
    monkeypatch.setattr("edge_et.cli.failures._silence_stdout", lambda: None)
    use(fails=error)
    assert run("ask", image, QUESTION).exit_code == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask"],
        ["ask", "x"],
        ["nothing"],
        ["ask", "x", "y", "--device", "tpu"],
        ["ask", "x", "y", "--threads", "0"],
        ["ask", "x", "y", "--gpu-layers", "some"],
        ["ask", "x", "y", "--gpu-layers", "-1"],
        ["ask", "x", "y", "--json", "--jsonl"],
        ["think", "y"],
    ],
)
def test_wrong_usage_is_2(use, arguments):
    assert run(*arguments).exit_code == 2


def test_a_folder_is_called_a_folder(use, tmp_path):
    calls = use()
    result = run("ask", str(tmp_path), QUESTION)
    assert result.exit_code == 3
    assert f"error[bad_image]: {tmp_path} is a folder, not an image file" in result.stderr
    assert calls == []


def test_a_missing_image_is_3_and_loads_no_model(use):
    calls = use()
    result = run("ask", "no/such.png", QUESTION)
    assert result.exit_code == 3
    assert "error[bad_image]: there is no image file no/such.png" in result.stderr
    assert (calls, result.stdout) == ([], "")


def test_a_cut_answer_is_7_and_still_printed(image, use):
    use(None, FakeReasoner(rest="so "))
    result = run("ask", image, QUESTION, "--answer-budget", "6", "--json")
    assert result.exit_code == 7
    assert json.loads(result.stdout)["finish_reason"] == "length"


def test_a_spent_thinking_budget_is_no_failure(image, use):
    result = run("ask", image, QUESTION, "--think-budget", "1", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["finish_reason"] == "think_budget"


def test_errors_as_json_carry_their_code(image, use):
    use(fails=errors.MissingArtifact("it is gone", hint="make it"))
    result = run("ask", image, QUESTION, "--json")
    assert json.loads(result.stdout) == {
        "error": {"code": "missing_artifact", "message": "it is gone", "hint": "make it"}
    }
    assert result.stderr == "error[missing_artifact]: it is gone\n  make it\n"


@pytest.mark.parametrize("command", ["ask", "extract"])
def test_memory_is_planned_for_the_image_of_the_command(command, image, use):
    calls = use(FakeExtractor())
    run(command, image, QUESTION, "--max-memory", "1GiB")
    run(command, image, QUESTION)
    px = picture().width * picture().height
    assert [options["image_px"] for _, options in calls] == [px, LARGEST_IMAGE_PX]


def test_debug_shows_where_it_happened(image, use):
    use(fails=errors.LoadFailed("broken"))
    assert "Traceback" not in run("ask", image, QUESTION).stderr
    assert "Traceback" in run("ask", image, QUESTION, "--debug").stderr


def test_a_missing_extra_prints_the_pip_line(monkeypatch):
    def refuse(name):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("edge_et.cli.lazy.import_module", refuse)
    result = run("export", "reasoner", "--help")
    assert result.exit_code == 2
    assert 'pip install "edge-et[export]"' in result.stderr


def test_a_cut_extraction_is_told(image, use):
    use(FakeExtractor())
    result = run("extract", image, "--extract-budget", "1")
    assert result.stdout == "a red\n"
    assert "extraction_length" in result.stderr


def test_control_characters_reach_no_terminal():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    text = "a\x1b[2J\r\u202eb\n\tç 你"
    assert visible(text, Terminal()) == "a\ufffd[2J\ufffd\ufffdb\n\tç 你"
    assert visible(text, io.StringIO()) == text


def test_version():
    assert run("--version").stdout == f"edge-et {edge_et.__version__}\n"
