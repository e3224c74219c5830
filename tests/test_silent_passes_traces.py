"""What passes in silence elsewhere is red here: two kept traces, through ``parity compare``.

A loose budget is part of every question, so that it is not bare inequality that makes it red.
"""

from __future__ import annotations

import numpy as np
import pytest

DRAW = np.random.default_rng(0)
ROWS = DRAW.standard_normal((4, 12)).astype(np.float32)
LOOSE = ("--within", "*:max_ulp=1e6", "--within", "*:max_abs=0.5")


def changed(step, index, value):
    rows = ROWS.copy()
    rows[step, index] = value
    return rows


@pytest.fixture
def compare(command, write_trace):
    """Exit code and last line of ``parity compare`` on two traces given by their weights."""

    def call(actual, expected, *arguments, **both):
        folders = [
            write_trace(name, **({"w": side} if not isinstance(side, dict) else side), **both)
            for name, side in (("actual", actual), ("expected", expected))
        ]
        code, out, err = command("compare", *folders, *arguments)
        assert "Traceback" not in err
        return code, out.rstrip().splitlines()[-1]

    return call


def test_the_control_is_green(compare):
    assert compare(ROWS, ROWS)[0] == 0
    assert compare(np.nextafter(ROWS, np.float32(9)), ROWS, *LOOSE)[0] == 0


def test_no_steps(compare):
    assert compare(ROWS[:1], ROWS[:1], *LOOSE) == (5, "NOT_COMPARABLE neither trace has a step")


def test_three_steps_against_two(compare):
    assert compare(ROWS, ROWS[:3], *LOOSE)[0] == 5


@pytest.mark.parametrize("parameters", [[("p", (3, 4))], [("p", (1, 12))], [("p", (6,)), ("q", (6,))], [("q", (12,))]])
def test_a_missing_tensor_or_another_shape(compare, parameters):
    code, line = compare({"w": ROWS, "parameters": parameters}, ROWS, *LOOSE)
    assert code == 5
    assert "parameters differs" in line


def test_a_transposed_tensor(compare):
    sides = [{"w": ROWS, "parameters": [("p", shape)]} for shape in ((3, 4), (4, 3))]
    assert compare(*sides, *LOOSE)[0] == 5


def test_empty_tensors_as_the_only_content(compare):
    empty = np.zeros((4, 0), np.float32)
    code, line = compare(empty, empty, *LOOSE, parameters=[("p", (0,))])
    assert (code, "no element was compared" in line) == (5, True)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [(np.nan, 1.0), (1.0, np.nan), (np.nan, np.inf), (np.inf, -np.inf), (np.inf, 3.4e38)],
)
def test_what_is_not_finite_against_something_else(compare, actual, expected):
    """By bits the default NaN is 4,194,304 ULP from inf."""
    limit = ("--within", "*:max_ulp=1e19", "--within", "*:max_abs=1e308")
    assert compare(changed(2, 5, actual), changed(2, 5, expected), *limit)[0] == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_on_both_sides(compare, value):
    code, line = compare(changed(2, 5, value), changed(2, 5, value))
    assert code == 5
    assert "1 elements are NaN or inf on both sides" in line
    assert compare(changed(2, 5, value), changed(2, 5, value), *LOOSE)[0] == 5


@pytest.mark.parametrize(
    ("dtype", "large"), [("float32", 3e38), ("float64", 1.7e308), ("float16", 6e4), ("bfloat16", 3e38)]
)
def test_a_distance_that_would_overflow(compare, dtype, large):
    """A subtraction of integer bits wraps here: 3e38 is within 2**25 of -3e38 for NumPy."""
    sides = [ROWS.astype(np.float64) * 0 + sign * large for sign in (1, -1)]
    for side in sides:
        side[0] = 0
    code, line = compare(*sides, "--within", "*:max_ulp=3e4", dtype=dtype)
    assert (code, "max_ulp" in line) == (1, True)


@pytest.mark.parametrize(
    "permute", [lambda rows: rows[:, ::-1], lambda rows: np.roll(rows, 1, axis=1), lambda rows: np.sort(rows)]
)
def test_a_permuted_tensor(compare, permute):
    """Its mean, norm and histogram are the same."""
    assert compare(permute(ROWS).copy(), ROWS, *LOOSE)[0] == 1


@pytest.mark.parametrize("step", [1, 3])
def test_a_difference_at_one_step_only(compare, step):
    code, line = compare(changed(step, 5, 9.0), ROWS, *LOOSE)
    assert (code, f"at step {step} in p" in line) == (1, True)


def test_one_bad_element_in_a_million(compare):
    rows = DRAW.standard_normal((3, 1_000_000)).astype(np.float32)
    bad = rows.copy()
    bad[1, 654_321] += 1
    code, line = compare(bad, rows, *LOOSE)
    assert (code, "at step 1 in p" in line) == (1, True)


def test_another_dtype_with_the_same_values(compare):
    rows = np.round(ROWS * 8) / 8
    code, line = compare({"w": rows, "dtype": "float64"}, {"w": rows, "dtype": "float32"}, *LOOSE)
    assert (code, "dtype differs" in line) == (5, True)


def test_a_tolerance_larger_than_the_quantity(compare):
    small = {"w": ROWS, "v": ROWS**2 * 1e-7}
    code, line = compare(
        {"w": ROWS, "v": small["v"] * 2}, small, "--within", "w:max_ulp=4", "--within", "v:max_abs=1e-5"
    )
    assert (code, "the budget of v (max_abs 1e-05) would admit an optimizer that never steps" in line) == (
        1,
        True,
    )


def test_two_that_never_step(compare):
    still = np.repeat(ROWS[:1], 4, axis=0)
    assert compare(still, still)[0] == 5
    assert compare(still, still, *LOOSE)[0] == 5


def test_one_that_never_steps(compare):
    slow = ROWS[:1] + np.arange(4)[:, None] * np.float32(0.01)
    code, line = compare(np.repeat(ROWS[:1], 4, axis=0), slow, "--within", "*:max_abs=0.5")
    assert (code, "actual never moved a weight" in line) == (1, True)


def test_a_trace_against_itself(command, write_trace):
    folder = write_trace("one", ROWS)
    assert command("compare", folder, folder, *LOOSE)[0] == 5


def test_other_inputs(compare):
    assert compare({"w": ROWS, "input_digest": "other"}, ROWS, *LOOSE)[0] == 5


@pytest.mark.parametrize("damage", ["missing", "unreadable", "altered"])
def test_a_trace_that_does_not_exist_or_cannot_be_read(command, write_trace, tmp_path, damage):
    good, bad = write_trace("good", ROWS), tmp_path / "bad"
    if damage != "missing":
        write_trace("bad", ROWS)
        path = bad / ("w.npy" if damage == "altered" else "trace.json")
        path.write_bytes(path.read_bytes()[:-3] + b"abc")
    for pair in ((good, bad), (bad, good)):
        code, out, err = command("compare", *pair, *LOOSE)
        assert (code, out) == (4, "")
        assert err.startswith(f"parity: {bad}")
        assert err.count("\n") == 1


def test_a_reference_that_is_0_in_a_relative_error(compare):
    zero = changed(2, 5, 0.0)
    code, line = compare(changed(2, 5, 1e-30), zero, "--within", "*:max_rel=1e300")
    assert (code, "max_rel inf > 1e+300" in line) == (1, True)


def test_a_quantity_without_budget(compare):
    both = {"w": ROWS, "v": ROWS**2}
    code, line = compare({"w": ROWS, "v": ROWS**2 * 2}, both, "--within", "w:max_ulp=4")
    assert (code, "v has no budget" in line) == (1, True)
