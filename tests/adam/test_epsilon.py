"""Epsilon in another convention: exact numbers, and the from-scratch Adam itself."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from parity.adam.arithmetic import plain
from parity.adam.convention import Convention, Epsilon
from parity.adam.epsilon import CONVENTIONS, convention_named, convert, root_correction
from parity.adam.step import initial_state, step
from parity.core.errors import UsageError
from parity.core.hyper import Hyper
from parity.implementations.registry import shipped_implementations

OUTSIDE, HAT, INSIDE = Epsilon.OUTSIDE, Epsilon.HAT, Epsilon.INSIDE
PAIRS = [(one, other) for one in Epsilon for other in Epsilon if one is not other]
PLAIN = [(OUTSIDE, HAT), (HAT, OUTSIDE)]
STEPS = 200


def orbit(epsilon, eps_at, gradients):
    """The weights of the from-scratch Adam after every step, eps set anew before each, in float64."""
    hyper = Hyper()
    state = initial_state({"w": np.zeros(gradients.shape[1])}, hyper)
    found = []
    for t, g in enumerate(gradients, start=1):
        numbers = replace(hyper, eps=eps_at(t))
        state = step(state, {"w": g}, numbers, Convention(epsilon), plain(epsilon), t)
        found.append(state.w["w"])
    return np.array(found)


@pytest.mark.parametrize("beta2", [0.0, 0.5, 0.95, 0.999, 1 - 2.0**-40])
@pytest.mark.parametrize("t", [1, 2, 7, 10_000])
def test_the_root_of_the_bias_correction_is_exact(beta2, t):
    with mpmath.workdps(60):
        exact = mpmath.sqrt(1 - mpmath.mpf(beta2) ** t)
        assert abs(root_correction(beta2, t) / exact - 1) < 4e-16


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("root", [0.0, 1e-12, 3e-7, 2.0])
@pytest.mark.parametrize("t", [1, 5, 3000])
def test_the_updates_are_equal_for_this_step_and_v(source, target, root, t):
    """Held against the definitions in `Epsilon`, with 60 digits."""
    beta2, eps = 0.999, 1e-7
    converted = convert(eps, source, target, beta2=beta2, step=t, root=root)
    with mpmath.workdps(60):
        correction = mpmath.sqrt(1 - mpmath.mpf(beta2) ** t)

        def denominator(epsilon, number):
            """Of m_hat, each formula divided by what stands before it."""
            number, hat = mpmath.mpf(number), mpmath.mpf(root)
            if epsilon is OUTSIDE:
                return hat + number
            if epsilon is HAT:
                return (hat * correction + number) / correction
            return mpmath.sqrt(hat**2 + number)

        assert abs(denominator(target, converted) / denominator(source, eps) - 1) < 1e-15


def test_inside_is_a_fraction_where_all_is_rational():
    eps, root = Fraction(1, 8), Fraction(3, 4)
    assert convert(0.125, OUTSIDE, INSIDE, beta2=0.999, step=3, root=0.75) == eps**2 + 2 * eps * root
    assert convert(float(eps**2 + 2 * eps * root), INSIDE, OUTSIDE, beta2=0.999, step=3, root=0.75) == eps


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("root", [1e-6, 2.0])
def test_there_and_back(source, target, root):
    there = convert(1e-7, source, target, beta2=0.99, step=4, root=root)
    assert convert(there, target, source, beta2=0.99, step=4, root=root) == pytest.approx(1e-7, abs=0, rel=1e-13)


def test_hat_is_31_6_times_as_large_at_the_first_step():
    ratio = convert(1e-7, HAT, OUTSIDE, beta2=0.999, step=1) / 1e-7
    assert ratio == pytest.approx(31.6227766, abs=0, rel=1e-8)


@pytest.mark.parametrize(("source", "target"), PLAIN)
@pytest.mark.parametrize("kind", ["constant", "random"])
def test_an_eps_per_step_makes_the_real_adams_equal(source, target, kind):
    """No constant does (github.com/HorizonRobotics/alf/pull/466); the gap closes for every gradient."""
    sizes = np.logspace(-12, 2, 57)
    gradients = np.tile(sizes, (STEPS, 1))
    if kind == "random":
        gradients = gradients * np.random.default_rng(5).standard_normal(gradients.shape)
    expected = orbit(source, lambda t: 1e-7, gradients)
    same = orbit(target, lambda t: 1e-7, gradients)
    converted = orbit(target, lambda t: convert(1e-7, source, target, beta2=0.999, step=t), gradients)
    assert np.abs(same - expected).max() > 0.5e-3
    # Every step: both sides round w, at most 0.2, and an update of 1e-3 some 10 times.
    assert np.abs(converted - expected).max() < STEPS * 2 * (0.2 + 10 * 1e-3) * 2.0**-53


def test_no_eps_makes_inside_equal_for_two_sizes_of_v():
    small, large = (convert(1e-7, OUTSIDE, INSIDE, beta2=0.999, step=1, root=root) for root in (0.0, 1.0))
    assert (small, large) == pytest.approx((1e-14, 2e-7), abs=0, rel=1e-6)


def test_the_names_are_what_the_registry_says():
    seen = set()
    for one in shipped_implementations().values():
        prefix, _, rest = one.name.partition(".")
        # SparseAdam has kept the older place of epsilon.
        if prefix in CONVENTIONS and rest.split(".")[0] == "adam" and rest != "adam.sparse":
            seen.add(prefix)
            assert CONVENTIONS[prefix].value == one.convention, one.name
    assert {"torch", "keras"} <= seen


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(UsageError, match=r"^convention 'kers' is unknown; allowed: .*; did you mean 'keras'\?$"):
        convention_named("kers")


@pytest.mark.parametrize(
    ("eps", "beta2", "t", "told"),
    [
        (0.0, 0.999, 1, "eps 0: allowed: a number from 1e-100 to 1e+100"),
        (-1e-7, 0.999, 1, "eps -1e-07"),
        (float("nan"), 0.999, 1, "eps nan"),
        (float("inf"), 0.999, 1, "eps inf"),
        (1e-7, 1.0, 1, "beta2 1: allowed: a number from 0 to less than 1"),
        (1e-7, -0.1, 1, "beta2 -0.1"),
        (1e-7, float("nan"), 1, "beta2 nan"),
        (1e-7, 0.999, 0, "step 0: steps count from 1"),
    ],
)
def test_numbers_out_of_range_are_refused(eps, beta2, t, told):
    with pytest.raises(UsageError) as caught:
        convert(eps, HAT, OUTSIDE, beta2=beta2, step=t)
    assert str(caught.value).startswith(told)
