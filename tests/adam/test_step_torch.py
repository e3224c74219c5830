"""The from-scratch Adam against torch.optim.Adam in float64, where rounding hardly shows."""

from __future__ import annotations

import numpy as np
import pytest

from parity.adam.arithmetic import plain
from parity.adam.convention import Convention, Epsilon
from parity.adam.step import initial_state, step
from parity.core.hyper import Hyper

HYPERS = [
    Hyper(),
    Hyper(weight_decay=0.1),
    Hyper(weight_decay=0.1, decoupled=True),
    Hyper(amsgrad=True, beta2=0.9, eps=1e-3),
]


@pytest.mark.frameworks
@pytest.mark.parametrize("hyper", HYPERS)
def test_float64_follows_torch(hyper):
    torch = pytest.importorskip("torch")
    draw = np.random.default_rng(5)
    weights, gradients = draw.standard_normal(100), draw.standard_normal((20, 100))
    kind = torch.optim.AdamW if hyper.decoupled else torch.optim.Adam
    parameter = torch.tensor(weights, requires_grad=True)
    optimizer = kind(
        [parameter],
        lr=hyper.lr,
        betas=(hyper.beta1, hyper.beta2),
        eps=hyper.eps,
        weight_decay=hyper.weight_decay,
        amsgrad=hyper.amsgrad,
    )
    state = initial_state({"p": weights}, hyper)
    for t, g in enumerate(gradients, start=1):
        parameter.grad = torch.tensor(g)
        optimizer.step()
        state = step(state, {"p": g}, hyper, Convention(), plain(Epsilon.OUTSIDE), t)
    # 20 steps of lr = 1e-3, each within a few ULP of 1e-3, on weights of order 1.
    np.testing.assert_allclose(state.w["p"], parameter.detach().numpy(), rtol=1e-14, atol=1e-16)
    # m and v against sums that cancel: a few ULP of their largest terms.
    theirs = optimizer.state[parameter]
    np.testing.assert_allclose(state.m["p"], theirs["exp_avg"].numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(state.v["p"], theirs["exp_avg_sq"].numpy(), rtol=2e-15)
    if hyper.amsgrad:
        np.testing.assert_allclose(state.vmax["p"], theirs["max_exp_avg_sq"].numpy(), rtol=2e-15)
