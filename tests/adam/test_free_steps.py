"""Steps made at once are those made one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parity.adam.arithmetic import Exceptional, Rounding, Setting, Subnormals, plain
from parity.adam.convention import Convention, Epsilon, Maximum
from parity.adam.forms import DecayGradient, DecayWeights, FirstMoment, Largest, SecondMoment, Update
from parity.adam.step import free_steps, initial_state, step
from parity.adam.twins import TWINS
from parity.core.hyper import Hyper
from parity.core.state import Rows
from parity.numerics.formats import FORMATS, to_bits

STEPS = 9
HYPERS = {
    "plain": Hyper(lr=tuple(1e-3 / t for t in range(1, STEPS + 1))),
    "no eps": Hyper(eps=0.0),
    "l2": Hyper(weight_decay=0.1),
    "decoupled": Hyper(weight_decay=0.1, decoupled=True),
    "amsgrad": Hyper(amsgrad=True),
    "all": Hyper(weight_decay=0.1, decoupled=True, amsgrad=True),
}
ARITHMETICS = {
    "plain": plain(Epsilon.OUTSIDE),
    "at store": plain(Epsilon.HAT, Rounding.AT_STORE),
    "kernels": replace(
        plain(Epsilon.OUTSIDE, Rounding.EACH_KERNEL),
        first_moment=FirstMoment.LERP,
        second_moment=SecondMoment.TWO_KERNELS_FMA_LEFT,
        update=Update.OUTSIDE_TORCH,
        decay_weights=DecayWeights.SUBTRACTED_FMA,
    ),
    "in the update": replace(
        plain(Epsilon.OUTSIDE), update=Update.OUTSIDE_RECIPROCALS_FMA, decay_weights=DecayWeights.IN_UPDATE
    ),
    "tail": replace(
        plain(Epsilon.OUTSIDE),
        lanes=8,
        tail=Exceptional(second_moment=SecondMoment.AVERAGE_FMA_OLD_LEFT, decay_gradient=DecayGradient.FMA),
        alone=Exceptional(first_moment=FirstMoment.LERP, update=Update.OUTSIDE_TORCH),
    ),
    "flushed": replace(
        plain(Epsilon.HAT), subnormals=Subnormals.FLUSHED, maximum=Largest.NAN_IS_PASSED_OVER,
        first_moment=FirstMoment.DIFFERENCE, second_moment=SecondMoment.DIFFERENCE_TWO_FMA,
    ),
}  # fmt: skip


def inputs(name, size, scale=1.0):
    draw = np.random.default_rng(size)
    weights = draw.standard_normal(size).astype(FORMATS[name].dtype)
    sizes = scale * 10.0 ** draw.integers(-5, 2, size)
    with np.errstate(all="ignore"):
        return weights, (sizes * draw.standard_normal((STEPS, size))).astype(FORMATS[name].dtype)


def check(name, hyper, convention, arithmetic, weights, gradients, library=None):
    states = [initial_state({"p": weights}, hyper)]
    for t in range(1, STEPS + 1):
        states.append(step(states[-1], {"p": gradients[t - 1]}, hyper, convention, arithmetic, t, library=library))
    one_by_one = [np.stack([one["p"] for one in column[1:]]) for column in zip(*states, strict=True) if column[0]]
    start = Rows(*(None if arrays is None else arrays["p"] for arrays in states[0][:4]))
    lr, counts = [hyper.lr_at(t) for t in range(1, STEPS + 1)], range(1, STEPS + 1)
    setting = Setting(weights.shape, tensors=1)
    made = free_steps(start, gradients, hyper, convention, arithmetic, lr, counts, library, setting)
    shown = [rows for rows in made if rows is not None]
    assert len(shown) == len(one_by_one) == 3 + hyper.amsgrad
    for actual, expected in zip(shown, one_by_one, strict=True):
        assert actual.dtype == expected.dtype
        both_nan = (actual != actual) & (expected != expected)
        np.testing.assert_array_equal(np.where(both_nan, 0, to_bits(actual)), np.where(both_nan, 0, to_bits(expected)))
    assert len(np.unique(to_bits(made.m), axis=0)) > 1


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("option", HYPERS)
@pytest.mark.parametrize("size", [1, 35])
def test_free_steps_are_steps(name, arithmetic, option, size):
    choices = ARITHMETICS[arithmetic]
    maximum = Maximum.AFTER_CORRECTION if "vmax" in choices.update else Maximum.BEFORE_CORRECTION
    convention = Convention(choices.update.epsilon, maximum=maximum)
    check(name, HYPERS[option], convention, choices, *inputs(name, size))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("implementation", TWINS)
def test_free_steps_of_every_twin_are_its_steps(name, implementation):
    if name in TWINS[implementation]:
        twin = TWINS[implementation][name]
        library = np.sqrt if twin.arithmetic.asks_library else None
        check(name, Hyper(), twin.convention, twin.arithmetic, *inputs(name, 1061), library)


def test_what_is_flushed_is_flushed_on_the_way():
    """Subnormal squares: with them v, and so w, would be others. Subnormal gradients: with them m."""
    kept, flushed = plain(Epsilon.HAT), ARITHMETICS["flushed"]
    for arithmetic, scale in ((kept, 1e-18), (flushed, 1e-18), (kept, 1e-32), (flushed, 1e-32)):
        weights, gradients = inputs("float32", 35, scale)
        gradients[5, ::2] = 1e-39
        check("float32", Hyper(eps=1e-30), Convention(Epsilon.HAT), arithmetic, weights, gradients)


def test_an_array_that_needs_not_itself_is_still_the_one_before_where_it_is_read_first():
    """No Adam does so: decay by the last m, which is the last gradient."""
    odd = replace(plain(Epsilon.OUTSIDE), first_moment="m = c1 * g", decay_weights="w = w - wd * m")
    hyper = HYPERS["decoupled"]
    check("float32", hyper, Convention(), odd, *inputs("float32", 35))
