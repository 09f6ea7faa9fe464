"""The precisions that each part of an extractor can be exported in, and the presets over them."""

from __future__ import annotations

from dataclasses import dataclass

from edge_et.errors import ExportError

VISION = ("fp32", "fp16", "int8")
DECODER = ("fp32", "fp16", "int8", "w8a8", "q4", "q4_pure", "q4f16")
"""int8 has a scale for each block of weights, w8a8 one for each column and each token.

q4 keeps 8 bits where 4 lose most, q4_pure nowhere. q4f16 is q4 with fp16 activations, for CUDA; a
CPU is fastest in fp32 around the others."""
EMBEDDINGS = ("fp32", "fp16", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Precisions:
    """What to export each part in; several of a part lie side by side, the first is preferred."""

    vision: tuple[str, ...] = ("int8",)
    decoder: tuple[str, ...] = ("w8a8",)
    embeddings: str = "fp16"

    def __post_init__(self) -> None:
        for part, wanted, known in (
            ("vision", self.vision, VISION),
            ("decoder", self.decoder, DECODER),
            ("embeddings", (self.embeddings,), EMBEDDINGS),
        ):
            if not wanted or len(set(wanted)) < len(wanted):
                raise ExportError(f"{part}: name each precision once, and at least one")
            for precision in wanted:
                if precision not in known:
                    raise ExportError(
                        f"{part} precision {precision!r} is none of {', '.join(known)}"
                    )


PRESETS = {
    "cpu": Precisions(),
    "cuda": Precisions(vision=("fp16",), decoder=("fp16", "q4f16")),
    "reference": Precisions(vision=("fp32",), decoder=("fp32",), embeddings="fp32"),
}


def listed(text: str) -> tuple[str, ...]:
    """Split `int8,q4` as the command line gives it."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
