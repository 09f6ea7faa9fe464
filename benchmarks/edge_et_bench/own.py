"""edge-et itself as an adapter."""

from __future__ import annotations

import time
from pathlib import Path

import edge_et.loading
from edge_et import llama_library, ort
from edge_et.chain import Chain
from edge_et.config import GenerationConfig, RuntimeConfig, SamplingConfig
from edge_et.errors import InputError
from edge_et.extractor import Extractor
from edge_et.manifest import ExtractorManifest, ReasonerManifest, file_sha256, read_manifest
from edge_et.manifest import Part as ManifestPart
from edge_et.reasoner import Reasoner
from edge_et.types import Answer
from edge_et_bench import weights
from edge_et_bench.adapters import Request
from edge_et_bench.records import Configuration, Demand, Outcome, Part, Stage, StageName, Used


class EdgeET:
    """Loads a pair in this process, as a program that embeds it does."""

    def __init__(self, configuration: Configuration) -> None:
        pair = configuration.pair
        self._configuration = configuration
        self._extractor = edge_et.loading.locate("extractor", configuration.extractor, pair)
        self._reasoner = edge_et.loading.locate("reasoner", configuration.reasoner, pair)
        self._chain: Chain | None = None
        ort.runtime()
        llama_library.runtime()

    def files(self) -> tuple[Path, ...]:
        manifest = read_manifest(self._extractor, ExtractorManifest)
        listed = [self._extractor / p.path for p in manifest.parts if p.role != "reference"]
        return (*listed, _gguf_file(self._reasoner))

    def load(self) -> None:
        asked = self._configuration
        runtime = RuntimeConfig(
            device=asked.device,
            threads=asked.threads,
            vision_precision=asked.vision_precision,
            decoder_precision=asked.decoder_precision,
            cache_bytes=0,  # each repeat is cold work; `bench again` measures warm work
        )
        self._chain = edge_et.load(
            asked.pair, extractor=self._extractor, reasoner=self._reasoner, runtime=runtime
        )

    def used(self) -> Used:
        chain, extractor, reasoner = self._loaded()
        return Used(
            name=chain.pair if self._configuration.extractor else self._configuration.pair,
            devices={"extractor": extractor.device, "reasoner": reasoner.device},
            threads={"extractor": extractor.threads, "reasoner": reasoner.threads},
            parts=(
                *(
                    _part(self._extractor / p.path, p.role, p.precision)
                    for p in _used_parts(extractor)
                ),
                _part(gguf := _gguf_file(self._reasoner), "reasoner", weights.gguf_precision(gguf)),
            ),
        )

    def ask(self, request: Request) -> Outcome:
        if request.prompt_tokens is not None:
            raise InputError(
                "a workload with prompt_tokens is for one model, and a pair is two",
                hint="edge-et bench peers; or take another workload",
            )
        chain, _, reasoner = self._loaded()
        generation = _generation(request, reasoner)
        reasoner.forget()  # the repeats ask the same: what is kept would not be measured
        started_s = time.perf_counter()
        answer = chain.ask(request.image, request.question, generation)
        total_s = time.perf_counter() - started_s
        if request.forced is not None:
            _check_counts(answer, generation)
        return _outcome(answer, total_s)

    def demands(self, outcome: Outcome) -> tuple[Demand, ...]:
        _, extractor, reasoner = self._loaded()
        demands: list[Demand] = []
        if extractor.device == "cpu":
            demands += weights.extractor_demands(self._extractor, extractor, outcome)
        if reasoner.device == "cpu":
            gguf = _gguf_file(self._reasoner)
            demands += weights.gguf_demands(
                gguf,
                outcome,
                prefill="reason_prefill",
                decode=("think_decode", "answer_decode"),
                threads=reasoner.threads,
            )
        return tuple(demands)

    def close(self) -> None:
        if self._chain is not None:
            self._chain.close()
            self._chain = None

    def _loaded(self) -> tuple[Chain, Extractor, Reasoner]:
        chain = self._chain
        if chain is None:
            raise InputError("the pair is not loaded")
        assert isinstance(chain.extractor, Extractor)
        assert isinstance(chain.reasoner, Reasoner)
        return chain, chain.extractor, chain.reasoner


def _generation(request: Request, reasoner: Reasoner) -> GenerationConfig:
    own = reasoner.sampling
    sampling = SamplingConfig(
        temperature=own.temperature, top_p=own.top_p, top_k=own.top_k, seed=request.seed
    )
    if request.forced is None:
        return GenerationConfig(reasoner_sampling=sampling, max_tiles=request.max_tiles)
    return GenerationConfig(
        extraction_budget_tokens=request.forced.extraction,
        think_budget_tokens=request.forced.thinking,
        answer_budget_tokens=request.forced.answer,
        reasoner_sampling=sampling,
        max_tiles=request.max_tiles,
        ignore_stop=True,
    )


def _check_counts(answer: Answer, asked: GenerationConfig) -> None:
    wanted = (
        asked.extraction_budget_tokens,
        asked.think_tokens,
        asked.answer_tokens,
    )
    made = (answer.extraction.generated_tokens, answer.think_tokens, answer.answer_tokens)
    if made != wanted:
        raise InputError(
            f"the workload wants {wanted} tokens of extraction, thinking and answer; "
            f"the pair made {made}: its context holds no more",
            hint="force fewer tokens",
        )


def outcome_stages(answer: Answer, total_s: float) -> tuple[Stage, ...]:
    """Return the stages in the order they ran in; together they are `total_s`."""
    timings, notes, image = answer.timings, answer.extraction, answer.image

    def stage(name: StageName, seconds: float, tokens: int | None, steps: int | None) -> Stage:
        return Stage(name=name, seconds=seconds, tokens=tokens, steps=steps)

    # A text that its model ended took one more pass than it has tokens, less the prompt's own.
    written = notes.generated_tokens - (notes.finish_reason != "stop")
    read_tokens = answer.prompt_tokens - answer.reused_tokens
    stages = [
        stage("image", timings.image_s, None, None),
        stage(
            "vision",
            timings.vision_s,
            image.image_tokens if image else None,
            image.tiles if image else None,
        ),
        stage("extract_prefill", timings.extract_prefill_s, notes.prompt_tokens, None),
        stage("extract_decode", timings.extract_decode_s, notes.generated_tokens, written),
        stage("handoff", timings.handoff_s, None, None),
        stage("reason_prefill", timings.reason_prefill_s, read_tokens, None),
    ]
    if answer.think_tokens:  # and the closing mark
        stages.append(
            stage(
                "think_decode", timings.think_decode_s, answer.think_tokens, answer.think_tokens + 1
            )
        )
    stages.append(
        stage("answer_decode", timings.answer_decode_s, answer.answer_tokens, answer.answer_tokens)
    )
    other_s = total_s - sum(s.seconds for s in stages)
    return (*stages, Stage(name="other", seconds=max(0.0, other_s)))


def _outcome(answer: Answer, total_s: float) -> Outcome:
    return Outcome(
        stages=outcome_stages(answer, total_s),
        total_s=total_s,
        answer=answer.text,
        finish_reason=answer.finish_reason,
        ttft_extract_s=answer.timings.ttft_extract_s,
        ttft_think_s=answer.timings.ttft_think_s,
        ttfa_s=answer.timings.ttfa_s,
    )


def _used_parts(extractor: Extractor) -> list[ManifestPart]:
    """List the files in use, a graph's external weights with it."""
    chosen = {(part.role, part.precision) for part in extractor.parts}
    return [p for p in extractor.manifest.parts if (p.role, p.precision) in chosen]


def _part(path: Path, role: str, precision: str) -> Part:
    return Part(
        role=role,
        path=path.name,
        precision=precision,
        sha256=file_sha256(path),
        size_bytes=path.stat().st_size,
    )


def _gguf_file(path: Path) -> Path:
    return path / read_manifest(path, ReasonerManifest).part().path if path.is_dir() else path
