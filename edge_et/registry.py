"""The registry: models.toml -> records. Knows where models are said to be, not what is there."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from edge_et.errors import ArtifactError, UnknownModel

SCHEMA = 1
DEFAULT_PAIR = "starter"
_PACKAGE = "package:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """An extractor or a reasoner of the registry."""

    name: str
    source: str
    summary: str

    @property
    def path(self) -> Path:
        """The folder of the artifact."""
        return Path(str(files("edge_et"))) / self.source.removeprefix(_PACKAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRecord:
    name: str
    extractor: ModelRecord
    reasoner: ModelRecord
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    extractors: Mapping[str, ModelRecord]
    reasoners: Mapping[str, ModelRecord]
    pairs: Mapping[str, PairRecord]

    def pair(self, name: str) -> PairRecord:
        """Return the pair of that name. Raises UnknownModel, which lists the known ones."""
        try:
            return self.pairs[name]
        except KeyError as exc:
            known = ", ".join(sorted(self.pairs))
            raise UnknownModel(
                f"there is no pair {name!r}; known are: {known}",
                hint="or give paths: --extractor FOLDER --reasoner FILE.gguf",
            ) from exc


@functools.cache
def registry() -> Registry:
    """Return the registry that came with this installation."""
    inside = Path(str(files("edge_et"))) / "models.toml"
    # An editable install has no copy inside the package: the file lies at the top of the checkout.
    path = inside if inside.is_file() else inside.parent.parent / "models.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ArtifactError(
            f"the registry {path} cannot be read: {exc}", hint="install edge-et again"
        ) from exc
    return parse_registry(text, str(path))


def parse_registry(text: str, where: str = "models.toml") -> Registry:
    """Parse a registry. Raises ArtifactError that names the place; nothing unknown is skipped."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ArtifactError(f"{where}: {exc}") from exc
    if raw.pop("schema", None) != SCHEMA:
        raise ArtifactError(f"{where}: this edge-et reads schema {SCHEMA}")
    tables = {kind: raw.pop(kind, {}) for kind in ("extractors", "reasoners", "pairs")}
    if raw:
        raise ArtifactError(f"{where}: unknown key {sorted(raw)[0]!r}")
    extractors = _models(tables["extractors"], f"{where}: extractors")
    reasoners = _models(tables["reasoners"], f"{where}: reasoners")
    pairs = {}
    for name, row in tables["pairs"].items():
        place = f"{where}: pairs.{name}"
        fields = _fields(row, ("extractor", "reasoner", "summary"), place)
        pairs[name] = PairRecord(
            name=name,
            extractor=_named(extractors, fields["extractor"], place),
            reasoner=_named(reasoners, fields["reasoner"], place),
            summary=fields["summary"],
        )
    return Registry(extractors=extractors, reasoners=reasoners, pairs=pairs)


def _models(table: Any, where: str) -> dict[str, ModelRecord]:
    models = {}
    for name, row in table.items():
        place = f"{where}.{name}"
        fields = _fields(row, ("source", "summary"), place)
        if not fields["source"].startswith(_PACKAGE):
            raise ArtifactError(f"{place}: unknown kind of source {fields['source']!r}")
        models[name] = ModelRecord(name=name, **fields)
    return models


def _fields(row: Any, names: tuple[str, ...], where: str) -> dict[str, str]:
    if not isinstance(row, dict):
        raise ArtifactError(f"{where}: expected a table")
    if unknown := sorted(set(row) - set(names)):
        raise ArtifactError(f"{where}: unknown key {unknown[0]!r}")
    for name in names:
        if not isinstance(row.get(name), str):
            raise ArtifactError(f"{where}: {name} is missing or no text")
    return dict(row)


def _named(models: Mapping[str, ModelRecord], name: str, where: str) -> ModelRecord:
    if name not in models:
        raise ArtifactError(f"{where}: there is no {name!r}")
    return models[name]
