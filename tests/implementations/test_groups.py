"""Parameters with hyperparameters of their own, by each framework's own means; what one has not is refused."""

from __future__ import annotations

import numpy as np
import pytest
from orbits import each, here, orbit

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.implementations.implementation import Implementation
from parity.implementations.registry import shipped_implementations

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]

ROWS = here(shipped_implementations().values())
ONE_FOR_ALL = {"keras", "keras_torch", "keras_jax", "tf_keras", "tensorflow"}
"""Frameworks whose optimizers have one lr for all variables."""

DECAYING = Hyper(lr=0.01, weight_decay=0.1, decoupled=True)


def after(row: Implementation, hyper: Hyper, gradient: float, steps: int = 1) -> dict[str, float]:
    """Weights of 1 in two tensors, kernel and head, after steps with one gradient."""
    weights = {name: np.full((2, 2), 1.0, row_dtype(row)) for name in ("kernel", "head")}
    gradients = [{name: np.full((2, 2), gradient, row_dtype(row)) for name in weights} for _ in range(steps)]
    return {name: float(array[0, 0]) for name, array in orbit(row.states(weights, gradients, hyper))[-1].w.items()}


def row_dtype(row: Implementation) -> np.dtype:
    return np.dtype("float32" if "float32" in row.dtypes else "float16")


@each(ROWS)
def test_a_group_s_lr_is_a_value_and_no_factor(row: Implementation) -> None:
    base = Hyper(lr=0.1, eps=0.0 if row.framework != "numpy" and row.name != "torch.adam.sparse" else 1e-8)
    hyper = Hyper(lr=base.lr, eps=base.eps, groups=(("head", Hyper(lr=0.5, eps=base.eps)),))
    if row.framework in ONE_FOR_ALL:
        with pytest.raises(Unsupported, match="one lr, beta1, beta2"):
            after(row, hyper, 1.0)
        return
    assert after(row, hyper, 1.0) == pytest.approx({"kernel": 0.9, "head": 0.5}, abs=1e-3)


@each(ROWS)
def test_decay_for_some_is_none_for_the_others(row: Implementation) -> None:
    """In all three ways round: one left out, one alone that decays, and another rate for one."""
    out = Hyper(**fields(DECAYING), groups=(("head", Hyper(lr=0.01, decoupled=True)),))
    alone = Hyper(lr=0.01, decoupled=True, groups=(("head", DECAYING),))
    if row.name in ("tensorflow.adam.kernel", "tf_keras.adam.legacy", "torch.adam.sparse"):
        for hyper in (out, alone):
            with pytest.raises(Unsupported, match="no weight decay"):
                after(row, hyper, 0.0)
        return
    assert after(row, out, 0.0) == pytest.approx({"kernel": 0.999, "head": 1.0}, abs=2e-3 if is_half(row) else 1e-7)
    assert after(row, alone, 0.0) == pytest.approx({"kernel": 1.0, "head": 0.999}, abs=2e-3 if is_half(row) else 1e-7)
    other = Hyper(**fields(DECAYING), groups=(("head", Hyper(lr=0.01, weight_decay=0.3, decoupled=True)),))
    if row.framework in ONE_FOR_ALL:
        with pytest.raises(Unsupported, match="some may be left out of the decay"):
            after(row, other, 0.0)
        return
    assert after(row, other, 0.0) == pytest.approx({"kernel": 0.999, "head": 0.997}, abs=2e-3 if is_half(row) else 1e-7)


def is_half(row: Implementation) -> bool:
    return row_dtype(row) == np.float16


def fields(hyper: Hyper) -> dict[str, object]:
    return {"lr": hyper.lr, "weight_decay": hyper.weight_decay, "decoupled": hyper.decoupled}


@each(tuple(row for row in ROWS if row.framework not in ONE_FOR_ALL))
def test_own_betas_are_in_force(row: Implementation) -> None:
    """With beta1 = 0, m is the gradient; under another it is a tenth of it at first."""
    hyper = Hyper(groups=(("head", Hyper(beta1=0.0)),))
    weights = {name: np.ones(3, row_dtype(row)) for name in ("kernel", "head")}
    (state,) = row.states(weights, [{name: np.full(3, 0.5, row_dtype(row)) for name in weights}], hyper)
    assert float(state.m["head"][0]) == 0.5
    assert float(state.m["kernel"][0]) == pytest.approx(0.05, abs=1e-3)
