"""Cache-sized pieces of a pair: their shape, their scratch memory, and what is measured on one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from parity.numerics.formats import Format

TRANSPOSED_COLUMNS = 48
"""Rows no longer than this are held column by column, so that reductions run across rows."""


class Partial(NamedTuple):
    """Metrics of the rows of one tile, each of shape (rows,).

    differing, nonfinite, opposite_zeros, worst: int64; high, relative: float64 maxima; ulp: greatest
    distance in the format's unsigned dtype; squares, exponent: sum of squares ``squares * 4**exponent``.
    """

    differing: np.ndarray
    high: np.ndarray
    relative: np.ndarray
    ulp: np.ndarray
    squares: np.ndarray
    exponent: np.ndarray
    worst: np.ndarray
    nonfinite: np.ndarray
    opposite_zeros: np.ndarray


@dataclass(frozen=True, slots=True)
class Grid:
    """How (rows, columns) stand in flat scratch memory: row by row, or column by column."""

    rows: int
    columns: int

    @property
    def size(self) -> int:
        """Elements of the tile."""
        return self.rows * self.columns

    @property
    def transposed(self) -> bool:
        """Whether memory runs down the columns."""
        return self.rows > 1 and self.columns <= TRANSPOSED_COLUMNS

    def of(self, flat: np.ndarray) -> np.ndarray:
        """A flat array (size,) as (rows, columns); no copy."""
        if self.transposed:
            return flat.reshape(self.columns, self.rows).T
        return flat.reshape(self.rows, self.columns)

    def greatest(self, flat: np.ndarray, ufunc: np.ufunc = np.maximum) -> np.ndarray:
        """Greatest element of each row: maximum passes NaN on, fmax passes over it."""
        if self.rows == 1:
            return np.asarray(ufunc.reduce(flat, keepdims=True))
        return np.asarray(ufunc.reduce(self.of(flat), axis=1))

    def worst(self, distance: np.ndarray, ulp: np.ndarray) -> np.ndarray:
        """Place in its row of the first element at the greatest distance; -1 where that is 0."""
        if self.rows == 1:
            return np.array([distance.argmax() if ulp[0] else -1], np.int64)
        return np.where(ulp > 0, self.of(distance).argmax(axis=1), -1)

    def rows_of(self, places: np.ndarray) -> np.ndarray:
        """Row of each place in flat memory."""
        return places % self.rows if self.transposed else places // self.columns

    def flatten(self, block: np.ndarray, copy: np.ndarray) -> np.ndarray:
        """A block (rows, columns) as flat memory; copied into `copy` unless it lies so already."""
        if not self.transposed and block.flags.c_contiguous:
            return block.reshape(-1)
        flat = copy[: self.size]
        np.copyto(self.of(flat), block)
        return flat

    def count(self, mask: np.ndarray) -> np.ndarray:
        """True elements of each row of a flat mask; int64."""
        if self.rows == 1:
            return np.array([np.count_nonzero(mask)], np.int64)
        counts: np.ndarray = np.add.reduce(self.of(mask).view(np.uint8), axis=1, dtype=np.int32)
        return counts.astype(np.int64)

    def count_nonzero(self, flat: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Elements of each row that are not 0; int64. mask: bool, overwritten."""
        if self.rows == 1:
            return np.array([np.count_nonzero(flat)], np.int64)
        return self.count(np.not_equal(flat, 0, out=mask[: self.size]))


@dataclass(frozen=True, slots=True)
class Scratch:
    """Memory that one thread uses again for every tile: `capacity` elements of each buffer."""

    format: Format
    capacity: int
    actual: np.ndarray = field(init=False)
    expected: np.ndarray = field(init=False)
    distance: np.ndarray = field(init=False)
    first: np.ndarray = field(init=False)
    second: np.ndarray = field(init=False)
    wide: np.ndarray = field(init=False)
    mask: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        unsigned = self.format.unsigned
        working = np.float64 if unsigned.itemsize == 8 else np.float32
        kinds = {
            "actual": unsigned,
            "expected": unsigned,
            "distance": unsigned,
            "first": working,
            "second": working,
            "wide": np.float64,
            "mask": np.bool_,
        }
        for name, kind in kinds.items():
            object.__setattr__(self, name, np.empty(self.capacity, kind))
