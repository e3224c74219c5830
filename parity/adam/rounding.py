"""A Python double, rounded once to a format."""

from __future__ import annotations

import math
from typing import Any

from parity.numerics.formats import Format


def rounded(value: float, format: Format) -> Any:
    """The scalar of the format that is nearest to a double, ties to even; beyond its range, inf.

    ``ml_dtypes.bfloat16(value)`` is no substitute: it goes through float32 and so rounds twice
    (ml_dtypes 0.6): 1 + 2**-8 + 2**-40 becomes 1, not 1 + 2**-7.
    """
    if not math.isfinite(value) or value == 0:
        return format.dtype.type(value)
    smallest = 3 - 2 ** (format.exponent_bits - 1)
    spacing = max(math.frexp(value)[1], smallest) - format.precision
    nearest = round(math.ldexp(value, -spacing)) * 2.0**spacing
    return format.dtype.type(math.copysign(nearest, value))
