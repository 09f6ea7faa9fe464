"""edge-et as a model of lmms-eval: `lmms-eval --model edge_et --model_args pair=starter …`.

lmms-eval finds it by the entry point `lmms_eval.models` of this distribution (benchmarks/README.md
says how to install the two side by side). Two stages as in the paper: a focus phrase made from the
question, the extraction, the thinking, the answer. Both stages keep their own budgets and sampling;
those that a task sets are for models that answer at once (MMStar's ask for the letter and nothing
else), and so are the format instructions at the end of its questions, which are taken off.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms
from loguru import logger

import edge_et
from edge_et.config import Device, GenerationConfig, RuntimeConfig
from edge_et.errors import InputError
from edge_et.reasoner import Reasoner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmms_eval.api.instance import Instance
    from lmms_eval.models.registry_v2 import ModelManifest

    from edge_et.image import ImageInput
    from edge_et.types import Answer

# What most tasks of lmms-eval close a question with, and its variants.
_AT_ONCE = re.compile(
    r"\s*(?:please\s+)?answer\s+(?:"
    r"(?:directly\s+)?with\s+(?:only\s+)?the\s+(?:option(?:'s)?\s+letter|letter)|"
    r"the\s+question\s+(?:using|with)\s+a\s+single\s+word"
    r")[^\n]*$",
    re.IGNORECASE,
)


def manifest() -> ModelManifest:
    """Name the class to lmms-eval: the target of the entry point."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="edge_et", simple_class_path=f"{__name__}.{EdgeET.__name__}")


class EdgeET(lmms):  # type: ignore[misc]  # lmms-eval ships no types
    """A pair, asked one question at a time. `--model_args` are the parameters.

    `extractor` and `reasoner` replace halves as they do for `edge_et.load`; the budgets are the
    paper's. lmms-eval hands over its own `batch_size`, `max_batch_size` and `device`.
    """

    is_simple = True

    def __init__(
        self,
        pair: str = "starter",
        extractor: str | None = None,
        reasoner: str | None = None,
        device: Device = "auto",
        threads: int | None = None,
        think: bool = True,
        think_budget_tokens: int = 4096,
        answer_budget_tokens: int = 1024,
        extraction_budget_tokens: int = 1024,
        seed: int = 0,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if str(batch_size) != "1" or max_batch_size not in (None, 1):
            raise InputError("edge-et answers one question at a time", hint="use --batch_size 1")
        self._chain = edge_et.load(
            pair,
            extractor=extractor,
            reasoner=reasoner,
            runtime=RuntimeConfig(device=device, threads=threads),
        )
        assert isinstance(self._chain.reasoner, Reasoner)
        self._generation = GenerationConfig(
            think=think,
            think_budget_tokens=think_budget_tokens,
            answer_budget_tokens=answer_budget_tokens,
            extraction_budget_tokens=extraction_budget_tokens,
            reasoner_sampling=replace(self._chain.reasoner.sampling, seed=seed),
        )

    def generate_until(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """Return the answers, in the form that each question asks for, with the tokens they took.

        Raises InputError for a question that has not exactly one image.
        """
        from tqdm import tqdm

        finished: Counter[str] = Counter()
        results = []
        for request in tqdm(requests, desc="edge-et"):
            context, settings, doc_to_visual, doc_id, task, split = request.args
            image = _only_image(doc_to_visual(self.task_dict[task][split][doc_id]), task, doc_id)
            answer = self._chain.ask(image, question_of(context), self._generation)
            finished[answer.finish_reason] += 1
            text = until(answer.text, settings.get("until"))
            results.append(GenerationResult(text=text, token_counts=_token_counts(answer)))
            self.cache_hook.add_partial("generate_until", (context, settings), text)
        _warn_of_limits(finished)
        return results

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        raise InputError(
            "edge-et has no likelihood of a given answer: its own comes after thinking, which is "
            "sampled, so a continuation would have to be weighed over every way of thinking",
            hint="use a task, or a variant of it, of the output type generate_until",
        )

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        raise InputError(
            "edge-et reads one image for one question: it carries no rounds on",
            hint="use a task of the output type generate_until",
        )

    def clean(self) -> None:
        """Free both models."""
        self._chain.close()
        super().clean()


def question_of(context: str) -> str:
    """Return a task's question without the closing line that wants the answer at once.

    >>> question_of("Which?\\n(A) a\\n(B) b\\nAnswer with the option's letter directly.")
    'Which?\\n(A) a\\n(B) b'
    """
    return _AT_ONCE.sub("", context.strip())


def until(text: str, stops: str | Sequence[str] | None) -> str:
    """Return `text` up to the first of a task's stops."""
    for stop in [stops] if isinstance(stops, str) else stops or ():
        text = text.split(stop, 1)[0] if stop else text
    return text


def _only_image(visuals: Any, task: str, doc_id: int) -> ImageInput:
    found = visuals if isinstance(visuals, list) else [visuals]
    if len(found) != 1:
        raise InputError(
            f"question {doc_id} of {task} has {len(found)} images; edge-et reads exactly one"
        )
    image: ImageInput = found[0]
    return image


def _token_counts(answer: Answer) -> TokenCounts:
    """Return what both stages read and wrote."""
    notes = answer.extraction
    return TokenCounts(
        input_tokens=notes.prompt_tokens + answer.prompt_tokens,
        output_tokens=notes.generated_tokens + answer.think_tokens + answer.answer_tokens,
        reasoning_tokens=answer.think_tokens,
    )


def _warn_of_limits(finished: Counter[str]) -> None:
    """Say how many answers ended at a limit: they count as the rest do."""
    cut = {reason: count for reason, count in finished.items() if reason != "stop"}
    if cut:
        listed = ", ".join(f"{count} {reason}" for reason, count in sorted(cut.items()))
        logger.warning(f"{sum(cut.values())} of {finished.total()} answers hit a limit: {listed}")
