"""The numbers of a case: pinned, the same however they are made, and rounded once."""

from __future__ import annotations

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.case.case import Case
from parity.case.gradients import BLOCK, PIECE, _round, fill_gradients, fill_weights
from parity.numerics.formats import FORMATS

FLOAT64 = FORMATS["float64"]

GRADIENTS: dict[str, dict[str, Any]] = {
    "bell": {"kind": "bell", "scale": 0.1},
    "uniform": {"kind": "uniform", "low": -1.0, "high": 2.0},
    "decades": {"kind": "decades", "low": 1e-12, "high": 1e3, "zeros": 0.125},
    "constant": {"kind": "constant", "value": 0.1},
    "flipping": {"kind": "flipping", "value": 0.1},
    "zero": {"kind": "zero"},
    "rows": {"kind": "rows", "density": 0.25, "scale": 0.1},
}

WEIGHTS: dict[str, dict[str, Any]] = {
    "uniform": {"kind": "uniform", "low": -1.0, "high": 1.0},
    "constant": {"kind": "constant", "value": 0.5},
    "zero": {"kind": "zero"},
}


def question(
    gradients: dict[str, Any],
    weights: dict[str, Any] = WEIGHTS["uniform"],
    shapes: tuple[tuple[int, ...], ...] = ((7, 5), (1025,), (), (0,)),
    seed: int = 3,
) -> Case:
    parameters = tuple(
        {"name": f"p{index}", "shape": shape, "weights": weights, "gradients": gradients}
        for index, shape in enumerate(shapes)
    )
    return Case(
        name="test",
        summary="A case of a test.",
        why="It is tested here.",
        seed=seed,
        steps=6,
        dtypes=("float32",),
        parameters=parameters,
    )


def bits(case: Case, step: int, name: str = "float64", threads: ThreadPoolExecutor | None = None) -> np.ndarray:
    format = FORMATS[name]
    row = np.full(case.layout().size, 0x55, format.unsigned)
    if step == 0:
        fill_weights(case, format, row)
    else:
        fill_gradients(case, format, step, row, threads)
    return row


def known(row: np.ndarray) -> str:
    return hashlib.sha256(row.tobytes()).hexdigest()[:16]


# A change of one of these is another question: raise DIGEST_VERSION in parity/case/case.py with it.
@pytest.mark.parametrize(
    ("kind", "float64", "bfloat16"),
    [
        ("bell", "997987788005af8d", "22e290606b78a86f"),
        ("uniform", "f340f07b6962a005", "087ae162be360a6a"),
        ("decades", "cd6519ca7979a13e", "d1f7fa41ead8e941"),
        ("constant", "f69948776c811321", "8085f53b00341c96"),
        ("flipping", "1146cc41aaf3c024", "f4e6a24bfa259840"),
        ("zero", "f7641593a814bd2f", "b1644d61b258f405"),
        ("rows", "b7a2beb78c1fa147", "0ec53a87428602e5"),
    ],
)
def test_gradients_are_those_that_were_pinned(kind: str, float64: str, bfloat16: str) -> None:
    case = question(GRADIENTS[kind])
    assert (known(bits(case, 2)), known(bits(case, 2, "bfloat16"))) == (float64, bfloat16)


@pytest.mark.parametrize(
    ("kind", "float64"),
    [("uniform", "a78c0548817198d6"), ("constant", "9336305770ad867a"), ("zero", "f7641593a814bd2f")],
)
def test_weights_are_those_that_were_pinned(kind: str, float64: str) -> None:
    assert known(bits(question(GRADIENTS["zero"], WEIGHTS[kind]), 0)) == float64


@pytest.mark.parametrize("kind", GRADIENTS)
def test_a_step_on_its_own_is_the_step_in_its_turn(kind: str) -> None:
    in_turn = [bits(question(GRADIENTS[kind]), step) for step in range(1, 7)]
    backwards = [bits(question(GRADIENTS[kind]), step) for step in range(6, 0, -1)][::-1]
    np.testing.assert_array_equal(in_turn, backwards)


@pytest.mark.parametrize("kind", ["bell", "uniform", "decades", "rows"])
def test_steps_seeds_and_parameters_have_numbers_of_their_own(kind: str) -> None:
    first = bits(question(GRADIENTS[kind], shapes=((300,), (300,))), 1)
    assert (first[:300] != first[300:]).any()
    assert (first != bits(question(GRADIENTS[kind], shapes=((300,), (300,))), 2)).any()
    assert (first != bits(question(GRADIENTS[kind], shapes=((300,), (300,)), seed=4), 1)).any()


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_dtype_sees_the_same_sequence_rounded_once(kind: str, name: str) -> None:
    case = question(GRADIENTS[kind])
    master = bits(case, 3).view(np.float64)
    format = FORMATS[name]
    expected = np.array([nearest_even(value, name) for value in master])
    np.testing.assert_array_equal(bits(case, 3, name).view(format.dtype).astype(np.float64), expected)


def nearest_even(value: float, name: str) -> float:
    """Rounded in exact arithmetic."""
    format = FORMATS[name]
    if value == 0:
        return value
    bias = (1 << (format.exponent_bits - 1)) - 1
    exponent = max(math.frexp(abs(value))[1] - format.precision, 2 - bias - format.precision)
    scaled = round(Fraction(abs(value)) / Fraction(2) ** exponent)
    rounded = Fraction(scaled) * Fraction(2) ** exponent
    limit = Fraction(2) ** (bias + 1)
    return math.copysign(math.inf if rounded >= limit else float(rounded), value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_double_is_rounded_to_nearest_even(value: float) -> None:
    for name, format in FORMATS.items():
        row = np.zeros(1, format.unsigned)
        _round(np.array([value]), format, row)
        assert float(row.view(format.dtype)[0]) == nearest_even(value, name)


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-7),
        (1 + 3 * 2.0**-8 - 2.0**-40, 1 + 2.0**-7),
        (2.0**128 - 2.0**119 - 2.0**90, 2.0**128 - 2.0**120),
        (1e300, math.inf),
    ],
)
def test_bfloat16_is_not_rounded_twice(value: float, rounded: float) -> None:
    # Just beside the middle of two bfloat16 numbers, onto which float32 would round first.
    row = np.zeros(2, np.uint16)
    _round(np.array([value, -value]), FORMATS["bfloat16"], row)
    assert row.view(ml_dtypes.bfloat16).astype(np.float64).tolist() == [rounded, -rounded]


@pytest.mark.parametrize("kind", ["bell", "decades", "rows"])
@pytest.mark.parametrize("shape", [(2 * PIECE + 3,), (7, PIECE // 4 + 1), (BLOCK + 1, 17)])
def test_threads_give_the_same_bits(kind: str, shape: tuple[int, ...]) -> None:
    case = question(GRADIENTS[kind], shapes=(shape, (5,)))
    with ThreadPoolExecutor(3) as threads:
        np.testing.assert_array_equal(bits(case, 2, "float32", threads), bits(case, 2, "float32"))


@pytest.mark.parametrize("kind", ["bell", "decades", "uniform"])
def test_a_longer_tensor_begins_like_a_shorter_one(kind: str) -> None:
    longer = bits(question(GRADIENTS[kind], shapes=((BLOCK + 11,),)), 2)
    np.testing.assert_array_equal(longer[:77], bits(question(GRADIENTS[kind], shapes=((77,),)), 2))


def test_none_steps_and_none_every() -> None:
    steps = question({**GRADIENTS["bell"], "none_steps": (1, 4)}, shapes=((3,),))
    every = question({**GRADIENTS["bell"], "none_every": 3}, shapes=((3,),))
    row = np.full(3, 0x55, np.uint64)
    assert [bool(fill_gradients(steps, FLOAT64, step, row)) for step in range(1, 7)] == [1, 0, 0, 1, 0, 0]
    assert [bool(fill_gradients(every, FLOAT64, step, row)) for step in range(1, 7)] == [0, 0, 1, 0, 0, 1]
    assert fill_gradients(every, FLOAT64, 6, row) == ("p0",)
    assert not row.any()


def test_bell_is_near_normal_and_ends_where_it_says() -> None:
    case = question(GRADIENTS["bell"], shapes=((100_000,),))
    values = bits(case, 1).view(np.float64)
    assert abs(values.mean()) < 0.1 * 4 / math.sqrt(values.size)
    assert abs(values.std() / 0.1 - 1) < 0.01
    assert abs(values).max() <= case.parameters[0].gradients.largest() == 0.1 * math.sqrt(12)
    assert abs(values[values != 0]).min() >= case.parameters[0].gradients.smallest() * (1 - 1e-15)


def test_uniform_fills_its_range() -> None:
    values = bits(question(GRADIENTS["uniform"], shapes=((100_000,),)), 1).view(np.float64)
    assert -1 <= values.min() < -0.999
    assert 1.999 < values.max() < 2
    assert abs(values.mean() - 0.5) < 0.02


def test_decades_keep_their_magnitudes_and_their_zeros() -> None:
    case = question(GRADIENTS["decades"], shapes=((20_000,),))
    first, second = (abs(bits(case, step).view(np.float64)) for step in (1, 2))
    zero = first == 0
    assert (zero != (second == 0)).sum() <= 2, "the bell itself is 0 once in 98,000 times"
    assert abs(zero.mean() - 0.125) < 0.01
    spread = np.log10(first[~zero])
    assert spread.min() < -11
    assert spread.max() > 2
    assert abs(np.median(spread) + 4.7) < 0.5
    zero |= second == 0
    spread = np.log10(first[~zero])
    assert np.abs(spread - np.log10(second[~zero])).max() < 6
    gradients = case.parameters[0].gradients
    assert gradients.smallest() <= first[~zero].min()
    assert first.max() <= gradients.largest()


def test_rows_are_whole_and_change_from_step_to_step() -> None:
    case = question(GRADIENTS["rows"], shapes=((2_000, 3),))
    first, second = (bits(case, step).view(np.float64).reshape(2_000, 3) != 0 for step in (1, 2))
    np.testing.assert_array_equal(first.all(axis=1), first.any(axis=1))
    assert abs(first.mean() - 0.25) < 0.04
    assert (first != second).any()


def test_flipping_starts_with_its_value() -> None:
    case = question(GRADIENTS["flipping"], shapes=((2,),))
    assert [float(bits(case, step).view(np.float64)[1]) for step in (1, 2, 3)] == [0.1, -0.1, 0.1]
