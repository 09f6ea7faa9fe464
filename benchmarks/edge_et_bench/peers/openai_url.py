"""Any server with OpenAI's chat completions: llama-server, Ollama, LM Studio.

The image goes along as a data URL; the times are read off the stream. Image, vision and prefill
cannot be told apart from outside, so all until the first token is `extract_prefill`.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge_et.errors import BackendError, InferenceFailed, InputError
from edge_et_bench.adapters import Request
from edge_et_bench.peers import one_model
from edge_et_bench.peers.one_model import Laps
from edge_et_bench.peers.openai_format import events, payload, text_of
from edge_et_bench.records import Configuration, Demand, Outcome, Used

_WAIT_S = 600


class OpenAIUrl:
    """Options: `url`, up to and with `/v1`; `model`, as the server names it."""

    def __init__(self, configuration: Configuration) -> None:
        self._url = urlsplit(one_model.option(configuration, "url"))
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise InputError(f"{self._url.geturl()!r} is no http URL")
        self._model = one_model.option(configuration, "model")

    def files(self) -> tuple[Path, ...]:
        return ()

    def load(self) -> None:
        """Loading is the server's; the warm-up makes it."""

    def used(self) -> Used:
        return Used(name=f"{self._model} at {self._url.netloc}", devices={}, threads={}, parts=())

    def ask(self, request: Request) -> Outcome:
        """Raises InputError when a forced count was not kept, InferenceFailed."""
        body = json.dumps(payload(request, self._model))
        laps, reason = Laps(), None
        written: list[str] = []
        usage: dict[str, Any] = {}
        for event in self._events(body):
            usage = event.get("usage") or usage
            for choice in event.get("choices") or ():
                reason = choice.get("finish_reason") or reason
                if piece := text_of(choice.get("delta") or {}):
                    if not written:
                        laps.first_token()
                        laps.end("extract_prefill")
                    written.append(piece)
        if not written:
            raise InferenceFailed(f"{self._url.geturl()} streamed no text")
        count = usage.get("completion_tokens") or len(written)
        laps.end("extract_decode", tokens=count, steps=count - 1)
        if request.forced is not None and count != request.forced.extraction:
            raise InputError(
                f"{self._url.netloc} wrote {count} tokens where the workload wants "
                f"{request.forced.extraction}: it does not know ignore_eos, or its context is full",
                hint="measure it in the natural mode: --workload natural",
            )
        laps.count("extract_prefill", usage.get("prompt_tokens"))
        return laps.outcome("".join(written), reason)

    def demands(self, outcome: Outcome) -> tuple[Demand, ...]:
        return ()

    def close(self) -> None:
        """Each question has a connection of its own."""

    def _events(self, body: str) -> Iterator[dict[str, Any]]:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else None
        connection = (kind or http.client.HTTPConnection)(self._url.netloc, timeout=_WAIT_S)
        path = f"{self._url.path.rstrip('/')}/chat/completions"
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                text = answer.read(500).decode("utf-8", "replace")
                raise InferenceFailed(f"{self._url.geturl()} answered {answer.status}: {text}")
            yield from events(answer)
        except (OSError, http.client.HTTPException) as exc:
            raise BackendError(
                f"{self._url.geturl()} cannot be asked: {exc}", hint="is the server running?"
            ) from exc
        finally:
            connection.close()
