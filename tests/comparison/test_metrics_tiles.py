"""Rows of many tiles: the same metrics as their elements one by one."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from parity.comparison.metrics import SAMPLE_RUNS, SAMPLE_WIDTH, Metrics, measure
from parity.numerics.formats import FORMATS, Format, from_bits, to_bits
from parity.numerics.ulp import ulp_distance

every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
SIZE = 300_000


def near_pair(format: Format, size: int = SIZE, steps: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(size)
    expected = random.standard_normal((1, size)).astype(format.dtype)
    offset = random.integers(-steps, steps + 1, expected.shape).astype(format.signed)
    to_bits(expected)[to_bits(expected) & (format.sign_bit - 1) < 100] = 100
    return from_bits((to_bits(expected).view(format.signed) + offset).view(format.unsigned), format), expected


def one_by_one(actual: np.ndarray, expected: np.ndarray) -> dict[str, int | float]:
    """The metrics of a row from those of its elements, each measured as a row of its own."""
    single = measure(actual.reshape(-1, 1), expected.reshape(-1, 1))
    distances = ulp_distance(actual, expected).reshape(-1)
    size = distances.size
    gaps = single.max_abs.astype(np.longdouble)
    return {
        "elements": size,
        "differing": int(single.differing.sum()),
        "max_abs": float(single.max_abs.max()),
        "max_rel": float(single.max_rel.max()),
        "max_ulp": int(distances.max()),
        "p99_ulp": int(np.sort(distances)[-(-99 * size // 100) - 1]),
        "rms_abs": float(np.sqrt((gaps * gaps).sum() / size)),
        "worst_index": int(distances.argmax()) if distances.any() else -1,
        "nonfinite": int(single.nonfinite.sum()),
        "opposite_zeros": int(single.opposite_zeros.sum()),
    }


def check(actual: np.ndarray, expected: np.ndarray) -> Metrics:
    found = measure(actual, expected)
    for name, value in one_by_one(actual, expected).items():
        if name == "rms_abs":
            assert getattr(found, name)[0] == pytest.approx(value, rel=1e-13, abs=0), name
        else:
            assert getattr(found, name)[0] == value, name
    return found


@every_format
@pytest.mark.parametrize("size", [131_072, 131_073, 262_144, 262_145, SIZE, 1_200_000])
def test_a_row_of_any_number_of_tiles_is_measured_like_its_elements(format, size):
    check(*near_pair(format, size))


@every_format
def test_one_bad_element_at_the_very_end_is_found(format):
    expected = near_pair(format)[1]
    for bad in (format.infinity_bits + 1, format.infinity_bits, 0, 1 | format.sign_bit):
        actual = expected.copy()
        to_bits(actual)[0, -1] = bad
        found = check(actual, expected)
        assert found.differing.tolist() == [1]
        assert found.worst_index.tolist() == [SIZE - 1]
        assert found.p99_ulp.tolist() == [0]


@every_format
def test_the_first_of_equally_bad_elements_is_the_worst(format):
    expected = near_pair(format)[1]
    actual = expected.copy()
    to_bits(actual)[0, [70_123, 70_124, 140_000, SIZE - 1]] += 1
    assert check(actual, expected).worst_index.tolist() == [70_123]


@every_format
def test_a_permuted_row_is_as_different_as_its_elements_are(format):
    expected = near_pair(format)[1]
    check(np.random.default_rng(0).permutation(expected, axis=1), expected)
    check(expected[:, ::-1], expected)


@every_format
def test_equal_rows_do_not_differ(format):
    expected = near_pair(format)[1]
    to_bits(expected)[0, ::1000] = format.infinity_bits + 1
    to_bits(expected)[0, 1::1000] = format.infinity_bits
    found = check(expected.copy(), expected)
    assert (found.differing[0], found.worst_index[0], found.nonfinite[0]) == (0, -1, 600)


@every_format
def test_zeros_of_opposite_sign_in_every_tile_are_counted_and_equal(format):
    actual, expected = near_pair(format)
    to_bits(actual)[0, ::7919], to_bits(expected)[0, ::7919] = 0, format.sign_bit
    assert check(actual, expected).opposite_zeros.tolist() == [-(-SIZE // 7919)]


@every_format
@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("ties", [True, False])
def test_the_99th_percentile_is_exact_at_its_edge(format, extra, ties):
    expected = near_pair(format)[1]
    actual = expected.copy()
    count = SIZE // 100 + extra
    steps = 1 if ties else np.arange(count) % 60 + 1
    places = np.random.default_rng(1).choice(SIZE, count, replace=False)
    to_bits(actual)[0, places] += np.asarray(steps).astype(format.unsigned)
    assert check(actual, expected).p99_ulp.tolist() == [int(extra > 0)]


@every_format
def test_the_99th_percentile_is_exact_where_all_distances_differ(format):
    actual, expected = near_pair(format, SIZE, 60)
    check(actual, expected)


@every_format
@pytest.mark.parametrize("wide", [1e-3, 0.3])
def test_the_99th_percentile_is_exact_where_distances_are_wide(format, wide):
    expected = near_pair(format)[1]
    random = np.random.default_rng(4)
    close = random.random(expected.shape) < wide
    offset = (random.standard_normal(expected.shape) * 2.0 ** (format.precision - 2)).astype(format.signed)
    to_bits(expected)[...] = 1 << (format.precision + 1)
    actual = from_bits(
        (to_bits(expected).view(format.signed) + np.where(close, 1, offset)).view(format.unsigned), format
    )
    assert check(actual, expected).p99_ulp[0] > 2


@every_format
@pytest.mark.parametrize("turn", [1, -1])
def test_the_greatest_quotient_is_found_where_quotients_rise_and_where_they_fall(format, turn):
    # One gap everywhere, over magnitudes that fall: every block has a greater quotient than all before it.
    magnitudes = np.linspace(2.0, 1.0, SIZE, endpoint=False)[None, ::turn]
    expected = magnitudes.astype(format.dtype)
    actual = (expected.astype(np.float64) + 0.5).astype(format.dtype)
    found = check(actual, expected)
    gaps = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    assert found.max_rel[0] == (gaps / expected.astype(np.float64)).max()


@every_format
def test_the_99th_percentile_is_exact_where_the_sample_misleads(format):
    expected = near_pair(format)[1]
    stride, width = SIZE // SAMPLE_RUNS, SAMPLE_WIDTH
    sampled = np.arange(SIZE) % stride < width
    for place in (sampled, ~sampled):
        actual = expected.copy()
        steps = np.random.default_rng(2).integers(0, 60, SIZE).astype(format.unsigned)
        to_bits(actual)[0, place] += steps[place]
        check(actual, expected)


@every_format
def test_the_99th_percentile_is_exact_where_only_some_tiles_are_denser_than_the_sample(format):
    expected = near_pair(format)[1]
    stride, width = SIZE // SAMPLE_RUNS, SAMPLE_WIDTH
    places = np.arange(SIZE)
    dense = (places < 100_000) & (places % stride >= width)
    sparse = (places % stride == 0) & (places // stride % 5 == 0)
    actual = expected.copy()
    to_bits(actual)[0, sparse] += 2
    to_bits(actual)[0, dense] += (places[dense] % 50 + 1).astype(format.unsigned)
    check(actual, expected)


@every_format
@pytest.mark.parametrize("stride", [20, 75, 90])
def test_the_99th_percentile_is_exact_where_a_few_elements_change_sign(format, stride):
    expected = near_pair(format)[1]
    actual = expected.copy()
    to_bits(actual)[0, ::stride] ^= format.unsigned.type(format.sign_bit)
    assert check(actual, expected).p99_ulp[0] > 1


@every_format
def test_a_few_elements_of_any_kind_in_a_long_row_are_measured_exactly(format):
    expected = near_pair(format)[1]
    infinity, sign = format.infinity_bits, format.sign_bit
    words = [0, 1, sign, sign | 1, infinity - 1, infinity, infinity | sign, infinity + 1, sign - 1]
    pairs = [(left, right) for left in words for right in words]
    actual = expected.copy()
    for place, (left, right) in enumerate(pairs):
        to_bits(actual)[0, place * 3001], to_bits(expected)[0, place * 3001] = left, right
    found = check(actual, expected)
    assert found.opposite_zeros.tolist() == [2]
    finite = [pair for pair in pairs if max(word & (sign - 1) for word in pair) < infinity]
    for place, (left, right) in enumerate(finite):
        actual, expected = near_pair(format, SIZE, 0)
        to_bits(actual)[0, place * 3001], to_bits(expected)[0, place * 3001] = left, right
        check(actual, expected)


def test_rows_with_thresholds_of_their_own_do_not_disturb_each_other():
    format = FORMATS["float32"]
    pairs = [near_pair(format, 100_000, steps) for steps in (0, 1, 9, 1000)]
    actual, expected = (np.concatenate(side) for side in zip(*pairs, strict=True))
    together = measure(actual, expected)
    for row, pair in enumerate(pairs):
        alone = measure(*pair)
        for field in fields(Metrics):
            assert getattr(together, field.name)[row] == getattr(alone, field.name)[0], field.name


def test_a_column_slice_of_long_rows_is_measured_in_place():
    actual, expected = (np.repeat(side, 2, axis=0) for side in near_pair(FORMATS["float32"]))
    place = slice(5, SIZE - 5)
    found, copied = (
        measure(actual[:, place], expected[:, place]),
        measure(actual[:, place].copy(), expected[:, place].copy()),
    )
    for field in fields(Metrics):
        assert np.array_equal(getattr(found, field.name), getattr(copied, field.name)), field.name


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_squares_of_tiles_of_any_scale_add_up(scale):
    actual, expected = near_pair(FORMATS["float64"])
    scales = np.where(np.arange(SIZE) < 100_000, scale, scale / 2**40)
    found = measure(actual * scales, expected * scales)
    gaps = ((actual * scales).astype(np.longdouble) - expected * scales)[0]
    gaps /= np.abs(gaps).max() / 2.0**-40
    wanted = float(np.sqrt((gaps * gaps).mean())) / 2.0**-40 * found.max_abs[0]
    assert found.rms_abs[0] == pytest.approx(wanted, rel=1e-13, abs=0)


def test_a_memory_map_is_read_in_place(tmp_path):
    actual, expected = near_pair(FORMATS["bfloat16"])
    np.save(tmp_path / "w.npy", to_bits(actual))
    mapped = from_bits(np.load(tmp_path / "w.npy", mmap_mode="r"), FORMATS["bfloat16"])
    assert measure(mapped, expected).max_ulp.tolist() == [4]


@every_format
def test_a_row_in_which_every_element_differs_alike_is_measured_exactly(format: Format) -> None:
    expected = np.full((1, SIZE), 0.1).astype(format.dtype)
    expected[0, ::3] *= format.dtype.type(-1.5)
    actual = from_bits(to_bits(expected) + format.unsigned.type(1), format)
    assert check(actual, expected).differing[0] == SIZE
