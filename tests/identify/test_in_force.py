"""The bit-exact search goes on from the hyperparameters that were read, where others are in force than were asked."""

from __future__ import annotations

import pytest

from parity.engine.candidates import describe_plugin
from parity.identify.identify import identify

PLAIN = "if hyper.weight_decay or hyper.amsgrad: raise Unsupported('plain Adam only')"
NO_L2 = "if hyper.weight_decay and not hyper.decoupled: raise Unsupported('no L2')"
NO_MAXIMUM = "if hyper.amsgrad: raise Unsupported('no AMSGrad')"
G = "f = g.dtype.type\n"
DECOUPLED = f"{G}            w[name] = w[name] * f(1 - hyper.lr_at(t) * hyper.weight_decay)\n"
IN_GRADIENT = f"{G}            g = g + f(hyper.weight_decay) * w[name]\n"


@pytest.fixture
def found(tmp_path, write_adam):
    """What is said of a plug-in with pieces swapped."""

    def identified(dtype, first, swap):
        target = describe_plugin(str(write_adam(first=first, swap=swap)), tmp_path / "logs", 60)
        return identify(target, [dtype])[dtype]

    return identified


OTHERS = {
    "lr": (PLAIN, [("hyper.lr_at(t)", "1.01 * hyper.lr_at(t)")], "lr in force is 1.01 times what was asked"),
    "beta2": (
        PLAIN, [("hyper.beta2", "0.99")], "beta2 in force is 0.99 where 0.95 was asked, 0.99 where 0.999 was asked",
    ),
    "eps": (PLAIN, [("f(hyper.eps)", "f(2 * hyper.eps)")], "eps in force is 2 times what was asked"),
    "schedule": (PLAIN, [("lr_at(t)", "lr_at(1)")], "lr is that of the first step at every step"),
    "no decay": (NO_MAXIMUM, [], "there is no decay, or its factor rounds to 1"),
    "L2": (NO_MAXIMUM, [(G, IN_GRADIENT)], "decay is L2 (in the gradient) where decoupled is asked for"),
    "decoupled": (NO_MAXIMUM, [(G, DECOUPLED)], "decay is decoupled where L2 is asked for"),
    "no maximum": (NO_L2, [(G, DECOUPLED)], "AMSGrad is asked for and not done"),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("what", OTHERS)
def test_an_adam_of_other_hyperparameters_is_known_bit_for_bit(found, what, dtype):
    first, swap, told = OTHERS[what]
    answer = found(dtype, first, swap)
    assert [one.detail for one in answer.departures] == [told]
    assert (answer.verdict, answer.residual["differing"]) == ("identified", 0)
    assert answer.arithmetic is not None
    assert answer.residual["elements"] > 300_000


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_in_the_half_types_too(found, dtype):
    answer = found(dtype, PLAIN, [("hyper.lr_at(t)", "2 * hyper.lr_at(t)")])
    assert [one.detail for one in answer.departures] == ["lr in force is 2 times what was asked"]
    assert (answer.verdict, answer.residual["differing"]) == ("identified", 0)


def test_one_that_forms_them_with_a_rounding_of_its_own_is_known_to_within_rounding(found):
    swap = [("f(hyper.lr_at(t))", "f(hyper.lr_at(t)) * f(1.01)")]
    answer = found("float32", PLAIN, swap)
    assert [one.detail for one in answer.departures] == ["lr in force is 1.01 times what was asked"]
    assert (answer.verdict, answer.arithmetic) == ("explained", None)


def test_another_formula_is_none_of_other_hyperparameters(found):
    swap = [("m_hat = m[name] / f(1 - hyper.beta1**t)", "m_hat = m[name]"), ("hyper.lr_at(t)", "1.01 * hyper.lr_at(t)")]
    answer = found("float32", PLAIN, swap)
    assert {one.family for one in answer.departures} == {"bias-correction", "hyperparameter-value"}
    assert (answer.verdict, answer.arithmetic, answer.twin) == ("explained", None, None)
