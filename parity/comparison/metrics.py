"""All metrics of pairs, exact, in one pass over their memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from parity.comparison import kernels
from parity.comparison.kernels import PIECE
from parity.numerics.formats import Format, format_named
from parity.numerics.threads import at_once
from parity.numerics.ulp import check_alike, native_format, widen_distance

ROWS_ELEMENTS = 1 << 16
"""Elements of a side that are measured for all pairs before the next: they stay in a core's cache."""

THREADED = 1 << 18
"""Elements from which several threads are faster than one."""

SAMPLE_RUNS, SAMPLE_WIDTH = 512, 16
"""Of a long row, what is looked at to guess its 99th percentile."""

SAMPLE_SPREAD = 48
"""Places of the sample around that, between which it stands in the row: five times sqrt(8192 * 0.01 * 0.99)."""

SELECT_DIGIT = 12
"""Bits that a selection from a long row counts in a pass."""

_Layout = tuple[Any, Any, Any, int, float]


class _Side(NamedTuple):
    """Bits (n,) of one side, whose rows begin `stride` elements apart."""

    bits: np.ndarray
    stride: int


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
    ParityError for another dtype. The process must not flush subnormals.
    """
    check_alike(actual, expected)
    native_format(actual)
    if actual.ndim != 2:
        raise ValueError(f"actual and expected have to be (rows, n), not of shape {actual.shape}")
    return measure_pairs([actual, expected], [(0, 1)], [slice(0, actual.shape[1])])[0][0]


def measure_pairs(
    sides: Sequence[np.ndarray], pairs: Sequence[tuple[int, int]], places: Sequence[slice]
) -> list[tuple[Metrics, ...]]:
    """All metrics of each row of each pair of sides, one for each place; pairs whose bits are the same share them.

    sides: (rows, n) each, alike, as `measure` takes them; pairs: numbers of `actual` and `expected`. places: parts of
    a row. As many threads as there are CPUs; the results do not depend on their number.
    """
    if not pairs:
        return []
    format = native_format(sides[0])
    rows, columns = sides[0].shape
    flat = [_flat(side, format) for side in sides]
    kinds = _kinds(flat, rows, columns)
    classes = {(kinds[actual], kinds[expected]): None for actual, expected in pairs}
    asked = dict(zip(classes, _measured(flat, list(classes), places, rows, format), strict=True))
    return [asked[kinds[actual], kinds[expected]] for actual, expected in pairs]


def _flat(side: np.ndarray, format: Format) -> _Side:
    """Without a copy where the elements of a row stand next to each other."""
    rows, columns = side.shape
    bits = side.view(format.unsigned) if side.dtype != format.unsigned else side
    item = bits.itemsize
    if not (bits.strides[1] == item and bits.strides[0] % item == 0 and bits.strides[0] >= columns * item):
        bits = np.ascontiguousarray(bits)
    stride = bits.strides[0] // item if rows > 1 else columns
    length = (rows - 1) * stride + columns if rows and columns else 0
    # Read-only like memory maps, so that the same machine code serves both.
    return _Side(as_strided(bits, (length,), (item,), writeable=False), stride)


def _kinds(sides: Sequence[_Side], rows: int, columns: int) -> list[int]:
    """For each side the first one that holds the same bits."""
    kinds: list[int] = []
    if len(sides) == 2:
        # The measuring itself finds out.
        return [0, 1]
    for number, one in enumerate(sides):
        same = (
            kind
            for kind in dict.fromkeys(kinds)
            if kernels.rows_are_equal(sides[kind].bits, one.bits, (sides[kind].stride, one.stride), rows, columns)
        )
        kinds.append(next(same, number))
    return kinds


def _measured(
    sides: Sequence[_Side], pairs: Sequence[tuple[int, int]], places: Sequence[slice], rows: int, format: Format
) -> list[tuple[Metrics, ...]]:
    sizes = [place.stop - place.start for place in places]
    counts = np.zeros((len(pairs), len(places), 4, rows), np.int64)
    ulps = np.zeros((len(pairs), len(places), 2, rows), np.uint64)
    reals = np.zeros((len(pairs), len(places), 3, rows))
    # A long place is empty here.
    edges = np.array([(place.start, place.stop if place.stop - place.start <= PIECE else place.start)
                      for place in places], np.int64).reshape(-1, 2)  # fmt: skip
    layout = _layout(format.name)
    elements = int((edges[:, 1] - edges[:, 0]).sum())
    step = max(1, ROWS_ELEMENTS // max(1, elements))

    def whole_rows(first: int) -> None:
        span = first, min(first + step, rows)
        for number, (actual, expected) in enumerate(pairs):
            left, right = sides[actual], sides[expected]
            strides = left.stride, right.stride
            kernels.measure_rows(
                left.bits, right.bits, strides, span, edges, layout, counts[number], ulps[number], reals[number]
            )

    _run([partial(whole_rows, first) for first in range(0, rows, step)], elements * rows * len(pairs))
    for place in (number for number, size in enumerate(sizes) if size > PIECE):
        for row in range(rows):
            at = slice(None), place, slice(None), row
            counts[at], ulps[at], reals[at] = _measure_long(sides, pairs, row, places[place], layout)
    none = ulps[:, :, 0] == layout[2]
    reals[np.broadcast_to(none[:, :, None], reals.shape)] = np.inf
    ulps = widen_distance(ulps, format)
    for array in (counts, ulps, reals):
        array.flags.writeable = False
    elements_of = [_constant(rows, size) for size in sizes]
    return [
        tuple(_metrics(elements_of[place], counts[pair, place], ulps[pair, place], reals[pair, place])
              for place in range(len(places)))
        for pair in range(len(pairs))
    ]  # fmt: skip


def _constant(rows: int, value: int) -> np.ndarray:
    array = np.full(rows, value, np.int64)
    array.flags.writeable = False
    return array


def _metrics(elements: np.ndarray, counts: np.ndarray, ulps: np.ndarray, reals: np.ndarray) -> Metrics:
    differing, worst, nonfinite, opposite = counts
    return Metrics(elements, differing, reals[0], reals[1], ulps[0], ulps[1], reals[2], worst, nonfinite, opposite)


def _measure_long(
    sides: Sequence[_Side], pairs: Sequence[tuple[int, int]], row: int, place: slice, layout: _Layout
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One row of one place, piece by piece: what `kernels.measure_rows` finds, for each pair."""
    bits = [side.bits[row * side.stride + place.start : row * side.stride + place.stop] for side in sides]
    size = place.stop - place.start
    rank = size // 100 + 1
    pieces = [slice(start, min(start + PIECE, size)) for start in range(0, size, PIECE)]
    found = np.zeros((len(pairs), len(pieces), 6), np.int64)
    tops = np.zeros((len(pairs), len(pieces), 1), np.uint64)
    sums = np.zeros((len(pairs), len(pieces), 5))
    guesses = [_guess(bits[actual], bits[expected], layout) for actual, expected in pairs]
    limits = [guess[1] for guess in guesses]

    def one_piece(number: int) -> None:
        piece = pieces[number]
        for pair, (actual, expected) in enumerate(pairs):
            left, right = bits[actual][piece], bits[expected][piece]
            kernels.measure_part(
                left, right, limits[pair], layout, found[pair, number], tops[pair, number], sums[pair, number]
            )

    _run([partial(one_piece, number) for number in range(len(pieces))], size * len(pairs))
    counts, ulps = np.zeros((len(pairs), 4), np.int64), np.zeros((len(pairs), 2), np.uint64)
    reals = np.zeros((len(pairs), 3))
    for pair, (actual, expected) in enumerate(pairs):
        total = found[pair].sum(axis=0)
        furthest = int(tops[pair, :, 0].argmax())
        worst = found[pair, furthest, kernels.WORST]
        top = tops[pair, furthest, 0]
        counts[pair] = total[:4]
        counts[pair, kernels.WORST] = worst if worst < 0 else worst + pieces[furthest].start
        ulps[pair, 0] = top
        if total[kernels.DIFFERING] < rank:
            ulps[pair, 1] = 0
        elif total[kernels.ABOVE] < rank <= total[kernels.REACHED]:
            ulps[pair, 1] = limits[pair]
        else:
            left, right = bits[actual], bits[expected]
            near = _select_between(left, right, pieces, rank, guesses[pair], layout)
            ulps[pair, 1] = _select(left, right, pieces, rank, int(top), layout) if near is None else near
        reals[pair, :2] = sums[pair, :, :2].max(axis=0)
        reals[pair, 2] = kernels.root_mean_square(*(_in_order(column) for column in sums[pair, :, 2:].T), size)
    return counts, ulps, reals


def _in_order(values: np.ndarray) -> float:
    total = 0.0
    for value in values.tolist():
        total += value
    return total


def _guess(left: np.ndarray, right: np.ndarray, layout: _Layout) -> np.ndarray:
    """The 99th percentile of a sample of a long row, between what stands around it: (3,); all that is a guess."""
    stride = left.size // SAMPLE_RUNS
    sampled = [side[: SAMPLE_RUNS * stride].reshape(SAMPLE_RUNS, stride)[:, :SAMPLE_WIDTH] for side in (left, right)]
    distances = np.empty(SAMPLE_RUNS * SAMPLE_WIDTH, left.dtype)
    x, y = (np.ascontiguousarray(side).reshape(-1) for side in sampled)
    kernels.distances_of(x, y, distances, layout[0], layout[1])
    place = distances.size - 1 - distances.size // 100
    around = [place - SAMPLE_SPREAD, place, place + SAMPLE_SPREAD]
    guess: np.ndarray = np.partition(distances, around)[around]
    return guess


def _select_between(
    left: np.ndarray, right: np.ndarray, pieces: Sequence[slice], rank: int, guess: np.ndarray, layout: _Layout
) -> int | None:
    """The distance of that rank from the top, in one more pass; None where too many, or others, stand around it."""
    found = np.zeros((len(pieces), 2), np.int64)
    room = np.empty((len(pieces), PIECE // 8), left.dtype)

    def one_piece(number: int) -> None:
        piece = pieces[number]
        found[number] = kernels.collect_between(left[piece], right[piece], layout, guess[0], guess[2], room[number])

    _run([partial(one_piece, number) for number in range(len(pieces))], left.size)
    if (found[:, 0] < 0).any():
        return None
    near = np.concatenate([part[:size] for part, size in zip(room, found[:, 0].tolist(), strict=True)])
    place = near.size - (rank - int(found[:, 1].sum()))
    return int(np.partition(near, place)[place]) if 0 <= place < near.size else None


def _select(left: np.ndarray, right: np.ndarray, pieces: Sequence[slice], rank: int, top: int, layout: _Layout) -> int:
    """The distance of that rank from the top (1 is the greatest), digit by digit, a pass over the row for each."""
    prefix, above, length = 0, 64, top.bit_length()
    while length:
        shift = max(length - SELECT_DIGIT, 0)
        digits = np.zeros((len(pieces), 1 << (length - shift)), np.int64)

        def one_piece(number: int, prefix: int, above: int, shift: int, digits: np.ndarray) -> None:
            piece = pieces[number]
            mask = np.uint64(digits.shape[1] - 1)
            kernels.count_digits_of_row(
                left[piece], right[piece], layout, np.uint64(prefix), above, shift, mask, digits[number]
            )

        _run([partial(one_piece, n, prefix, above, shift, digits) for n in range(len(pieces))], left.size)
        digit, rank = kernels.digit_from_top(digits.sum(axis=0), rank)
        prefix, above, length = prefix << (length - shift) | digit, shift, shift
    return prefix


def _run(tasks: Sequence[Callable[[], None]], elements: int) -> None:
    """In as many threads as there are CPUs, where that is worth it."""
    if len(tasks) > 1 and elements >= THREADED:
        at_once(tasks)
    else:
        for task in tasks:
            task()


@cache
def _layout(format_name: str) -> _Layout:
    """What the kernels need to know of a format."""
    format = format_named(format_name)
    kind = format.unsigned.type
    # A 16-bit number is a float32 with fewer bits; float16 has another bias.
    scale = 2.0**112 if format.exponent_bits < 8 else 1.0
    words = format.sign_bit - 1, format.infinity_bits, 2 * format.sign_bit - 1
    return *map(kind, words), 24 - format.precision if kind is np.uint16 else 0, scale
