"""Names and axes of the graphs: what the artifact's contract promises, what a graph says itself."""

from __future__ import annotations

from collections.abc import Mapping

from edge_et.errors import InterfaceMismatch
from edge_et.graphs import cache_names
from edge_et.int8_cache import FLAG, int8_names, scale_names
from edge_et.manifest import DecoderSpec, ImagePolicy
from edge_et.ort import Session

Shape = tuple[int | str | None, ...]
_VARIES = None
"""An axis that the runtime gives other sizes at each run."""


def check_vision(session: Session, policy: ImagePolicy, spec: DecoderSpec) -> None:
    """Raise InterfaceMismatch unless it is: pixel_values [T, 3, S, S] -> image_features
    [T, N, H]."""
    side = policy.tile_size_px
    _check(session, "takes", session.input_shapes, {"pixel_values": (_VARIES, 3, side, side)})
    features = (_VARIES, policy.tokens_per_tile, spec.hidden_size)
    _check(session, "gives", session.output_shapes, {"image_features": features})


def check_decoder(session: Session, spec: DecoderSpec) -> None:
    """Raise InterfaceMismatch unless prompts, masks and the cache may be of any length, and all
    else is of the sizes that `spec` says."""
    cache: Shape = (_VARIES, spec.kv_heads, _VARIES, spec.head_dim)
    names = cache_names(spec.layers)
    inputs: dict[str, Shape] = {
        "inputs_embeds": (_VARIES, _VARIES, spec.hidden_size),
        "attention_mask": (_VARIES, _VARIES),
    }
    if FLAG in session.input_shapes:
        scale: Shape = (1, spec.kv_heads, 1, spec.head_dim)
        inputs |= {FLAG: ()} | dict.fromkeys(scale_names(spec.layers), scale)
        names += int8_names(spec.layers)
    _check(session, "takes", session.input_shapes, inputs | {past: cache for past, _ in names})
    outputs: dict[str, Shape] = {"logits": (_VARIES, 1, spec.vocab_size)}
    _check(session, "gives", session.output_shapes, outputs | {now: cache for _, now in names})


def _check(
    session: Session, verb: str, found: Mapping[str, Shape], wanted: Mapping[str, Shape]
) -> None:
    graph = session.path.name
    if wrong := sorted(found.keys() ^ wanted.keys()):
        extra = wrong[0] in found
        raise InterfaceMismatch(
            f"{graph} {verb} {wrong[0]!r}, which is not of its role"
            if extra
            else f"{graph} {verb} no {wrong[0]!r}"
        )
    for name, shape in wanted.items():
        if not _fits(found[name], shape):
            raise InterfaceMismatch(
                f"{graph} {verb} {name} of {_words(found[name])}, not of {_words(shape)}"
            )


def _fits(found: Shape, wanted: Shape) -> bool:
    """A fixed axis may go unnamed in a graph: running it shows the size."""
    return len(found) == len(wanted) and all(
        not isinstance(have, int) if want is _VARIES else have == want or not isinstance(have, int)
        for have, want in zip(found, wanted, strict=True)
    )


def _words(shape: Shape) -> str:
    return f"[{', '.join('any' if axis is None else str(axis) for axis in shape)}]"
