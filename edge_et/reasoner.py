"""The reasoner: user text -> prompt -> thinking and answer, from a GGUF file."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_et import llama, llama_library, offload
from edge_et.ahead import Ahead
from edge_et.chat import CLOSE, CLOSING, LAST_LINE, OPEN, ChatTemplate, Frame, encode
from edge_et.clock import Clock, NoClock
from edge_et.config import RuntimeConfig, SamplingConfig
from edge_et.errors import Cancelled, InputError, LoadFailed
from edge_et.gguf_header import read_header, require_chat
from edge_et.manifest import FILE_NAME, ReasonerManifest, check_files, read_manifest
from edge_et.rates import ReasonerSpeed
from edge_et.reflexive import ReflexiveIds, find_reflexive
from edge_et.thinking import INSIST_TOKENS, Demand, Reasoned, plan_budgets, reason
from edge_et.threads import usable_threads
from edge_et.types import Chunk, FinishReason

if TYPE_CHECKING:
    from edge_et.memory.plan import MemoryPlan

# What Qwen3's makers advise for thinking; greedy decoding makes such models loop.
_THINKING_SAMPLING = SamplingConfig(temperature=0.6, top_p=0.95, top_k=20)
_ONE_THREAD_BYTES = 32 * 1024 * 1024
_NO_CLOCK = NoClock()
_MEASURED_TEXT = "There is a red star left of a blue ring. What colour is the star?"
_MEASURED_DECODE_TOKENS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonerRun:
    """One finished run. The four times add up to its wall clock."""

    thinking: str
    answer: str
    """As written, marker included. Never blank."""
    held: str | None
    """Of the answer, what was written under the grammar of a demand; None: nothing was."""
    prompt_tokens: int
    reused_tokens: int
    """Of the prompt: what the KV cache held already."""
    think_tokens: int
    answer_tokens: int
    finish_reason: FinishReason
    handoff_s: float
    """Template and tokens."""
    prefill_s: float
    """The KV cache's set-up included."""
    think_s: float
    answer_s: float
    copied_tokens: int = 0
    """Of thinking and answer: had by a draft (`edge_et.lookup`)."""


class Reasoner:
    """A loaded reasoner. One stream at a time."""

    def __init__(
        self, model: llama.Model, *, manifest: ReasonerManifest | None, threads: int
    ) -> None:
        source = model.chat_template()
        if source is None:
            raise LoadFailed(
                f"{model.path} carries no chat template",
                hint="take an instruction-tuned model, or export it with its chat template",
            )
        self.manifest, self.threads, self.device = manifest, threads, model.device
        self.ahead_threads = threads
        """For reading beside a working extractor."""
        self.offload: offload.Offload | None = None
        """What lies on the GPU; None without one."""
        self.lookup = False
        """Whether thinking and answer are drafted from what stands before them."""
        self._model: llama.Model | None = model
        self._most_tokens = model.context_tokens
        self._context: llama.Context | None = None
        self._template = ChatTemplate(
            source, bos=model.token_text("bos"), eos=model.token_text("eos")
        )
        self._words = _Words(model)

    @classmethod
    def load(cls, path: Path, runtime: RuntimeConfig, plan: MemoryPlan | None = None) -> Reasoner:
        """Load a folder with a manifest, or a GGUF file, with the manifest beside it if that
        one is about this file. With a `plan` its limit holds for the context.

        Raises MissingArtifact, BadManifest, ChecksumMismatch, DeviceUnavailable, LoadFailed.
        """
        path, manifest = find_file(path)
        if manifest is not None:
            check_files(path.parent, manifest, hashes=runtime.verify_hashes)
        header = read_header(path)
        require_chat(header)
        device = llama_library.resolve_device(runtime.device)
        gpu = None if device == "cpu" else offload.choose(header, runtime.gpu_layers)
        model = llama.Model(header, device, 0 if gpu is None else gpu.layers)
        reasoner = cls(model, manifest=manifest, threads=runtime.threads or _threads_for(path))
        reasoner.offload = gpu
        reasoner.lookup = runtime.lookup and model.goes_back
        if plan is not None and plan.reasoner_context_tokens is not None:
            reasoner._most_tokens = min(model.context_tokens, plan.reasoner_context_tokens)
        return reasoner

    @property
    def name(self) -> str:
        return self.manifest.source.name if self.manifest else self._loaded().path.stem

    @property
    def has_think_marks(self) -> bool:
        """Whether the model has marks to think between; others think up to the "Answer:" line."""
        return self._words.think_marks is not None

    @property
    def says_missing(self) -> bool:
        """Whether it was trained to say what a description lacks."""
        return self.manifest is not None and self.manifest.says_missing

    @property
    def context_tokens(self) -> int:
        """Of the model, or of the plan for memory where that is less."""
        return self._most_tokens

    @functools.cached_property
    def sampling(self) -> SamplingConfig:
        """The artifact's own defaults: its manifest's, else its metadata's, else its family's."""
        if self.manifest is not None:
            carried = self.manifest.sampling
        else:
            carried = _carried_sampling(self._loaded())
            if not carried and self.has_think_marks:
                return _THINKING_SAMPLING
        return SamplingConfig(
            temperature=carried.get("temperature", 1.0 if carried else 0.0),
            top_p=carried.get("top_p", 1.0),
            top_k=int(carried.get("top_k", 0)),
        )

    def stream(
        self,
        user_text: str,
        *,
        think: bool,
        think_budget_tokens: int,
        answer_budget_tokens: int,
        sampling: SamplingConfig | None = None,
        suppress_reflexive: bool = False,
        demand: Demand | None = None,
        ignore_stop: bool = False,
        clock: Clock = _NO_CLOCK,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Generator[Chunk, None, ReasonerRun]:
        """Yield thinking and answer in pieces and return the record.

        With `think`, a model without marks must be asked to reason by `user_text`. Raises
        ContextOverflow, Cancelled (within one token), InferenceFailed.
        """
        started_s = time.perf_counter()
        prompt = self.prompt_ids(user_text, think=think)
        budgets = plan_budgets(
            prompt=len(prompt),
            limit=self.context_tokens,
            think=think_budget_tokens if think else 0,
            answer=answer_budget_tokens,
            closing=max(len(self._words.closing), len(self._words.landing))
            + (INSIST_TOKENS if demand else 0),
        )
        prefill_started_s = time.perf_counter()
        context = self._context_of(budgets.context_tokens)
        reused = context.start(prompt, sampling or self.sampling, cancelled)
        prefilled_s = time.perf_counter()
        ahead = Ahead(context, prompt) if self.lookup else None
        done: Reasoned = yield from reason(
            context if ahead is None else ahead,
            self._words,
            budgets,
            thinking=think,
            suppress_reflexive=suppress_reflexive,
            demand=demand,
            ignore_stop=ignore_stop,
            clock=clock,
            cancelled=cancelled,
        )
        return ReasonerRun(
            thinking=done.thinking,
            answer=done.answer,
            held=done.held,
            prompt_tokens=len(prompt),
            reused_tokens=reused,
            think_tokens=done.think_tokens,
            answer_tokens=done.answer_tokens,
            finish_reason=done.finish_reason,
            handoff_s=prefill_started_s - started_s,
            prefill_s=prefilled_s - prefill_started_s,
            think_s=done.think_s,
            answer_s=done.answer_s,
            copied_tokens=0 if ahead is None else ahead.copied_tokens,
        )

    def measure(
        self, room_tokens: int, cancelled: Callable[[], bool] = lambda: False
    ) -> ReasonerSpeed:
        """Time a short prompt and 4 tokens of decode, in a context for `room_tokens`.

        Raises Cancelled (within one token), InferenceFailed.
        """
        prompt = self.prompt_ids(_MEASURED_TEXT, think=False)
        context = self._context_of(min(room_tokens, self.context_tokens))
        context.forget()
        started_s = time.perf_counter()
        context.start(prompt, SamplingConfig(), cancelled)
        prefilled_s = time.perf_counter()
        for _ in range(_MEASURED_DECODE_TOKENS):
            if cancelled():
                raise Cancelled("the reasoner was stopped by its caller")
            context.feed(prompt[-1:])
        return ReasonerSpeed(
            prefill_token_s=(prefilled_s - started_s) / len(prompt),
            decode_token_s=(time.perf_counter() - prefilled_s) / _MEASURED_DECODE_TOKENS,
        )

    def read_ahead(
        self,
        opening: str,
        *,
        think: bool,
        reserve_tokens: int,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> int:
        """Read what the next user text will begin with; return how many tokens are held.

        `reserve_tokens`: the context that the whole call will probably need. Blocks, so it is for
        a thread of its own, which must end before `stream`. Raises Cancelled, InferenceFailed.
        """
        ids = self.opening_ids(opening, think=think)
        context = self._context_of(min(reserve_tokens, self.context_tokens))
        return context.read_ahead(ids, cancelled, threads=self.ahead_threads)

    def opening_ids(self, opening: str, *, think: bool) -> tuple[int, ...]:
        """Return what the prompt begins with when the user text begins with `opening`."""
        return self._ids(Frame(before=self._frame(think).before, after=""), opening)

    def prompt_ids(self, user_text: str, *, think: bool) -> tuple[int, ...]:
        """Return the whole prompt; no special token comes from `user_text`."""
        return self._ids(self._frame(think), user_text)

    def _frame(self, think: bool) -> Frame:
        return self._template.frame(think=think if self.has_think_marks else None)

    def _ids(self, frame: Frame, text: str) -> tuple[int, ...]:
        model = self._loaded()
        return encode(frame, text, tokenize=model.tokenize, marker=model.marker)

    def forget(self) -> None:
        """Drop what the KV cache holds, so that the next call reads its whole prompt."""
        if self._context is not None:
            self._context.forget()

    def release_context(self) -> None:
        """Free the KV cache; the next `stream` makes one."""
        if self._context is not None:
            self._context.close()
            self._context = None

    def release(self) -> None:
        """Free the weights and the KV cache; the next `stream` loads them again."""
        self.release_context()
        if self._model is not None:
            _ = self.sampling  # may be read from the weights' file, and is asked for at any time
            self._model.close()

    def close(self) -> None:
        """Free the weights and the KV cache; a later `stream` is refused."""
        self.release_context()
        if self._model is not None:
            self._model.close()
            self._model = None

    def _loaded(self) -> llama.Model:
        if self._model is None:
            raise InputError("the reasoner is closed", hint="load it again")
        self._model.open()
        return self._model

    def _context_of(self, tokens: int) -> llama.Context:
        """Return a context that holds `tokens`; made anew only when the need grows."""
        if self._context is None or self._context.context_tokens < tokens:
            if self._context is not None:
                self._context.close()
                self._context = None
            self._context = llama.Context(
                self._loaded(), context_tokens=tokens, threads=self.threads
            )
        return self._context


class _Words:
    """What the thinking must know of this model's tokens."""

    def __init__(self, model: llama.Model) -> None:
        self._model = model
        marks = model.tokenize(OPEN, True) + model.tokenize(CLOSE, True)
        self.think_marks = (marks[0], marks[1]) if len(marks) == 2 else None
        closing = CLOSING if self.think_marks else "\nAnswer:"
        self.closing = model.tokenize(closing, True)
        self.landing = model.tokenize(LAST_LINE + closing, True)
        self.answer_opening = model.tokenize("Answer:", False)
        self.line_break = model.tokenize("\n", False)[-1]

    @functools.cached_property
    def stop_ids(self) -> frozenset[int]:
        """Every token that ends a text; found by asking each, so only when it is needed."""
        return frozenset(t for t in range(self._model.vocab_size) if self._model.is_stop(t))

    @functools.cached_property
    def reflexive(self) -> ReflexiveIds:
        return find_reflexive(self._model.vocab_size, self._model.piece)

    def is_stop(self, token: int) -> bool:
        return self._model.is_stop(token)

    def piece(self, token: int) -> bytes:
        return self._model.piece(token)

    def tokens(self, text: str) -> tuple[int, ...]:
        return self._model.tokenize(text, False)


def find_file(path: Path) -> tuple[Path, ReasonerManifest | None]:
    """Return the GGUF file that `path` (a folder or the file) means, and its manifest, if any.

    Raises MissingArtifact or BadManifest.
    """
    folder = path if path.is_dir() else path.parent
    if not path.is_dir() and not (folder / FILE_NAME).is_file():
        return path, None
    manifest = read_manifest(folder, ReasonerManifest)
    if path.is_dir():
        path = folder / manifest.part().path
    listed = any(part.path == path.name for part in manifest.parts)
    return path, manifest if listed else None


def _threads_for(file: Path) -> int:
    """Return the threads to use: a model that fits a core's cache loses more by waiting for others
    after each operation than it gains, and on a busy machine far more."""
    return 1 if file.stat().st_size < _ONE_THREAD_BYTES else usable_threads()


def _carried_sampling(model: llama.Model) -> dict[str, float]:
    """Return what a GGUF file says of its sampling."""
    keys = {"temperature": "temp", "top_p": "top_p", "top_k": "top_k"}
    found = {name: model.meta(f"general.sampling.{key}") for name, key in keys.items()}
    return {name: float(value) for name, value in found.items() if value is not None}
