"""A running average of the weights: the oracle against fractions, and what is rounded against the oracle."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from parity.adam.average import Averaged, AveragedExactly
from parity.adam.convention import AverageStart
from parity.adam.forms import Averaging
from parity.core.layout import Layout, Parameter
from parity.core.stages import Average
from parity.numerics.double_double import from_double
from parity.numerics.formats import FORMATS

STEPS, MOMENTUM = 12, 0.9
WEIGHTS = np.random.default_rng(3).standard_normal((STEPS, 5))
INITIAL = np.random.default_rng(4).standard_normal(5)


def in_fractions(start: AverageStart) -> list[list[Fraction]]:
    momentum, average = Fraction(MOMENTUM), [Fraction(0)] * WEIGHTS.shape[1]
    if start is AverageStart.INITIAL_WEIGHTS:
        average = [Fraction(float(one)) for one in INITIAL]
    shown = []
    for step, row in enumerate(WEIGHTS, start=1):
        w = [Fraction(float(one)) for one in row]
        if start is AverageStart.FIRST_WEIGHTS and step == 1:
            average = w
        else:
            average = [momentum * old + (1 - momentum) * new for old, new in zip(average, w, strict=True)]
        share = 1 - momentum**step if start is AverageStart.ZERO_CORRECTED else 1
        shown.append([one / share for one in average])
    return shown


@pytest.mark.parametrize("start", AverageStart)
def test_the_oracle_is_exact(start):
    exactly = AveragedExactly(Average(MOMENTUM), start, INITIAL)
    for step, (row, truth) in enumerate(zip(WEIGHTS, in_fractions(start), strict=True), start=1):
        w = from_double(row)
        found = exactly.after(step, w)
        assert w.high.tolist() == row.tolist()
        for high, low, one in zip(found.high, found.low, truth, strict=True):
            assert abs(Fraction(float(high)) + Fraction(float(low)) - one) <= abs(one) / 2**95 + Fraction(1, 2**96)


def test_the_starts_are_apart():
    for one, other in combinations((in_fractions(start)[-1] for start in AverageStart), 2):
        assert max(abs(left - right) for left, right in zip(one, other, strict=True)) > Fraction(1, 100)


@pytest.mark.parametrize(
    ("dtype", "averaging"),
    [
        (dtype, one)
        for dtype in FORMATS
        for one in Averaging
        if one is not Averaging.WIDE_INVERSE or dtype == "bfloat16"
    ],
)
@pytest.mark.parametrize("start", AverageStart)
def test_what_is_rounded_is_near_the_oracle(dtype, start, averaging):
    number, unit = FORMATS[dtype].dtype, 2.0 ** -FORMATS[dtype].precision
    initial = INITIAL.astype(number)
    rounded = Averaged(Average(MOMENTUM), start, averaging, initial=initial)
    exactly = AveragedExactly(Average(MOMENTUM), start, initial)
    for step, row in enumerate(WEIGHTS.astype(number), start=1):
        found, truth = rounded.after(step, row), exactly.after(step, from_double(row.astype(np.float64)))
        assert found.dtype == number
        assert np.abs(found.astype(np.float64) - truth.high).max() < 40 * unit


@pytest.mark.parametrize("exact", [False, True])
def test_weights_are_overwritten_every_few_steps_and_never_without(exact):
    for overwrite in (0, 3):
        asked = Average(MOMENTUM, overwrite)
        average = AveragedExactly(asked) if exact else Averaged(asked)
        for step, row in enumerate(WEIGHTS.copy(), start=1):
            w = from_double(row) if exact else row
            shown = average.after(step, w)
            replaced = overwrite and step % overwrite == 0
            left, right = (w.high, shown.high) if exact else (w, shown)
            assert (left.tolist() == right.tolist()) is bool(replaced or step == 1)


def test_one_tensor_is_multiplied_by_an_inverse_and_one_element_never():
    def last(*sizes):
        layout = Layout(tuple(Parameter(str(place), (size,)) for place, size in enumerate(sizes)))
        averaged = Averaged(Average(MOMENTUM), AverageStart.ZERO_CORRECTED, Averaging.PRODUCTS, layout)
        return [averaged.after(step, row[: sum(sizes)]) for step, row in enumerate(WEIGHTS.copy(), start=1)]

    several, single, alone = np.array(last(2, 3)), np.array(last(5)), np.array(last(1))
    assert (several != single).any()
    np.testing.assert_allclose(several, single, rtol=1e-14)
    assert alone[:, 0].tolist() == several[:, 0].tolist()
