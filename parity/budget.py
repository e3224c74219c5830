"""How far rounding alone can carry two Adams of one formula apart."""

from __future__ import annotations

import math
from typing import Literal

from parity.expectation import Budget
from parity.hyper import Hyper
from parity.numerics.formats import Format

Quantity = Literal["w", "m", "v", "vmax", "*"]

ROUNDINGS_OF_V = 3
"""Per step on the way from v to v: beta2, its product with v, the sum."""

ROUNDINGS_OF_M = 3
"""Per step, in units of the largest gradient: beta1, two products and the sum, or those of a lerp."""

ROUNDINGS_OF_UPDATE = 8
"""lr, both bias corrections, square root, eps, its sum, division, product with lr."""


def rounding_budget(
    format: Format,
    hyper: Hyper,
    steps: int,
    largest_weight: float,
    largest_gradient: float,
    scalars_rounded_first: bool = False,
) -> dict[Quantity, Budget]:
    """First-order worst-case distance of two runs of one formula that differ in rounding only.

    With unit roundoff u, G the largest gradient and W the largest weight, each side against exact
    arithmetic, after t steps:

        v: relative (3 t + 1) u, as all its terms are non-negative; one ULP is at least u
        m: absolute 3 u G (1 - beta1^t) / (1 - beta1), as its terms may cancel
        w: the sum over the steps of  u W  and of
           lr ( 3 u K / (1 - beta1) + R ( (3 t + 1) / 2 + 8 ) u + R s )

    where K bounds |g| and R bounds |m_hat| against sqrt(v_hat) over all gradient sequences
    (Cauchy-Schwarz), and s is the relative error of the bias corrections where the betas are
    rounded and raised to powers in min(precision, float32): half of (t + 1) u beta2^t / (1 - beta2^t)
    and the same of beta1 in full. The budget is twice that, one for each side, at the last step.
    L2 decay adds lambda W to the gradients, and since its sum may cancel, v is bounded absolutely.
    w is limited in units of lr (`max_steps`), or absolutely where lr is a schedule or 0.
    Catches every wrong Adam that is further off than that; nothing is tuned to what is measured.
    """
    u = 2.0**-format.precision
    gradient = largest_gradient + (0.0 if hyper.decoupled else hyper.weight_decay * largest_weight)
    smallest = _smallest(format)
    v_roundings = ROUNDINGS_OF_V * steps + 1
    m_limit = 2 * ROUNDINGS_OF_M * (u * gradient * _geometric(hyper.beta1, steps) + smallest * steps)
    w_limit, lr = _weights_limit(format, hyper, steps, largest_weight, scalars_rounded_first)
    l2 = hyper.weight_decay > 0 and not hyper.decoupled
    if l2:
        drift = 2 * u * gradient + hyper.weight_decay * w_limit
        m_limit += drift
        v = Budget(max_abs=2 * gradient * drift + 2 * (v_roundings * u * gradient**2 + smallest * steps))
    else:
        v = Budget(max_ulp=float(2 * v_roundings))
    w = Budget(max_abs=w_limit) if lr is None else Budget(max_steps=w_limit / lr)
    return {"w": w, "m": Budget(max_abs=m_limit), "v": v, "vmax": v}


def _weights_limit(
    format: Format, hyper: Hyper, steps: int, largest_weight: float, scalars_rounded_first: bool
) -> tuple[float, float | None]:
    u = 2.0**-format.precision
    scalar_u = max(u, 2.0**-24)
    b1, b2 = hyper.beta1, hyper.beta2
    limit = 0.0
    rate = walked = 0.0
    for step in range(1, steps + 1):
        p1, p2 = b1**step, b2**step
        gradient_over_root = math.sqrt((1 - p2) / ((1 - b2) * b2 ** (step - 1))) if b2 else 1.0
        update = _largest_update(b1, b2, step)
        relative = ((ROUNDINGS_OF_V * step + 1) / 2 + ROUNDINGS_OF_UPDATE) * u
        if scalars_rounded_first:
            relative += (step + 1) * scalar_u * (p2 / (1 - p2) / 2 + p1 / (1 - p1)) + scalar_u
        moment = ROUNDINGS_OF_M * u * min(gradient_over_root, 1 / u) / (1 - b1)
        rate = hyper.lr_at(step)
        walked += rate * update
        stores = 1 if hyper.weight_decay == 0 else 3
        limit += 2 * (stores * u * (largest_weight + walked) + rate * (moment + update * relative))
    return limit, (rate if rate > 0 and not isinstance(hyper.lr, tuple) else None)


def _largest_update(b1: float, b2: float, step: int) -> float:
    if b2 == 0:
        return 1 / (1 - b1**step) if b1 else 1.0
    spread = _geometric(b1 * b1 / b2, step)
    return math.sqrt((1 - b1) ** 2 / (1 - b2) * spread * (1 - b2**step)) / (1 - b1**step)


def _geometric(ratio: float, terms: int) -> float:
    """1 + ratio + ... + ratio^(terms - 1)."""
    return float(terms) if ratio == 1 else (1 - ratio**terms) / (1 - ratio)


def _smallest(format: Format) -> float:
    exponent_bias = 2 ** (format.exponent_bits - 1) - 1
    return math.ldexp(1.0, 2 - exponent_bias - format.precision)
