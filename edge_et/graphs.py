"""The two ONNX graphs of an extractor: their input and output names, shapes and dtypes.

The decoder's names are those of Hugging Face's exports; onnxruntime-genai's builder writes them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_et.errors import LoadFailed
from edge_et.manifest import DecoderSpec, ImagePolicy
from edge_et.ort import Session

F32 = npt.NDArray[np.float32]

_PIXELS, _FEATURES = "pixel_values", "image_features"
_EMBEDDINGS, _MASK, _LOGITS = "inputs_embeds", "attention_mask", "logits"


class VisionEncoder:
    """Vision tower and projector: pixel_values [T, 3, S, S] -> image_features [T, N, H]."""

    def __init__(self, session: Session, policy: ImagePolicy, hidden_size: int) -> None:
        _require(session, {_PIXELS}, {_FEATURES})
        self._session = session
        self._dtype = session.input_dtypes[_PIXELS]
        self._shape = (1, policy.tokens_per_tile, hidden_size)

    def release(self) -> None:
        """Free the weights; the next tile loads them again."""
        self._session.release()

    def __call__(self, tile: F32) -> F32:
        """Encode one tile [3, S, S] into [N, H]."""
        feeds = {_PIXELS: tile[None].astype(self._dtype, copy=False)}
        features = self._session.run(feeds, _FEATURES)
        if features.shape != self._shape:
            raise LoadFailed(
                f"{self._session.path.name} gives features of shape {features.shape}, "
                f"the manifest promises {self._shape}"
            )
        result: F32 = features[0].astype(np.float32, copy=False)
        return result


class Decoder:
    """The language model. Each call of `start` gives a step with a fresh KV cache."""

    def __init__(self, session: Session, spec: DecoderSpec) -> None:
        self._session, self._spec = session, spec
        inputs = {_EMBEDDINGS, _MASK} | {past for past, _ in cache_names(spec.layers)}
        outputs = {_LOGITS} | {present for _, present in cache_names(spec.layers)}
        _require(session, inputs, outputs)
        if session.output_shapes[_LOGITS][1:] != (1, spec.vocab_size):
            raise LoadFailed(
                f"{session.path.name} gives logits of shape {session.output_shapes[_LOGITS]}; "
                f"only those of the last token are wanted: [1, 1, {spec.vocab_size}]",
                hint="export the extractor again with this version",
            )

    def release(self) -> None:
        """Free the weights, once no step is in use; the next `start` loads them again."""
        self._session.release()

    def start(self, capacity_tokens: int) -> DecoderStep:
        return DecoderStep(self._session, self._spec, capacity_tokens)


class DecoderStep:
    """One conversation: a KV cache of `capacity_tokens` and one binding for all its runs.

    Past and present are the same buffers [1, kv_heads, capacity, head_dim]. Rows past the current
    length are never read, so running again from an earlier `past_tokens` rewinds the cache.
    """

    def __init__(self, session: Session, spec: DecoderSpec, capacity_tokens: int) -> None:
        self._binding = session.bind()
        self._capacity_tokens = capacity_tokens
        self._dtype = session.input_dtypes[_EMBEDDINGS]
        self._mask = np.ones((1, capacity_tokens), dtype=np.int64)
        self._logits = np.empty((1, 1, spec.vocab_size), session.output_dtypes[_LOGITS])
        self._binding.bind_output(_LOGITS, self._logits)
        shape = (1, spec.kv_heads, capacity_tokens, spec.head_dim)
        for past, present in cache_names(spec.layers):
            self._binding.share(past, present, shape)

    def __call__(self, embeddings: F32, past_tokens: int) -> F32:
        """See `decoding.Step`. Writing past the cache would corrupt memory, so it is refused."""
        total = past_tokens + len(embeddings)
        if total > self._capacity_tokens:
            raise ValueError(f"{total} tokens exceed the cache of {self._capacity_tokens}")
        rows = np.ascontiguousarray(embeddings[None], dtype=self._dtype)
        self._binding.bind_input(_EMBEDDINGS, rows)
        self._binding.bind_input(_MASK, self._mask[:, :total])
        if len(rows[0]) > 1:
            self._binding.run_and_shrink()
        else:
            self._binding.run()
        logits: F32 = self._logits[0, 0].astype(np.float32, copy=False)
        return logits


def cache_names(layers: int) -> list[tuple[str, str]]:
    """List the (past, present) names of the cache, keys and values of each layer."""
    return [
        (f"past_key_values.{layer}.{part}", f"present.{layer}.{part}")
        for layer in range(layers)
        for part in ("key", "value")
    ]


def _require(session: Session, inputs: set[str], outputs: set[str]) -> None:
    """Raise LoadFailed unless the graph takes exactly `inputs` and gives at least `outputs`."""
    wrong = inputs.symmetric_difference(session.input_dtypes)
    wrong |= outputs - session.output_dtypes.keys()
    if wrong:
        raise LoadFailed(
            f"{session.path} does not have the inputs and outputs of its role: "
            f"{', '.join(sorted(wrong))}",
            hint="export the extractor again with this version",
        )
