"""Steps from recorded states are the steps of a free run; tails and halves included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parity.adam.arithmetic import Exceptional, Rounding, SquareRoot, Subnormals, plain
from parity.adam.convention import Convention, Epsilon
from parity.adam.forms import DecayGradient, FirstMoment, SecondMoment, Update
from parity.adam.step import LONG, initial_state, lock_step, step
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.core.state import Rows
from parity.numerics.formats import FORMATS, to_bits

HYPERS = {
    "plain": Hyper(),
    "l2": Hyper(weight_decay=0.1),
    "decoupled": Hyper(weight_decay=0.1, decoupled=True),
    "amsgrad": Hyper(amsgrad=True),
}
ARITHMETICS = {
    "plain": plain(Epsilon.OUTSIDE),
    "at store": plain(Epsilon.OUTSIDE, Rounding.AT_STORE),
    "kernels": replace(
        plain(Epsilon.OUTSIDE, Rounding.EACH_KERNEL), first_moment=FirstMoment.LERP, update=Update.OUTSIDE_TORCH
    ),
    "tail": replace(
        plain(Epsilon.OUTSIDE),
        second_moment=SecondMoment.AVERAGE_FMA_LEFT,
        lanes=8,
        tail=Exceptional(second_moment=SecondMoment.AVERAGE_FMA_OLD_LEFT, decay_gradient=DecayGradient.FMA),
        alone=Exceptional(first_moment=FirstMoment.LERP, update=Update.OUTSIDE_TORCH),
    ),
    "flushed": replace(plain(Epsilon.OUTSIDE), subnormals=Subnormals.FLUSHED),
}


def free_run(format, hyper, arithmetic, size, steps, scale=1.0):
    draw = np.random.default_rng(size)
    weights = draw.standard_normal(size).astype(format.dtype)
    with np.errstate(all="ignore"):
        gradients = (scale * draw.standard_normal((steps, size)) * 10.0 ** draw.integers(-5, 2, size)).astype(
            format.dtype
        )
    states = [initial_state({"p": weights}, hyper)]
    for t in range(1, steps + 1):
        states.append(step(states[-1], {"p": gradients[t - 1]}, hyper, Convention(), arithmetic, t))
    quantities = [np.stack([arrays["p"] for arrays in column]) for column in zip(*states, strict=True) if column[0]]
    return Rows(*quantities), gradients


def cut(rows, place):
    return Rows(*(None if one is None else one[place] for one in rows))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("option", HYPERS)
@pytest.mark.parametrize("size", [1, 35])
def test_lock_step_is_the_free_run(name, arithmetic, option, size):
    steps, hyper, choices = 9, HYPERS[option], ARITHMETICS[arithmetic]
    orbit, gradients = free_run(FORMATS[name], hyper, choices, size, steps)
    after = lock_step(
        cut(orbit, slice(None, -1)), gradients, hyper, Convention(), choices, [1e-3] * steps, range(1, steps + 1)
    )
    for actual, expected in zip(after, cut(orbit, slice(1, None)), strict=True):
        assert (actual is None) == (expected is None)
        if actual is not None:
            np.testing.assert_array_equal(to_bits(actual), to_bits(expected))


def test_blocks_keep_every_bit():
    format, hyper, choices = FORMATS["float32"], Hyper(), ARITHMETICS["tail"]
    orbit, gradients = free_run(format, hyper, choices, LONG + 13, 2)
    after = lock_step(cut(orbit, slice(None, -1)), gradients, hyper, Convention(), choices, [1e-3] * 2, [1, 2])
    for actual, expected in zip(after[:3], cut(orbit, slice(1, None))[:3], strict=True):
        np.testing.assert_array_equal(to_bits(actual), to_bits(expected))


def test_a_wrong_form_shows():
    orbit, gradients = free_run(FORMATS["float32"], Hyper(), ARITHMETICS["plain"], 35, 9)
    other = replace(ARITHMETICS["plain"], first_moment=FirstMoment.LERP)
    after = lock_step(cut(orbit, slice(None, -1)), gradients, Hyper(), Convention(), other, [1e-3] * 9, range(1, 10))
    assert (after.m != orbit.m[1:]).any()
    np.testing.assert_array_equal(after.v, orbit.v[1:])


def test_the_tail_is_the_end_of_the_tensor():
    orbit, gradients = free_run(FORMATS["float32"], Hyper(beta2=0.95), ARITHMETICS["tail"], 1003, 40)
    without = replace(ARITHMETICS["tail"], tail=Exceptional())
    after = lock_step(
        cut(orbit, slice(None, -1)), gradients, Hyper(beta2=0.95), Convention(), without, [1e-3] * 40, range(1, 41)
    )
    differing = np.flatnonzero((after.v != orbit.v[1:]).any(axis=0))
    assert differing.size
    assert differing.min() >= 1000


def test_flushing_makes_subnormal_moments_zero():
    kept, _ = free_run(FORMATS["float32"], Hyper(eps=1e-30), plain(Epsilon.OUTSIDE), 35, 3, scale=1e-18)
    flushed, _ = free_run(FORMATS["float32"], Hyper(eps=1e-30), ARITHMETICS["flushed"], 35, 3, scale=1e-18)
    smallest = np.finfo(np.float32).tiny
    assert ((kept.v > 0) & (kept.v < smallest)).any()
    assert not ((flushed.v > 0) & (flushed.v < smallest)).any()


def test_a_library_is_asked_for_its_square_root():
    library = replace(plain(Epsilon.OUTSIDE), square_root=SquareRoot.LIBRARY)
    orbit, gradients = free_run(FORMATS["float32"], Hyper(), plain(Epsilon.OUTSIDE), 35, 3)
    given = cut(orbit, slice(None, -1)), gradients, Hyper(), Convention(), library, [1e-3] * 3, [1, 2, 3]
    with pytest.raises(ParityError, match="square roots by a framework's library"):
        lock_step(*given)
    np.testing.assert_array_equal(lock_step(*given, np.sqrt).w, orbit.w[1:])
    assert (lock_step(*given, lambda x: np.nextafter(np.sqrt(x), x.dtype.type(np.inf))).w != orbit.w[1:]).any()
