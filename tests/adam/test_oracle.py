"""The oracle against decimals of 80 digits, and what it does with missing gradients, infinities and rounded scalars."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from parity.adam.arithmetic import Arithmetic, plain
from parity.adam.convention import Convention, Epsilon, StepCount
from parity.adam.forms import Factors, FirstMoment, SecondMoment, Update
from parity.adam.gradients import Block
from parity.adam.oracle import Oracle, orbits
from parity.core.hyper import Hyper
from parity.core.layout import Layout, Parameter
from parity.core.state import Rows, Start
from parity.numerics.formats import FORMATS

SIZES = (3, 2)
STEPS = 5
RELATIVE = Decimal(2) ** -95


def gradients(format, seed=3):
    generator = np.random.default_rng(seed)
    return (generator.standard_normal((STEPS, sum(SIZES))) * 0.1).astype(format.dtype)


def weights(format):
    return np.linspace(-1, 1, sum(SIZES)).astype(format.dtype)


def of_sizes(sizes):
    return Layout(tuple(Parameter(f"p{place}", (size,)) for place, size in enumerate(sizes)))


def at_rest(weights, parameters):
    return Start(Rows(weights, *np.zeros((3, weights.size), weights.dtype)), np.zeros(parameters, np.int64))


def orbit(oracle, format, present=None, rows=None, pieces=(STEPS,)):
    """Truth of every step, as one dict of (high, low) by quantity; `pieces`: steps of each block."""
    rows = gradients(format) if rows is None else rows
    present = np.ones((STEPS, len(SIZES)), bool) if present is None else present
    blocks, first = [], 0
    for piece in pieces:
        blocks.append(Block(range(first + 1, first + piece + 1), rows[first : first + piece],
                            present[first : first + piece]))  # fmt: skip
        first += piece
    found = [
        truths[oracle]
        for truths in orbits([oracle], at_rest(weights(format), len(SIZES)), of_sizes(SIZES), blocks, format)
    ]
    return {
        name: tuple(np.concatenate([getattr(getattr(one, name), part) for one in found]) for part in ("high", "low"))
        for name in ("w", "m", "v", *(["vmax"] if oracle.hyper.amsgrad else []))
    }


def decimal_orbit(hyper, convention, format, present):
    """Algorithm 1 with decimals, one element after another."""
    place = {0: 0, 1: 0, 2: 0, 3: 1, 4: 1}
    rows = {name: [] for name in ("w", "m", "v", "vmax")}
    lr, eps, wd = Decimal(hyper.lr), Decimal(hyper.eps), Decimal(hyper.weight_decay)
    b1, b2 = Decimal(hyper.beta1), Decimal(hyper.beta2)
    state = [[Decimal(float(w)), Decimal(0), Decimal(0), Decimal(0)] for w in weights(format)]
    counts = [0] * len(SIZES)
    for step in range(STEPS):
        every = convention.step_count is StepCount.GLOBAL
        counts = [count + (every or bool(here)) for count, here in zip(counts, present[step], strict=True)]
        for element, values in enumerate(state):
            if not present[step][place[element]]:
                continue
            w, m, v, vmax = values
            t = counts[place[element]]
            g = Decimal(float(gradients(format)[step, element]))
            if hyper.decoupled:
                w *= 1 - lr * wd
            else:
                g += wd * w
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
            vmax = max(vmax, v)
            x = vmax if hyper.amsgrad else v
            k1, k2 = (1 - b1**t, 1 - b2**t) if convention.bias_correction else (Decimal(1), Decimal(1))
            if convention.epsilon is Epsilon.OUTSIDE:
                w -= lr * (m / k1) / ((x / k2).sqrt() + eps)
            elif convention.epsilon is Epsilon.HAT:
                w -= lr * k2.sqrt() / k1 * m / (x.sqrt() + eps)
            else:
                w -= lr * (m / k1) / (x / k2 + eps).sqrt()
            values[:] = [w, m, v, vmax]
        for name, column in zip(rows, zip(*state, strict=True), strict=True):
            rows[name].append(list(column))
    return rows


@pytest.mark.parametrize("epsilon", Epsilon)
@pytest.mark.parametrize(
    "hyper",
    [
        Hyper(eps=1e-3),
        Hyper(weight_decay=0.1),
        Hyper(weight_decay=0.1, decoupled=True, beta2=0.95),
        Hyper(amsgrad=True, beta1=0.0, beta2=0.5),
    ],
    ids=["plain", "l2", "decoupled", "amsgrad"],
)
@pytest.mark.parametrize(("corrected", "count"), [(True, StepCount.GLOBAL), (False, StepCount.PER_PARAMETER),
                                                  (True, StepCount.PER_PARAMETER)])  # fmt: skip
def test_is_the_formula_with_next_to_no_rounding(epsilon, hyper, corrected, count):
    convention = Convention(epsilon, corrected, count)
    present = np.array([[True, True], [False, True], [True, True], [True, False], [True, True]])
    found = orbit(Oracle(hyper, convention), FORMATS["float32"], present)
    with localcontext(prec=80):
        expected = decimal_orbit(hyper, convention, FORMATS["float32"], present)
        for name, (high, low) in found.items():
            for step in range(STEPS):
                for element, truth in enumerate(expected[name][step]):
                    made = Decimal(high[step, element]) + Decimal(low[step, element])
                    assert abs(made - truth) <= RELATIVE * max(abs(truth), Decimal(1))
                    assert name != "w" or made != Decimal(high[step, element])


def test_blocks_of_any_height_give_the_same_bits():
    oracle = Oracle(Hyper(), Convention(step_count=StepCount.PER_PARAMETER))
    present = np.array([[True, True], [False, True], [True, True], [True, False], [True, True]])
    whole = orbit(oracle, FORMATS["float64"], present)
    cut = orbit(oracle, FORMATS["float64"], present, pieces=(1, 3, 1))
    for name in whole:
        for one, other in zip(whole[name], cut[name], strict=True):
            np.testing.assert_array_equal(one, other)


def test_rounded_scalars_stand_where_the_arithmetic_has_them():
    """In bfloat16 beta2 = 0.999 is 1: an average never forgets, a difference does."""
    average = Arithmetic(Factors.ROUNDED_ONCE, FirstMoment.AVERAGE, SecondMoment.AVERAGE, Update.HAT)
    difference = Arithmetic(Factors.ROUNDED_ONCE, FirstMoment.AVERAGE, SecondMoment.DIFFERENCE, Update.HAT)
    format, hyper, convention = FORMATS["bfloat16"], Hyper(), Convention(Epsilon.HAT)
    rows = np.ones((STEPS, sum(SIZES)), format.dtype)
    c2 = Fraction(float(format.dtype.type(1 - 0.999)))
    for arithmetic, truth in ((average, STEPS * c2), (difference, 1 - (1 - c2) ** STEPS)):
        high, low = orbit(Oracle(hyper, convention, arithmetic), format, rows=rows)["v"]
        assert abs(Fraction(high[-1, 0]) + Fraction(low[-1, 0]) - truth) <= Fraction(RELATIVE)


def test_infinite_gradients_reach_their_own_elements_only():
    format = FORMATS["float64"]
    rows = gradients(format)
    rows[1, 2] = np.inf
    oracle = Oracle(Hyper(), Convention())
    found, usual = orbit(oracle, format, rows=rows), orbit(oracle, format)
    assert np.isposinf(found["v"][0][1:, 2]).all()
    others = [0, 1, 3, 4]
    for name in found:
        assert not np.isnan(found["m"][0]).any()
        np.testing.assert_allclose(found[name][0][:, others], usual[name][0][:, others], rtol=1e-15)


def test_a_zero_gradient_leaves_no_nan():
    format = FORMATS["float32"]
    found = orbit(Oracle(Hyper(), Convention()), format, rows=np.zeros((STEPS, sum(SIZES)), format.dtype))
    assert (found["w"][0] == weights(format)).all()
    assert not any(np.isnan(part).any() for pair in found.values() for part in pair)


@pytest.mark.parametrize("present", [True, False])
def test_threads_tiles_and_pieces_change_no_bit(monkeypatch, present):
    """1,000 elements in one parameter of every element's own, and in pieces, on threads and on none."""
    generator = np.random.default_rng(8)
    sizes, format = (700, 0, 299, 1), FORMATS["float32"]
    rows = (generator.standard_normal((STEPS, 1000)) * 0.1).astype(np.float32)
    weight = generator.standard_normal(1000).astype(np.float32)
    given = np.ones((STEPS, len(sizes)), bool)
    given[2, 2] = present
    oracle = Oracle(Hyper(amsgrad=True, weight_decay=0.1), Convention(step_count=StepCount.PER_PARAMETER))

    def states(places, sizes, given):
        block = Block(range(1, STEPS + 1), np.ascontiguousarray(rows[:, places]), given)
        (found,) = orbits([oracle], at_rest(weight[places], len(sizes)), of_sizes(sizes), [block], format)
        return np.stack([part for one in found[oracle] if one is not None for part in one])

    expected = states(slice(None), sizes, given)
    assert not np.isnan(expected).any()
    monkeypatch.setattr("parity.adam.oracle._LONG", 1)
    assert (states(slice(None), sizes, given) == expected).all()
    for place in (0, 699, 700, 999):
        own = given[:, [0 if place < 700 else 2 if place < 999 else 3]]
        assert (states(slice(place, place + 1), (1,), own) == expected[..., place : place + 1]).all()


@pytest.mark.parametrize("arithmetic", [None, plain(Epsilon.OUTSIDE)], ids=["exact", "in force"])
def test_betas_that_change_are_those_of_the_step(arithmetic):
    """Steps of one Oracle after another, each with a beta of its own, are those of one with all of them."""
    format = FORMATS["float64"]
    betas = tuple(0.8 + 0.01 * step for step in range(STEPS))
    whole = orbit(Oracle(Hyper(beta1=betas, beta2=0.9), Convention(), arithmetic), format, pieces=(2, STEPS - 2))
    same = orbit(Oracle(Hyper(beta1=(0.8,) * STEPS, beta2=0.9), Convention(), arithmetic), format)
    plain = orbit(Oracle(Hyper(beta1=0.8, beta2=0.9), Convention(), arithmetic), format)
    for name in ("w", "m", "v"):
        for part in (0, 1):
            assert np.array_equal(same[name][part], plain[name][part])
    assert np.array_equal(whole["m"][0][0], plain["m"][0][0])
    assert not np.array_equal(whole["m"][0][1], plain["m"][0][1])
    m, given = whole["m"][0], gradients(format)
    for step in range(1, STEPS):
        b = Fraction(betas[step])
        expected = [float(b * Fraction(float(old)) + (1 - b) * Fraction(float(g)))
                    for old, g in zip(m[step - 1], given[step], strict=True)]  # fmt: skip
        np.testing.assert_allclose(m[step], expected, rtol=1e-15)
