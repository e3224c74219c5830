"""Arrays rounded once to a format."""

from __future__ import annotations

import numpy as np

from parity.numerics.formats import Format

_BLOCK = 1 << 14


def round_to(values: np.ndarray, format: Format, out: np.ndarray | None = None) -> np.ndarray:
    """The numbers of a format that are nearest to the values, ties to even.

    values: any shape, any of the four formats; out: same shape, the format's dtype, returned; may be values
    themselves. Subnormal numbers and signs of zeros are kept, what lies beyond the range becomes inf, NaN stays NaN.
    Differs from: ``values.astype(bfloat16)``, which takes doubles through float32 and so rounds them twice
    (ml_dtypes 0.6): 1 + 2**-8 + 2**-40 becomes 1, not 1 + 2**-7.
    """
    if out is None:
        out = np.empty(values.shape, format.dtype)
    with np.errstate(all="ignore"):
        if values.dtype != np.float64 or format.name != "bfloat16":
            np.copyto(out, values, casting="unsafe")
            return out
        with np.nditer(
            [values, out],
            ["external_loop", "buffered", "zerosize_ok"],
            [["readonly"], ["writeonly"]],
            buffersize=_BLOCK,
        ) as blocks:
            for block, rounded in blocks:
                round_block(block, format, rounded)
    return out


def round_block(values: np.ndarray, format: Format, out: np.ndarray) -> None:
    """`round_to` of doubles (n,) few enough for scratch memory of their size; may set floating-point errors."""
    np.copyto(out, _float32_to_odd(values) if format.name == "bfloat16" else values, casting="unsafe")


def _float32_to_odd(values: np.ndarray) -> np.ndarray:
    """Doubles (n,) as float32, rounded to odd: what is no float32 goes to the neighbour whose last bit is 1.

    Rounding that to 16 bits is rounding the double; see Boldo and Melquiond 2008.
    """
    nearest = values.astype(np.float32)
    back = nearest.astype(np.float64)
    if not (inexact := back != values).any():
        return nearest
    inexact &= values == values
    bits = nearest.view(np.int32)
    # Bits of one sign grow with the magnitude, from zero to inf.
    step = np.where(np.abs(back) < np.abs(values), np.int32(1), np.int32(-1))
    np.add(bits, step, out=bits, where=inexact & ((bits & 1) == 0))
    return nearest
