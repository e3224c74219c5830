"""The numbers of one step that are the same for every element."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from parity.adam.convention import Convention
from parity.adam.rounding import rounded
from parity.hyper import Hyper
from parity.numerics.formats import Format


class Scalars(NamedTuple):
    """Factors of one step, each a scalar of the working dtype.

    beta1, beta2, eps, lr, weight_decay: as in `Hyper`. complement1, complement2: 1 - beta.
    correction1, correction2: 1 - beta^t. alpha: lr * sqrt(1 - beta2^t) / (1 - beta1^t).
    shrink: 1 - lr * weight_decay.
    """

    beta1: Any
    beta2: Any
    complement1: Any
    complement2: Any
    correction1: Any
    correction2: Any
    lr: Any
    alpha: Any
    eps: Any
    weight_decay: Any
    shrink: Any


def scalars(hyper: Hyper, convention: Convention, lr: float, t: int, format: Format) -> Scalars:
    """Forms every factor in Python doubles and rounds it once, to the format.

    t: 1-based count of the bias correction. What one rounding does: in float16, eps = 1e-8 is 0, so
    that a gradient of zero gives 0 / 0 = NaN; in bfloat16, beta2 = 0.999 is 1 while 1 - beta2 is 0.001,
    so that v never decays. Neither is guarded against.
    """
    correction1 = 1 - hyper.beta1**t if convention.bias_correction else 1.0
    correction2 = 1 - hyper.beta2**t if convention.bias_correction else 1.0
    factors = Scalars(
        beta1=hyper.beta1,
        beta2=hyper.beta2,
        complement1=1 - hyper.beta1,
        complement2=1 - hyper.beta2,
        correction1=correction1,
        correction2=correction2,
        lr=lr,
        alpha=_alpha(lr, correction1, correction2),
        eps=hyper.eps,
        weight_decay=hyper.weight_decay,
        shrink=1 - lr * hyper.weight_decay,
    )
    with np.errstate(all="ignore"):
        return Scalars(*(rounded(factor, format) for factor in factors))


def _alpha(lr: float, correction1: float, correction2: float) -> float:
    """lr * sqrt(correction2) / correction1; NaN or inf where a beta of 1 or more makes it so."""
    if correction2 < 0:
        return math.nan
    with np.errstate(all="ignore"):
        return float(np.float64(lr * math.sqrt(correction2)) / np.float64(correction1))
