"""All forms of a stage are one function of real numbers: evaluated with 60 digits, without any rounding to a format."""

from __future__ import annotations

import re

import mpmath
import pytest

from parity.adam.convention import Epsilon
from parity.adam.forms import DecayGradient, DecayWeights, Factors, FirstMoment, SecondMoment, Update
from parity.adam.kernels import FUNCTIONS, compiled
from parity.core.hyper import Hyper

HYPERS = [Hyper(weight_decay=0.01), Hyper(lr=0.3, beta1=0.2, beta2=0.4, eps=0.05, weight_decay=0.1)]
EXACT = 1e-50


def language():
    return {
        "fma": lambda a, b, c: a * b + c,
        "lerp": lambda a, b, x: a + x * (b - a),
        "blend": lambda a, b, x: a + x * (b - a),
        "maximum": max,
        "larger": max,
        "sqrt": mpmath.sqrt,
        "rsqrt": lambda a: 1 / mpmath.sqrt(a),
        "power": lambda b, t: b**t,
        "repeated": lambda b, t: b**t,
        "squaring": lambda b, t: b**t,
        "root": mpmath.sqrt,
    }


UNUSUAL = ("decoupled:", "amsgrad:", "l2:", "without eps:", "formed:", "changed:", "clipped:", "apart:", "heavy:")


def run(text, names):
    """The values of all names after a program; names of a line that says `double x = ...` too."""
    names = {**language(), **names}
    for line in filter(None, map(str.strip, text.replace(";", "\n").splitlines())):
        if line.startswith(UNUSUAL):
            continue
        line = re.sub(r"^(without l2|with eps|given|kept|unclipped|together|light): ", "", line)
        target, expression = re.sub(r"^\w+ (?=\w+ =)| as \w+$", "", line).split(" = ")
        names[target] = eval(expression, {}, names)
    return names


def factors(hyper, t):
    with mpmath.workdps(60):
        b1, b2, lr = mpmath.mpf(hyper.beta1), mpmath.mpf(hyper.beta2), mpmath.mpf(hyper.lr)
        k1, k2 = 1 - b1**t, 1 - b2**t
        return {
            "b1": b1,
            "b2": b2,
            "c1": 1 - b1,
            "c2": 1 - b2,
            "k1": k1,
            "k2": k2,
            "i1": 1 / k1,
            "i2": 1 / k2,
            "r2": mpmath.sqrt(k2),
            "lr": lr,
            "back": -lr,
            "decay": lr * mpmath.mpf(hyper.weight_decay),
            "step": -lr / k1,
            "alpha": lr * mpmath.sqrt(k2) / k1,
            "eps": mpmath.mpf(hyper.eps),
            "wd": mpmath.mpf(hyper.weight_decay),
            "shrink": 1 - lr * mpmath.mpf(hyper.weight_decay),
            "divisor": -lr / k1 * mpmath.sqrt(k2),
            "shift": -mpmath.mpf(hyper.eps) / lr * k1,
            "wide_shift": -mpmath.mpf(hyper.eps) / lr * k1,
        }


def arrays():
    return {name: mpmath.mpf(x) for name, x in {"w": 0.7, "m": -0.3, "v": 0.04, "g": 0.9, "x": 0.04}.items()}


def test_all_functions_of_the_language_are_known_here():
    assert set(language()) == set(FUNCTIONS)


STAGES = [
    *((form, next(iter(FirstMoment)), "m") for form in FirstMoment),
    *((form, next(iter(SecondMoment)), "v") for form in SecondMoment),
    *((form, next(iter(DecayGradient)), "g") for form in DecayGradient),
    *((form, next(iter(DecayWeights)), "w") for form in DecayWeights if form.value),
    *((form, Update[form.epsilon.name], "w") for form in Update),
]


@pytest.mark.parametrize(("form", "plain", "target"), STAGES, ids=lambda one: getattr(one, "name", one))
@pytest.mark.parametrize("hyper", HYPERS)
@pytest.mark.parametrize("t", [1, 7])
def test_forms_of_a_stage_are_one_function(form, plain, target, hyper, t):
    names = {**arrays(), **factors(hyper, t)}
    with mpmath.workdps(60):
        actual, expected = run(form, names)[target], run(plain, names)[target]
        assert abs(actual - expected) < EXACT
        assert expected != names[target]


@pytest.mark.parametrize("form", Factors, ids=lambda one: one.name)
@pytest.mark.parametrize("hyper", HYPERS)
@pytest.mark.parametrize("t", [1, 7])
def test_factors_are_those_of_the_formula(form, hyper, t):
    asked = {
        "lr": hyper.lr,
        "beta1": hyper.beta1,
        "beta2": hyper.beta2,
        "eps": hyper.eps,
        "wd": hyper.weight_decay,
        "t": t,
    }
    with mpmath.workdps(60):
        found = run(form.whole, {name: mpmath.mpf(x) for name, x in asked.items()})
        for name, expected in factors(hyper, t).items():
            assert abs(found[name] - expected) < EXACT, name


def test_every_epsilon_has_a_form():
    assert {form.epsilon for form in Update} == set(Epsilon)


@pytest.mark.parametrize("text", ["w + m", "w = foo(m)", "w = m if v else g", "w = m @ v", "w, m = v", "w = fma(m, v)"])
def test_what_is_not_in_the_language_is_refused(text):
    with pytest.raises(ValueError, match=r"is no operation|is not 'name = expression'"):
        compiled(text, ("w", "m", "v", "g"))
