"""Programs on double-doubles: vector loops give every bit of the scalar functions, whatever the operands."""

from __future__ import annotations

import numpy as np
import pytest

from parity.adam.exact import exact_code, execute, run_exactly
from parity.adam.kernels import compiled
from parity.numerics import double_double

SPECIAL = [0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1.7e308, -1.7e308, 5e-324, 2.0**-961, 2.0**-500, 3e200]


def operands():
    """Every special number beside every other, and random ones of all sizes, with low parts."""
    random = np.random.default_rng(1)
    high = np.concatenate([SPECIAL, random.standard_normal(200) * 2.0 ** random.integers(-400, 400, 200)])
    x, y = (side.ravel() for side in np.meshgrid(high, high))
    lows = []
    for side in (x, y):
        finite = np.where(np.isfinite(side), side, 0.0)
        low = np.spacing(finite) / 2 * random.uniform(-1, 1, side.size) * random.choice([0, 1, 2.0**-30], side.size)
        low[np.abs(side) > 1e300] = 0
        lows.append(low)
    return x, lows[0], y, lows[1]


def row_by_row(name, x, x_low, y, y_low):
    function = getattr(double_double, name)
    one = name == "square_root"
    return np.array(
        [function(*each[:2]) if one else function(*each) for each in zip(x, x_low, y, y_low, strict=True)]
    ).T


@pytest.mark.parametrize(
    ("text", "name"),
    [("z = x + y", "add"), ("z = x - y", "add"), ("z = x * y", "multiply"), ("z = x / y", "divide"),
     ("z = sqrt(x)", "square_root"), ("z = maximum(x, y)", "maximum"), ("z = larger(x, y)", "larger")],
)  # fmt: skip
def test_vector_loops_give_every_bit_of_the_scalar_functions(text, name):
    x, x_low, y, y_low = operands()
    code = exact_code((compiled(text, ("z",)),))
    assert len(code.operations) == 1
    high, low = np.zeros((2, code.rows, x.size))
    for row, given in enumerate(code.inputs):
        high[row], low[row] = {"x": (x, x_low), "y": (y, y_low)}[given]
    execute(code.operations, high, low, x.size)
    sign = -1.0 if "-" in text else 1.0
    for found, expected in zip(
        (high[code.ends["z"]], low[code.ends["z"]]), row_by_row(name, x, x_low, sign * y, sign * y_low), strict=True
    ):
        same = (found.view(np.uint64) == expected.view(np.uint64)) | (np.isnan(found) & np.isnan(expected))
        assert same.all()


def test_a_name_is_what_was_written_to_it_last():
    text = "m = m + 1; g = -m; m = fma(g, m, 2.5); x = lerp(g, m, 0.25); y = rsqrt(m * m); z = power(m, 3)"
    found = run_exactly(exact_code((compiled(text, ("m", "g", "x", "y", "z")),)), {"m": np.array([1.0, 3.0])})
    for place, old in enumerate((1.0, 3.0)):
        g, m = -(old + 1), 2.5 - (old + 1) ** 2
        expected = {"m": m, "g": g, "x": g + (m - g) / 4, "y": 1 / abs(m), "z": m**3}
        assert {name: one.high[place] for name, one in found.items()} == expected


def test_what_a_program_does_not_write_stays():
    first, second = compiled("w = lr * w", ("w",)), compiled("m = x + w", ("m",))
    code = exact_code((first, second), "v")
    assert set(code.inputs) == {"lr", "w", "v"}
    found = run_exactly(code, {"lr": np.array([2.0]), "w": np.array([3.0]), "v": np.array([10.0])})
    assert {name: one.high[0] for name, one in found.items()} == {"lr": 2, "w": 6, "v": 10, "m": 16}
