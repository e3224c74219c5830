"""The floating-point formats that are compared, and their bits."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from parity.core.errors import ParityError, nearest


@dataclass(frozen=True, slots=True)
class Format:
    """A binary floating-point format of IEEE 754 shape.

    name: as users write it; dtype: NumPy's; unsigned, signed: integers of the same width, which
    hold its bits; precision: significand bits with the hidden one, so the unit roundoff is
    2**-precision; exponent_bits: width of the exponent field.
    """

    name: str
    dtype: np.dtype
    unsigned: np.dtype
    signed: np.dtype
    precision: int
    exponent_bits: int

    @property
    def infinity_bits(self) -> int:
        """Bits of +inf; greater magnitudes are NaN."""
        return ((1 << self.exponent_bits) - 1) << (self.precision - 1)

    @property
    def sign_bit(self) -> int:
        """Bits of -0."""
        return 1 << (self.dtype.itemsize * 8 - 1)


def _format(name: str, dtype: object, precision: int, exponent_bits: int) -> Format:
    float_dtype = np.dtype(dtype)  # type: ignore[call-overload]
    width = float_dtype.itemsize
    return Format(name, float_dtype, np.dtype(f"u{width}"), np.dtype(f"i{width}"), precision, exponent_bits)


FORMATS: dict[str, Format] = {
    "float64": _format("float64", np.float64, 53, 11),
    "float32": _format("float32", np.float32, 24, 8),
    "float16": _format("float16", np.float16, 11, 5),
    "bfloat16": _format("bfloat16", ml_dtypes.bfloat16, 8, 8),
}


def format_named(name: str) -> Format:
    """The format of that name; ParityError with the nearest name where there is none."""
    try:
        return FORMATS[name]
    except KeyError:
        raise ParityError(f"dtype {name!r} is unknown; {nearest(name, FORMATS)}") from None


def format_of(array: np.ndarray) -> Format:
    """The format of an array's dtype; ParityError where it is none of the four."""
    return format_named(array.dtype.name)


def to_bits(array: np.ndarray) -> np.ndarray:
    """A float array as the unsigned integers that hold its bits; no copy."""
    return array.view(format_of(array).unsigned)


def from_bits(bits: np.ndarray, format: Format) -> np.ndarray:
    """Integer bits as an array of the format; no copy."""
    return bits.view(format.dtype)
