"""What is said to a server of OpenAI's chat completions, and what its stream says."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from PIL import Image

from edge_et.errors import InferenceFailed, InputError
from edge_et_bench.adapters import Request

_TEXTS = ("content", "reasoning_content", "reasoning")
_DONE = "[DONE]"


def payload(request: Request, model: str) -> dict[str, Any]:
    """Return the body of the request. Raises InputError for a prompt of made-up tokens."""
    if request.prompt_tokens is not None:
        raise InputError(
            "a server takes text and images, no made-up tokens",
            hint="take a workload without prompt_tokens: --workload single-tile",
        )
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": _data_url(request.image)}},
                    {"type": "text", "text": request.question},
                ],
            }
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "seed": request.seed,
        # else a server that keeps prompts reads the second repeat's from its cache
        "cache_prompt": False,
    }
    if request.forced is not None:
        body |= {"max_tokens": request.forced.extraction, "ignore_eos": True, "temperature": 0}
    return body


def events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a stream of server-sent events until it says that it is done.

    Raises InferenceFailed on an event that is no object or tells of an error.
    """
    for line in lines:
        field, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.strip()
        if field != "data" or not value:
            continue
        if value == _DONE:
            return
        try:
            event = json.loads(value)
        except json.JSONDecodeError as exc:
            raise InferenceFailed(f"the stream holds {value[:80]!r}, which is no JSON") from exc
        if not isinstance(event, dict) or "error" in event:
            raise InferenceFailed(f"the server says: {value[:500]}")
        yield event


def text_of(delta: dict[str, Any]) -> str:
    """Return what a piece says, thinking included: servers name it in several ways."""
    return "".join(delta.get(name) or "" for name in _TEXTS)


def _data_url(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as image:
        kind = Image.MIME[image.format or "PNG"]
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
