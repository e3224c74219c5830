"""The best constant epsilon and what it leaves: analytic numbers against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest

from parity.adam.convention import Epsilon
from parity.adam.epsilon import root_correction
from parity.adam.epsilon_conversion import best_constant, conversion, largest_gap, settled_step, shown_steps
from parity.adam.epsilon_gap import Curve, curve, lobes, ranges_above
from parity.core.errors import UsageError

OUTSIDE, HAT, INSIDE = Epsilon.OUTSIDE, Epsilon.HAT, Epsilon.INSIDE
PAIRS = [(one, other) for one in Epsilon for other in Epsilon if one is not other]
X = np.logspace(-24, 12, 36_001)
SCALES = (1e-7, 9e-8, 1e-9, 3e-4)


def update(eps, epsilon, beta2, t, g):
    """The formula of `Epsilon` for a constant gradient, in units of lr, not simplified."""
    v_hat = g * g
    v = v_hat * (1 - beta2**t)
    if epsilon is OUTSIDE:
        return g / (np.sqrt(v_hat) + eps)
    if epsilon is INSIDE:
        return g / np.sqrt(v_hat + eps)
    return math.sqrt(1 - beta2**t) * g / (np.sqrt(v) + eps)


def difference(one, other):
    return np.array([one.at(x) - other.at(x) for x in X])


@pytest.mark.parametrize("epsilon", Epsilon)
@pytest.mark.parametrize("t", [1, 3, 500])
def test_a_curve_is_the_formula(epsilon, t):
    g = np.logspace(-12, 3, 50)
    actual = [curve(1e-7, epsilon, 0.999, t).at(x) for x in g]
    assert actual == pytest.approx(update(1e-7, epsilon, 0.999, t, g), abs=0, rel=1e-12)


@pytest.mark.parametrize("a", SCALES)
@pytest.mark.parametrize("b", SCALES)
@pytest.mark.parametrize("inside", [False, True])
def test_lobes_are_what_a_fine_grid_shows(a, b, inside):
    one, other = Curve(a, inside=False), Curve(b, inside=inside)
    found = difference(one, other)
    if one == other:
        assert lobes(one, other) == ()
        return
    expected = [size for size in (found.max(), -found.min()) if size > 1e-9]
    actual = lobes(one, other)
    assert sorted(lobe.difference for lobe in actual if lobe.difference > 1e-9) == pytest.approx(
        sorted(expected), abs=0, rel=1e-5
    )
    for lobe in actual:
        assert lobe.low < lobe.peak < lobe.high
        assert abs(one.at(lobe.peak) - other.at(lobe.peak)) == pytest.approx(lobe.difference, abs=2**-52, rel=1e-9)
        for border in (lobe.low, lobe.high):
            if 0 < border < math.inf:
                assert abs(one.at(border) - other.at(border)) < 1e-12


@pytest.mark.parametrize("a", SCALES)
@pytest.mark.parametrize("b", SCALES)
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("threshold", [1e-4, 0.1])
def test_ranges_are_where_the_difference_is_above(a, b, inside, threshold):
    one, other = Curve(a, inside=False), Curve(b, inside=inside)
    ranges = ranges_above(one, other, threshold)
    within = np.zeros(X.size, bool)
    for low, high in ranges:
        within |= (low <= X) & (high >= X)
        for border in (low, high):
            assert abs(one.at(border) - other.at(border)) == pytest.approx(threshold, abs=0, rel=1e-9)
    above = np.abs(difference(one, other)) > threshold
    assert np.array_equal(within, above)
    assert bool(ranges) == above.any()


def test_ranges_of_two_plain_curves_are_the_roots_of_a_quadratic():
    """x^2 d + x (d (a + b) - (b - a)) + d a b = 0."""
    a, b, d = 1e-7, 3e-6, 1e-2
    ((low, high),) = ranges_above(Curve(a, inside=False), Curve(b, inside=False), d)
    assert sorted(np.roots([d, d * (a + b) - (b - a), d * a * b])) == pytest.approx([low, high], abs=0, rel=1e-9)


def brute_gap(eps, source, constant, target, steps, beta2=0.999):
    """The largest difference over every step and a fine grid of gradients."""
    g = np.logspace(-13, 4, 4001)
    return max(
        np.abs(update(eps, source, beta2, t, g) - update(constant, target, beta2, t, g)).max()
        for t in range(1, steps + 1)
    )


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("factor", [1.0, 1e-3, 30.0])
def test_the_largest_gap_is_that_of_brute_force(source, target, factor):
    gap = largest_gap(1e-7, source, 1e-7 * factor, target, beta2=0.999, steps=60)
    assert gap.difference == pytest.approx(brute_gap(1e-7, source, 1e-7 * factor, target, 60), abs=0, rel=1e-4)
    at_it = [update(*one, 0.999, gap.step, gap.gradient) for one in ((1e-7, source), (1e-7 * factor, target))]
    assert abs(at_it[0] - at_it[1]) == pytest.approx(gap.difference, abs=0, rel=1e-9)


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("steps", [1, 2, 40])
@pytest.mark.parametrize("beta2", [0.999, 0.9])
def test_no_constant_is_better_than_the_best(source, target, steps, beta2):
    best = best_constant(1e-6, source, target, beta2=beta2, steps=steps)
    gap = brute_gap(1e-6, source, best, target, steps, beta2)
    assert gap == pytest.approx(largest_gap(1e-6, source, best, target, beta2=beta2, steps=steps).difference, abs=1e-5)
    for factor in (1e-3, 0.5, 0.99, 1.01, 2.0, 1e3):
        assert brute_gap(1e-6, source, best * factor, target, steps, beta2) > gap


def test_what_the_best_constant_leaves_between_outside_and_hat():
    found = conversion(1e-8, OUTSIDE, HAT, steps=10_000)
    first, last = root_correction(0.999, 1), root_correction(0.999, 10_000)
    assert found.best.eps == pytest.approx(1e-8 * math.sqrt(first * last), abs=0, rel=1e-14)
    assert found.best.gap.difference == pytest.approx(math.tanh(math.log(last / first) / 8), abs=0, rel=1e-12)
    assert found.same.gap.difference == pytest.approx(math.tanh(math.log(1 / first) / 4), abs=0, rel=1e-12)


def test_what_a_constant_leaves_between_outside_and_inside():
    """Numbers of no scale: eps^2 leaves 0.233 lr, the best constant 0.0938 lr, at every step."""
    found = conversion(1e-8, OUTSIDE, INSIDE)
    assert found.vanishing.eps == pytest.approx(1e-16, abs=0, rel=1e-12)
    assert found.vanishing.gap.difference == pytest.approx(0.2326189, abs=0, rel=1e-6)
    assert math.sqrt(found.best.eps) == pytest.approx(1e-8 / 0.4936299, abs=0, rel=1e-6)
    assert found.best.gap.difference == pytest.approx(0.0937688, abs=0, rel=1e-6)
    assert len({row.best for row in found.rows}) == 1


def test_one_step_between_outside_and_hat_leaves_nothing():
    found = conversion(1e-7, HAT, OUTSIDE, steps=1)
    assert found.best.gap.difference < 1e-15
    assert found.best.eps == pytest.approx(found.rows[0].exact, abs=0, rel=1e-14)


@pytest.mark.parametrize("epsilon", Epsilon)
def test_the_same_convention_keeps_the_number(epsilon):
    found = conversion(1e-7, epsilon, epsilon)
    assert {one.eps for one in (found.same, found.best, found.vanishing)} == {1e-7}
    assert {one.gap.difference for one in (found.same, found.best, found.vanishing)} == {0.0}
    assert found.settled == 1
    assert not any(row.matters_same or row.matters_best for row in found.rows)


@pytest.mark.parametrize("threshold", [1e-3, 1e-2, 0.3, 0.9])
@pytest.mark.parametrize("beta2", [0.999, 0.9, 0.0])
def test_the_same_number_settles_at_the_first_step_that_is_below_the_threshold(threshold, beta2):
    settled = settled_step(OUTSIDE, HAT, beta2=beta2, threshold=threshold)

    def largest(t):
        found = lobes(curve(1e-7, OUTSIDE, beta2, t), curve(1e-7, HAT, beta2, t))
        return max((lobe.difference for lobe in found), default=0.0)

    assert largest(settled) <= threshold
    assert settled == 1 or largest(settled - 1) > threshold


def test_inside_never_settles():
    assert settled_step(INSIDE, OUTSIDE, beta2=0.999, threshold=0.5) is None


def test_the_rows_say_what_the_constants_do_at_their_step():
    found = conversion(1e-7, HAT, OUTSIDE, steps=100)
    assert [row.step for row in found.rows] == [1, 2, 5, 10, 20, 50, 100]
    row = found.rows[2]
    expected, same = curve(1e-7, HAT, 0.999, 5), curve(1e-7, OUTSIDE, 0.999, 5)
    assert row.exact == pytest.approx(1e-7 / math.sqrt(1 - 0.999**5), abs=0, rel=1e-12)
    assert row.same == lobes(same, expected)[0].difference
    assert row.matters_same == ranges_above(same, expected, 1e-3)
    assert row.best < row.same
    assert found.rows[-1].best == pytest.approx(found.rows[0].best)


@pytest.mark.parametrize(("steps", "expected"), [(1, (1,)), (2, (1, 2)), (7, (1, 2, 5, 7)), (10, (1, 2, 5, 10))])
def test_the_steps_that_are_shown(steps, expected):
    assert shown_steps(steps) == expected


@pytest.mark.parametrize("eps", [1e-100, 1e100])
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_numbers_at_the_limits_give_numbers(eps, source, target):
    found = conversion(eps, source, target, beta2=1 - 2.0**-53, steps=10**9)
    for one in (found.same, found.best, found.vanishing):
        assert 0 < one.eps < math.inf
        assert 0 <= one.gap.difference <= 1


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, float("nan")])
def test_a_threshold_is_a_part_of_a_step(threshold):
    with pytest.raises(UsageError, match=r"^threshold .*: allowed: a number between 0 and 1, in units of lr$"):
        conversion(1e-7, HAT, OUTSIDE, threshold=threshold)
