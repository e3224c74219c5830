"""`parity.live.bridge.KerasAdam` as a plug-in."""

from __future__ import annotations

import numpy as np
import torch

from parity import State
from parity.live.bridge import KerasAdam


def run(weights, gradients, hyper):
    parameters = {name: torch.tensor(array, requires_grad=True) for name, array in weights.items()}
    optimizer = KerasAdam(
        parameters.values(),
        lr=hyper.lr_at(1),
        betas=(hyper.beta1, hyper.beta2),
        eps=hyper.eps,
        weight_decay=hyper.weight_decay,
        amsgrad=hyper.amsgrad,
    )

    def moments(key):
        return {
            name: optimizer.state[w][key].numpy() if w in optimizer.state else np.zeros_like(weights[name])
            for name, w in parameters.items()
        }

    for step, gradient in enumerate(gradients, start=1):
        for name, w in parameters.items():
            w.grad = None if gradient[name] is None else torch.tensor(gradient[name])
        for group in optimizer.param_groups:
            group["lr"] = hyper.lr_at(step)
        optimizer.step()
        yield State(
            w={name: w.detach().numpy() for name, w in parameters.items()},
            m=moments("exp_avg"),
            v=moments("exp_avg_sq"),
            vmax=moments("max_exp_avg_sq") if hyper.amsgrad else None,
        )
