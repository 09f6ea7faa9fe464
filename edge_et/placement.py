"""Where the nodes of a graph landed: on the device that was asked for, or beside it on the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CPU = "CPUExecutionProvider"
_NAMES = {CPU: "the CPU", "CUDAExecutionProvider": "CUDA"}
# Sizes and places are computed with these, and onnxruntime keeps them on the CPU on purpose: a
# kernel that takes a size reads it there. No layer of a model consists of them alone.
_BOOKKEEPING = frozenset({
    "Add", "Cast", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Expand", "Gather",
    "Identity", "Max", "Min", "Mul", "Range", "ReduceSum", "Reshape", "Shape", "Size", "Slice",
    "Squeeze", "Sub", "Unsqueeze", "Where",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Placement:
    """How many nodes of each operator each execution provider took."""

    nodes: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, assigned: Iterable[tuple[str, str]]) -> Placement:
        """Count pairs of a provider and an operator."""
        nodes: dict[str, Counter[str]] = {}
        for provider, operator in assigned:
            nodes.setdefault(provider, Counter())[operator] += 1
        return cls(nodes)

    def on(self, provider: str) -> int:
        return sum(self.nodes.get(provider, {}).values())

    def strays(self, provider: str) -> dict[str, int]:
        """Return the operators that work elsewhere, with their number, most first."""
        found: Counter[str] = Counter()
        for other, operators in self.nodes.items():
            if other != provider:
                found.update({op: n for op, n in operators.items() if op not in _BOOKKEEPING})
        return dict(found.most_common())

    def __str__(self) -> str:
        parts = sorted(self.nodes, key=self.on, reverse=True)
        return ", ".join(f"{self.on(name)} nodes on {_NAMES.get(name, name)}" for name in parts)
