"""OpenVINO GenAI on the CPU: a folder of optimum-intel's export, language model alone.

Make one: optimum-cli export openvino --model CHECKPOINT --task text-generation-with-past
--weight-format int8 FOLDER
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai

from edge_et.errors import InputError, LoadFailed
from edge_et_bench.adapters import Request
from edge_et_bench.peers import one_model
from edge_et_bench.peers.one_model import Laps
from edge_et_bench.records import Configuration, Demand, Outcome, Used

_GRAPH = "openvino_model.xml"
_WHOLE_PROMPT_TOKENS = 1 << 16
"""More than any prompt: it is read in one go."""


class OpenvinoGenai:
    """Options: `model`, the folder; `precision`, as the export was asked."""

    def __init__(self, configuration: Configuration) -> None:
        if configuration.device == "cuda":
            raise InputError("OpenVINO is measured on the CPU", hint="--device cpu")
        self._folder = one_model.path_option(configuration, "model")
        self._precision = (configuration.options or {}).get("precision", "unknown")
        self._threads = one_model.threads_of(configuration)
        self._pipeline: Any = None
        self._vocab_size = 0

    def files(self) -> tuple[Path, ...]:
        graph = self._folder / _GRAPH
        return (graph, graph.with_suffix(".bin"))

    def load(self) -> None:
        try:
            self._vocab_size = _vocab_size(self._folder / _GRAPH)
            self._pipeline = openvino_genai.LLMPipeline(
                str(self._folder), "CPU", {"scheduler_config": _scheduler()},
                INFERENCE_NUM_THREADS=self._threads,
            )  # fmt: skip
        except RuntimeError as exc:
            raise LoadFailed(
                f"OpenVINO cannot load {self._folder}: {exc}",
                hint="make the folder: optimum-cli export openvino --model CHECKPOINT "
                "--task text-generation-with-past FOLDER",
            ) from exc

    def used(self) -> Used:
        parts = one_model.graph_parts(self.files(), self._precision)
        return one_model.used(self._folder.name, device="cpu", threads=self._threads, parts=parts)

    def ask(self, request: Request) -> Outcome:
        if self._pipeline is None:
            raise InputError("the model is not loaded")
        count, length = one_model.new_tokens(request), one_model.needed_prompt(request)
        ids = one_model.prompt_ids(length, vocab_size=self._vocab_size, seed=request.seed)
        prompt = openvino.Tensor(np.array([ids], np.int64))
        made, laps = 0, Laps()

        def streamed(_: Any) -> Any:
            nonlocal made
            made += 1
            if made == 1:
                laps.first_token()
                laps.end("extract_prefill", tokens=length)
            return openvino_genai.StreamingStatus.RUNNING

        greedy = openvino_genai.GenerationConfig(max_new_tokens=count, ignore_eos=True)
        self._pipeline.generate(prompt, greedy, _Each(streamed))
        laps.end("extract_decode", tokens=count, steps=count - 1)
        if made != count:
            raise InputError(f"OpenVINO made {made} tokens, not {count}")
        return laps.outcome(finish_reason="extraction_length")

    def demands(self, outcome: Outcome) -> tuple[Demand, ...]:
        return ()

    def close(self) -> None:
        self._pipeline = None


class _Each(openvino_genai.StreamerBase):  # type: ignore[misc]  # no types
    """Calls back for each token, before it is text."""

    def __init__(self, told: Any) -> None:
        super().__init__()
        self._told = told

    def write(self, token: Any) -> Any:
        count = len(token) if isinstance(token, list) else 1
        for _ in range(count):
            status = self._told(token)
        return status

    def end(self) -> None:
        pass


def _scheduler() -> Any:
    """Return its own settings for one user, less the cache of prompts: with that it would read the
    same prompt once only."""
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = _WHOLE_PROMPT_TOKENS
    scheduler.enable_prefix_caching = False
    return scheduler


def _vocab_size(graph: Path) -> int:
    """Read the width of the logits."""
    return int(openvino.Core().read_model(graph).output("logits").partial_shape[2].get_length())
