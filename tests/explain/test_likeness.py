"""How gradients stand to each other: no likeness is told where there is none, and none is missed."""

from __future__ import annotations

import numpy as np
import pytest

from parity.explain.likeness import Likeness, factor_text, likeness, likenesses, meaning_of

RANDOM = np.random.default_rng(0)
G = RANDOM.normal(size=200).astype(np.float32)


@pytest.mark.parametrize(
    ("one", "two", "kind"),
    [
        (G, G, Likeness.EQUAL),
        (G * 0, -G * 0, Likeness.EQUAL),
        (G, np.nextafter(G, np.float32(9)), Likeness.ROUNDING),
        (G * 32, G, Likeness.FACTOR),
        (-G, G, Likeness.FACTOR),
        (G[::-1].copy(), G, Likeness.PERMUTED),
        (G, RANDOM.normal(size=200).astype(np.float32), Likeness.UNLIKE),
        (G, G * 0, Likeness.UNLIKE),
        (G * 0, G, Likeness.UNLIKE),
        (G, None, Likeness.UNLIKE),
        (None, None, Likeness.ABSENT),
        (np.where(G > 2, np.nan, G), np.where(G > 2, np.nan, G), Likeness.NOT_FINITE),
        (G, np.where(G > 2, np.inf, G), Likeness.NOT_FINITE),
        (np.float32([2.0]), np.float32([2.5]), Likeness.FACTOR),
    ],
)
def test_what_gradients_are_to_each_other(one, two, kind):
    found = likeness("a", "b", *(None if side is None else side.astype(np.float32) for side in (one, two)))
    assert found.likeness is kind


def test_the_factor_is_that_of_actual_over_expected():
    assert likeness("a", "b", G * 32, G).factor == 32.0
    assert likeness("a", "b", G, G * 32).factor == 1 / 32


@pytest.mark.parametrize(
    ("factor", "text"), [(32.0, "32"), (1 / 32, "1/32"), (0.5, "1/2"), (-1.0, "-1"), (0.99999, "1"), (1.37, "1.37")]
)
def test_a_factor_is_written_as_people_do(factor, text):
    assert factor_text(factor) == text


@pytest.mark.parametrize(("factor", "told"), [
    (32.0, "as between a sum over 32 and their mean"), (1 / 100, "as between a sum over 100 and their mean"),
    (2.0, "a square and half of it"), (0.5, "a square and half of it"), (65536.0, "a loss scale"),
    (1024.0, "a sum over 1,024"), (-1.0, "uphill"),
])  # fmt: skip
def test_what_a_factor_usually_comes_from(factor, told):
    assert told in meaning_of(factor)


@pytest.mark.parametrize("factor", [1.37, -3.0, 0.0, 1.0])
def test_of_other_factors_nothing_is_said(factor):
    assert meaning_of(factor) == ""


def step(*tensors):
    return [one.likeness for one in likenesses((str(n), str(n), a, b) for n, (a, b) in enumerate(tensors))]


def test_what_rounding_leaves_of_a_zero_is_noise():
    """As the bias before a batch normalisation has it; where one side is more than that, it is none."""
    noise = (RANDOM.normal(size=(2, 200)) * 1e-8).astype(np.float32)
    assert step((G, G), tuple(noise)) == ["equal", "noise"]
    assert step((G, G), (noise[0], noise[1] * np.float32(1000))) == ["equal", "unlike"]
    assert step((G, G), (noise[0], None)) == ["equal", "unlike"]
    broken = np.full(200, np.nan, np.float32)
    assert step((G, G), (broken, broken)) == ["equal", "not finite"]
