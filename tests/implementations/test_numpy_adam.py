"""The rows of the from-scratch Adam."""

from __future__ import annotations

import numpy as np
import pytest

from parity.adam.arithmetic import Rounding, plain
from parity.adam.convention import Convention, Epsilon
from parity.adam.step import initial_state, step
from parity.core.hyper import Hyper
from parity.implementations.numpy_ import IMPLEMENTATIONS
from parity.numerics.formats import FORMATS, to_bits

ROWS = [(row, dtype) for row in IMPLEMENTATIONS for dtype in row.dtypes]
SHAPES = {"matrix": (3, 4), "scalar": (), "empty": (0, 2), "row": (7,)}


def draws(dtype, seed):
    draw = np.random.default_rng(seed)
    return {name: draw.standard_normal(shape).astype(FORMATS[dtype].dtype) for name, shape in SHAPES.items()}


def test_names():
    assert [row.name for row in IMPLEMENTATIONS] == [
        "numpy.adam.outside",
        "numpy.adam.hat",
        "numpy.adam.inside",
        "numpy.adam.outside.store",
        "numpy.adam.hat.store",
        "numpy.adam.inside.store",
    ]
    for row in IMPLEMENTATIONS:
        assert row.framework == "numpy"
        assert row.convention == row.name.split(".")[2]
        assert row.dtypes == (("float16", "bfloat16") if row.name.endswith("store") else tuple(FORMATS))


@pytest.mark.parametrize(("row", "dtype"), ROWS)
@pytest.mark.parametrize("amsgrad", [False, True])
def test_orbit_is_the_steps(row, dtype, amsgrad):
    hyper = Hyper(lr=(0.1, 0.2, 0.3), amsgrad=amsgrad)
    weights, gradients = draws(dtype, 0), [draws(dtype, t) for t in (1, 2, 3)]
    rounding = Rounding.AT_STORE if row.name.endswith("store") else Rounding.EACH_OPERATION
    arithmetic = plain(Epsilon(row.convention), rounding)
    expected = initial_state(weights, hyper)
    given = {name: w.copy() for name, w in weights.items()}
    steps = 0
    for t, state in enumerate(row.states(weights, iter(gradients), hyper), start=1):
        expected = step(expected, gradients[t - 1], hyper, Convention(Epsilon(row.convention)), arithmetic, t)
        assert (state.vmax is not None) == amsgrad
        for actual, wanted in zip(state[:4], expected[:4], strict=True):
            for name in SHAPES if actual is not None else ():
                assert actual[name].shape == SHAPES[name]
                assert actual[name].dtype == weights[name].dtype
                assert np.array_equal(to_bits(actual[name]), to_bits(wanted[name]))
        steps = t
    assert steps == 3
    for name in SHAPES:
        assert np.array_equal(to_bits(weights[name]), to_bits(given[name]))


@pytest.mark.parametrize("row", [row for row in IMPLEMENTATIONS if "float64" in row.dtypes])
def test_missing_gradients_count_as_in_the_framework(row):
    weights = {"always": np.zeros(2), "late": np.zeros(2)}
    g = np.ones(2)
    gradients = [{"always": g, "late": None}, {"always": None, "late": g}]
    orbit = [{name: w.copy() for name, w in state.w.items()} for state in row.states(weights, gradients, Hyper())]
    assert np.array_equal(orbit[0]["late"], [0, 0])
    assert np.array_equal(orbit[1]["always"], orbit[0]["always"])
    per_parameter = row.convention == Epsilon.OUTSIDE
    assert np.array_equal(orbit[1]["late"], orbit[0]["always"]) == per_parameter


def test_a_short_schedule_is_an_error():
    row = IMPLEMENTATIONS[0]
    states = row.states({"p": np.zeros(1)}, [{"p": np.ones(1)}] * 2, Hyper(lr=(0.1,)))
    next(states)
    with pytest.raises(IndexError):
        next(states)


def test_no_gradients_no_states():
    assert list(IMPLEMENTATIONS[0].states({"p": np.zeros(1)}, [], Hyper())) == []
