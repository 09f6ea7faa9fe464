"""What one call asks of its answer: the form, the options or the schema, and how far it is held."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_et.answers import Reading, read_answer
from edge_et.errors import InferenceFailed, InputError
from edge_et.forms import WORDING, Option, answer_form, find_options, given_options, with_options
from edge_et.schema import DECIMALS, MOST_NUMBER, schema_text, shape_of
from edge_et.shapes import Number, Shape, Words
from edge_et.types import AnswerForm

if TYPE_CHECKING:
    from edge_et.config import GenerationConfig

_NUMBER = Number(low=-MOST_NUMBER, high=MOST_NUMBER, decimals=DECIMALS)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSpec:
    """`shape` is what the answer is held to; None: what is written counts as it is."""

    question: str
    """With its options, where the caller gave them beside it."""
    form: AnswerForm
    schema: str = ""
    """As the prompt shows it."""
    options: tuple[Option, ...] = ()
    shape: Shape | None = None

    @property
    def prompt(self) -> str:
        """The question as the prompt puts it."""
        if not self.schema:
            return self.question
        return f"{self.question.strip()}\nAnswer with JSON by this schema: {self.schema}"

    @property
    def may_miss(self) -> bool:
        """Whether the reasoner may say what it misses in place of an answer; JSON says by its
        schema alone."""
        return self.form != "json"

    @property
    def wording(self) -> str:
        """How the format instruction of the prompt names the answer."""
        if self.form == "choice" and not all(option.label for option in self.options):
            return "option"
        return WORDING[self.form]

    def accepts(self, text: str) -> bool:
        """Return whether `text` holds an answer of the form."""
        return read_answer(text, self.form, self.options).holds

    def read(self, text: str, held: str | None) -> Reading:
        """Find the answer in `text`, or in what was written under the grammar: `held`."""
        if held is None:
            return read_answer(text, self.form, self.options)
        reading = held
        if self.form == "choice":
            reading = next(o.answer for o in self.options if o.spelling == held)
        return Reading(text=reading, found="constrained", holds=True)

    def data(self, held: str | None) -> Any:
        """Return the parsed JSON of an answer by a schema, None for other forms."""
        if self.form != "json" or held is None:
            return None
        try:
            return json.loads(held)
        except ValueError as exc:
            raise InferenceFailed(f"the answer is no JSON: {held!r}") from exc


def answer_spec(question: str, config: GenerationConfig) -> AnswerSpec:
    """Return what `config` asks of the answer to `question`.

    Options are insisted on wherever they come from, yes or no and a number only where the caller
    asked for the form. Raises InputError for a schema that cannot be held.
    """
    if config.schema is not None:
        text, shape = schema_text(config.schema), shape_of(config.schema)
        return AnswerSpec(question=question, form="json", schema=text, shape=shape)
    if config.choices:
        return _choice(question, config.choices)
    form = config.form or answer_form(question)
    if form == "choice":
        return _held_choice(question, find_options(question))
    return AnswerSpec(question=question, form=form, shape=_shape_of_form(config.form))


def _choice(question: str, choices: tuple[str, ...]) -> AnswerSpec:
    standing = find_options(question)
    if [option.text for option in standing] == [choice.strip() for choice in choices]:
        return _held_choice(question, standing)
    options = given_options(choices)
    return _held_choice(with_options(question, options), options)


def _held_choice(question: str, options: tuple[Option, ...]) -> AnswerSpec:
    if not options:
        raise InputError(
            "a choice was asked for and the question names no options",
            hint="give choices, or write them into the question: (A) … (B) …",
        )
    shape = Words(spellings=tuple(option.spelling for option in options))
    return AnswerSpec(question=question, form="choice", options=options, shape=shape)


def _shape_of_form(form: AnswerForm | None) -> Shape | None:
    if form == "yes_no":
        return Words(spellings=("yes", "no"))
    return _NUMBER if form == "number" else None
