"""Distance of floating-point numbers in units in the last place, exact in every format."""

from __future__ import annotations

import numpy as np

from parity.numerics.formats import Format, format_of

NO_DISTANCE = 2**64 - 1
"""Stands where no number of ULPs is meant (NaN or inf against anything else); no real distance reaches it."""


def ordered_keys(array: np.ndarray) -> np.ndarray:
    """Signed integers in the order of the numbers: neighbours differ by 1, both zeros are 0.

    key = magnitude bits, negated where the sign bit is set. array: one of the four formats, any
    shape; the result has the format's width (int16, int32, int64), so the difference of two keys
    may need one bit more. Subnormals are ordinary neighbours; inf follows the greatest number, and
    NaNs follow inf (by payload, on the side of their sign). ParityError for another dtype,
    ValueError for another byte order.
    Source: Goldberg 1991, section 1.2 (ulps); Dawson, "Comparing Floating Point Numbers", 2012.
    """
    format = native_format(array)
    bits = array.view(format.signed)
    negative = bits >> (format.dtype.itemsize * 8 - 1)
    keys: np.ndarray = ((bits & (format.sign_bit - 1)) ^ negative) - negative
    return keys


def ulp_distance(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Number of steps from one number to the other: ``|key(actual) - key(expected)|``, uint64.

    actual, expected: equal shape and dtype, one of the four formats. Both zeros are equal (0), and
    so are NaN and NaN of any payload, inf and the same inf. NaN against a number, inf against
    anything else: NO_DISTANCE. ValueError for unequal shapes or dtypes.
    """
    check_alike(actual, expected)
    format = native_format(actual)
    left, right = (np.atleast_1d(side).view(format.unsigned) for side in (actual, expected))
    return widen_distance(distance_of_bits(left, right, format), format).reshape(actual.shape)


def distance_of_bits(actual: np.ndarray, expected: np.ndarray, format: Format) -> np.ndarray:
    """ULP distance of unsigned bits in the same unsigned dtype; all ones stand for NO_DISTANCE.

    Same signs: the difference of the magnitudes; opposite signs: their sum, which stays below all
    ones because a magnitude has its top bit clear.
    """
    magnitude = format.unsigned.type(format.sign_bit - 1)
    infinity = format.unsigned.type(format.infinity_bits)
    left, right = actual & magnitude, expected & magnitude
    high, low = np.maximum(left, right), np.minimum(left, right)
    distance: np.ndarray = high - low
    low += high
    np.copyto(distance, low, where=(actual ^ expected) > magnitude)
    unusual = high >= infinity
    if unusual.any():
        left, right = left[unusual], right[unusual]
        equal = (actual[unusual] == expected[unusual]) | ((left > infinity) & (right > infinity))
        none = format.unsigned.type(2 * format.sign_bit - 1)
        distance[unusual] = np.where(equal, format.unsigned.type(0), none)
    return distance


def widen_distance(distance: np.ndarray, format: Format) -> np.ndarray:
    """Distances in the format's unsigned dtype as uint64, all ones as NO_DISTANCE."""
    wide = np.asarray(distance).astype(np.uint64)
    wide[wide == np.uint64(2 * format.sign_bit - 1)] = np.uint64(NO_DISTANCE)
    return wide


def native_format(array: np.ndarray) -> Format:
    """The format of an array in the machine's byte order; ValueError where the bytes are swapped."""
    format = format_of(array)
    if not array.dtype.isnative:
        raise ValueError(f"dtype {array.dtype.str!r} is not in this machine's byte order")
    return format


def check_alike(actual: np.ndarray, expected: np.ndarray) -> None:
    """ValueError unless both have the same shape and the same dtype: nothing is ever broadcast."""
    if actual.shape != expected.shape:
        raise ValueError(f"actual has shape {actual.shape}, expected has shape {expected.shape}")
    if actual.dtype != expected.dtype:
        raise ValueError(f"actual has dtype {actual.dtype.name}, expected has dtype {expected.dtype.name}")
