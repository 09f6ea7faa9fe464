"""The extractor: image and instruction -> a stream of text.

Features are spliced into the prompt as its layout has them; then prefill and decode.
What the text is for, this module does not know.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_et import budget, decoding, ort, tiling
from edge_et.config import ImageLimits, RuntimeConfig, SamplingConfig
from edge_et.embeddings import EmbeddingTable, load_vector
from edge_et.errors import (
    BadManifest,
    ContextOverflow,
    DeviceUnavailable,
    ImageError,
    InputError,
    MissingArtifact,
)
from edge_et.graphs import Decoder, VisionEncoder
from edge_et.image import LoadedImage
from edge_et.layout import lay_out
from edge_et.manifest import ExtractorManifest, Part, PartRole, check_files, read_manifest
from edge_et.sampling import choose_token, make_rng
from edge_et.threads import usable_threads
from edge_et.tokenization import Detokenizer, PromptTokenizer, Stripper
from edge_et.types import FinishReason, ImageReport

if TYPE_CHECKING:
    from edge_et.memory.plan import MemoryPlan

F32 = npt.NDArray[np.float32]
FP16_ACTIVATIONS = ("fp16", "q4f16")
_NO_LIMITS = ImageLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionRun:
    """One finished extraction. The four times add up to the run's wall clock."""

    text: str
    """Without surrounding white space; the streamed pieces joined."""
    image: ImageReport
    prompt_tokens: int
    generated_tokens: int
    """Without the stop token."""
    finish_reason: FinishReason
    """stop, extraction_length, or context when the context was smaller than the budget."""
    tile_s: float
    vision_s: float
    """Vision tower, projector and splicing."""
    prefill_s: float
    """Tokenization, prefill of the prompt, KV cache set-up."""
    decode_s: float
    """From the first logits to the end, the reader's own time between two pieces included."""


class Extractor:
    """A loaded extractor artifact. One stream at a time."""

    def __init__(
        self,
        *,
        manifest: ExtractorManifest,
        tokenizer: PromptTokenizer,
        vision: VisionEncoder,
        decoder: Decoder,
        embed: Callable[[Sequence[int]], F32],
        image_newline: F32 | None,
        device: ort.UsedDevice,
        threads: int,
        parts: tuple[Part, ...] = (),
        plan: MemoryPlan | None = None,
    ) -> None:
        """`parts`: the files that were chosen of the manifest's, one for each role that is used.
        With a `plan` its limits hold for the context and the tiles."""
        self._plan = plan
        self.manifest, self.device, self.threads, self.parts = manifest, device, threads, parts
        self._tokenizer = tokenizer
        self._models: tuple[VisionEncoder, Decoder] | None = (vision, decoder)
        self._embed, self._image_newline = embed, image_newline

    @classmethod
    def load(
        cls, folder: Path, runtime: RuntimeConfig, plan: MemoryPlan | None = None
    ) -> Extractor:
        """Load the artifact in `folder`.

        Raises MissingArtifact, BadManifest, ChecksumMismatch, DeviceUnavailable, LoadFailed.
        """
        manifest = read_manifest(folder, ExtractorManifest)
        check_files(folder, manifest, hashes=runtime.verify_hashes)
        device = _device(manifest, runtime)
        threads = runtime.threads or usable_threads()
        spec = manifest.decoder
        parts: list[Part] = []

        def path(role: PartRole, suffix: str, precision: str | None = None) -> Path:
            part = _pick(manifest, role, suffix, device, precision)
            parts.append(part)
            return folder / part.path

        eyes = path("vision_encoder", ".onnx", runtime.vision_precision)
        vision = VisionEncoder(
            ort.Session(eyes, device, threads, spin=False), manifest.image, spec.hidden_size
        )
        if plan is not None and plan.one_graph:
            vision.release()
        decoder_path = path("decoder", ".onnx", runtime.decoder_precision)
        newline = None
        if manifest.image.name != "split":
            newline = load_vector(path("image_newline", ".npy"), spec.hidden_size)
        return cls(
            manifest=manifest,
            tokenizer=PromptTokenizer(path("tokenizer", "tokenizer.json"), manifest.template),
            vision=vision,
            decoder=Decoder(ort.Session(decoder_path, device, threads), spec),
            embed=EmbeddingTable(path("embed_tokens", ".npy"), (spec.vocab_size, spec.hidden_size)),
            image_newline=newline,
            device=device,
            threads=threads,
            parts=tuple(parts),
            plan=plan,
        )

    def stream(
        self,
        image: LoadedImage,
        user_text: str,
        *,
        budget_tokens: int,
        sampling: SamplingConfig,
        limits: ImageLimits = _NO_LIMITS,
        ignore_stop: bool = False,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Generator[str, None, ExtractionRun]:
        """Yield the extraction in pieces and return its record.

        With `ignore_stop` it has all of `budget_tokens`. Without limits the manifest's own hold on
        a CPU. Raises InputError when no grid keeps to the limits, ImageError, ContextOverflow,
        Cancelled (within one token), InferenceFailed.
        """
        clock = _Clock()
        self._check_size(image)
        vision, decoder = self._loaded()
        policy, note = budget.within(
            self.manifest.image,
            (image.rgb.height, image.rgb.width),
            self._limits(limits),
            self._tokenizer.marks,
        )
        tiles = tiling.prepare(image.rgb, policy)
        tile_s = clock.lap()
        layout = lay_out(self._tokenizer, user_text, tiles.grid, tiles.original_hw, policy)
        prompt_tokens = layout.prompt_tokens
        room_tokens, full = self._fit(prompt_tokens, budget_tokens)
        tokenize_s = clock.lap()
        features = self._features(vision, tiles, cancelled)
        if self._plan is not None and self._plan.one_graph:
            vision.release()
        vision_s = clock.lap()
        prompt = layout.assemble(self._embed(layout.text_ids), features)
        step = decoder.start(prompt_tokens + room_tokens)
        logits = decoding.prefill(step, prompt, cancelled)
        prefill_s = tokenize_s + clock.lap()
        rng = make_rng(sampling)
        tokens = decoding.generate(
            step,
            logits,
            past_tokens=prompt_tokens,
            budget_tokens=room_tokens,
            embed=self._embed,
            choose=lambda scores: choose_token(scores, sampling, rng),
            stop_ids=frozenset(() if ignore_stop else self.manifest.stop_token_ids),
            cancelled=cancelled,
        )
        text, generated_tokens, ended = yield from self._detokenized(tokens)
        return ExtractionRun(
            text=text,
            image=_report(image, tiles, layout.image_tokens, note),
            prompt_tokens=prompt_tokens,
            generated_tokens=generated_tokens,
            finish_reason="stop" if ended == "stop" else full,
            tile_s=tile_s,
            vision_s=vision_s,
            prefill_s=prefill_s,
            decode_s=clock.lap(),
        )

    def release(self) -> None:
        """Free the weights; the next `stream` loads them again."""
        for model in self._models or ():
            model.release()

    def close(self) -> None:
        """Free the sessions; a later `stream` is refused."""
        self._models = None

    def _loaded(self) -> tuple[VisionEncoder, Decoder]:
        if self._models is None:
            raise InputError("the extractor is closed", hint="load it again")
        return self._models

    def _limits(self, asked: ImageLimits) -> ImageLimits:
        if self.device == "cpu" and asked == _NO_LIMITS:
            asked = ImageLimits(max_tiles=self.manifest.image.default_max_tiles)
        planned = self._plan.max_tiles if self._plan is not None else None
        if planned is None:
            return asked
        return replace(asked, max_tiles=min(planned, asked.max_tiles or planned))

    def _check_size(self, image: LoadedImage) -> None:
        """Raise ImageError for an image that was not planned for."""
        height, width = image.original_height_px, image.original_width_px
        if self._plan is not None and height * width > self._plan.image_px:
            raise ImageError(
                f"the image of {height} x {width} px is larger than the {self._plan.image_px:,} px "
                "that memory was planned for",
                hint="shrink it, or load with a larger image_px",
            )

    def _fit(self, prompt_tokens: int, budget_tokens: int) -> tuple[int, FinishReason]:
        """Return how many tokens may be generated and the reason to report when they run out."""
        if budget_tokens < 1:
            raise InputError(f"the extraction budget must be at least 1, not {budget_tokens}")
        context = self.manifest.decoder.context_tokens
        if self._plan is not None and self._plan.extractor_context_tokens is not None:
            context = min(context, self._plan.extractor_context_tokens)
        room = context - prompt_tokens
        if room < 1:
            raise ContextOverflow(
                f"image and instruction take {prompt_tokens} tokens, the extractor's context "
                f"holds {context} and the extraction needs some of them",
                hint="give the image less (--max-image-tokens), or ask a shorter question",
            )
        return min(room, budget_tokens), "context" if room < budget_tokens else "extraction_length"

    def _features(
        self, vision: VisionEncoder, tiles: tiling.Tiles, cancelled: Callable[[], bool]
    ) -> F32:
        """Return the image's rows of features [feature_rows, hidden].

        Tiles go through the tower one at a time: the activations of one tile bound the memory.
        """
        features = []
        for tile in tiles.pixel_values:
            decoding.raise_if(cancelled)
            features.append(vision(tile))
        return tiling.splice_features(
            np.stack(features), tiles, self.manifest.image, self._image_newline
        )

    def _detokenized(
        self, tokens: Generator[int, None, str]
    ) -> Generator[str, None, tuple[str, int, str]]:
        """Yield the text of `tokens` in pieces; return it whole, their count and their ending."""
        detokenizer, stripper = Detokenizer(self._tokenizer.decode), Stripper()
        pieces: list[str] = []
        count = 0
        while True:
            try:
                token = next(tokens)
            except StopIteration as end:
                ended: str = end.value
                break
            count += 1
            if piece := stripper.push(detokenizer.push(token)):
                pieces.append(piece)
                yield piece
        if piece := stripper.push(detokenizer.finish()):
            pieces.append(piece)
            yield piece
        return "".join(pieces), count, ended


class _Clock:
    """Laps without gaps: each starts where the last one ended, so they add up to the whole."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        last, self._last = self._last, time.perf_counter()
        return self._last - last


def graph_parts(manifest: ExtractorManifest, runtime: RuntimeConfig) -> tuple[Part, Part]:
    """Return the vision encoder and the decoder that `load` takes. Raises as it does."""
    device = _device(manifest, runtime)
    return (
        _pick(manifest, "vision_encoder", ".onnx", device, runtime.vision_precision),
        _pick(manifest, "decoder", ".onnx", device, runtime.decoder_precision),
    )


def _report(
    image: LoadedImage, tiles: tiling.Tiles, image_tokens: int, note: str | None
) -> ImageReport:
    return ImageReport(
        original_height_px=image.original_height_px,
        original_width_px=image.original_width_px,
        used_height_px=tiles.used_height_px,
        used_width_px=tiles.used_width_px,
        tiles=len(tiles.pixel_values),
        image_tokens=image_tokens,
        notes=image.notes if note is None else (*image.notes, note),
    )


def _device(manifest: ExtractorManifest, runtime: RuntimeConfig) -> ort.UsedDevice:
    """Return the device for this artifact.

    CUDA has no fp32 kernel for the decoder's attention: onnxruntime would run those nodes on the
    CPU and copy the cache at each token. So CUDA needs a decoder with fp16 activations, and without
    one `auto` means the CPU.
    """
    listed = manifest.precisions("decoder")
    if runtime.decoder_precision is not None:
        listed = tuple(p for p in listed if p == runtime.decoder_precision)
    fits_cuda = any(p in FP16_ACTIVATIONS for p in listed)
    if runtime.device == "auto" and not fits_cuda:
        return "cpu"
    device = ort.resolve_device(runtime.device)
    if device == "cuda" and not fits_cuda:
        raise DeviceUnavailable(
            "this extractor has no decoder with fp16 activations, and CUDA runs no other",
            hint="run it on the CPU: --device cpu; or export it with --preset cuda",
        )
    return device


def _pick(
    manifest: ExtractorManifest,
    role: PartRole,
    suffix: str,
    device: ort.UsedDevice,
    precision: str | None = None,
) -> Part:
    """Return the part of `role` to run: the one asked for, else the first that suits the device.

    fp16 activations are what CUDA is fast in and a CPU is slow in. Raises MissingArtifact when
    the precision asked for is not there.
    """
    parts = [p for p in manifest.parts if p.role == role and p.path.endswith(suffix)]
    if not parts:
        raise BadManifest(f"the manifest lists no {role} ({suffix})")
    if precision is not None:
        asked = [p for p in parts if p.precision == precision]
        if not asked:
            have = ", ".join(p.precision for p in parts)
            raise MissingArtifact(
                f"this extractor has no {role} in {precision}; it has {have}",
                hint="export it with that precision too, or ask for one that is there",
            )
        return asked[0]
    fitting = [p for p in parts if (p.precision in FP16_ACTIVATIONS) == (device == "cuda")]
    return (fitting or parts)[0]
