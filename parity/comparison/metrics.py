"""All metrics of one pair, exact, in one pass over its memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from parity.comparison.quantile import (
    Tally,
    Threshold,
    choose_threshold,
    conclude,
    percentile_of_rows,
    rank_from_top,
    sample_places,
    select,
    tally,
)
from parity.numerics.far import measure_far
from parity.numerics.formats import Format
from parity.numerics.near import measure_near
from parity.numerics.squares import add_sums, root_mean_square
from parity.numerics.tiles import Grid, Partial, Scratch
from parity.numerics.ulp import check_alike, distance_of_bits, native_format, widen_distance

TILE_BYTES = 1 << 20
"""Memory of one buffer: larger tiles leave the caches, smaller ones cost more calls."""

_KINDS = {
    "elements": np.int64,
    "differing": np.int64,
    "max_abs": np.float64,
    "max_rel": np.float64,
    "max_ulp": np.uint64,
    "p99_ulp": np.uint64,
    "rms_abs": np.float64,
    "worst_index": np.int64,
    "nonfinite": np.int64,
    "opposite_zeros": np.int64,
}


class _Pair(NamedTuple):
    """Unsigned bits (rows, n) of both sides."""

    actual: np.ndarray
    expected: np.ndarray
    format: Format


class _Piece(NamedTuple):
    """What was found in the tile of a long row that starts at `start`."""

    start: int
    partial: Partial
    tally: Tally


@dataclass(frozen=True, slots=True)
class Metrics:
    """Distances of `actual` from `expected`, one value a row (step); read-only arrays (rows,).

    elements: n. differing: elements that differ; both zeros are equal, NaN equals NaN and nothing
    else. max_abs: greatest ``|actual - expected|``, each rounded once to float64. max_rel: greatest
    ``|actual - expected| / |expected|``; 0 where equal, inf where only `expected` is 0. max_ulp: greatest
    distance in ULPs. p99_ulp: smallest distance that at least 99 % of the elements do not exceed.
    rms_abs: ``sqrt(mean((actual - expected)**2))``. worst_index: place in the row of the greatest ULP
    distance, the first among equals; -1 where nothing differs. nonfinite: elements where a side is
    NaN or inf. opposite_zeros: elements where +0 meets -0.

    A nonfinite mismatch (NaN against anything else, inf against anything else) makes max_abs,
    max_rel and rms_abs inf, and its distance in ULPs is NO_DISTANCE. Integers are int64, ULPs uint64,
    the rest float64 in the units of the pair. An empty row has 0 everywhere.
    """

    elements: np.ndarray
    differing: np.ndarray
    max_abs: np.ndarray
    max_rel: np.ndarray
    max_ulp: np.ndarray
    p99_ulp: np.ndarray
    rms_abs: np.ndarray
    worst_index: np.ndarray
    nonfinite: np.ndarray
    opposite_zeros: np.ndarray


def measure(actual: np.ndarray, expected: np.ndarray) -> Metrics:
    """All metrics of each row of a pair.

    actual, expected: (rows, n), equal shape and dtype, one of the four formats; column slices of
    wider arrays and memory maps are read in place. ValueError for unequal shapes or dtypes,
    ParityError for another dtype. The process must not flush subnormals. Memory: about 6 MiB, and
    about 2 % of a row that exceeds a tile (25 % at worst). One thread: several hand the
    interpreter's lock over at every call and are slower; processes are not (`parity.engine.comparer`).
    """
    check_alike(actual, expected)
    format = native_format(actual)
    if actual.ndim != 2:
        raise ValueError(f"actual and expected have to be (rows, n), not of shape {actual.shape}")
    pair = _Pair(actual.view(format.unsigned), expected.view(format.unsigned), format)
    rows, size = actual.shape
    results = {name: np.zeros(rows, kind) for name, kind in _KINDS.items()}
    results["elements"][:] = size
    results["worst_index"][:] = -1
    tile = TILE_BYTES // max(format.dtype.itemsize, 4)
    with np.errstate(all="ignore"):
        if rows and 0 < size <= tile:
            _measure_short_rows(pair, results, tile // size)
        elif rows and size > tile:
            _measure_long_rows(pair, results, tile)
    for array in results.values():
        array.flags.writeable = False
    return Metrics(**results)


def _measure_short_rows(pair: _Pair, results: dict[str, np.ndarray], rows_at_once: int) -> None:
    rows, size = pair.actual.shape
    scratch = Scratch(pair.format, min(rows, rows_at_once) * size)
    for row in range(0, rows, rows_at_once):
        place = slice(row, min(row + rows_at_once, rows))
        grid = Grid(place.stop - place.start, size)
        found, distance = _measure_tile(pair.actual[place], pair.expected[place], grid, scratch)
        percentile = percentile_of_rows(distance, found.differing, found.ulp, grid, scratch.mask)
        _store(results, place, found, percentile, pair.format)


def _measure_long_rows(pair: _Pair, results: dict[str, np.ndarray], tile: int) -> None:
    rows, size = pair.actual.shape
    rank = rank_from_top(size)
    scratch = Scratch(pair.format, tile)
    for row in range(rows):
        threshold = _sampled_threshold(pair, row)
        pieces = list(_measure_row(pair, row, tile, threshold, scratch))
        percentile = conclude([piece.tally for piece in pieces], threshold, rank)
        if percentile is None:
            percentile = select(partial(_distances, pair, row, tile), rank)
        merged = _merge(pieces)
        _store(results, slice(row, row + 1), merged, np.array([percentile], pair.format.unsigned), pair.format)


def _sampled_threshold(pair: _Pair, row: int) -> Threshold:
    size = pair.actual.shape[1]
    stride, width = sample_places(size)
    left, right = (
        side[row, : size // stride * stride].reshape(-1, stride)[:, :width] for side in (pair.actual, pair.expected)
    )
    return choose_threshold(distance_of_bits(left, right, pair.format).reshape(-1))


def _measure_row(pair: _Pair, row: int, tile: int, threshold: Threshold, scratch: Scratch) -> Iterator[_Piece]:
    """Tiles of one row, in order; each knows how far the tiles before it have reached."""
    relative, ulp = 0.0, 0
    size = pair.actual.shape[1]
    for first in range(0, size, tile):
        place = slice(first, min(first + tile, size))
        grid = Grid(1, place.stop - first)
        left, right = pair.actual[row : row + 1, place], pair.expected[row : row + 1, place]
        found, distance = _measure_tile(left, right, grid, scratch, relative, ulp)
        greatest = int(found.ulp[0])
        relative, ulp = max(relative, float(found.relative[0])), max(ulp, greatest)
        yield _Piece(first, found, tally(distance, greatest, threshold, scratch.mask[: grid.size]))


def _measure_tile(
    actual: np.ndarray,
    expected: np.ndarray,
    grid: Grid,
    scratch: Scratch,
    relative_floor: float = 0.0,
    ulp_floor: int = 0,
) -> tuple[Partial, np.ndarray]:
    left, right = grid.flatten(actual, scratch.actual), grid.flatten(expected, scratch.expected)
    near = measure_near(left, right, grid, scratch, relative_floor, ulp_floor)
    return near or measure_far(left, right, grid, scratch.format)


def _merge(pieces: list[_Piece]) -> Partial:
    """One row out of its tiles: sums, maxima, and the place of the first tile that reaches furthest."""
    stacked = Partial(*(np.concatenate(column) for column in zip(*(p.partial for p in pieces), strict=True)))
    furthest = int(stacked.ulp.argmax())
    worst = stacked.worst[furthest : furthest + 1]
    squares, exponent = add_sums(stacked.squares, stacked.exponent)
    return Partial(
        differing=stacked.differing.sum(keepdims=True),
        high=stacked.high.max(keepdims=True),
        relative=stacked.relative.max(keepdims=True),
        ulp=stacked.ulp.max(keepdims=True),
        squares=squares,
        exponent=exponent,
        worst=np.where(worst < 0, worst, worst + pieces[furthest].start),
        nonfinite=stacked.nonfinite.sum(keepdims=True),
        opposite_zeros=stacked.opposite_zeros.sum(keepdims=True),
    )


def _store(
    results: dict[str, np.ndarray], place: slice, found: Partial, percentile: np.ndarray, format: Format
) -> None:
    size = int(results["elements"][place.start])
    results["differing"][place] = found.differing
    results["max_abs"][place] = found.high
    results["max_rel"][place] = found.relative
    results["max_ulp"][place] = widen_distance(found.ulp, format)
    results["p99_ulp"][place] = widen_distance(percentile, format)
    results["rms_abs"][place] = root_mean_square(found.squares, found.exponent, size)
    results["worst_index"][place] = found.worst
    results["nonfinite"][place] = found.nonfinite
    results["opposite_zeros"][place] = found.opposite_zeros


def _distances(pair: _Pair, row: int, tile: int) -> Iterator[np.ndarray]:
    for start in range(0, pair.actual.shape[1], tile):
        place = slice(start, start + tile)
        yield distance_of_bits(pair.actual[row, place], pair.expected[row, place], pair.format)
