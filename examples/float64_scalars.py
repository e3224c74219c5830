"""An Adam in NumPy as it is often written, with hyperparameters that are float64 scalars, as a configuration has them.

NumPy 1 lets a scalar take the dtype of an array, NumPy 2 (NEP 50) lets a float64 scalar make it float64. The weights
are written in place, so they keep their dtype; what is computed for them does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parity import Hyper, State


def run(weights, gradients, hyper: Hyper) -> Iterator[State]:
    """Algorithm 1 of Kingma & Ba (2015), arrays of any shape; m and v in the dtype that NumPy makes them."""
    w = {name: array.copy() for name, array in weights.items()}
    m = {name: np.zeros_like(array) for name, array in weights.items()}
    v = {name: np.zeros_like(array) for name, array in weights.items()}
    beta1, beta2, eps = map(np.float64, (hyper.beta1, hyper.beta2, hyper.eps))
    counts = dict.fromkeys(weights, 0)
    for step, gradient in enumerate(gradients, start=1):
        lr = np.float64(hyper.lr_at(step))
        for name, g in gradient.items():
            if g is None:
                continue
            counts[name] += 1
            t = counts[name]
            m[name] = beta1 * m[name] + (1 - beta1) * g
            v[name] = beta2 * v[name] + (1 - beta2) * g * g
            update = lr * (m[name] / (1 - beta1**t)) / (np.sqrt(v[name] / (1 - beta2**t)) + eps)
            w[name][...] -= update.astype(g.dtype)
        yield State(w, m, v)
