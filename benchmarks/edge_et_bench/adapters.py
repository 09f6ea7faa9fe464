"""A runtime behind one protocol, so that each is timed by the same worker."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from edge_et.errors import InputError, MissingDependency
from edge_et_bench.records import Configuration, Demand, Outcome, Used

ADAPTERS = {
    "edge-et": "edge_et_bench.own:EdgeET",
    "edge-et-decoder": "edge_et_bench.own_decoder:OwnDecoder",
    "llama.cpp": "edge_et_bench.peers.llama_cpp:LlamaCpp",
    "transformers": "edge_et_bench.peers.transformers_cpu:TransformersCpu",
    "onnxruntime-genai": "edge_et_bench.peers.genai:Genai",
    "openvino-genai": "edge_et_bench.peers.openvino_genai:OpenvinoGenai",
    "openai-url": "edge_et_bench.peers.openai_url:OpenAIUrl",
}
"""Runtime -> "module:class"; the class takes the Configuration."""
INSTALL = {
    "transformers": 'pip install "edge-et[export]"',
    "onnxruntime-genai": 'pip install "edge-et[export]"',
    "openvino-genai": "pip install openvino-genai",
}
"""What brings a runtime; for the others the package that was missed has the module's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Counts that a runtime must make exactly, whatever it would rather say."""

    extraction: int
    thinking: int
    answer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question."""

    image: bytes
    """An encoded file: decoding it is part of the work."""
    question: str
    forced: Tokens | None
    max_tiles: int | None
    seed: int
    prompt_tokens: int | None = None
    """See `Workload`; only runtimes of one model take it."""


class Adapter(Protocol):
    """Made (imports, no weights), loaded, asked many times, closed. One question at a time."""

    def files(self) -> tuple[Path, ...]:
        """List the model files that `load` reads; none when they lie behind a URL."""

    def load(self) -> None: ...

    def used(self) -> Used:
        """Say what was loaded."""

    def ask(self, request: Request) -> Outcome: ...

    def demands(self, outcome: Outcome) -> tuple[Demand, ...]:
        """Say what each stage of `outcome` asked of the hardware, as far as it is known."""

    def close(self) -> None: ...


def make_adapter(configuration: Configuration) -> Adapter:
    """Import the runtime. Raises InputError for an unknown one, MissingDependency."""
    target = ADAPTERS.get(configuration.runtime)
    if target is None:
        known = ", ".join(ADAPTERS)
        raise InputError(f"unknown runtime {configuration.runtime!r}; known are {known}")
    module, _, name = target.partition(":")
    try:
        return cast(Adapter, getattr(import_module(module), name)(configuration))
    except ModuleNotFoundError as exc:
        raise MissingDependency(
            f"the runtime {configuration.runtime} needs {exc.name}, which is not installed",
            hint=INSTALL.get(configuration.runtime, f"pip install {exc.name}"),
        ) from exc
