"""Gradients held against a limit: every element, the norm of each tensor, or that of all together."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from parity.adam.convention import ClipFactor
from parity.adam.forms import Clipping, Reduction
from parity.core.layout import Layout
from parity.core.stages import Clip, ClipBy
from parity.numerics.double_double import DoubleDouble, add, divide, multiply, square_root
from parity.numerics.formats import format_of
from parity.numerics.jit import compiled, fma


def clip(
    row: np.ndarray, present: np.ndarray, layout: Layout, asked: Clip, clipping: Clipping, reduction: Reduction
) -> np.ndarray:
    """A row (size,) of gradients after clipping, in its dtype; present: (parameters,), who has one."""
    number = row.dtype.type
    if asked.by is ClipBy.VALUE:
        limit = number(asked.limit)
        # As minimum and maximum have it, NaN stays.
        held: np.ndarray = np.minimum(np.maximum(row, -limit), limit)
        return held
    out = row.copy()
    names = [parameter.name for parameter in layout.parameters]
    for places in _together(layout, present, asked.by):
        in_order = places
        if reduction in (Reduction.IN_ORDER, Reduction.CONTRACTED):
            by_name = dict(zip((place.start for _, place in layout.slices()), names, strict=True))
            in_order = sorted(places, key=lambda place: by_name[place.start])
        norm = _norm([row[place] for place in in_order], reduction)
        for place in places:
            out[place] = _scaled(row[place], norm, number(asked.limit), asked, clipping, len(places))
    return out


def clip_exactly(
    row: DoubleDouble, present: np.ndarray, layout: Layout, asked: Clip, factor: ClipFactor
) -> DoubleDouble:
    """The same in (nearly) exact arithmetic; row (size,) and result are double-doubles."""
    high, low = row.high.copy(), row.low.copy()
    if asked.by is ClipBy.VALUE:
        size = np.abs(high)
        outside = (size > asked.limit) | ((size == asked.limit) & (low * np.sign(high) > 0))
        high[outside], low[outside] = np.copysign(asked.limit, high[outside]), 0.0
        return DoubleDouble(high, low)
    added = 1e-6 if factor is ClipFactor.WITH_1E_6 else 0.0
    for places in _together(layout, present, asked.by):
        total = 0.0, 0.0
        for place in places:
            total = _exact_squares(high[place], low[place], *total)
        norm = _root_and(*total, added)
        if not norm <= (asked.limit, 0.0):
            for place in places:
                _scale_exactly(high[place], low[place], asked.limit, *norm)
    return DoubleDouble(high, low)


def _together(layout: Layout, present: np.ndarray, by: ClipBy) -> Iterator[list[slice]]:
    """Places of the tensors that have a gradient, and whose norm is one."""
    places = [place for (_, place), here in zip(layout.slices(), present, strict=True)
              if here and place.stop > place.start]  # fmt: skip
    if by is ClipBy.GLOBAL_NORM:
        if places:
            yield places
    else:
        yield from ([place] for place in places)


def _scaled(g: np.ndarray, n: np.ndarray, c: np.generic, asked: Clip, clipping: Clipping, tensors: int) -> np.ndarray:
    one, scaled = g.dtype.type(1), g
    match clipping:
        case Clipping.TORCH:
            # Numbers of Python stay as they are, or float32 beside a half, until the result is rounded.
            wide = np.float64 if g.dtype.itemsize == 8 else np.float32
            inverse = (one / (wide(n) + wide(1e-6)).astype(g.dtype)).astype(g.dtype)
            scaled = g * np.minimum((wide(inverse) * wide(asked.limit)).astype(g.dtype), one)
        case Clipping.KERAS | Clipping.KERAS_COMPILED if asked.by is ClipBy.GLOBAL_NORM:
            factor = c * np.minimum(one / n, g.dtype.type(1 / asked.limit))
            scaled = g * (factor + (n - n)).astype(g.dtype)
        case Clipping.KERAS | Clipping.KERAS_COMPILED:
            scaled = (g * c).astype(g.dtype) / np.maximum(n, c)
        case Clipping.OPTAX | Clipping.OPTAX_COMPILED:
            # XLA keeps the inverse of a bfloat16 in float32.
            inverse = np.float32(1) / np.float32(n) if format_of(g).name == "bfloat16" else one / n
            shared = clipping is Clipping.OPTAX_COMPILED and tensors > 1
            quotient = g / n if g.size == 1 or shared else g * inverse
            scaled = g if n < c else quotient.astype(g.dtype) * c
        case _:
            scaled = g if n <= c else g * (c / n)
    return scaled.astype(g.dtype)


_FUSED = (Reduction.FUSED_VECTORS, Reduction.FUSED)
_IN_VECTORS = (Reduction.VECTORS, *_FUSED, Reduction.UNFUSED_VECTORS)


def _norm(tensors: Sequence[np.ndarray], reduction: Reduction) -> np.ndarray:
    """The Euclidean norm of tensors, flat, in their dtype: ()."""
    dtype = tensors[0].dtype
    working = np.dtype(np.float64 if dtype.itemsize == 8 else np.float32)
    if reduction is Reduction.EXACT:
        exact = 0.0, 0.0
        for one in tensors:
            wide = one.astype(np.float64)
            exact = _exact_squares(wide, np.zeros_like(wide), *exact)
        return np.asarray(np.sqrt(exact[0])).astype(dtype)
    if reduction in _IN_VECTORS:
        # The norm of all is that of the norms of each, which are kept in the dtype.
        norms = np.array([np.sqrt(_sum_of_squares(one.astype(working), reduction)) for one in tensors]).astype(dtype)
        return np.asarray(np.sqrt(_sum_of_squares(norms.astype(working), reduction))).astype(dtype)
    sums = np.array([_sum_of_squares(_widened(one, working, reduction), reduction) for one in tensors]).astype(dtype)
    if reduction is Reduction.HALVES:
        total = np.asarray(_summed(sums.astype(working), reduction)).astype(dtype)
    else:
        total = functools.reduce(lambda one, other: (one + other).astype(dtype), sums)
    return np.asarray(np.sqrt(total)).astype(dtype)


def _widened(x: np.ndarray, working: np.dtype[Any], reduction: Reduction) -> np.ndarray:
    """What is summed up: x where squares are formed in the sum, else its squares, rounded to its dtype."""
    return x.astype(working) if reduction is Reduction.CONTRACTED else (x * x).astype(x.dtype).astype(working)


def _sum_of_squares(values: np.ndarray, reduction: Reduction) -> float:
    if reduction in _IN_VECTORS:
        lanes = 1 if reduction is Reduction.FUSED else 32 // values.dtype.itemsize
        rest = values.size % lanes
        fours = rest & 4 & lanes // 2
        plain = 0 if reduction in _FUSED else rest if reduction is Reduction.UNFUSED_VECTORS else fours
        return float(_in_vectors(values, lanes, reduction in _FUSED, plain))
    if reduction is Reduction.CONTRACTED:
        return float(_contracted(values, values.dtype.type(0)))
    return _summed(values, reduction)


def _summed(values: np.ndarray, reduction: Reduction) -> float:
    return float(_halved(values, 32 // values.dtype.itemsize) if reduction is Reduction.HALVES else _in_order(values))


@compiled
def _in_order(values: np.ndarray) -> Any:
    total = values[0]
    for i in range(1, values.size):
        total = total + values[i]
    return total


@compiled
def _contracted(values: np.ndarray, total: Any) -> Any:
    """``total`` and the squares of values, each by one fma."""
    for i in range(values.size):
        total = fma(values[i], values[i], total)
    return total


@compiled
def _in_vectors(values: np.ndarray, lanes: int, fuses: bool, plain: int) -> Any:
    """A sum of squares in `lanes` sums, fuses: by fma; so many of the rest are added plainly, the last by fma."""
    whole = values.size - values.size % lanes
    sums = np.zeros(lanes, values.dtype)
    for i in range(whole):
        square = values[i] * values[i]
        sums[i % lanes] = fma(values[i], values[i], sums[i % lanes]) if fuses else sums[i % lanes] + square
    total = _in_order(sums)
    for i in range(whole, whole + plain):
        square = values[i] * values[i]
        total = total + square
    return _contracted(values[whole + plain :], total)


@compiled
def _halved(values: np.ndarray, lanes: int) -> Any:
    """A sum in `lanes` sums side by side, of which halves are added until one is left."""
    whole = values.size - values.size % lanes
    if whole == 0:
        return _in_order(values)
    sums = values[:lanes].copy()
    for i in range(lanes, whole):
        sums[i % lanes] = sums[i % lanes] + values[i]
    half = lanes // 2
    while half:
        for i in range(half):
            sums[i] = sums[i] + sums[i + half]
        half //= 2
    return sums[0] + _in_order(values[whole:]) if whole < values.size else sums[0]


@compiled
def _exact_squares(high: np.ndarray, low: np.ndarray, total_high: float, total_low: float) -> tuple[float, float]:
    """A total and the squares of double-doubles."""
    for i in range(high.size):
        square_high, square_low = multiply(high[i], low[i], high[i], low[i])
        total_high, total_low = add(total_high, total_low, square_high, square_low)
    return total_high, total_low


@compiled
def _root_and(high: float, low: float, added: float) -> tuple[float, float]:
    root_high, root_low = square_root(high, low)
    norm: tuple[float, float] = add(root_high, root_low, added, 0.0)
    return norm


@compiled
def _scale_exactly(high: np.ndarray, low: np.ndarray, limit: float, norm_high: float, norm_low: float) -> None:
    """Overwrites double-doubles by limit / norm of themselves."""
    scale_high, scale_low = divide(limit, 0.0, norm_high, norm_low)
    for i in range(high.size):
        high[i], low[i] = multiply(high[i], low[i], scale_high, scale_low)
