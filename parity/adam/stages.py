"""The formula: the stages of one Adam step, on blocks, in place.

Every argument that is an array has shape (n,) and one dtype, in which each operation rounds; `spare`
arrays are overwritten and hold nothing afterwards. Source: Kingma & Ba 2015, Algorithm 1.
"""

from __future__ import annotations

import numpy as np

from parity.adam.convention import Epsilon
from parity.adam.scalars import Scalars


def decay_weights(w: np.ndarray, scalars: Scalars) -> None:
    """Decoupled decay: ``w = (1 - lr * weight_decay) * w``; Loshchilov & Hutter 2019."""
    np.multiply(w, scalars.shrink, out=w)


def decay_gradient(g: np.ndarray, w: np.ndarray, scalars: Scalars, out: np.ndarray) -> None:
    """L2 decay: ``out = g + weight_decay * w``."""
    np.multiply(w, scalars.weight_decay, out=out)
    np.add(g, out, out=out)


def first_moment(m: np.ndarray, g: np.ndarray, scalars: Scalars, spare: np.ndarray) -> None:
    """``m = beta1 * m + (1 - beta1) * g``."""
    np.multiply(m, scalars.beta1, out=m)
    np.multiply(g, scalars.complement1, out=spare)
    np.add(m, spare, out=m)


def second_moment(v: np.ndarray, g: np.ndarray, scalars: Scalars, spare: np.ndarray) -> None:
    """``v = beta2 * v + (1 - beta2) * (g * g)``."""
    np.multiply(v, scalars.beta2, out=v)
    np.square(g, out=spare)
    np.multiply(spare, scalars.complement2, out=spare)
    np.add(v, spare, out=v)


def largest_second_moment(vmax: np.ndarray, v: np.ndarray) -> None:
    """``vmax = max(vmax, v)``, NaN where either is."""
    np.maximum(vmax, v, out=vmax)


def weights(
    w: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    scalars: Scalars,
    epsilon: Epsilon,
    spare: tuple[np.ndarray, np.ndarray],
) -> None:
    """``w = w - numerator / denominator``.

    OUTSIDE: numerator ``lr * (m / (1 - beta1^t))``, denominator ``sqrt(v / (1 - beta2^t)) + eps``.
    INSIDE: the same numerator, denominator ``sqrt(v / (1 - beta2^t) + eps)``.
    HAT: numerator ``alpha * m``, denominator ``sqrt(v) + eps``.
    """
    numerator, denominator = spare
    if epsilon is Epsilon.HAT:
        np.multiply(m, scalars.alpha, out=numerator)
        np.sqrt(v, out=denominator)
        np.add(denominator, scalars.eps, out=denominator)
    else:
        np.divide(m, scalars.correction1, out=numerator)
        np.multiply(numerator, scalars.lr, out=numerator)
        np.divide(v, scalars.correction2, out=denominator)
        if epsilon is Epsilon.INSIDE:
            np.add(denominator, scalars.eps, out=denominator)
            np.sqrt(denominator, out=denominator)
        else:
            np.sqrt(denominator, out=denominator)
            np.add(denominator, scalars.eps, out=denominator)
    np.divide(numerator, denominator, out=numerator)
    np.subtract(w, numerator, out=w)
