"""ULP distances against exact integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.errors import ParityError
from parity.numerics.formats import FORMATS, Format, from_bits
from parity.numerics.ulp import NO_DISTANCE, ordered_keys, ulp_distance

every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)


def bits(format: Format, *words: int) -> np.ndarray:
    return from_bits(np.array(words, format.unsigned), format)


def exact_key(format: Format, word: int) -> int:
    magnitude = word & (format.sign_bit - 1)
    return -magnitude if word & format.sign_bit else magnitude


def exact_distance(format: Format, left: int, right: int) -> int:
    magnitudes = [word & (format.sign_bit - 1) for word in (left, right)]
    nans = [magnitude > format.infinity_bits for magnitude in magnitudes]
    if any(nans):
        return 0 if all(nans) else NO_DISTANCE
    if max(magnitudes) == format.infinity_bits:
        return 0 if left == right else NO_DISTANCE
    return abs(exact_key(format, left) - exact_key(format, right))


def special_words(format: Format) -> list[int]:
    positive = [0, 1, 2, (1 << (format.precision - 1)) - 1, 1 << (format.precision - 1)]
    positive += [format.infinity_bits + offset for offset in (-1, 0, 1)] + [format.sign_bit - 1]
    return positive + [word | format.sign_bit for word in positive]


@every_format
def test_all_pairs_of_special_numbers_have_their_exact_distance(format):
    words = special_words(format)
    left, right = (
        np.array(side, format.unsigned) for side in zip(*[(a, b) for a in words for b in words], strict=True)
    )
    distances = ulp_distance(from_bits(left, format), from_bits(right, format))
    assert distances.dtype == np.uint64
    assert distances.tolist() == [exact_distance(format, a, b) for a in words for b in words]


@every_format
@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0), st.integers(0)), max_size=9))
def test_any_bits_have_their_exact_distance(format, pairs):
    mask = 2 * format.sign_bit - 1
    pairs = [(left & mask, right & mask) for left, right in pairs]
    left, right = (bits(format, *(pair[side] for pair in pairs)) for side in (0, 1))
    assert ulp_distance(left, right).tolist() == [exact_distance(format, *pair) for pair in pairs]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_every_16_bit_number_is_one_step_from_its_neighbour(name):
    format = FORMATS[name]
    up = np.arange(format.infinity_bits, dtype=format.unsigned)
    values = from_bits(np.concatenate([(up[1:] | format.unsigned.type(format.sign_bit))[::-1], up]), format)
    assert (np.diff(values.astype(np.float64)) > 0).all()
    assert (np.diff(ordered_keys(values).astype(np.int64)) == 1).all()
    assert (ulp_distance(values[1:], values[:-1]) == 1).all()


@every_format
def test_both_zeros_have_key_zero(format):
    keys = ordered_keys(bits(format, 0, format.sign_bit, 1, format.sign_bit | 1))
    assert keys.dtype == format.signed
    assert keys.tolist() == [0, 0, 1, -1]


def test_the_greatest_numbers_of_opposite_sign_do_not_overflow():
    assert ulp_distance(np.float32([3e38]), np.float32([-3e38])).tolist() == [2 * 0x7F61B1E6]
    most = np.finfo(np.float64).max
    assert ulp_distance(np.array([most]), np.array([-most])).tolist() == [2 * 0x7FEFFFFFFFFFFFFF]


@every_format
def test_nan_equals_nan_of_any_payload_and_nothing_else(format):
    infinity = format.infinity_bits
    nans = bits(format, infinity + 1, format.sign_bit - 1, 2 * format.sign_bit - 1)
    assert ulp_distance(nans, nans[::-1]).tolist() == [0, 0, 0]
    others = bits(format, infinity, 0, infinity - 1)
    assert ulp_distance(nans, others).tolist() == [NO_DISTANCE] * 3
    assert ulp_distance(others, nans).tolist() == [NO_DISTANCE] * 3


def test_keys_put_infinity_after_the_greatest_number_and_nan_after_infinity():
    values = np.float32([-np.inf, np.finfo(np.float32).min, 0, np.finfo(np.float32).max, np.inf, np.nan])
    keys = ordered_keys(values)
    assert (np.diff(keys.astype(np.int64)) > 0).all()
    assert keys[4] - keys[3] == 1


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (np.zeros((1, 3), np.float32), "shape"),
        (np.zeros(1, np.float32), "shape"),
        (np.zeros(3, np.float64), "dtype"),
    ],
)
def test_unequal_shapes_and_dtypes_are_refused(expected, message):
    with pytest.raises(ValueError, match=message):
        ulp_distance(np.zeros(3, np.float32), expected)


def test_integers_are_refused():
    with pytest.raises(ParityError, match="int32"):
        ulp_distance(np.zeros(3, np.int32), np.zeros(3, np.int32))


def test_swapped_bytes_are_refused():
    swapped = np.zeros(3, np.dtype(np.float32).newbyteorder())
    with pytest.raises(ValueError, match="byte order"):
        ulp_distance(swapped, swapped)


def test_any_shape_is_kept():
    assert ulp_distance(np.zeros((2, 0, 3)), np.zeros((2, 0, 3))).shape == (2, 0, 3)
    assert ulp_distance(np.array(1.0), np.array(1.0)).shape == ()
