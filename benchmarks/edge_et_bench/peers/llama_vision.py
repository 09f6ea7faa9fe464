"""Images for llama.cpp: libmtmd, its own multimodal library, over an mmproj file."""

from __future__ import annotations

import ctypes
import logging
from pathlib import Path
from typing import Any

from edge_et import llama, llama_library
from edge_et.errors import InferenceFailed, LoadFailed, MissingDependency
from edge_et_bench.adapters import Request
from edge_et_bench.peers.one_model import Laps

_log = logging.getLogger(__name__)
_kept: list[object] = []
"""Callbacks of which C holds only the pointer."""
_BATCH_TOKENS = 512
_MARKER = "<image-goes-here>"


class SeeingContext(llama.Context):
    """A context that reads image features as well as tokens."""

    def read_features(self, mtmd: Any, eyes: Any, chunk: Any, features: Any) -> int:
        """Read an encoded chunk; return its tokens. Raises InferenceFailed."""
        past = self._api.llama_pos(0)
        code = mtmd.mtmd_helper_decode_image_chunk(
            eyes, self._context, chunk, features, len(self._held), 0, _BATCH_TOKENS,
            ctypes.byref(past), mtmd.mtmd_helper_post_decode_callback(), None,
        )  # fmt: skip
        if code != 0:
            raise InferenceFailed(f"libmtmd's image features could not be read: code {code}")
        self._held += [-1] * (past.value - len(self._held))  # no token's ids
        tokens: int = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
        return tokens


class Eyes:
    """A vision tower and projector in an mmproj file."""

    def __init__(self, path: Path, model: llama.Model, threads: int) -> None:
        """Raises MissingDependency, LoadFailed."""
        self._mtmd, self._model = _library(), model
        mtmd = self._mtmd
        params = mtmd.mtmd_context_params_default()
        params.use_gpu = model.device != "cpu"
        params.n_threads = threads
        params.print_timings = params.warmup = False
        params.media_marker = _MARKER.encode()
        llama_library.forget_errors()
        self._eyes = mtmd.mtmd_init_from_file(str(path).encode(), model.handle, params)
        if not self._eyes:
            raise LoadFailed(f"libmtmd cannot load {path}: {llama_library.complaints()}")

    def read(self, request: Request, context: SeeingContext, laps: Laps) -> int:
        """Read image and question into `context`; return the tokens.

        Ends the stages `image` and `vision`; the tower runs once for all tiles, before the text,
        so that the stages do not alternate.
        """
        chunks = self._chunks(request)
        laps.end("image")
        try:
            mtmd, listed = self._mtmd, self._listed(chunks)
            features = [self._encoded(chunk) for chunk in listed if self._is_image(chunk)]
            seen = [chunk for chunk in listed if self._is_image(chunk)]
            counts = [mtmd.mtmd_input_chunk_get_n_tokens(chunk) for chunk in seen]
            laps.end("vision", tokens=sum(counts), steps=len(seen))
            total, waiting = 0, iter(features)
            for chunk in listed:
                if self._is_image(chunk):
                    total += context.read_features(mtmd, self._eyes, chunk, next(waiting))
                else:
                    ids = self._text_ids(chunk)
                    context.feed(ids)
                    total += len(ids)
            return total
        finally:
            self._mtmd.mtmd_input_chunks_free(chunks)

    def close(self) -> None:
        if self._eyes:
            self._mtmd.mtmd_free(self._eyes)
            self._eyes = None

    def _chunks(self, request: Request) -> Any:
        """Decode the image and lay out the prompt: text, image features, text."""
        mtmd = self._mtmd
        data = (ctypes.c_uint8 * len(request.image)).from_buffer_copy(request.image)
        bitmap = mtmd.mtmd_helper_bitmap_init_from_buf(self._eyes, data, len(data), False)
        if not bitmap:
            raise InferenceFailed("libmtmd cannot read the image")
        text = f"{_MARKER}\n{request.question}".encode()
        prompt = mtmd.mtmd_input_text(text, len(text), True, False)
        chunks = mtmd.mtmd_input_chunks_init()
        bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
        code = mtmd.mtmd_tokenize(self._eyes, chunks, ctypes.byref(prompt), bitmaps, 1)
        mtmd.mtmd_bitmap_free(bitmap)
        if code != 0:
            mtmd.mtmd_input_chunks_free(chunks)
            raise InferenceFailed(f"libmtmd cannot lay out the prompt: code {code}")
        return chunks

    def _listed(self, chunks: Any) -> list[Any]:
        count = self._mtmd.mtmd_input_chunks_size(chunks)
        return [self._mtmd.mtmd_input_chunks_get(chunks, index) for index in range(count)]

    def _is_image(self, chunk: Any) -> bool:
        kind = self._mtmd.mtmd_input_chunk_get_type(chunk)
        return bool(kind == self._mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE)

    def _encoded(self, chunk: Any) -> Any:
        """Return the chunk's features, copied: the next one is written over them."""
        mtmd = self._mtmd
        if mtmd.mtmd_encode_chunk(self._eyes, chunk) != 0:
            raise InferenceFailed(f"libmtmd cannot encode: {llama_library.complaints()}")
        width = llama_library.runtime().llama_model_n_embd_inp(self._model.handle)
        size = mtmd.mtmd_input_chunk_get_n_tokens(chunk) * width
        return (ctypes.c_float * size).from_buffer_copy(
            ctypes.cast(
                mtmd.mtmd_get_output_embd(self._eyes), ctypes.POINTER(ctypes.c_float * size)
            ).contents
        )

    def _text_ids(self, chunk: Any) -> list[int]:
        count = ctypes.c_size_t(0)
        ids = self._mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
        return list(ids[: count.value])


def _library() -> Any:
    llama_library.runtime()
    try:
        from llama_cpp import mtmd_cpp
    except (ImportError, OSError, RuntimeError) as exc:
        raise MissingDependency(
            f"this build of llama-cpp-python has no libmtmd: {exc}",
            hint="pip install --force-reinstall 'llama-cpp-python>=0.3.36,<0.4'",
        ) from exc
    callback = llama_library.runtime().llama_log_callback(_on_log)
    _kept.append(callback)
    mtmd_cpp.mtmd_helper_log_set(callback, None)
    return mtmd_cpp


def _on_log(_: int, text: bytes, __: Any) -> None:
    """It tells of every image on stderr."""
    _log.debug("%s", text.decode("utf-8", "replace").rstrip())
