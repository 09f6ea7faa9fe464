"""Options on the form of the answer: --form, --choices, --schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edge_et.config import GenerationConfig

FORM = Annotated[
    str | None,
    typer.Option(
        "--form",
        metavar="free|short|yes_no|number|choice",
        help="Form of the answer [default: what the question's wording asks for].",
    ),
]
CHOICES = Annotated[
    str | None,
    typer.Option(metavar="A,B,…", help="The answer is one of these texts (or A|B|… with commas)."),
]
SCHEMA = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The answer is JSON by this JSON schema.")
]


def asked_form(form: str | None, choices: str | None, schema: Path | None) -> GenerationConfig:
    """Return settings that hold the form of the answer and else the defaults.

    Raises InputError for what cannot be held, before models are loaded for it.
    """
    from typing import cast

    from edge_et.config import GenerationConfig
    from edge_et.schema import shape_of
    from edge_et.types import AnswerForm

    texts = choices.split("|" if "|" in choices else ",") if choices is not None else []
    given = None if schema is None else _read_schema(schema)
    if given is not None:
        shape_of(given)
    return GenerationConfig(
        form=cast(AnswerForm | None, form),
        choices=tuple(text.strip() for text in texts),
        schema=given,
    )


def _read_schema(path: Path) -> dict[str, Any]:
    from edge_et.errors import InputError
    from edge_et.schema import as_mapping

    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise InputError(f"the schema cannot be read: {exc}") from exc
    except ValueError as exc:
        raise InputError(f"the schema {path} is not JSON: {exc}") from exc
    return dict(as_mapping(schema))
