"""The registry: models.toml -> records. Knows where models are said to be, not what is there."""

from __future__ import annotations

import functools
import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast, get_args

from edge_et.errors import ArtifactError, UnknownModel
from edge_et.sources import Source, parse_source

SCHEMA = 1
DEFAULT_PAIR = "starter"

Kind = Literal["extractor", "reasoner"]
Form = Literal["artifact", "checkpoint"]
PairFocus = Literal["question", "reasoner", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """An extractor or a reasoner of the registry."""

    name: str
    kind: Kind
    source: str
    summary: str
    form: Form = "artifact"
    """An artifact runs as it is; a checkpoint is exported first."""
    license: str = "unknown"
    size_bytes: int | None = None
    """What is fetched, for sources that do not say so beforehand."""

    @property
    def origin(self) -> Source:
        return parse_source(self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRecord:
    name: str
    extractor: ModelRecord
    reasoner: ModelRecord
    summary: str
    suppress_reflexive: bool = False
    """Whether its makers think without reflexive words (`edge_et.reflexive`)."""
    focus: PairFocus = "question"
    """What measured best for the pair: who makes the focus phrase (`GenerationConfig.focus`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    extractors: Mapping[str, ModelRecord]
    reasoners: Mapping[str, ModelRecord]
    pairs: Mapping[str, PairRecord]

    def models(self, name: str) -> tuple[ModelRecord, ...]:
        """Return both halves of the pair of that name, or the models that are called so.

        Raises UnknownModel, which lists the known names.
        """
        if name in self.pairs:
            return self.pairs[name].extractor, self.pairs[name].reasoner
        if found := tuple(t[name] for t in (self.extractors, self.reasoners) if name in t):
            return found
        known = sorted({*self.pairs, *self.extractors, *self.reasoners})
        raise UnknownModel(
            f"there is no pair, extractor or reasoner {name!r}; known are: {', '.join(known)}",
            hint="edge-et models",
        )

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


def unlisted(source: str, kind: Kind) -> ModelRecord:
    """Return the record of a checkpoint by its source alone; the registry's own where it lists it.

    Its name, which is its folder's in the store, is made of the source. Raises ArtifactError for a
    text that is no source.
    """
    parse_source(source)
    known = registry()
    rows = known.extractors if kind == "extractor" else known.reasoners
    for row in rows.values():
        if row.source == source:
            return row
    words = re.sub(r"[^\w.-]+", "-", source.partition("#")[0], flags=re.ASCII)
    digest = hashlib.sha256(source.encode()).hexdigest()
    return ModelRecord(
        name=f"{words[:80]}-{digest[:8]}",
        kind=kind,
        source=source,
        summary="given by its source",
        form="checkpoint",
    )


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
    extractors = _models(tables["extractors"], "extractor", f"{where}: extractors")
    reasoners = _models(tables["reasoners"], "reasoner", f"{where}: reasoners")
    pairs = {}
    for name, row in tables["pairs"].items():
        place = f"{where}: pairs.{name}"
        names, optional = ("extractor", "reasoner", "summary"), ("suppress_reflexive", "focus")
        fields = _fields(row, names, place, optional=optional)
        suppresses = fields.get("suppress_reflexive", False)
        if not isinstance(suppresses, bool):
            raise ArtifactError(f"{place}: suppress_reflexive is neither true nor false")
        focus = fields.get("focus", "question")
        if focus not in get_args(PairFocus):
            raise ArtifactError(f"{place}: focus is none of {', '.join(get_args(PairFocus))}")
        pairs[name] = PairRecord(
            name=name,
            extractor=_named(extractors, fields["extractor"], place),
            reasoner=_named(reasoners, fields["reasoner"], place),
            summary=fields["summary"],
            suppress_reflexive=suppresses,
            focus=focus,
        )
    return Registry(extractors=extractors, reasoners=reasoners, pairs=pairs)


def _models(table: Any, kind: Kind, where: str) -> dict[str, ModelRecord]:
    for name in table:
        if not re.fullmatch(r"[\w-][\w.-]*", name, re.ASCII):  # it names a folder of the store
            raise ArtifactError(f"{where}: {name!r} is no name of letters, digits, ., - and _")
    return {name: _model(row, name, kind, f"{where}.{name}") for name, row in table.items()}


def _model(row: Any, name: str, kind: Kind, where: str) -> ModelRecord:
    fields = _fields(row, ("source", "summary"), where, optional=("form", "license", "size_bytes"))
    size_bytes = fields.pop("size_bytes", None)
    if size_bytes is not None and (type(size_bytes) is not int or size_bytes < 1):
        raise ArtifactError(f"{where}: size_bytes is no number of bytes")
    form = fields.pop("form", "artifact")
    if form not in get_args(Form):
        raise ArtifactError(f"{where}: form is none of {', '.join(get_args(Form))}")
    try:
        parse_source(fields["source"])
    except ArtifactError as exc:
        raise ArtifactError(f"{where}: {exc.message}", hint=exc.hint) from exc
    return ModelRecord(name=name, kind=kind, form=cast(Form, form), size_bytes=size_bytes, **fields)


def _fields(
    row: Any, names: tuple[str, ...], where: str, optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the row: every one of `names` is there, and nothing that is neither of both."""
    if not isinstance(row, dict):
        raise ArtifactError(f"{where}: expected a table")
    if unknown := sorted(set(row) - {*names, *optional}):
        raise ArtifactError(f"{where}: unknown key {unknown[0]!r}")
    for name in (*names, *(n for n in ("form", "license") if n in row)):
        if not isinstance(row.get(name), str):
            raise ArtifactError(f"{where}: {name} is missing or no text")
    return dict(row)


def _named(models: Mapping[str, ModelRecord], name: str, where: str) -> ModelRecord:
    if name not in models:
        raise ArtifactError(f"{where}: there is no {name!r}")
    return models[name]
