"""The two ONNX graphs of an extractor: their input and output names, shapes and dtypes.

The decoder's names are those of Hugging Face's exports; onnxruntime-genai's builder writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edge_et.errors import LoadFailed
from edge_et.fixed_step import EMBEDDINGS, LOGITS, MASK, FixedStep
from edge_et.int8_cache import FLAG, Int8Cache, int8_names, scale_names
from edge_et.manifest import DecoderSpec, ImagePolicy
from edge_et.ort import Array, Session
from edge_et.placement import Placement

F32 = npt.NDArray[np.float32]

_PIXELS, _FEATURES = "pixel_values", "image_features"


class VisionEncoder:
    """Vision tower and projector: pixel_values [T, 3, S, S] -> image_features [T, N, H]."""

    def __init__(self, session: Session, policy: ImagePolicy, hidden_size: int) -> None:
        _require(session, {_PIXELS}, {_FEATURES})
        self._session = session
        self._dtype = session.input_dtypes[_PIXELS]
        self._shape = (1, policy.tokens_per_tile, hidden_size)

    @property
    def placement(self) -> Placement:
        return self._session.placement

    def release(self) -> None:
        """Free the weights; the next tile loads them again."""
        self._session.release()

    def __call__(self, tile: F32, cancelled: Callable[[], bool] | None = None) -> F32:
        """Encode one tile [3, S, S] into [N, H]. Raises Cancelled within it."""
        feeds = {_PIXELS: tile[None].astype(self._dtype, copy=False)}
        features = self._session.run(feeds, _FEATURES, cancelled)
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
        names = cache_names(spec.layers)
        inputs, outputs = {EMBEDDINGS, MASK}, {LOGITS}
        if FLAG in session.input_dtypes:
            names += int8_names(spec.layers)
            inputs |= {FLAG, *scale_names(spec.layers)}
        inputs |= {past for past, _ in names}
        outputs |= {present for _, present in names}
        _require(session, inputs, outputs)
        if session.output_shapes[LOGITS][1:] != (1, spec.vocab_size):
            raise LoadFailed(
                f"{session.path.name} gives logits of shape {session.output_shapes[LOGITS]}; "
                f"only those of the last token are wanted: [1, 1, {spec.vocab_size}]",
                hint="export the extractor again with this version",
            )

    @property
    def placement(self) -> Placement:
        return self._session.placement

    @property
    def bytes_per_token(self) -> int:
        """What a token takes in the KV cache; where there is one in int8, too, in both."""
        spec, dtypes = self._spec, self._session.input_dtypes
        names = cache_names(spec.layers)
        if FLAG in dtypes:
            names += int8_names(spec.layers)
        row = spec.kv_heads * spec.head_dim
        return sum(row * dtypes[past].itemsize for past, _ in names)

    def release(self) -> None:
        """Free the weights, once no step is in use; the next `start` loads them again."""
        self._session.release()

    def start(self, capacity_tokens: int) -> DecoderStep:
        return DecoderStep(self._session, self._spec, capacity_tokens, self.bytes_per_token)


class DecoderStep:
    """One conversation: a KV cache of `capacity_tokens` and one binding for all its runs.

    Past and present are the same buffers [1, kv_heads, capacity, head_dim]. Rows past the current
    length are never read, so running again from an earlier `past_tokens` rewinds the cache.

    Where the graph has a cache in int8 beside it, runs of one row use that one. On a GPU such runs
    are fixed steps.
    """

    def __init__(
        self, session: Session, spec: DecoderSpec, capacity_tokens: int, bytes_per_token: int
    ) -> None:
        self._binding = session.bind()
        self.capacity_tokens = capacity_tokens
        self._bytes_per_token, self._device = bytes_per_token, session.device
        self._touched_tokens = 0
        self._dtype = session.input_dtypes[EMBEDDINGS]
        self._mask = np.ones((1, capacity_tokens), dtype=np.int64)
        self._logits = np.empty((1, 1, spec.vocab_size), session.output_dtypes[LOGITS])
        self._binding.bind_output(LOGITS, self._logits)
        shape = (1, spec.kv_heads, capacity_tokens, spec.head_dim)
        self._names = cache_names(spec.layers)
        shared = [self._binding.share(past, present, shape) for past, present in self._names]
        self._cache = [buffer for buffer in shared if buffer is not None]
        self._int8: Int8Cache | None = None
        if FLAG in session.input_dtypes:
            self._int8 = Int8Cache(self._binding, self._cache, threads=session.threads)
        self._fixed: FixedStep | None = None
        if session.device != "cpu":
            self._fixed = FixedStep(
                session,
                self._binding,
                self._names,
                hidden_size=spec.hidden_size,
                vocab_size=spec.vocab_size,
                capacity_tokens=capacity_tokens,
            )

    def __call__(
        self, embeddings: F32, past_tokens: int, cancelled: Callable[[], bool] | None = None
    ) -> F32:
        """See `decoding.Step`. Writing past the cache would corrupt memory, so it is refused."""
        total = past_tokens + len(embeddings)
        if total > self.capacity_tokens:
            raise ValueError(f"{total} tokens exceed the cache of {self.capacity_tokens}")
        self._touched_tokens = max(self._touched_tokens, total)
        if self._fixed is not None and len(embeddings) == 1:
            return self._fixed(embeddings, past_tokens)
        rows = np.ascontiguousarray(embeddings[None], dtype=self._dtype)
        self._binding.bind_input(EMBEDDINGS, rows)
        self._binding.bind_input(MASK, self._mask[:, :total])
        if len(rows[0]) > 1:
            if self._int8 is not None:
                self._int8.before_many(past_tokens, total)
            self._binding.run_and_shrink(cancelled)
        else:
            if self._int8 is not None:
                self._int8.before_one(past_tokens)
            self._binding.run()
        logits: F32 = self._logits[0, 0].astype(np.float32, copy=False)
        return logits

    @property
    def held_bytes(self) -> int:
        """What the KV cache takes. On a CPU only the rows that were ever written are resident."""
        if self._device != "cpu":
            return self.capacity_tokens * self._bytes_per_token
        rows = self._touched_tokens * sum(buffer[:, :, 0].nbytes for buffer in self._cache)
        return rows + (0 if self._int8 is None else self._int8.held_bytes)

    def read_rows(self, tokens: int) -> list[Array] | None:
        """Return the first rows of each buffer, [1, kv_heads, tokens, head_dim], as views; None
        where they do not lie in main memory."""
        if self._int8 is not None:
            self._int8.make_exact(tokens)
        return [buffer[:, :, :tokens] for buffer in self._cache] or None

    def write_rows(self, rows: Sequence[Array]) -> None:
        """Take over what `read_rows` gave, of this step or another."""
        tokens = rows[0].shape[2]
        for buffer, given in zip(self._cache, rows, strict=True):
            buffer[:, :, :tokens] = given
        self._touched_tokens = max(self._touched_tokens, tokens)
        if self._int8 is not None:
            self._int8.replaced(tokens)


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
