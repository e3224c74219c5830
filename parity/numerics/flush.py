"""Subnormal numbers as the zeros they become on hardware that flushes."""

from __future__ import annotations

import numpy as np

from parity.numerics.formats import Format, format_of

_BLOCK = 1 << 16


def flush_subnormals(array: np.ndarray) -> np.ndarray:
    """Makes subnormal numbers zeros of the same sign, in place; returns the array.

    array: any shape and strides, any of the four formats. The smallest normal number, zeros, inf and NaN stay.
    """
    format = format_of(array)
    bits = array.view(format.unsigned)
    with np.nditer([bits], ["external_loop", "zerosize_ok"], [["readwrite"]]) as runs:
        for run in runs:
            line = np.asarray(run)
            for start in range(0, line.size, _BLOCK):
                _flush(line[start : start + _BLOCK], format)
    return array


def _flush(bits: np.ndarray, format: Format) -> None:
    magnitude = bits << 1
    smallest_normal = format.unsigned.type(2 << (format.precision - 1))
    if magnitude.min() < smallest_normal:
        np.bitwise_and(bits, format.unsigned.type(format.sign_bit), out=bits, where=magnitude < smallest_normal)
