"""A GGUF file that exists already -> a reasoner artifact: checked, tried, taken as it is."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from edge_et import llama
from edge_et.config import SamplingConfig
from edge_et.errors import ExportError
from edge_et.gguf_header import GGUFHeader, read_header, require_chat
from edge_et.manifest import ReasonerManifest, Source, describe_part
from edge_et_export.parity import threads_for

if TYPE_CHECKING:
    from edge_et_export.reasoner import ReasonerOptions

log = logging.getLogger(__name__)


def adopt(source: Path, staged: Path, file_name: str, options: ReasonerOptions) -> ReasonerManifest:
    """Put `source` into `staged` and return its manifest; there is no checkpoint to compare with.

    Raises MissingArtifact, LoadFailed (what is wrong with the file, an architecture that llama.cpp
    does not know) and ExportError.
    """
    header = read_header(source)
    require_chat(header)
    precision = _precision(header)
    _refuse(header, precision, options)
    log.info("trying %s in llama.cpp", source.name)
    _try(source)
    path = staged / file_name
    _link(source, path)
    part = describe_part(staged, path, role="reasoner", precision=precision)
    return ReasonerManifest(
        family=header.architecture,
        source=Source(
            name=options.name or str(header.metadata.get("general.name", source.stem)),
            revision=options.revision or f"sha256:{part.sha256}",
            license=options.license or str(header.metadata.get("general.license", "unknown")),
        ),
        parts=(part,),
        context_tokens=header.context_tokens,
        sampling=header.sampling,
    )


def _precision(header: GGUFHeader) -> str:
    """Return llama.cpp's name of the file's type, as `--type` would spell it."""
    from gguf import LlamaFileType

    number = header.metadata.get("general.file_type")
    try:
        name: str = LlamaFileType(number).name
    except ValueError:
        return "unknown"
    return name.removeprefix("MOSTLY_").removeprefix("ALL_").lower()


def _refuse(header: GGUFHeader, precision: str, options: ReasonerOptions) -> None:
    parts = header.metadata.get("split.count", 1)
    if parts > 1:
        raise ExportError(
            f"{header.path} is one of {parts} parts of a model",
            hint="merge them first: llama-gguf-split --merge FIRST_PART OUT.gguf",
        )
    if options.type not in (None, precision):
        raise ExportError(
            f"{header.path} is {precision}, not {options.type}: a GGUF file is taken as it is",
            hint="leave --type out, or export the checkpoint that the file was made from",
        )
    if options.calibration is not None:
        raise ExportError(
            f"{header.path} is quantized already: a calibration text has no use",
            hint="export the checkpoint that the file was made from",
        )


def _try(source: Path) -> None:
    """Load the file and read a few tokens: logits must come, and be numbers."""
    import numpy as np

    model = llama.Model(read_header(source), "cpu")
    try:
        ids = model.tokenize("Question: 2 + 2?\nAnswer:", True)
        context = llama.Context(
            model, context_tokens=len(ids), threads=threads_for(source.stat().st_size)
        )
        try:
            context.start(ids, SamplingConfig(), lambda: False)
            if not np.isfinite(context.logits()).all():
                raise ExportError(f"{source} computes values that are no numbers")
        finally:
            context.close()
    finally:
        model.close()


def _link(source: Path, target: Path) -> None:
    """Give the file a second name where the file system can, else copy it."""
    real = source.resolve()  # of a Hub cache's link the file, not the link
    try:
        os.link(real, target)
    except OSError:
        shutil.copyfile(real, target)
