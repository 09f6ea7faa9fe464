"""The chain: image and question -> extraction -> thinking -> answer, as one stream.

Works over two protocols, so it knows neither onnxruntime nor llama.cpp, no model files and no
network.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from edge_et import doubt, looking, stages
from edge_et.answer_spec import AnswerSpec, answer_spec
from edge_et.config import GenerationConfig
from edge_et.errors import Cancelled, InputError
from edge_et.focus import Focus, focus_phrase
from edge_et.focus_writer import choose_focus
from edge_et.handoff import read_along
from edge_et.prompts import extraction_prompt
from edge_et.rates import Rates
from edge_et.stages import Call, Cancel, ExtractorLike, ReasonerLike, ResidencyLike
from edge_et.streams import AsyncStream, RecordT, Stream
from edge_et.types import Answer, Chunk, Extraction, Timings

if TYPE_CHECKING:
    from edge_et.image import ImageInput, LoadedImage
    from edge_et.regions import Region

_QUEUE_POLL_S = 0.05
_UNFOCUSED = Focus(phrase="", source="none")


class Chain:
    """A pair, ready to answer. Safe to call from several threads: calls queue.

    Every call takes a `GenerationConfig`, and `cancelled`, which is asked before each token; once
    it says True the call raises Cancelled. Chunks come in the order extraction, thinking, answer.
    `extractor` or `reasoner` is None in a chain that was loaded for the other half only.
    """

    def __init__(
        self,
        extractor: ExtractorLike | None,
        reasoner: ReasonerLike | None,
        *,
        pair: str,
        focus: str = "question",
        load_image: Callable[[ImageInput], LoadedImage] | None = None,
        suppress_reflexive: bool = False,
        residency: ResidencyLike | None = None,
        handoff: bool = False,
    ) -> None:
        """`focus` and `suppress_reflexive`: what holds where a call's `GenerationConfig` leaves it
        open (auto, None). `handoff`: the reasoner reads what the extractor writes while it writes.
        """
        self.pair = pair
        self.focus = focus
        self._suppress_reflexive = suppress_reflexive
        self._rates = Rates()
        self.extractor = extractor
        self.reasoner = reasoner
        self.handoff = handoff
        self._load_image = load_image or _load_image
        self.residency = residency
        self._turns = _Turns()

    def stream(
        self,
        image: ImageInput,
        question: str,
        generation: GenerationConfig | None = None,
        *,
        cancelled: Cancel | None = None,
    ) -> Stream[Answer]:
        """Stream extraction, thinking and answer; the stream's `result()` is the Answer."""

        def run(call: Call) -> Generator[Chunk, None, Answer]:
            reasoner = self._reasoner_for(question)
            self._measure(self.extractor, reasoner, call)
            spec = answer_spec(question, call.config)
            view = _View(lambda: self._load_image(image))

            def answered(focus: Focus, call: Call) -> Generator[Chunk, None, Answer]:
                return self._look_and_think(view, focus, reasoner, spec, call)

            answer = yield from answered(self._focus(spec, reasoner, call), call)
            return doubt.checked(answer, answered, call) if call.config.check else answer

        return Stream(self._in_turn(run, generation, cancelled))

    def stream_extract(
        self,
        image: ImageInput,
        question: str | None = None,
        generation: GenerationConfig | None = None,
        *,
        cancelled: Cancel | None = None,
    ) -> Stream[Extraction]:
        """Stream what the extractor writes down for `question`, which may be a noun phrase.

        None describes the whole image.
        """
        focus = Focus(phrase=focus_phrase(question or ""))
        prompt = extraction_prompt(focus.phrase)
        return Stream(
            self._in_turn(
                lambda call: self._extract(lambda: self._load_image(image), prompt, focus, call),
                generation,
                cancelled,
                answers=False,
            )
        )

    def stream_think(
        self,
        notes: Extraction | str,
        question: str,
        generation: GenerationConfig | None = None,
        *,
        cancelled: Cancel | None = None,
    ) -> Stream[Answer]:
        """Stream thinking and answer over an extraction, edited or not, or over any text."""

        def run(call: Call) -> Generator[Chunk, None, Answer]:
            reasoner = self._reasoner_for(question)
            spec = answer_spec(question, call.config)
            record = _as_extraction(notes)
            self._measure(None, reasoner, call)
            return (yield from self._think(reasoner, record, spec, call))

        return Stream(self._in_turn(run, generation, cancelled))

    def ask(
        self,
        image: ImageInput,
        question: str,
        generation: GenerationConfig | None = None,
        *,
        cancelled: Cancel | None = None,
    ) -> Answer:
        return self.stream(image, question, generation, cancelled=cancelled).result()

    def extract(
        self,
        image: ImageInput,
        question: str | None = None,
        generation: GenerationConfig | None = None,
        *,
        cancelled: Cancel | None = None,
    ) -> Extraction:
        return self.stream_extract(image, question, generation, cancelled=cancelled).result()

    def extract_raw(
        self,
        image: ImageInput,
        user_text: str,
        generation: GenerationConfig | None = None,
        *,
        cancelled: Cancel | None = None,
    ) -> Extraction:
        """Put `user_text` to the extractor as it stands, e.g. a question to answer by itself."""
        return Stream(
            self._in_turn(
                lambda call: self._extract(
                    lambda: self._load_image(image), user_text, _UNFOCUSED, call
                ),
                generation,
                cancelled,
                answers=False,
            )
        ).result()

    def think(
        self,
        notes: Extraction | str,
        question: str,
        generation: GenerationConfig | None = None,
        *,
        cancelled: Cancel | None = None,
    ) -> Answer:
        """Over what `extract` gave, greedy decoding answers here just as `ask` does."""
        return self.stream_think(notes, question, generation, cancelled=cancelled).result()

    def astream(
        self, image: ImageInput, question: str, generation: GenerationConfig | None = None
    ) -> AsyncStream[Answer]:
        """`stream` off the event loop; cancelling the task stops the models within one token."""
        return AsyncStream(lambda stop: self.stream(image, question, generation, cancelled=stop))

    async def aask(
        self, image: ImageInput, question: str, generation: GenerationConfig | None = None
    ) -> Answer:
        async with self.astream(image, question, generation) as stream:
            return await stream.result()

    def close(self) -> None:
        """Free both models, after the call that is running."""
        with self._turns.take(_never):
            for half in (self.extractor, self.reasoner):
                if half is not None:
                    half.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _in_turn(
        self,
        run: Callable[[Call], Generator[Chunk, None, RecordT]],
        generation: GenerationConfig | None,
        cancelled: Cancel | None,
        *,
        answers: bool = True,
    ) -> Generator[Chunk, None, RecordT]:
        call = Call(
            config=generation or GenerationConfig(),
            cancelled=cancelled or _never,
            rates=self._rates,
            suppress_reflexive=self._suppress_reflexive,
            answers=answers,
        )
        with self._turns.take(call.cancelled):
            call.queued()
            return (yield from run(call))

    def _extract(
        self, load: Callable[[], LoadedImage], user_text: str, focus: Focus, call: Call
    ) -> Generator[Chunk, None, Extraction]:
        if self.extractor is None:
            raise InputError("this chain has no extractor: it can only think over text")
        self._measure(self.extractor, None, call)
        try:
            return (yield from stages.extract(self.extractor, load, user_text, focus, call))
        finally:
            if self.residency is not None:
                self.residency.extracted()

    def _focus(self, spec: AnswerSpec, reasoner: ReasonerLike, call: Call) -> Focus:
        wanted = self.focus if call.config.focus == "auto" else call.config.focus
        try:
            return choose_focus(wanted, spec.question, reasoner, call)
        finally:
            if self.residency is not None:
                self.residency.thought()

    def _look_and_think(
        self, view: _View, focus: Focus, reasoner: ReasonerLike, spec: AnswerSpec, call: Call
    ) -> Generator[Chunk, None, Answer]:
        def look(focus: Focus, region: Region | None) -> Generator[Chunk, None, Extraction]:
            prompt = extraction_prompt(focus.phrase)
            return self._extract(lambda: view.part(region), prompt, focus, call)

        extraction = look(focus, None)
        if self.handoff:
            extraction = read_along(extraction, reasoner, call)
        first = yield from extraction

        def think(looks: tuple[Extraction, ...]) -> Generator[Chunk, None, Answer]:
            return self._think(reasoner, first, spec, call, looks)

        return (yield from looking.answer(first, look, view.closer, think, spec, call))

    def _think(
        self,
        reasoner: ReasonerLike,
        notes: Extraction,
        spec: AnswerSpec,
        call: Call,
        looks: tuple[Extraction, ...] = (),
    ) -> Generator[Chunk, None, Answer]:
        try:
            return (yield from stages.think(reasoner, notes, spec, self.pair, call, looks))
        finally:
            if self.residency is not None:
                self.residency.thought()

    def _measure(
        self, extractor: ExtractorLike | None, reasoner: ReasonerLike | None, call: Call
    ) -> None:
        """Measure where a deadline needs it, one half at a time, as the plan for memory has it."""
        if call.pace is None:
            return
        try:
            stages.measure(extractor, None, call)
        finally:
            if self.residency is not None:
                self.residency.extracted()
        try:
            stages.measure(None, reasoner, call)
        finally:
            if self.residency is not None:
                self.residency.thought()

    def _reasoner_for(self, question: str) -> ReasonerLike:
        if not question.strip():
            raise InputError("the question is empty")
        if self.reasoner is None:
            raise InputError("this chain has no reasoner: it can only extract")
        return self.reasoner


class _View:
    """The image of one call: loaded once, shown whole or in part."""

    def __init__(self, load: Callable[[], LoadedImage]) -> None:
        self._load = load
        self._image: LoadedImage | None = None

    def part(self, region: Region | None) -> LoadedImage:
        from edge_et.closer import crop

        if self._image is None:
            self._image = self._load()
        return self._image if region is None else crop(self._image, region)

    def closer(self, missing: str, seen: Sequence[Extraction]) -> Region | None:
        """Return the part to look at next, going by what the whole image was seen in."""
        from edge_et.closer import closer_region

        used = seen[0].image
        assert used is not None
        return closer_region(
            self.part(None),
            (used.used_height_px, used.used_width_px),
            "\n".join(notes.text for notes in seen if notes.region is None),
            missing,
            [notes.region for notes in seen if notes.region is not None],
        )


class _Turns:
    """One call at a time, in the order the lock grants."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: threading.Thread | None = None

    @contextlib.contextmanager
    def take(self, cancelled: Cancel) -> Iterator[None]:
        """Wait for the turn and hold it. Raises Cancelled while waiting.

        A second call from inside a loop over a stream would wait for itself for ever. On the main
        thread that is an error; other threads may belong to a pool that carries many streams.
        """
        current = threading.current_thread()
        if self._owner is current is threading.main_thread():
            raise InputError(
                "this thread is in the middle of a stream of the same chain",
                hint="read the stream to its end or close it, then ask again",
            )
        while not self._lock.acquire(timeout=_QUEUE_POLL_S):
            if cancelled():
                raise Cancelled("cancelled while waiting for the chain")
        self._owner = current
        try:
            yield
        finally:
            self._owner = None
            self._lock.release()


def _as_extraction(notes: Extraction | str) -> Extraction:
    if isinstance(notes, Extraction):
        return notes
    return Extraction(
        text=notes,
        focus_phrase="",
        image=None,
        prompt_tokens=0,
        generated_tokens=0,
        finish_reason="stop",
        timings=Timings(),
    )


def _load_image(source: ImageInput) -> LoadedImage:
    from edge_et.image import load_image

    return load_image(source)


def _never() -> bool:
    return False
