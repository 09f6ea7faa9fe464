"""A budget for the image: the policy narrowed to those of its own grids that keep to it.

A smaller image is never an image of another kind: `anyres` chooses among the canvases that fit,
`split` does what the reference does for a smaller longest edge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edge_et import tiling
from edge_et.config import ImageLimits
from edge_et.errors import ImageError, InputError
from edge_et.manifest import ImagePolicy
from edge_et.tiles import Size

Marks = Callable[[Size | None], Sequence[Sequence[int]]]
"""Ids around the blocks of features of a grid: `PromptTokenizer.marks`."""
_CPU_TILES = 5
"""What a CPU takes when nothing else is asked for: a grid of 2 x 2 and the whole image."""


@dataclass(frozen=True, slots=True)
class ImageCost:
    """What one way to see an image takes."""

    grid: Size | None
    tiles: int
    tokens: int

    def __str__(self) -> str:
        grid = "one tile" if self.grid is None else f"{self.grid[0]} x {self.grid[1]} tiles"
        return f"{grid} ({self.tokens} image tokens)"

    def fits(self, limits: ImageLimits) -> bool:
        return (limits.max_tiles is None or self.tiles <= limits.max_tiles) and (
            limits.max_image_tokens is None or self.tokens <= limits.max_image_tokens
        )


def within(
    policy: ImagePolicy, hw: Size, limits: ImageLimits, marks: Marks
) -> tuple[ImagePolicy, str | None]:
    """Return the policy that keeps an image of `hw` within `limits`, and what that changed.

    Nothing changes, and the note is None, when the image fits as it is. Raises InputError with
    the smallest cost when no grid of the policy fits, ImageError when none shows the image.
    """
    wanted = _cost(policy, hw, marks)
    if wanted.fits(limits):
        return policy, None
    options = [
        (option, cost)
        for option in _options(policy)
        if (cost := _cost_if_shown(option, hw, marks)) is not None
    ]
    fitting = [option for option, cost in options if cost.fits(limits)]
    if not fitting:
        least = min((cost for _, cost in options), key=lambda cost: (cost.tiles, cost.tokens))
        raise InputError(
            f"no grid of the extractor keeps an image of {hw[0]} x {hw[1]} px within {limits}; "
            f"the smallest is {least}",
            hint=f"allow --max-tiles {least.tiles} and --max-image-tokens {least.tokens}",
        )
    narrowed = _joined(policy, fitting)
    return narrowed, f"{_cost(narrowed, hw, marks)} by {limits}, {wanted} without it"


def costs(
    policy: ImagePolicy, hw: Size, limits: ImageLimits, marks: Marks
) -> tuple[ImageCost, ...]:
    """Return what an image of `hw` may cost within `limits`, the fullest way to see it first.

    Empty where `within` raises InputError. Raises ImageError when no grid shows the image.
    """
    wanted = _cost(policy, hw, marks)
    options = [_cost_if_shown(option, hw, marks) for option in _options(policy)]
    found = {wanted, *(cost for cost in options if cost is not None)}
    fitting = [cost for cost in found if cost.fits(limits) and cost.tokens <= wanted.tokens]
    return tuple(sorted(fitting, key=lambda cost: (cost.tokens, cost.tiles), reverse=True))


def default_max_tiles(policy: ImagePolicy) -> int | None:
    """Return the budget for a CPU that an artifact of `policy` carries; None where it needs none.

    It is never below the smallest grid.
    """
    if policy.name == "single":
        return None
    side = policy.tile_size_px
    counts = [
        1 + (height // side) * (width // side) for height, width in policy.grid_pinpoints_px
    ] or [1, 1 + (-(-(policy.longest_edge_px or side) // side)) ** 2]
    return max(_CPU_TILES, min(counts)) if max(counts) > _CPU_TILES else None


def _cost(policy: ImagePolicy, hw: Size, marks: Marks) -> ImageCost:
    grid = tiling.grid_of(hw, policy)
    rows, columns = grid or (0, 0)
    tokens = tiling.feature_rows(grid, hw, policy) + sum(map(len, marks(grid)))
    return ImageCost(grid, rows * columns + 1, tokens)


def _cost_if_shown(policy: ImagePolicy, hw: Size, marks: Marks) -> ImageCost | None:
    try:
        return _cost(policy, hw, marks)
    except ImageError:
        return None


def _options(policy: ImagePolicy) -> list[ImagePolicy]:
    """Return the policy once for each grid that it may choose, the largest of `split` first."""
    if policy.name == "anyres":
        return [replace(policy, grid_pinpoints_px=(hw,)) for hw in policy.grid_pinpoints_px]
    if policy.longest_edge_px is None:
        return [policy]
    side = policy.tile_size_px
    smaller = range((policy.longest_edge_px - 1) // side * side, 0, -side)
    return [policy, *(replace(policy, longest_edge_px=edge) for edge in smaller)]


def _joined(policy: ImagePolicy, fitting: Sequence[ImagePolicy]) -> ImagePolicy:
    if policy.name != "anyres":
        return fitting[0]
    return replace(policy, grid_pinpoints_px=tuple(p.grid_pinpoints_px[0] for p in fitting))
