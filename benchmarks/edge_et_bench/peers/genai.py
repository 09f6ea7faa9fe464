"""onnxruntime-genai on a language model: a folder of its model builder, with genai_config.json.

Make one: python -m onnxruntime_genai.models.builder -i CHECKPOINT -o FOLDER -p int4 -e cpu
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from edge_et import ort
from edge_et.errors import BadManifest, InputError, LoadFailed
from edge_et_bench.adapters import Request
from edge_et_bench.peers import one_model
from edge_et_bench.peers.one_model import Laps
from edge_et_bench.records import Configuration, Demand, Outcome, Used

_CONFIG = "genai_config.json"


class Genai:
    """Options: `model`, the folder; `precision`, as the builder was asked."""

    def __init__(self, configuration: Configuration) -> None:
        if configuration.device == "cuda":
            raise InputError("onnxruntime-genai is measured on the CPU", hint="--device cpu")
        self._folder = one_model.path_option(configuration, "model")
        self._precision = (configuration.options or {}).get("precision", "unknown")
        self._threads = one_model.threads_of(configuration)
        ort.runtime()  # sets the switch that keeps its wheel from reporting usage
        import onnxruntime_genai

        self._genai: Any = onnxruntime_genai
        self._config = _read_config(self._folder)
        self._model: Any = None

    def files(self) -> tuple[Path, ...]:
        graph = self._folder / self._config["decoder"]["filename"]
        return (graph, *sorted(self._folder.glob(f"{graph.name}[._]data")))

    def load(self) -> None:
        session = {"intra_op_num_threads": self._threads, "inter_op_num_threads": 1}
        try:
            config = self._genai.Config(str(self._folder))
            config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
            self._model = self._genai.Model(config)
        except RuntimeError as exc:
            raise LoadFailed(f"onnxruntime-genai cannot load {self._folder}: {exc}") from exc

    def used(self) -> Used:
        parts = one_model.graph_parts(self.files(), self._precision)
        return one_model.used(self._folder.name, device="cpu", threads=self._threads, parts=parts)

    def ask(self, request: Request) -> Outcome:
        count, length = one_model.new_tokens(request), one_model.needed_prompt(request)
        vocab_size = self._config["vocab_size"]
        ids = one_model.prompt_ids(length, vocab_size=vocab_size, seed=request.seed)
        laps = Laps()
        generator = self._generator(length + count)
        generator.append_tokens(ids)
        generator.generate_next_token()
        laps.first_token()
        laps.end("extract_prefill", tokens=length)
        for _ in range(count - 1):
            generator.generate_next_token()
        laps.end("extract_decode", tokens=count, steps=count - 1)
        if generator.token_count() != length + count:
            raise InputError(f"genai made {generator.token_count() - length} tokens, not {count}")
        outcome = laps.outcome(finish_reason="extraction_length")
        return replace(outcome, answer=self._text(generator.get_sequence(0)[length:]))

    def demands(self, outcome: Outcome) -> tuple[Demand, ...]:
        return ()

    def close(self) -> None:
        self._model = None

    def _text(self, ids: Any) -> str:
        """Decode; its own tokenizer drops what follows bytes that are no UTF-8."""
        path = self._folder / "tokenizer.json"
        return Tokenizer.from_file(str(path)).decode(list(ids)) if path.is_file() else ""

    def _generator(self, tokens: int) -> Any:
        """Return a greedy generator of exactly so many tokens, the prompt's included."""
        if self._model is None:
            raise InputError("the model is not loaded")
        params = self._genai.GeneratorParams(self._model)
        params.set_search_options(
            do_sample=False, max_length=tokens, min_length=tokens, batch_size=1
        )
        return self._genai.Generator(self._model, params)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG
    try:
        model: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["model"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise BadManifest(
            f"{path} cannot be read: {exc}",
            hint=f"python -m onnxruntime_genai.models.builder -i CHECKPOINT -o {folder} -e cpu "
            "-p int4",
        ) from exc
    return model
