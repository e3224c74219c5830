"""Numbers that are known to within rounding: a middle and a radius, which every operation widens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parity.identify.points import greatest, roundoff, smallest
from parity.numerics.formats import Format

ROUNDINGS = 4.0
"""Half units by which one operation may round: another order of the same formula has a few of them more."""


@dataclass(frozen=True, slots=True)
class Ball:
    """Every number within `radius` of `middle`, arrays of one shape, as a target in `format` may have computed it."""

    middle: np.ndarray
    radius: np.ndarray
    format: Format

    def __add__(self, other: Any) -> Ball:
        other = self.like(other)
        return self._made(self.middle + other.middle, self.radius + other.radius)

    def __sub__(self, other: Any) -> Ball:
        other = self.like(other)
        return self._made(self.middle - other.middle, self.radius + other.radius)

    def __rsub__(self, other: Any) -> Ball:
        return self.like(other) - self

    def __mul__(self, other: Any) -> Ball:
        other = self.like(other)
        radius = np.abs(self.middle) * other.radius + self.radius * (np.abs(other.middle) + other.radius)
        return self._made(self.middle * other.middle, radius)

    def __truediv__(self, other: Any) -> Ball:
        other = self.like(other)
        least = np.abs(other.middle) - other.radius
        middle = self.middle / other.middle
        radius = np.where(least > 0, (self.radius + np.abs(middle) * other.radius) / np.maximum(least, 0), np.inf)
        # Nothing over nothing is left open, nothing over something is nothing.
        return self._made(middle, np.where((self.middle == 0) & (self.radius == 0) & (least > 0), 0.0, radius))

    def __rtruediv__(self, other: Any) -> Ball:
        return self.like(other) / self

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Ball:
        return replace(self, middle=-self.middle)

    def __abs__(self) -> Ball:
        return replace(self, middle=np.abs(self.middle))

    def square(self) -> Ball:
        """``self ** 2``."""
        return self * self

    def root(self) -> Ball:
        """The square root; of what may be negative, that of 0."""
        low = np.sqrt(np.maximum(self.middle - self.radius, 0))
        high = np.sqrt(np.maximum(self.middle + self.radius, 0))
        middle = np.sqrt(np.maximum(self.middle, 0))
        return self._made(middle, np.maximum(high - middle, middle - low))

    def sign(self) -> Ball:
        """-1, 0 or 1; all of them where it is not known."""
        certain = np.abs(self.middle) > self.radius
        exact = (self.middle == 0) & (self.radius == 0)
        return replace(self, middle=np.sign(self.middle), radius=np.where(certain | exact, 0.0, 2.0))

    def at_least(self, other: Any) -> Ball:
        """``max(self, other)``."""
        return self._extreme(self.like(other), np.maximum)

    def at_most(self, other: Any) -> Ball:
        """``min(self, other)``."""
        return self._extreme(self.like(other), np.minimum)

    def norm(self) -> Ball:
        """The Euclidean norm of all elements, ()."""
        radius = np.sqrt(np.sum(self.radius**2)) + roundoff(self.format) * np.sqrt(np.sum(self.middle**2)) * (
            2 + np.sqrt(self.middle.size)
        )
        return self._made(np.asarray(np.sqrt(np.sum(self.middle**2))), np.asarray(radius))

    def mean(self, axis: int) -> Ball:
        """The mean along an axis, which is kept; sums of as many terms round as often."""
        count = self.middle.shape[axis]
        size = np.mean(np.abs(self.middle), axis=axis, keepdims=True)
        radius = np.mean(self.radius, axis=axis, keepdims=True) + roundoff(self.format) * count * size
        return self._made(np.mean(self.middle, axis=axis, keepdims=True), radius)

    def shaped(self, shape: tuple[int, ...]) -> Ball:
        """The same elements in another shape."""
        return replace(self, middle=self.middle.reshape(shape), radius=self.radius.reshape(shape))

    def where(self, mask: np.ndarray, other: Any) -> Ball:
        """self where the mask is set, other elsewhere."""
        other = self.like(other)
        return replace(
            self,
            middle=np.where(mask, self.middle, other.middle),
            radius=np.where(mask, self.radius, other.radius),
        )

    def like(self, other: Any) -> Ball:
        """Another number as one of these: a plain one is rounded to the format, a whole one is exact."""
        if isinstance(other, Ball):
            return other
        middle = np.asarray(other, np.float64)
        rounded = 0.0 if float(other).is_integer() else roundoff(self.format)
        return Ball(middle, rounded * np.abs(middle), self.format)

    def _extreme(self, other: Ball, which: Callable[..., Any]) -> Ball:
        middle = which(self.middle, other.middle)
        ends = [which(self.middle + sign * self.radius, other.middle + sign * other.radius) for sign in (-1, 1)]
        return replace(self, middle=middle, radius=np.maximum(middle - ends[0], ends[1] - middle))

    def _made(self, middle: np.ndarray, radius: np.ndarray) -> Ball:
        size = np.abs(middle)
        radius = radius + (ROUNDINGS * roundoff(self.format) * size + _lost(self.format))
        # What may overflow may be anything.
        return Ball(middle, np.where(size + radius > greatest(self.format), np.inf, radius), self.format)


def _lost(format: Format) -> float:
    """What may count as zero: subnormal numbers, but for float16, whose range is small and kept by all."""
    return smallest(format) * (1.0 if format.name == "float16" else 2.0 ** (format.precision - 1))


def exact(values: np.ndarray, format: Format) -> Ball:
    """Numbers that are known."""
    return Ball(values, np.zeros_like(values), format)
