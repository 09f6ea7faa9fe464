"""Where a model comes from, as models.toml writes it. Parsing only: nothing here looks.

package:PATH                                   inside the installed package
folder:PATH                                    a folder or file of this machine; ~ is home
hf:OWNER/NAME[@REVISION][/PATH]                a Hub repo, or the files in it that PATH names
                                               (* matches), of which the first is loaded
pypi:PACKAGE==VERSION/PATH                     one file inside a wheel
https://…#sha256=HEX                           one file; http:// only on this machine
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urldefrag, urlsplit

from edge_et.errors import ArtifactError

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Weights that run code when they are read. Never fetched."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_HUB = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<inside>[^@]+))?", re.ASCII
)
_WHEEL = re.compile(r"(?P<package>[\w.-]+)==(?P<version>[\w.!+-]+)/(?P<inside>.+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class PackageSource:
    path: str


@dataclass(frozen=True, slots=True)
class FolderSource:
    path: str


@dataclass(frozen=True, slots=True)
class HubSource:
    repo: str
    revision: str | None
    """A branch, a tag or a commit; None is the default branch."""
    inside: str | None
    """A path in the repo, where * matches."""


@dataclass(frozen=True, slots=True)
class WheelSource:
    package: str
    version: str
    inside: str


@dataclass(frozen=True, slots=True)
class UrlSource:
    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        return PurePosixPath(urlsplit(self.url).path).name


LocalSource = PackageSource | FolderSource
RemoteSource = HubSource | WheelSource | UrlSource
Source = LocalSource | RemoteSource


def parse_source(text: str) -> Source:
    """Raises ArtifactError, saying what is wrong with it."""
    kind, _, rest = text.partition(":")
    if kind == "package" and rest:
        return PackageSource(rest)
    if kind == "folder" and rest:
        return FolderSource(rest)
    if kind == "hf":
        return _hub(text, rest)
    if kind == "pypi":
        return _wheel(text, rest)
    if kind in ("https", "http"):
        return _url(text)
    raise ArtifactError(
        f"unknown kind of source {text!r}", hint="known are package:, folder:, hf:, pypi:, https:"
    )


def _hub(text: str, rest: str) -> HubSource:
    match = _HUB.fullmatch(rest)
    if match is None:
        raise ArtifactError(f"{text!r} is not hf:OWNER/NAME[@REVISION][/PATH]")
    source = HubSource(match["repo"], match["revision"], match["inside"])
    if source.inside is not None:
        _check_inside(text, source.inside)
    return source


def _wheel(text: str, rest: str) -> WheelSource:
    match = _WHEEL.fullmatch(rest)
    if match is None:
        raise ArtifactError(f"{text!r} is not pypi:PACKAGE==VERSION/PATH/IN/WHEEL")
    _check_inside(text, match["inside"])
    return WheelSource(match["package"], match["version"], match["inside"])


def _url(text: str) -> UrlSource:
    url, fragment = urldefrag(text)
    match = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment)
    if match is None:
        raise ArtifactError(f"{text!r} does not end with #sha256= and 64 hexadecimal digits")
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise ArtifactError(f"{text!r} is not https://")
    source = UrlSource(url, match[1])
    _check_inside(text, source.file_name)
    return source


def _check_inside(text: str, inside: str) -> None:
    path = PurePosixPath(inside)
    if not path.name or path.is_absolute() or ".." in path.parts or "\\" in inside:
        raise ArtifactError(f"{text!r} names no file")
    if path.suffix in PICKLES:
        raise ArtifactError(
            f"{text!r} names a pickle, and reading one runs code",
            hint="take safetensors, GGUF or ONNX",
        )


__all__ = [
    "PICKLES", "FolderSource", "HubSource", "LocalSource", "PackageSource", "RemoteSource",
    "Source", "UrlSource", "WheelSource", "parse_source",
]  # fmt: skip
