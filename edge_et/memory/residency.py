"""Keeping to a plan: what is freed between the halves of a call and after it."""

from __future__ import annotations

from dataclasses import dataclass

from edge_et.extractor import Extractor
from edge_et.memory.measure import give_back
from edge_et.memory.plan import MemoryPlan
from edge_et.reasoner import Reasoner


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """A plan at work over the two halves. Freed memory goes back to the system at once."""

    plan: MemoryPlan
    extractor: Extractor | None = None
    reasoner: Reasoner | None = None

    def extracted(self) -> None:
        """Make room for the reasoner."""
        if self.plan.one_graph and self.extractor is not None:
            self.extractor.release()
        if self.plan.residency != "all":
            give_back()

    def thought(self) -> None:
        """Make room for the extractor's next image."""
        if self.plan.residency == "all" or self.reasoner is None:
            return
        if self.plan.residency == "one":
            self.reasoner.release()
        else:
            self.reasoner.release_context()
        give_back()
