"""The floating-point formats that are compared, and their bits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from parity.core.errors import ParityError, nearest
from parity.core.layout import Layout


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

_BY_DTYPE = {one.dtype: one for one in FORMATS.values()}


def format_named(name: str) -> Format:
    """The format of that name; ParityError with the nearest name where there is none."""
    try:
        return FORMATS[name]
    except KeyError:
        raise ParityError(f"dtype {name!r} is unknown; {nearest(name, FORMATS)}") from None


def format_of(array: np.ndarray) -> Format:
    """The format of an array's dtype; ParityError where it is none of the four."""
    # A dtype makes its name anew whenever it is asked for it.
    return _BY_DTYPE.get(array.dtype) or format_named(array.dtype.name)


def widest(formats: Iterable[Format]) -> Format:
    """The narrowest of the four that holds every number of all of them: float32 for float16 and bfloat16."""
    asked = list(formats)
    precision, exponent_bits = max(one.precision for one in asked), max(one.exponent_bits for one in asked)
    holding = [one for one in FORMATS.values() if one.precision >= precision and one.exponent_bits >= exponent_bits]
    return min(holding, key=lambda one: one.dtype.itemsize)


def formats_in(layout: Layout, format: Format) -> tuple[Format, ...]:
    """That of every parameter: its own, or the one given."""
    return tuple(format_named(one.dtype) if one.dtype else format for one in layout.parameters)


def row_format(layout: Layout, format: Format) -> Format:
    """The one in which a row of all parameters is stored, so that every number of each is exact."""
    return widest(formats_in(layout, format))


def in_format(array: np.ndarray, format: Format) -> np.ndarray:
    """The same numbers in another format that holds them all; no copy where it is that already."""
    if array.dtype == format.dtype:
        return array
    with np.errstate(all="ignore"):
        return array.astype(format.dtype)


def numbers(bits: np.ndarray, format: Format) -> np.ndarray:
    """Bits as numbers of the format, or of the IEEE format of their own width where they are wider; no copy."""
    wide = format if bits.itemsize == format.dtype.itemsize else FORMATS["float32" if bits.itemsize == 4 else "float64"]
    return bits.view(wide.dtype)


def to_bits(array: np.ndarray) -> np.ndarray:
    """A float array as the unsigned integers that hold its bits; no copy."""
    return array.view(format_of(array).unsigned)


def from_bits(bits: np.ndarray, format: Format) -> np.ndarray:
    """Integer bits as an array of the format; no copy."""
    return bits.view(format.dtype)
