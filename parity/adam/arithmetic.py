"""Choices of an Adam that matter only because numbers are rounded."""

from __future__ import annotations

from enum import StrEnum

from parity.numerics.formats import FORMATS, Format


class Arithmetic(StrEnum):
    """When a number is rounded, to nearest, ties to even.

    EACH_OPERATION: after every operation, to the dtype of the weights. In float16 and bfloat16 an
    operation computed in float32 and then rounded is the correctly rounded one, as float32 carries
    24 >= 2 * p + 2 bits (p = 11 and 8; Figueroa 1995); this is what the ufuncs of NumPy and ml_dtypes do.
    AT_STORE: a step computes in float32 and rounds m, v, vmax and w once, when it stores them;
    w is updated from the unrounded moments. For float32 and float64 the same as EACH_OPERATION.
    """

    EACH_OPERATION = "each_operation"
    AT_STORE = "at_store"


def working_format(arithmetic: Arithmetic, stored: Format) -> Format:
    """The format in which a step computes on tensors that are stored in `stored`."""
    if arithmetic is Arithmetic.AT_STORE and stored.dtype.itemsize < 4:
        return FORMATS["float32"]
    return stored
