"""16-bit numbers as float32, exactly and without a conversion table."""

from __future__ import annotations

import numpy as np

from parity.numerics.formats import Format


def widen(bits: np.ndarray, format: Format, out: np.ndarray) -> np.ndarray:
    """The finite numbers of a 16-bit format as float32; exact, subnormals included.

    bits: (size,) int16, out: (size,) float32, which is returned. The bits move to where float32
    keeps its sign, exponent and significand; float16, whose exponents are biased by 15 and not by
    127, is then scaled by 2**112. inf and NaN of float16 become finite: the caller sorts them out.
    """
    wide = out.view(np.int32)
    np.copyto(wide, bits)
    np.left_shift(wide, 24 - format.precision, out=wide)
    if format.exponent_bits < 8:
        # The sign-extending copy has left copies of the sign in the upper exponent bits.
        np.bitwise_and(wide, np.int32(0x8FFFE000 - 2**32), out=wide)
        np.multiply(out, np.float32(2.0**112), out=out)
    return out
