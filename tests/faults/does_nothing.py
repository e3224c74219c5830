"""Fault: the moments are right, and no weight ever moves."""

from __future__ import annotations

import numpy as np

from parity import State


def run(weights, gradients, hyper):
    w = {name: array.copy() for name, array in weights.items()}
    m = {name: np.zeros_like(array) for name, array in weights.items()}
    v = {name: np.zeros_like(array) for name, array in weights.items()}
    b1, b2 = hyper.beta1, hyper.beta2
    for gradient in gradients:
        for name, g in gradient.items():
            real = g.dtype.type
            m[name] = real(b1) * m[name] + real(1 - b1) * g
            v[name] = real(b2) * v[name] + real(1 - b2) * g * g
        yield State(w=w, m=m, v=v)
