"""The extractor: image and instruction -> a stream of text.

Features are spliced into the prompt as its layout has them; then prefill and decode.
What the text is for, this module does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from edge_et import budget, decoding, ort, tiling
from edge_et.caching.keys import artifact_key
from edge_et.caching.seen import NO_CACHES, Caches, Features, Prefix, Seen, Shown, Written
from edge_et.config import ImageLimits, RuntimeConfig, SamplingConfig
from edge_et.embeddings import EmbeddingTable, load_vector
from edge_et.errors import ContextOverflow, ImageError, InputError
from edge_et.graphs import Decoder, VisionEncoder
from edge_et.image import LoadedImage
from edge_et.layout import lay_out
from edge_et.manifest import (
    ExtractorManifest,
    Part,
    PartRole,
    check_files,
    read_manifest,
)
from edge_et.parts import device_for, pick
from edge_et.placement import Placement
from edge_et.rates import ExtractorSpeed
from edge_et.runs import Asked, Clock, ExtractionRun, detokenized, record, replay
from edge_et.sampling import choose_token, make_rng
from edge_et.threads import usable_threads
from edge_et.tokenization import PromptTokenizer
from edge_et.types import FinishReason, Origin, Served

if TYPE_CHECKING:
    from edge_et.memory.plan import MemoryPlan

F32 = npt.NDArray[np.float32]
_NO_LIMITS = ImageLimits()
_MEASURED_PREFILL_TOKENS, _MEASURED_DECODE_TOKENS = 64, 4


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
        caches: Caches = NO_CACHES,
        plan: MemoryPlan | None = None,
    ) -> None:
        """`parts`: the files that were chosen of the manifest's, one for each role that is used.
        With a `plan` its limits hold for the context and the tiles."""
        self._memory = plan
        self.manifest, self.device, self.threads, self.parts = manifest, device, threads, parts
        self.caches = caches
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
        device = device_for(manifest, runtime)
        threads = runtime.threads or usable_threads()
        spec = manifest.decoder
        parts: list[Part] = []

        def path(role: PartRole, suffix: str, precision: str | None = None) -> Path:
            part = pick(manifest, role, suffix, device, precision)
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
            decoder=Decoder(
                ort.Session(decoder_path, device, threads, capture=runtime.cuda_graph), spec
            ),
            embed=EmbeddingTable(path("embed_tokens", ".npy"), (spec.vocab_size, spec.hidden_size)),
            image_newline=newline,
            device=device,
            threads=threads,
            parts=tuple(parts),
            caches=Caches.load(
                artifact_key(
                    manifest,
                    tuple(parts),
                    device=device,
                    threads=threads,
                    engine=f"onnxruntime {ort.runtime().__version__}",
                ),
                runtime,
            ),
            plan=plan,
        )

    @property
    def placements(self) -> dict[str, Placement]:
        """Where the nodes of each graph landed."""
        vision, decoder = self._loaded()
        return {"vision encoder": vision.placement, "decoder": decoder.placement}

    def stream(
        self,
        image: LoadedImage,
        user_text: str,
        *,
        budget_tokens: int,
        sampling: SamplingConfig,
        limits: ImageLimits = _NO_LIMITS,
        ignore_stop: bool = False,
        over: Callable[[int], bool] = lambda tokens: False,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Generator[str, None, ExtractionRun]:
        """Yield the extraction in pieces and return its record.

        With `ignore_stop` it has all of `budget_tokens` and is computed anew. Without limits the
        manifest's own hold on a CPU. `over` is asked before each token, with how many there are,
        and ends it. Raises InputError when no grid keeps to the limits, ImageError,
        ContextOverflow, Cancelled (within one token), InferenceFailed.
        """
        clock = Clock()
        asked = self._plan(image, user_text, limits, budget_tokens, clock)
        caches = NO_CACHES if ignore_stop else self.caches
        seen = caches.of(image.rgb, asked.policy, asked.layout, sampling)
        found = seen.written(asked.room_tokens)
        clock.lap("prefill")
        if found is not None:
            return (yield from replay(asked, *found, clock, cancelled))
        head = self._head(asked, seen, clock, cancelled)
        try:
            tokens = self._tokens(asked, head.prefix, sampling, ignore_stop, clock, cancelled)
            pieces, generated_tokens, ended = yield from detokenized(
                self._tokenizer.decode, tokens, over
            )
        finally:
            seen.return_prefix(head.prefix)
        shown = head.prefix.shown
        if ended in ("stop", "length"):
            seen.keep_written(
                Written(
                    pieces=pieces, generated_tokens=generated_tokens, shown=shown,
                    cut=ended == "length",
                )
            )  # fmt: skip
        seen.save()
        clock.lap("decode")
        return record(
            asked, shown, head.served, clock,
            text="".join(pieces),
            generated_tokens=generated_tokens,
            finish_reason=asked.full if ended == "length" else ended,
        )  # fmt: skip

    def image_costs(self, image: LoadedImage, limits: ImageLimits) -> tuple[budget.ImageCost, ...]:
        """Return what `stream` may make of the image within `limits`, the fullest first."""
        hw = (image.rgb.height, image.rgb.width)
        policy, marks = self.manifest.image, self._tokenizer.marks
        return budget.costs(policy, hw, self._limits(limits), marks)

    def measure(self, cancelled: Callable[[], bool] = lambda: False) -> ExtractorSpeed:
        """Time one tile, 64 tokens of prefill and 4 of decode, on made-up input.

        Raises Cancelled, InferenceFailed.
        """
        vision, decoder = self._loaded()
        side = self.manifest.image.tile_size_px
        clock = Clock()
        vision(np.zeros((3, side, side), dtype=np.float32), cancelled)
        clock.lap("vision")
        if self._one_graph:
            vision.release()
        made_up = self._embed([0] * _MEASURED_PREFILL_TOKENS)
        step = decoder.start(_MEASURED_PREFILL_TOKENS + _MEASURED_DECODE_TOKENS)
        clock.lap("tile")  # of no interest: loading the decoder, where the plan says so
        decoding.prefill(step, made_up, cancelled)
        clock.lap("prefill")
        for place in range(_MEASURED_DECODE_TOKENS):
            decoding.raise_if(cancelled)
            step(made_up[:1], _MEASURED_PREFILL_TOKENS + place)
        clock.lap("decode")
        spent_s = clock.spent_s
        return ExtractorSpeed(
            tile_s=spent_s["vision"],
            prefill_token_s=spent_s["prefill"] / _MEASURED_PREFILL_TOKENS,
            decode_token_s=spent_s["decode"] / _MEASURED_DECODE_TOKENS,
        )

    def release(self) -> None:
        """Free the weights, and what was kept in memory: a kept KV cache holds on to its graph.
        The next `stream` loads them again."""
        self.caches.clear()
        for model in self._models or ():
            model.release()

    def close(self) -> None:
        """Free the sessions and what was kept; a later `stream` is refused."""
        self._models = None
        self.caches.clear()

    def _loaded(self) -> tuple[VisionEncoder, Decoder]:
        if self._models is None:
            raise InputError("the extractor is closed", hint="load it again")
        return self._models

    def _limits(self, asked: ImageLimits) -> ImageLimits:
        if self.device == "cpu" and asked == _NO_LIMITS:
            asked = ImageLimits(max_tiles=self.manifest.image.default_max_tiles)
        planned = self._memory.max_tiles if self._memory is not None else None
        if planned is None:
            return asked
        return replace(asked, max_tiles=min(planned, asked.max_tiles or planned))

    @property
    def _one_graph(self) -> bool:
        return self._memory is not None and self._memory.one_graph

    def _check_size(self, image: LoadedImage) -> None:
        """Raise ImageError for an image that was not planned for."""
        height, width = image.original_height_px, image.original_width_px
        if self._memory is not None and height * width > self._memory.image_px:
            raise ImageError(
                f"the image of {height} x {width} px is larger than the "
                f"{self._memory.image_px:,} px that memory was planned for",
                hint="shrink it, or load with a larger image_px",
            )

    def _plan(
        self,
        image: LoadedImage,
        user_text: str,
        limits: ImageLimits,
        budget_tokens: int,
        clock: Clock,
    ) -> Asked:
        """Lay the prompt out. All that is refused is refused here, before any work."""
        self._loaded()
        self._check_size(image)
        hw = (image.rgb.height, image.rgb.width)
        policy, note = budget.within(
            self.manifest.image, hw, self._limits(limits), self._tokenizer.marks
        )
        grid = tiling.grid_of(hw, policy)
        clock.lap("tile")
        layout = lay_out(self._tokenizer, user_text, grid, hw, policy)
        room_tokens, full = self._fit(layout.prompt_tokens, budget_tokens)
        clock.lap("prefill")
        return Asked(
            image=image, policy=policy, note=note, layout=layout, room_tokens=room_tokens, full=full
        )

    def _head(self, asked: Asked, seen: Seen, clock: Clock, cancelled: Callable[[], bool]) -> _Head:
        """Return a KV cache that holds the prompt up to the image's end.

        Always prefilled by itself, so that what follows is computed in the same pieces, and to the
        same bits, whether this part was kept or not.
        """
        _, decoder = self._loaded()
        layout, capacity_tokens = asked.layout, asked.layout.prompt_tokens + asked.room_tokens
        kept = seen.take_prefix(decoder, layout.prompt_tokens, capacity_tokens)
        clock.lap("prefill")
        if kept is not None:
            prefix, place = kept
            return _Head(prefix, Served(image_prefill=place, image_features=None))
        features, origin = self._seen_features(asked, seen, clock, cancelled)
        prompt = layout.assemble(self._embed(layout.text_ids), features.rows)
        step = seen.start(decoder, layout.prompt_tokens, capacity_tokens)
        decoding.prefill(step, prompt[: layout.head_tokens], cancelled)
        prefix = Prefix(step=step, tokens=layout.head_tokens, shown=features.shown)
        seen.keep_prefix(prefix)
        clock.lap("prefill")
        return _Head(prefix, Served(image_features=origin))

    def _seen_features(
        self, asked: Asked, seen: Seen, clock: Clock, cancelled: Callable[[], bool]
    ) -> tuple[Features, Origin]:
        vision, _ = self._loaded()
        kept = seen.features()
        clock.lap("vision")
        if kept is not None:
            return kept
        tiles = tiling.prepare(asked.image.rgb, asked.policy)
        clock.lap("tile")
        features = Features(
            rows=self._features(vision, tiles, cancelled),
            shown=Shown(
                used_height_px=tiles.used_height_px,
                used_width_px=tiles.used_width_px,
                tiles=len(tiles.pixel_values),
            ),
        )
        if self._one_graph:
            vision.release()
        seen.keep_features(features)
        clock.lap("vision")
        return features, "computed"

    def _tokens(
        self,
        asked: Asked,
        prefix: Prefix,
        sampling: SamplingConfig,
        ignore_stop: bool,
        clock: Clock,
        cancelled: Callable[[], bool],
    ) -> Generator[int, None, Literal["stop", "length"]]:
        """Yield the extraction's tokens after the image; return why they ended."""
        logits = decoding.prefill(
            prefix.step, self._embed(asked.layout.after), cancelled, past_tokens=prefix.tokens
        )
        clock.lap("prefill")
        rng = make_rng(sampling)
        return (
            yield from decoding.generate(
                prefix.step,
                logits,
                past_tokens=asked.layout.prompt_tokens,
                budget_tokens=asked.room_tokens,
                embed=self._embed,
                choose=lambda scores: choose_token(scores, sampling, rng),
                stop_ids=frozenset(() if ignore_stop else self.manifest.stop_token_ids),
                cancelled=cancelled,
            )
        )

    def _fit(self, prompt_tokens: int, budget_tokens: int) -> tuple[int, FinishReason]:
        """Return how many tokens may be generated and the reason to report when they run out."""
        if budget_tokens < 1:
            raise InputError(f"the extraction budget must be at least 1, not {budget_tokens}")
        context = self.manifest.decoder.context_tokens
        if self._memory is not None and self._memory.extractor_context_tokens is not None:
            context = min(context, self._memory.extractor_context_tokens)
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
            features.append(vision(tile, cancelled))
        return tiling.splice_features(
            np.stack(features), tiles, self.manifest.image, self._image_newline
        )


@dataclass(frozen=True, slots=True)
class _Head:
    prefix: Prefix
    served: Served


__all__ = ["ExtractionRun", "Extractor"]
