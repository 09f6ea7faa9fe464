"""From a pair's name or two paths to a chain."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from edge_et.chain import Chain
from edge_et.config import RuntimeConfig
from edge_et.extractor import Extractor
from edge_et.reasoner import Reasoner
from edge_et.registry import DEFAULT_PAIR, registry

Half = Literal["extractor", "reasoner"]


def load(
    pair: str = DEFAULT_PAIR,
    *,
    extractor: str | os.PathLike[str] | None = None,
    reasoner: str | os.PathLike[str] | None = None,
    runtime: RuntimeConfig | None = None,
    only: Half | None = None,
) -> Chain:
    """Load a pair of the registry; `extractor` (a folder) or `reasoner` (a folder or a GGUF file)
    replaces that half. `only` loads one half, for `extract` or `think` alone.

    Raises UnknownModel, MissingArtifact, BadManifest, ChecksumMismatch, DeviceUnavailable,
    LoadFailed, MissingDependency.
    """
    runtime = runtime or RuntimeConfig()
    extractor_path = Path(extractor or registry().pair(pair).extractor.path)
    reasoner_path = Path(reasoner or registry().pair(pair).reasoner.path)
    eyes = Extractor.load(extractor_path, runtime) if only != "reasoner" else None
    try:
        thinker = Reasoner.load(reasoner_path, runtime) if only != "extractor" else None
    except BaseException:
        if eyes is not None:
            eyes.close()
        raise
    names = [
        Path(extractor).name if extractor else pair,
        Path(reasoner).stem if reasoner else pair,
    ]
    return Chain(eyes, thinker, pair="+".join(dict.fromkeys(names)))
