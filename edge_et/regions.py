"""Parts of an image: where to look closer, and what such a part is called."""

from __future__ import annotations

from dataclasses import dataclass

_ROWS = ("upper", "middle", "lower")
_COLUMNS = ("left", "middle", "right")


def _named(row: int, column: int) -> str:
    words = dict.fromkeys((_ROWS[row], _COLUMNS[column]))
    return f"the {' '.join(words)} part"


PART_NAMES = tuple(_named(row, column) for row in range(3) for column in range(3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A box of the image in shares of its height and width, [0, 1]."""

    top: float
    left: float
    bottom: float
    right: float

    @property
    def name(self) -> str:
        """Where its centre lies among three rows and columns, e.g. `the upper left part`."""
        row = min(2, int(3 * (self.top + self.bottom) / 2))
        column = min(2, int(3 * (self.left + self.right) / 2))
        return PART_NAMES[3 * row + column]
