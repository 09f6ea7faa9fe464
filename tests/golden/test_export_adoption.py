"""GGUF files that exist already: taken as they are, or refused with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_et.config import RuntimeConfig
from edge_et.errors import EdgeETError, ExportError, LoadFailed, MissingArtifact
from edge_et.manifest import FILE_NAME, ReasonerManifest, check_files, read_manifest
from edge_et.reasoner import Reasoner
from tests.tiny import make_reasoner

pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")


def adopt(source: Path, out: Path, **options: Any) -> ReasonerManifest:
    from edge_et_export import ReasonerOptions, export_reasoner

    return export_reasoner(source, out, ReasonerOptions(**options))


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as a publisher leaves it: alone in its folder."""
    folder = tmp_path_factory.mktemp("official")
    checkpoint = make_reasoner(folder / "checkpoint", "tied")
    out = folder / "made" / "r.gguf"
    adopt(checkpoint, out, type="f16", name="tiny/reasoner", license="MIT")
    alone = folder / "published.gguf"
    out.rename(alone)
    return alone


def rewrite(source: Path, out: Path, **changes: Any) -> Path:
    """Copy a GGUF with some texts or numbers of its metadata replaced; None leaves one out."""
    reader = gguf.GGUFReader(source)
    renamed = {name.replace("__", "."): value for name, value in changes.items()}
    architecture = renamed.get("general.architecture", "qwen3")
    writer = gguf.GGUFWriter(str(out), architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture" or name in renamed:
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, inner)
    for name, value in renamed.items():
        if isinstance(value, int):
            writer.add_uint16(name, value)
        elif value is not None and name != "general.architecture":
            writer.add_string(name, value)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def test_a_file_is_taken_as_it_is(official: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine" / "x.gguf"
    before = official.read_bytes()
    manifest = adopt(official, out)
    assert out.read_bytes() == official.read_bytes() == before
    assert {p.name for p in out.parent.iterdir()} == {"x.gguf", FILE_NAME}
    assert manifest == read_manifest(out.parent, ReasonerManifest)
    check_files(out.parent, manifest, hashes=True)
    (part,) = manifest.parts
    assert (part.path, part.precision) == ("x.gguf", "f16")
    assert (manifest.family, manifest.context_tokens) == ("qwen3", 1024)
    assert manifest.source.name == "tiny/reasoner"
    assert manifest.source.license == "MIT"
    assert manifest.source.revision == f"sha256:{part.sha256}"
    assert manifest.sampling == pytest.approx({"temperature": 0.6, "top_p": 0.95, "top_k": 20})
    assert manifest.parity == ()
    Reasoner.load(out.parent, RuntimeConfig(device="cpu")).close()


def test_what_the_command_says_of_it_stands(official: Path, tmp_path: Path) -> None:
    from edge_et_export.cli import app

    out = tmp_path / "x.gguf"
    arguments = ["reasoner", str(official), "--out", str(out), "--name", "a/b"]
    done = CliRunner().invoke(app, [*arguments, "--license", "Apache-2.0", "--type", "f16"])
    assert (done.exit_code, done.stdout.strip()) == (0, str(out))
    source = read_manifest(tmp_path, ReasonerManifest).source
    assert (source.name, source.license) == ("a/b", "Apache-2.0")
    (tmp_path / FILE_NAME).touch()  # what is kept is not linked or written again
    made_ns = (tmp_path / FILE_NAME).stat().st_mtime_ns
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (tmp_path / FILE_NAME).stat().st_mtime_ns == made_ns
    renamed = CliRunner().invoke(app, [*arguments[:-1], "c/d"])
    assert renamed.exit_code == 1
    assert "exists already" in renamed.stderr


def test_a_file_can_be_adopted_where_it_lies(official: Path, tmp_path: Path) -> None:
    here = tmp_path / "x.gguf"
    shutil.copyfile(official, here)
    adopt(here, here, force=True)
    check_files(tmp_path, read_manifest(tmp_path, ReasonerManifest), hashes=True)
    assert {p.name for p in tmp_path.iterdir()} == {"x.gguf", FILE_NAME}


def test_a_link_gives_its_file_and_no_second_name_is_no_hindrance(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "link.gguf").symlink_to(official)
    out = tmp_path / "out" / "x.gguf"
    adopt(tmp_path / "link.gguf", out)
    assert out.is_file() and not out.is_symlink()
    assert out.read_bytes() == official.read_bytes()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"tokenizer__chat_template": None}, LoadFailed, "carries no chat template"),
        ({"general__type": "mmproj"}, LoadFailed, "no language model, but its mmproj"),
        ({"general__architecture": "qwen99"}, LoadFailed, "cannot load .*qwen99"),
        ({"split__count": 3}, ExportError, "one of 3 parts"),
        ({"qwen3__context_length": None}, LoadFailed, "cannot load .*context_length"),
    ],
)
def test_what_is_refused(
    official: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    bad = rewrite(official, tmp_path / "bad.gguf", **changes)
    with pytest.raises(error, match=message):
        adopt(bad, tmp_path / "out" / "x.gguf")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("missing", ["template", "end"])
def test_the_runtime_refuses_a_bad_file_before_llama_cpp_sees_it(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    from edge_et import llama

    bad = tmp_path / "bad.gguf"
    if missing == "template":
        rewrite(official, bad, tokenizer__chat_template=None)
    else:
        bad.write_bytes(official.read_bytes()[:-4096])

    def fail(*_: Any) -> None:
        raise AssertionError("llama.cpp was asked to load it")

    monkeypatch.setattr(llama, "Model", fail)
    message = {"template": "carries no chat template", "end": "is truncated"}[missing]
    with pytest.raises(LoadFailed, match=message):
        Reasoner.load(bad, RuntimeConfig(device="cpu"))


def test_damage_is_named(official: Path, tmp_path: Path) -> None:
    whole = official.read_bytes()
    bad, out = tmp_path / "bad.gguf", tmp_path / "out" / "x.gguf"
    for content, message in (
        (b"GGUG" + whole[4:], "is no GGUF file"),
        (whole[:4] + b"\x09" + whole[5:], "GGUF version 9"),
        (whole[:-4096], "is truncated"),
    ):
        bad.write_bytes(content)
        with pytest.raises(LoadFailed, match=message):
            adopt(bad, out)
    with pytest.raises(MissingArtifact):
        adopt(tmp_path / "none.gguf", out)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [({"type": "q8_0"}, "is f16, not q8_0"), ({"calibration": Path("t.txt")}, "has no use")],
)
def test_a_file_is_not_made_into_another(
    official: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(EdgeETError, match=message):
        adopt(official, tmp_path / "x.gguf", **options)
