"""The step in place, in blocks and threads, against the pure step and against naive NumPy."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest

from parity.adam import step as step_module
from parity.adam.arithmetic import Rounding, plain
from parity.adam.convention import Convention, Epsilon
from parity.adam.rounding import rounded
from parity.adam.step import initial_state, step, step_in_place
from parity.core.hyper import Hyper
from parity.core.state import Rows
from parity.numerics import threads
from parity.numerics.formats import FORMATS, format_of, to_bits

SHAPES = {
    "none": (0,),
    "scalar": (),
    "one": (1,),
    "three": (3,),
    "matrix": (7, 1),
    "row": (1025,),
    "flat": (4, 0),
}
HYPERS = {
    "plain": Hyper(),
    "visible": Hyper(lr=0.1, beta2=0.9, eps=1e-2),
    "l2": Hyper(weight_decay=0.1),
    "decoupled": Hyper(weight_decay=0.1, decoupled=True),
    "amsgrad": Hyper(amsgrad=True, weight_decay=0.1),
}
ALL = list(itertools.product(FORMATS, Epsilon, Rounding, HYPERS))


def tensors(format, seed, shapes=SHAPES):
    draw = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        return {
            name: (draw.standard_normal(shape) * 10.0 ** draw.integers(-9, 4, shape)).astype(format.dtype)
            for name, shape in shapes.items()
        }


def bits(state):
    return {
        (quantity, name): to_bits(array).tolist()
        for quantity, arrays in zip(Rows._fields, state, strict=False)
        if arrays is not None
        for name, array in arrays.items()
    }


@pytest.mark.parametrize(("name", "epsilon", "rounding", "hyper"), ALL)
def test_blocks_and_threads_keep_every_bit(name, epsilon, rounding, hyper, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    arithmetic = plain(epsilon, rounding)
    format, hyper, convention = FORMATS[name], HYPERS[hyper], Convention(epsilon)
    pure = initial_state(tensors(format, 0), hyper)
    alone, shared = (initial_state(tensors(format, 0), hyper) for _ in range(2))
    threads._threads.cache_clear()
    for t in range(1, 4):
        g = tensors(format, t)
        pure = step(pure, g, hyper, convention, arithmetic, t)
        step_in_place(alone, g, hyper, convention, arithmetic, t)
        with monkeypatch.context() as short:
            short.setattr(step_module, "LONG", 64)
            step_in_place(shared, g, hyper, convention, arithmetic, t)
        assert bits(pure) == bits(alone) == bits(shared)


def naive(w, m, v, vmax, g, t, hyper, epsilon):
    """Adam as anyone writes it in NumPy, one rounding per operation."""

    def c(x):
        return rounded(x, format_of(w))

    correction1, correction2 = 1 - hyper.beta1**t, 1 - hyper.beta2**t
    if hyper.weight_decay and hyper.decoupled:
        w = w * c(1 - hyper.lr * hyper.weight_decay)
    elif hyper.weight_decay:
        g = g + c(hyper.weight_decay) * w
    m = c(hyper.beta1) * m + c(1 - hyper.beta1) * g
    v = c(hyper.beta2) * v + c(1 - hyper.beta2) * g**2
    vmax = np.maximum(vmax, v)
    second = vmax if hyper.amsgrad else v
    if epsilon is Epsilon.HAT:
        alpha = c(hyper.lr * correction2**0.5 / correction1)
        return w - alpha * m / (np.sqrt(second) + c(hyper.eps)), m, v, vmax
    m_hat, v_hat = m / c(correction1), second / c(correction2)
    if epsilon is Epsilon.OUTSIDE:
        return w - c(hyper.lr) * m_hat / (np.sqrt(v_hat) + c(hyper.eps)), m, v, vmax
    return w - c(hyper.lr) * m_hat / np.sqrt(v_hat + c(hyper.eps)), m, v, vmax


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("epsilon", Epsilon)
@pytest.mark.parametrize("option", HYPERS)
def test_equals_naive_numpy(name, epsilon, option):
    format, hyper = FORMATS[name], HYPERS[option]
    w = tensors(format, 0, {"p": (1025,)})
    state = initial_state(w, hyper)
    expected = (w["p"], *(np.zeros(1025, format.dtype) for _ in range(3)))
    with np.errstate(all="ignore"):
        for t in range(1, 5):
            g = tensors(format, t, {"p": (1025,)})
            step_in_place(state, g, hyper, Convention(epsilon), plain(epsilon), t)
            expected = naive(*expected, g["p"], t, hyper, epsilon)
            for arrays, array in zip(state[:4], expected, strict=True):
                if arrays is not None:
                    # NaN is NaN: which payload or sign it carries is the processor's choice.
                    np.testing.assert_array_equal(arrays["p"].astype(np.float64), array.astype(np.float64))


def test_longer_than_a_default_block():
    shapes = {"p": (2**18 * 2 + 5,)}
    hyper, w, g = Hyper(), tensors(FORMATS["float32"], 0, shapes), tensors(FORMATS["float32"], 1, shapes)
    state = initial_state(w, hyper)
    expected = step(state, g, hyper, Convention(), plain(Epsilon.OUTSIDE), 1)
    step_in_place(state, g, hyper, Convention(), plain(Epsilon.OUTSIDE), 1)
    for name in ("w", "m", "v"):
        actual = getattr(state, name)["p"]
        assert np.array_equal(to_bits(actual), to_bits(getattr(expected, name)["p"]))
        assert np.count_nonzero(actual) == actual.size
