"""torch's further parties, each over 1,000 steps against its twin: 0 differing bits; AdamW by its own name."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest

from parity.adam.arithmetic import Setting
from parity.adam.step import free_steps, lock_step
from parity.adam.twins import EARLIER, TWINS
from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.state import Rows, State
from parity.implementations.registry import shipped_implementations
from parity.implementations.torch_memory import array_of, square_root, tensor_on
from parity.numerics.formats import FORMATS, to_bits

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.timeout(600),
    # torch says it of itself as its compiler is imported.
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated"),
    # torch says so once a process, of the test's own arrays; nothing writes to them.
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]

STEPS, SHORT = 1000, 120
SHAPES = {"rows": (6, 7), "vector": (77,), "scalar": (), "one": (1,), "empty": (0,)}
VISIBLE = Hyper(lr=1e-2, beta1=0.8, beta2=0.95, eps=1e-3)

HYPERS = {
    "visible": VISIBLE,
    "small betas": replace(VISIBLE, beta1=0.3, beta2=0.4),
    "l2": replace(VISIBLE, weight_decay=0.1),
    "decoupled": replace(VISIBLE, weight_decay=0.1, decoupled=True),
    "amsgrad": replace(VISIBLE, amsgrad=True),
    "schedule": replace(VISIBLE, lr=tuple(0.1 / (step + 7) for step in range(SHORT))),
}
REFUSED = {
    "torch.adam.sparse": {"l2", "decoupled", "amsgrad"},
    "torch.adam.compiled": {"schedule"},
}
ASKED = [
    pytest.param(f"torch.adam.{name}", kind,
                 marks=pytest.mark.exhaustive if name == "compiled" and kind not in ("visible", "l2") else ())
    for name in ("differentiable", "tensor_lr", "tensor_lr.fused", "compiled", "sparse")
    for kind in HYPERS
]  # fmt: skip
"""Compiling takes seconds."""


def drawn(dtype, shapes, steps):
    """Weights, and gradients over three decades; every third row of every step has none, and those of some are None."""
    random = np.random.default_rng(14)
    weights = {name: (2 * random.random(shape) - 1).astype(dtype) for name, shape in shapes.items()}
    gradients = []
    for step in range(steps):
        one = {}
        for name, shape in shapes.items():
            values = np.asarray(random.standard_normal(shape) * 10.0 ** -(step % 3))
            if shape and shape[0] > 1:
                values[random.random(shape[0]) < 1 / 3] = 0
            one[name] = values.astype(dtype)
        gradients.append(one)
    gradients[3]["vector"] = gradients[4]["vector"] = None
    return weights, gradients


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(("name", "kind"), ASKED)
def test_every_bit_of_a_thousand_steps_is_the_twin_s(name, kind, dtype):
    row, twin, hyper = shipped_implementations()[name], TWINS[name][dtype], HYPERS[kind]
    # torch.compile of torch 2.13 loses what is done in place to a float64 tensor of shape ().
    lost = {"scalar"} if (name, dtype) == ("torch.adam.compiled", "float64") else set()
    steps = STEPS if kind == "visible" else SHORT
    shapes = {one: shape for one, shape in SHAPES.items() if one not in lost}
    weights, gradients = drawn(FORMATS[dtype].dtype, shapes, steps)
    states = row.states(weights, gradients, hyper)
    if kind in REFUSED.get(name, ()):
        with pytest.raises(Unsupported):
            next(states)
        return
    check_against(twin, row.square_root, weights, gradients, hyper, states)


def check_against(twin, square_root, weights, gradients, hyper, states):
    """Every bit of the states is the twin's, step by step and in a free run."""
    steps = len(gradients)
    quantities = ("w", "m", "v", *(("vmax",) if hyper.amsgrad else ()))
    kept = {(one, quantity): [weights[one] if quantity == "w" else np.zeros_like(weights[one])]
            for one in weights for quantity in quantities}  # fmt: skip
    for state in states:
        for (one, quantity), rows in kept.items():
            rows.append(getattr(state, quantity)[one].copy())
    for one in weights:
        given = [step for step in range(steps) if gradients[step][one] is not None]
        recorded = {quantity: np.stack(kept[one, quantity]).reshape(steps + 1, -1) for quantity in quantities}
        feed = np.stack([gradients[step][one].reshape(-1) for step in given])
        told = (
            hyper.over([step + 1 for step in given]), twin.convention, twin.arithmetic,
            [hyper.lr_at(step + 1) for step in given], list(range(1, len(given) + 1)), square_root,
            Setting(weights[one].shape, len(weights)),
        )  # fmt: skip
        before = Rows(*(recorded[quantity][given] for quantity in quantities))
        start = Rows(*(recorded[quantity][0] for quantity in quantities))
        # Rows that stand still are run step by step, which takes its time.
        free = [free_steps(start, feed, *told)] if steps == SHORT or not twin.convention.lazy_rows else []
        for made in (lock_step(before, feed, *told), *free):
            for quantity in quantities:
                actual, expected = getattr(made, quantity), recorded[quantity][[step + 1 for step in given]]
                differs = (to_bits(actual) != to_bits(expected)) & ~(np.isnan(actual) & np.isnan(expected))
                assert not differs.any(), (one, quantity, np.argwhere(differs)[:3].tolist(), int(differs.sum()))


def before_2_1(weights, gradients, hyper, decays):
    """torch/optim/adam.py of torch 1.13 and 2.0, _single_tensor_adam, in the kernels of today.

    In bfloat16 mul_, div and add_ then took a scalar in that dtype, where they take one in float32 today.
    """
    import torch

    def scalar(value):
        return float(torch.tensor(value, dtype=torch.float64).to(dtype)) if dtype == torch.bfloat16 else value

    w = {name: tensor_on(array).clone() for name, array in weights.items()}
    m, v, vmax = ({name: torch.zeros_like(one) for name, one in w.items()} for _ in range(3))
    counts = dict.fromkeys(w, 0)
    dtype = w["rows"].dtype
    for step, gradient in enumerate(gradients, start=1):
        for name in (one for one in w if gradient[one] is not None):
            counts[name] += 1
            t, g = counts[name], tensor_on(gradient[name])
            if decays and hyper.decoupled:
                w[name].mul_(scalar(1 - hyper.lr_at(step) * hyper.weight_decay))
            elif decays:
                g = g.add(w[name], alpha=scalar(hyper.weight_decay))
            m[name].mul_(scalar(hyper.beta1)).add_(g, alpha=scalar(1 - hyper.beta1))
            v[name].mul_(scalar(hyper.beta2)).addcmul_(g, g, value=1 - hyper.beta2)
            if hyper.amsgrad:
                torch.maximum(vmax[name], v[name], out=vmax[name])
            root = (vmax if hyper.amsgrad else v)[name].sqrt() / scalar((1 - hyper.beta2**t) ** 0.5)
            w[name].addcdiv_(m[name], root.add_(hyper.eps), value=-hyper.lr_at(step) / (1 - hyper.beta1**t))
        yield State(*({name: array_of(one) for name, one in kept.items()} for kept in (w, m, v, vmax)))


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("kind", HYPERS)
def test_what_torch_was_before_2_1(kind, dtype):
    hyper, twin = HYPERS[kind], EARLIER["torch.adam before 2.1"][dtype]
    weights, gradients = drawn(FORMATS[dtype].dtype, SHAPES, STEPS if kind == "visible" else SHORT)
    states = before_2_1(weights, gradients, hyper, hyper.weight_decay > 0)
    check_against(twin, square_root, weights, gradients, hyper, states)
    # It is not what torch is today.
    today = shipped_implementations()["torch.adam.forloop"].states(weights, gradients[:3], hyper)
    old = [*before_2_1(weights, gradients[:3], hyper, hyper.weight_decay > 0)][-1]
    assert not np.array_equal([*today][-1].m["rows"], old.m["rows"])


@pytest.mark.parametrize("name", ["torch.adamw.forloop", "torch.adamw.foreach", "torch.adamw.fused",
                                  "optax.adamw.plain", "optax.adamw.jit"])  # fmt: skip
def test_adamw_is_adam_with_decoupled_decay(name):
    """Under its own name it is the same twin, and its own default is to decay."""
    import optax
    import torch

    rows = shipped_implementations()
    sibling = name.replace("adamw", "adam")
    assert TWINS[name] == TWINS[sibling]
    own = inspect.signature(torch.optim.AdamW if name.startswith("torch") else optax.adamw).parameters["weight_decay"]
    assert rows[name].defaults == Hyper(weight_decay=own.default, decoupled=True)
    weights, gradients = drawn(np.dtype(np.float32), {"rows": (6, 7), "vector": (77,)}, 8)
    gradients[3]["vector"] = gradients[4]["vector"] = gradients[2]["vector"]
    for hyper in (HYPERS["decoupled"], VISIBLE):
        pairs = zip(rows[name].states(weights, gradients, hyper), rows[sibling].states(weights, gradients, hyper),
                    strict=True)  # fmt: skip
        for actual, expected in pairs:
            assert all(np.array_equal(actual.w[one], expected.w[one]) for one in weights)
    for hyper in (HYPERS["l2"], *((HYPERS["amsgrad"],) if name.startswith("optax") else ())):
        with pytest.raises(Unsupported, match=r"L2|AMSGrad"):
            next(rows[name].states(weights, gradients, hyper))
