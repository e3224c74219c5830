"""One step against scalar code in rational arithmetic, rounded after every operation."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from parity.adam.arithmetic import Rounding, plain
from parity.adam.convention import Convention, Epsilon
from parity.adam.step import initial_state, step
from parity.core.hyper import Hyper
from parity.numerics.formats import FORMATS, Format

STEPS = 4
OPTIONS = {
    "plain": ({}, True),
    "l2": ({"weight_decay": 0.3}, True),
    "decoupled": ({"weight_decay": 0.3, "decoupled": True}, True),
    "amsgrad": ({"amsgrad": True}, True),
    "uncorrected": ({}, False),
}
CELLS = [(name, Rounding.EACH_OPERATION) for name in FORMATS]
CELLS += [(name, Rounding.AT_STORE) for name in FORMATS]


def nearest(x: Fraction, format: Format) -> Fraction:
    """The multiple of the format's spacing at x that is nearest, ties to even; no overflow here."""
    if x == 0:
        return x
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
    if Fraction(2) ** exponent > abs(x):
        exponent -= 1
    smallest = 2 - 2 ** (format.exponent_bits - 1)
    spacing = Fraction(2) ** (max(exponent, smallest) - format.precision + 1)
    rounded = round(x / spacing) * spacing
    assert abs(rounded) < Fraction(2) ** (2 ** (format.exponent_bits - 1))
    return rounded


def root(x: Fraction, format: Format) -> Fraction:
    """sqrt(x), rounded to the format, from an integer root with a sticky half."""
    shift = 2 * format.precision + 2 ** (format.exponent_bits - 1)
    scaled = x * Fraction(4) ** shift
    floor = math.isqrt(math.floor(scaled))
    exact = Fraction(floor) if floor * floor == scaled else floor + Fraction(1, 2)
    return nearest(exact / Fraction(2) ** shift, format)


def scalar_adam(w, gradients, hyper, convention, working, stored):
    """The orbit (w, m, v, vmax) of one element, as Fractions."""

    def r(x):
        return nearest(x, working)

    def constant(x):
        return r(Fraction(x))

    beta1, beta2, eps = constant(hyper.beta1), constant(hyper.beta2), constant(hyper.eps)
    m = v = vmax = Fraction(0)
    for t, g in enumerate(gradients, start=1):
        lr = hyper.lr_at(t)
        correction1 = 1 - hyper.beta1**t if convention.bias_correction else 1.0
        correction2 = 1 - hyper.beta2**t if convention.bias_correction else 1.0
        if hyper.weight_decay and hyper.decoupled:
            w = r(w * constant(1 - lr * hyper.weight_decay))
        elif hyper.weight_decay:
            g = r(g + r(w * constant(hyper.weight_decay)))
        m = r(r(beta1 * m) + r(constant(1 - hyper.beta1) * g))
        v = r(r(beta2 * v) + r(constant(1 - hyper.beta2) * r(g * g)))
        vmax = max(vmax, v)
        second = vmax if hyper.amsgrad else v
        if convention.epsilon is Epsilon.HAT:
            alpha = constant(lr * math.sqrt(correction2) / correction1)
            change = r(r(alpha * m) / r(root(second, working) + eps))
        else:
            m_hat = r(m / constant(correction1))
            v_hat = r(second / constant(correction2))
            outside = convention.epsilon is Epsilon.OUTSIDE
            denominator = r(root(v_hat, working) + eps) if outside else root(r(v_hat + eps), working)
            change = r(r(constant(lr) * m_hat) / denominator)
        w = r(w - change)
        w, m, v, vmax = (nearest(x, stored) for x in (w, m, v, vmax))
        yield w, m, v, vmax


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("epsilon", Epsilon)
@pytest.mark.parametrize(("name", "rounding"), CELLS)
def test_step_is_the_rounded_formula(name, rounding, epsilon, option):
    stored = FORMATS[name]
    half = stored.dtype.itemsize < 4
    working = FORMATS["float32"] if half and rounding is Rounding.AT_STORE else stored
    given, bias_correction = OPTIONS[option]
    hyper = Hyper(lr=(0.1, 0.03, 0.07, 0.01), beta2=0.98 if half else 0.999, eps=1e-3, **given)
    convention = Convention(epsilon, bias_correction)
    draw = np.random.default_rng(1)
    weights = draw.standard_normal(6).astype(stored.dtype)
    gradients = (draw.standard_normal((STEPS, 6)) * 10.0 ** draw.integers(-3, 2, 6)).astype(stored.dtype)
    expected = [
        list(
            scalar_adam(
                Fraction(float(weights[i])),
                [Fraction(float(g)) for g in gradients[:, i]],
                hyper,
                convention,
                working,
                stored,
            )
        )
        for i in range(6)
    ]
    state = initial_state({"p": weights}, hyper)
    for t in range(1, STEPS + 1):
        state = step(state, {"p": gradients[t - 1]}, hyper, convention, plain(epsilon, rounding), t)
        shown = [state.w, state.m, state.v] + ([state.vmax] if hyper.amsgrad else [])
        for quantity, arrays in enumerate(shown):
            actual = [Fraction(float(x)) for x in arrays["p"]]
            assert actual == [expected[i][t - 1][quantity] for i in range(6)], (
                t,
                "w m v vmax".split()[quantity],
            )
