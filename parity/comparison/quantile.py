"""Exact order statistics of ULP distances: of short rows at once, of long rows tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from parity.numerics.tiles import Grid

SAMPLE_BLOCKS = 128, 512
SAMPLE_WIDTH = 16
SMALL = 255
"""Distances up to this are bisected: NumPy's partition is slow where most elements are tied."""


class Threshold(NamedTuple):
    """A distance near the order statistic, and what to find out about it in every tile.

    keeps_tail: keep the distances above it. counts_reached: count those that reach it.
    """

    distance: int
    keeps_tail: bool
    counts_reached: bool


class Tally(NamedTuple):
    """Elements of a tile above the threshold and at least at it; None for what was not kept."""

    above: int
    reached: int | None
    tail: np.ndarray | None


def rank_from_top(size: int) -> int:
    """Place, counted from the greatest as 1, of the 99th percentile ``ceil(0.99 * size)`` of `size`."""
    return size // 100 + 1


def percentile_of_rows(
    distance: np.ndarray, differing: np.ndarray, ulp: np.ndarray, grid: Grid, mask: np.ndarray
) -> np.ndarray:
    """The 99th percentile of each row of a tile of whole rows; the dtype of `distance`.

    distance: (size,) as `grid` lays it out; differing, ulp: (rows,) number of distances that are
    not 0, and the greatest; mask: bool, overwritten.
    """
    rank = rank_from_top(grid.columns)
    if rank == 1:
        return ulp
    if int(ulp.max()) <= SMALL:
        return _bisect(distance, ulp, grid, rank, mask)
    result = np.zeros_like(ulp)
    ask = differing >= rank
    if ask.any():
        place = grid.columns - rank
        result[ask] = np.partition(grid.of(distance)[ask], place, axis=1)[:, place]
    return result


def _bisect(distance: np.ndarray, ulp: np.ndarray, grid: Grid, rank: int, mask: np.ndarray) -> np.ndarray:
    """The smallest distance of each row that fewer than `rank` elements exceed."""
    low, high = np.zeros_like(ulp), ulp
    above = mask[: grid.size]
    while (low < high).any():
        middle = (low + high) // 2
        np.greater(grid.of(distance), middle[:, None], out=grid.of(above))
        enough = grid.count(above) < rank
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    return low


def sample_places(size: int) -> tuple[int, int]:
    """Stride and width of the blocks that a sample of a long row takes."""
    fewest, most = SAMPLE_BLOCKS
    return size // min(max(size // 4096, fewest), most), SAMPLE_WIDTH


def choose_threshold(sample: np.ndarray) -> Threshold:
    """A threshold from a sample of a row's distances, a little below where the percentile will be.

    Twice the sample's own rank keeps it below with near certainty; whether it was is checked when
    all tiles are counted, so that a misleading sample costs time and never exactness.
    Source: Floyd & Rivest 1975, "Expected Time Bounds for Selection".
    """
    rank = rank_from_top(sample.size)
    place = sample.size - 2 * rank - 16
    distance = np.partition(sample, place)[place]
    above = int(np.count_nonzero(sample > distance))
    return Threshold(int(distance), keeps_tail=2 * above > rank, counts_reached=2 * above < 3 * rank)


def tally(distance: np.ndarray, ulp: int, threshold: Threshold, mask: np.ndarray) -> Tally:
    """Holds the distances (size,) of a tile, whose greatest is `ulp`, against a threshold."""
    limit = distance.dtype.type(threshold.distance)
    reached = None
    if threshold.counts_reached:
        reached = distance.size
        if threshold.distance > 0:
            reached = int(np.count_nonzero(np.greater_equal(distance, limit, out=mask)))
    if ulp <= threshold.distance:
        return Tally(0, reached, distance[:0].copy())
    above = int(np.count_nonzero(np.greater(distance, limit, out=mask)))
    keep = threshold.keeps_tail and above <= distance.size // 4
    return Tally(above, reached, distance.compress(mask) if keep else None)


def conclude(tallies: Sequence[Tally], threshold: Threshold, rank: int) -> int | None:
    """The distance of that rank from the top, where the tallies prove it; else None."""
    above = sum(tally.above for tally in tallies)
    if above >= rank:
        tails = [tally.tail for tally in tallies if tally.tail is not None]
        return select(lambda: tails, rank) if len(tails) == len(tallies) else None
    counts = [tally.reached for tally in tallies if tally.reached is not None]
    return threshold.distance if len(counts) == len(tallies) and sum(counts) >= rank else None


def select(chunks: Callable[[], Iterable[np.ndarray]], rank: int) -> int:
    """The value of that rank from the top (1 is the greatest) of all chunks, in at most four passes.

    chunks: called once a pass, gives unsigned arrays of one dtype in any number. Each pass counts 16
    bits of those values that agree with the bits found so far, most significant first, so memory
    does not grow with the number of values, and ties cost nothing.
    """
    width = 8 * next(iter(chunks())).dtype.itemsize
    found = 0
    for shift in range(width - 16, -1, -16):
        counts = np.zeros(1 << 16, np.int64)
        for chunk in chunks():
            if shift < width - 16:
                chunk = chunk[(chunk >> chunk.dtype.type(shift + 16)) == chunk.dtype.type(found)]
            digits = (chunk >> chunk.dtype.type(shift)).astype(np.uint16)
            counts += np.bincount(digits, minlength=1 << 16)
        from_top = np.cumsum(counts[::-1])
        place = int(np.searchsorted(from_top, rank))
        rank -= int(from_top[place - 1]) if place else 0
        found = (found << 16) | ((1 << 16) - 1 - place)
    return found
