"""Real optimizers of torch, Keras and optax that are no Adam: each gets its name, its variant and its numbers."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.layout import Layout, Parameter
from parity.identify.answer import Answer
from parity.identify.ball import exact
from parity.identify.identify import _of_sound
from parity.identify.laws import ASIDE
from parity.identify.other_optimizers import other_optimizer
from parity.identify.probes import WIDE, Observation, Probe, probes
from parity.identify.relatives import RULES
from parity.implementations.registry import resolve
from parity.numerics.formats import FORMATS

sys.path.append(str(Path(__file__).parents[1] / "faults"))
from other_optimizers import OTHERS

pytestmark = pytest.mark.thorough


KERAS = "keras.optimizers:"

NAMES = {
    "torch.optim:NAdam": ("NAdam", "as in torch and Keras, mu warming up", {"psi": 0.004}),
    "torch.optim:RAdam": ("RAdam", "as in torch, eps beside sqrt(v)", {}),
    "torch.optim:Adamax": ("Adamax", "eps inside the maximum, as in torch and optax", {}),
    "torch.optim:RMSprop": ("RMSprop", "eps outside the root", {"rho": 0.99}),
    "torch.optim:RMSprop?momentum=0.9&centered=true": (
        "RMSprop", "eps outside the root, centred, momentum", {"rho": 0.99, "momentum": 0.9},
    ),
    "torch.optim:Adagrad": ("Adagrad", "eps outside the root", {"start": 0.0}),
    "torch.optim:Adadelta": ("Adadelta", "", {"rho": 0.9}),
    "torch.optim:SGD": ("SGD", "", {}),
    "torch.optim:SGD?momentum=0.9": ("SGD with momentum", "", {"momentum": 0.9}),
    "torch.optim:SGD?momentum=0.9&nesterov=true": ("SGD with momentum", "Nesterov", {"momentum": 0.9}),
    "torch.optim:SGD?momentum=0.8&dampening=0.5": (
        "SGD with momentum", "dampened", {"momentum": 0.8, "dampening": 0.5},
    ),
    "torch.optim:Rprop": ("Rprop", "", {}),
    "torch.optim:ASGD": ("ASGD", "", {}),
    "torch.optim:Adafactor": ("Adafactor", "as in torch", {}),
    "torch.optim:Muon": ("Muon", "orthogonalised steps", {}),
    f"{KERAS}Nadam": ("NAdam", "as in torch and Keras, mu warming up", {"psi": 1.0}),
    f"{KERAS}Adamax": ("Adamax", "eps beside the maximum, as in Keras", {}),
    f"{KERAS}Adagrad": ("Adagrad", "eps inside the root", {"start": 0.1}),
    f"{KERAS}Adadelta": ("Adadelta", "", {"rho": 0.95}),
    f"{KERAS}RMSprop": ("RMSprop", "eps inside the root", {"rho": 0.9}),
    f"{KERAS}RMSprop?centered=true&momentum=0.9": (
        "RMSprop", "eps inside the root, centred, momentum, lr inside", {"rho": 0.9, "momentum": 0.9},
    ),
    f"{KERAS}SGD?momentum=0.9&nesterov=true": ("SGD with momentum", "Nesterov, lr inside", {"momentum": 0.9}),
    f"{KERAS}Lion": ("Lion", "", {"rho": 0.999}),
    f"{KERAS}Lamb": ("LAMB", "", {}),
    f"{KERAS}Ftrl": ("Ftrl", "", {"start": 0.1}),
    f"{KERAS}Adafactor": ("Adafactor", "as in Keras", {"least": 1e-30}),
    "optax:nadam": ("NAdam", "as in optax, without a schedule of beta1", {}),
    "optax:nadamw": ("NAdam", "as in optax, without a schedule of beta1", {}),
    "optax:radam": ("RAdam", "as in optax, eps beside sqrt(v_hat)", {}),
    "optax:adamax": ("Adamax", "eps inside the maximum, as in torch and optax", {}),
    "optax:adabelief": (
        "AdaBelief", "m after the step in the error, root added at every step", {"root": 1e-16},
    ),
    "optax:yogi": ("Yogi", "", {"start": 1e-6}),
    "optax:lamb": ("LAMB", "", {}),
    "optax:lion": ("Lion", "", {"rho": 0.999}),
    "optax:rmsprop?momentum=0.9&centered=true&nesterov=true": (
        "RMSprop", "eps inside the root, centred, Nesterov, lr inside", {"rho": 0.9, "momentum": 0.9},
    ),
    "optax:adagrad": ("Adagrad", "eps inside the root", {"start": 0.1}),
    "optax:sgd?momentum=0.9": ("SGD with momentum", "", {"momentum": 0.9}),
    "optax:sign_sgd": ("sign descent", "", {}),
    "optax:signum": ("Signum", "", {"rho": 0.9}),
    "optax:novograd": ("NovoGrad", "", {}),
    "optax:amsgrad": ("AMSGrad", "the maximum of the corrected v, unasked", {}),
    "optax:adan": ("Adan", "", {"beta3": 0.99, "root": 1e-8}),
    "optax:adafactor": ("Adafactor", "as in optax, small tensors not factored", {"least": 1e-3}),
    "optax.contrib:adopt": ("ADOPT", "clipped", {}),
    "optax.contrib:ademamix": ("AdEMAMix", "", {"beta3": 0.9999, "alpha": 5.0}),
    "optax.contrib:acprop": ("ACProp", "", {"root": 1e-16}),
}  # fmt: skip
"""Optimizers as their libraries have them: name, variant, and the numbers that nobody asked for."""

ALIKE = {("torch.optim:Adafactor", "float64"), (f"{KERAS}Adafactor", "float64")}
"""No probe parts torch's least v, (2^-52)^2, from the 1e-30 of Keras: both are told."""

FIRST = {"torch.optim:NAdam", "torch.optim:SGD?momentum=0.8&dampening=0.5", "torch.optim:RMSprop", "torch.optim:Muon",
         f"{KERAS}Nadam", f"{KERAS}RMSprop", "optax:nadam", "optax:adabelief"}  # fmt: skip

LEFT_OUT = (WIDE, "long", "tiny", "clip", "zeros", "other", "many", "clip-l2", "none-decoupled", *ASIDE)


def observed(implementation, probe: Probe) -> Observation | None:
    """What an implementation shows on a probe in this process; None where it refuses."""
    names = ("w", "m", "v", "vmax")
    rows = {name: np.zeros((probe.steps + 1, probe.layout.size), probe.format.dtype) for name in names}
    rows["w"][0] = probe.weights

    def gradients():
        for step, row in enumerate(probe.gradients, start=1):
            yield probe.layout.views(row) | dict.fromkeys(probe.none.get(step, ()))

    shown = set(names)
    try:
        weights = probe.layout.views(probe.weights)
        for step, state in enumerate(implementation.states(weights, gradients(), probe.hyper), start=1):
            for name in sorted(shown):
                table = getattr(state, name)
                if table is None:
                    shown.discard(name)
                    continue
                for parameter, place in probe.layout.slices():
                    rows[name][step, place] = np.asarray(table[parameter.name]).reshape(-1)
    except Unsupported:
        return None
    return Observation(probe, **{name: rows[name] if name in shown else None for name in names})


def answer(implementation, dtype: str = "float32", *, only: tuple[str, ...] = (), hidden: bool = False) -> Answer:
    asked = [one for one in probes(FORMATS[dtype]) if one.name not in LEFT_OUT and (not only or one.name in only)]
    seen = {one.name: observed(implementation, one) for one in asked}
    kept = {name: one for name, one in seen.items() if one is not None}
    if hidden:
        kept = {name: Observation(one.probe, one.w) for name, one in kept.items()}
    return _of_sound(kept, None, None)[0].answer


@pytest.mark.frameworks
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(
    "target", [pytest.param(one, marks=() if one in FIRST else pytest.mark.exhaustive) for one in NAMES]
)
def test_a_real_optimizer_that_is_no_adam_has_its_own_name(target, dtype):
    only = ("matrices",) if target.endswith("Muon") else ()
    implementation = resolve(target)
    for hidden in (False, True):
        found = answer(implementation, dtype, only=only, hidden=hidden)
        told = found.optimizer
        name, variant, numbers = NAMES[target]
        if (target, dtype) in ALIKE:
            variant, numbers = "as in torch or as in Keras", {}
        assert (told["name"], told["variant"], told["hyperparameters"]) == (name, variant, numbers), found
        assert (found.verdict, found.convention, found.to_json()["optimizer"]["name"]) == (
            "explained", {}, NAMES[target][0],
        )  # fmt: skip
        assert "unknown" not in told["weight_decay"].values()
        assert found.residual["differing"] == 0


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("name", OTHERS)
def test_a_from_scratch_optimizer_has_its_name_or_none(name, dtype):
    found = answer(OTHERS[name], dtype, only=("main", "default-eps", "no-eps", "none"))
    names = {
        "sgd": "SGD",
        "momentum": "SGD with momentum",
        "rmsprop": "RMSprop",
        "adagrad": "Adagrad",
        "adadelta": "Adadelta",
        "lion": "Lion",
        "no_op": "nothing: no weight ever changes",
    }
    assert found.convention == {}
    assert found.optimizer.get("name") == names.get(name)
    if name == "random_walk":
        assert found.residual["nearest"]["distance"] > 1


def test_no_formula_is_that_of_another_but_where_both_are_told():
    formulas = Counter((one.name, one.text) for one in RULES)
    assert [name for (name, _), times in formulas.items() if times > 1] == ["Adafactor"]


NADAMS = {
    "as in TensorFlow's kernel, use_nesterov": (1.9, 1.42631, 1.269),
    "as in optax, without a schedule of beta1": (1.47368, 1.15731, 1.07822),
    1.0: (1.06279, 0.77359, 0.71134),
    0.004: (1.05645, 0.78368, 0.73222),
}


@pytest.mark.parametrize("which", NADAMS)
def test_the_four_nadams_are_those_of_the_field(which):
    from parity.identify.other_optimizers import DOUBLE, _changes

    rule = next(one for one in RULES if one.name == "NAdam" and (one.variant == which or isinstance(which, float)))
    layout, format = Layout((Parameter("w", ()),)), FORMATS["float64"]
    probe = Probe("constant", layout, format, np.zeros(1), np.ones((3, 1)), Hyper(lr=1.0, eps=0.0), {})
    numbers = {"psi": which} if isinstance(which, float) else {}
    made = list(_changes(rule, numbers, DOUBLE, Observation(probe, np.zeros((4, 1)))))
    assert [float(one.change.middle[0]) for one in made] == pytest.approx(NADAMS[which], abs=6e-6)


@pytest.mark.parametrize(("decoupled", "expected"), [(False, 0.99), (True, 1.009)])
def test_where_lion_decays_is_told(decoupled, expected):
    """Inside the sign, as bitsandbytes had it, or of the weights."""

    def lion(weights, gradients, hyper):
        from parity import State

        w, m = dict(weights), {name: np.zeros_like(one) for name, one in weights.items()}
        for gradient in gradients:
            for name, g in gradient.items():
                if g is None:
                    continue
                g = g if decoupled else g + hyper.weight_decay * w[name]
                lr = hyper.lr_at(1)
                step = lr * np.sign(hyper.beta1 * m[name] + (1 - hyper.beta1) * g)
                step = step + lr * hyper.weight_decay * w[name] if decoupled else step
                m[name] = hyper.beta2 * m[name] + (1 - hyper.beta2) * g
                w[name] = w[name] - step
            yield State(w=dict(w), m=None, v=None)

    from parity import Implementation

    one, given = {"w": np.ones(1)}, [{"w": np.full(1, -0.05)}]
    (state,) = lion(one, given, Hyper(lr=0.01, weight_decay=0.1))
    assert state.w["w"][0] == pytest.approx(expected, rel=1e-12)
    found = answer(Implementation("lion", lion), "float64", only=("main", "decoupled", "l2"))
    wanted = "weights" if decoupled else "gradient"
    assert (found.optimizer["name"], set(found.optimizer["weight_decay"].values())) == ("Lion", {wanted})
    (departure,) = [cause.detail for cause in found.causes if cause.family == "weight-decay"]
    assert departure == (
        "decay is decoupled where L2 is asked for"
        if decoupled
        else "decay is in the gradient where decoupled is asked for"
    )


def test_a_ball_holds_what_its_format_makes_of_a_formula():
    format = FORMATS["float32"]
    draws = np.random.default_rng(0)
    x, y = (draws.uniform(0.5, 2, 1000).astype(np.float32) for _ in range(2))
    a, b = exact(x.astype(np.float64), format), exact(y.astype(np.float64), format)
    made = {
        "quotient": (x / np.sqrt(x * x + y), a / (a.square() + b).root()),
        "difference": ((x + y) - y, (a + b) - b),
        "norm": (np.linalg.norm(x - y), (a - b).norm()),
        "mean": (np.mean(x, keepdims=True), a.mean(0)),
        "extreme": (np.maximum(x * y, y), (a * b).at_least(b)),
    }
    for name, (single, ball) in made.items():
        assert (np.abs(single.astype(np.float64) - ball.middle) <= ball.radius).all(), name
        assert ball.radius.max() < 1e-4, name


def test_nothing_is_named_where_everything_may_be():
    """A rule whose intervals hold all numbers has told nothing."""
    probe = next(one for one in probes(FORMATS["bfloat16"]) if one.name == "main")
    still = Observation(probe, np.repeat(probe.weights[None], probe.steps + 1, 0))
    found = other_optimizer({"main": still})
    assert found is not None
    assert found.rule.name == "nothing: no weight ever changes"
