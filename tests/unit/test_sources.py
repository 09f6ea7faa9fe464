"""Where models come from, as text."""

from __future__ import annotations

import pytest

from edge_et.downloads import RemoteFile
from edge_et.errors import ArtifactError, MissingArtifact
from edge_et.hub import choose
from edge_et.sources import (
    FolderSource,
    HubSource,
    PackageSource,
    UrlSource,
    WheelSource,
    parse_source,
)

SHA256 = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("package:models/x", PackageSource("models/x")),
        ("folder:~/models/x", FolderSource("~/models/x")),
        ("hf:Qwen/Qwen3-1.7B", HubSource("Qwen/Qwen3-1.7B", None, None)),
        ("hf:a/b@v1.0", HubSource("a/b", "v1.0", None)),
        ("hf:a/b/sub/*q8_0.gguf", HubSource("a/b", None, "sub/*q8_0.gguf")),
        ("hf:a/b@c0ffee/x.gguf", HubSource("a/b", "c0ffee", "x.gguf")),
        ("pypi:llm-x==0.1.2/llm_x/m.gguf", WheelSource("llm-x", "0.1.2", "llm_x/m.gguf")),
        (f"https://a.b/d.gguf?e=1#sha256={SHA256}", UrlSource("https://a.b/d.gguf?e=1", SHA256)),
        (f"http://[::1]:1/d.gguf#sha256={SHA256}", UrlSource("http://[::1]:1/d.gguf", SHA256)),
    ],
)
def test_sources(text, source):
    assert parse_source(text) == source


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("models/x", "unknown kind"),
        ("ftp://a.b/c", "unknown kind"),
        ("hf:justaname", "is not hf:OWNER/NAME"),
        ("hf:a/b@", "is not hf:OWNER/NAME"),
        ("hf:a/b/../c.gguf", "names no file"),
        ("hf:a/b/pytorch_model.bin", "pickle"),
        ("pypi:x/m.gguf", "is not pypi:"),
        ("pypi:x>=1/m.gguf", "is not pypi:"),
        ("pypi:x==1/model.pt", "pickle"),
        ("https://a.b/c.gguf", "does not end with #sha256="),
        (f"https://a.b/c.gguf#sha256={SHA256[1:]}", "does not end with #sha256="),
        (f"http://a.b/c.gguf#sha256={SHA256}", "is not https://"),
        (f"https://a.b/#sha256={SHA256}", "names no file"),
    ],
)
def test_what_is_refused(text, complaint):
    with pytest.raises(ArtifactError, match=complaint):
        parse_source(text)


def paths(source, form, *names):
    return [f.path for f in choose(tuple(RemoteFile(path=n) for n in names), source, form)]


def test_of_a_checkpoint_only_what_export_reads():
    repo = HubSource("a/b", None, None)
    wanted = ["chat_template.jinja", "config.json", "m-00001-of-2.safetensors", "merges.txt"]
    extra = ["README.md", "onnx/config.json", "original/x.safetensors", "m.bin", "train.py", ".git"]
    assert paths(repo, "checkpoint", *wanted, *extra) == wanted


def test_of_an_artifact_its_folders_too():
    repo = HubSource("a/b", None, None)
    wanted = ["edge_et.json", "embed_tokens_fp16.npy", "onnx/d.onnx", "onnx/d.onnx_data"]
    assert paths(repo, "artifact", *wanted, "x.bin", "onnx/x.pt") == wanted
    with pytest.raises(MissingArtifact, match=r"no edge_et\.json"):
        paths(repo, "artifact", *wanted[1:])


def test_what_a_path_names_and_never_a_pickle():
    assert paths(HubSource("a/b", None, "*Q8_0*"), "artifact", "Q4_0.gguf", "x-Q8_0.gguf") == [
        "x-Q8_0.gguf"
    ]
    with pytest.raises(MissingArtifact, match="holds no file"):
        paths(HubSource("a/b", None, "*model*"), "artifact", "pytorch_model.bin")
