"""An exponential average, m or v, held against what was recorded: ``b * before + d * fresh``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parity.identify.points import greatest, roundoff, smallest
from parity.identify.reading import Reading, quotient
from parity.numerics.formats import Format

ROUNDINGS = 4.0
"""Of each term: its factor, the factor's rounding, the product, the sum; each of half a unit, and the terms cancel."""


@dataclass(frozen=True, slots=True)
class Average:
    """Recorded values of an average and what goes into it; arrays are (points,).

    before, after: the average. fresh: what is averaged, its size as `scale` if that is not |fresh| (a difference
    rounds by its terms); exempt: mask of points that are explained otherwise.
    b, d: factors expected. format: in which it is computed.
    """

    before: np.ndarray
    after: np.ndarray
    fresh: np.ndarray
    b: np.ndarray
    d: np.ndarray
    format: Format
    scale: np.ndarray | None = None
    exempt: np.ndarray | None = None

    @property
    def expected(self) -> np.ndarray:
        """``b * before + d * fresh``."""
        with np.errstate(all="ignore"):
            return np.asarray(self.b * self.before + self.d * self.fresh)

    @property
    def error(self) -> np.ndarray:
        """By how much rounding may move it: units of the terms, and subnormal spacings of every product."""
        with np.errstate(all="ignore"):
            return self._error(np.abs(self.d) * self._size)

    @property
    def _size(self) -> np.ndarray:
        return np.abs(self.fresh) if self.scale is None else self.scale

    def _error(self, term: np.ndarray) -> np.ndarray:
        """By how much rounding may move the average, its fresh term being of that size."""
        u, least = roundoff(self.format), smallest(self.format)
        terms = np.abs(self.b * self.before) + term + np.abs(self.after)
        # beta2 of bfloat16 is 1 and its complement 0.001: half a unit of v itself.
        return np.asarray(ROUNDINGS * u * terms + 2 * least * (1 + np.sqrt(self._size)))

    @property
    def _reading_error(self) -> np.ndarray:
        """As `error`, of a factor that is not known: what is recorded bounds the fresh term, too."""
        with np.errstate(all="ignore"):
            shown = (np.abs(self.before) + np.abs(self.after)) * (self._size / np.abs(self.fresh))
            return self._error(np.fmin(np.abs(self.d) * self._size, shown))

    @property
    def wrong(self) -> np.ndarray:
        """Mask of the points that are not what is expected, however it was rounded."""
        with np.errstate(all="ignore"):
            far = ~(np.abs(self.after - self.expected) <= self.error)
            return np.asarray(far & self.judged)

    @property
    def judged(self) -> np.ndarray:
        """Mask of the points that tell something: nothing overflows, and the state before is a number."""
        most = greatest(self.format)
        with np.errstate(all="ignore"):
            kept = True if self.exempt is None else ~self.exempt
            return np.asarray(
                kept & np.isfinite(self.before) & (np.abs(self.fresh) < most) & (np.abs(self.before) < most)
            )

    def consistent(self, chosen: np.ndarray) -> Reading:
        """The d that agrees with all chosen points where b = 1 - d."""
        return quotient(
            (self.after - self.before)[chosen], (self.fresh - self.before)[chosen], self._reading_error[chosen]
        )

    def factor(self, chosen: np.ndarray) -> Reading:
        """The d that agrees with all chosen points where b is as expected."""
        return quotient((self.after - self.b * self.before)[chosen], self.fresh[chosen], self._reading_error[chosen])
