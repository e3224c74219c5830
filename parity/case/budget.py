"""How far rounding alone can carry two Adams of one formula apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from parity.case.expectation import Budget, Quantity, Rounding
from parity.core.hyper import Hyper
from parity.numerics.formats import FORMATS, Format


@dataclass(frozen=True, slots=True)
class Magnitudes:
    """What a case feeds: largest weight, smallest (not zero) and largest gradient."""

    weight: float
    smallest: float
    largest: float


@dataclass(frozen=True, slots=True)
class _Roundings:
    """Unit roundoff, and how often a step rounds: v on its way to v, m, the update; u of the scalars, of the betas."""

    u: float
    of_v: int
    of_m: int
    of_update: int
    scalar_u: float
    beta_u: float = 0.0


def rounding_budget(
    format: Format, hyper: Hyper, steps: int, magnitudes: Magnitudes, rounding: Rounding
) -> dict[Quantity, Budget]:
    """First-order worst-case distance of two runs of one formula that differ in rounding only.

    With unit roundoff u, largest gradient G and largest weight W, each side is after t steps away
    from exact arithmetic by at most

        v: relative (3 t + 1) u, as all its terms are non-negative; one ULP is at least u
        m: absolute 3 u G (1 - beta1^t) / (1 - beta1), as its terms may cancel
        w: the sum over the steps of  u W  and of
           lr ( 3 u K / (1 - beta1) + R ( (3 t + 1) / 2 + 8 ) u + R s )

    where 3 counts the roundings of a step (beta, product, sum), 8 those of an update (lr, both bias
    corrections, root, eps, sum, quotient, product), K bounds |g| and R bounds |m_hat| against
    sqrt(v_hat) over all gradient sequences (Cauchy-Schwarz), and s, for "scalars" only, is the relative
    error of bias corrections whose betas were rounded and raised to powers in min(dtype, float32):
    (t + 1) u beta^t / (1 - beta^t), of beta2 half. "store" rounds once where "operations" rounds 3 times.
    "betas" adds to "scalars" what betas rounded to u' = u of min(dtype, float32) do to the moments,
    where 1 - beta is off by up to c = u' beta / (1 - beta) of itself, and beta^k by k u'; and powers
    may be repeated products, so that s has 2 t where it had t + 1:

        v: relative 1 / ((1 - c2) (1 - u')^t) - 1
        m: absolute 2 c1 G, half of it by the powers, whose mean exponent is at most beta1 / (1 - beta1)
        w: the sum over the steps of  lr ( 2 c1 K + R (1 / sqrt((1 - c2) (1 - u')^t) - 1) )

    The budget is twice that, one for each side. w is limited in units of lr (`max_steps`), or
    absolutely where lr is a schedule or 0.

    L2 decay adds lambda W to the gradients; their sum may cancel, so v is then limited absolutely.
    Quantities without a limit are left out: w where v may be subnormal, as its relative error is then
    unbounded, and under "moments"; v and w where 1 - beta2 may round to 0, that is c2 >= 1; all of them
    where g * g may overflow, or where such a w, or such betas, meet L2 decay.
    Nor is there one where the betas change. Catches every wrong Adam that is further off; nothing here is tuned to
    what was measured.
    """
    if isinstance(hyper.beta1, tuple) or isinstance(hyper.beta2, tuple) or hyper.betas_change:
        return {}
    roundings = _roundings(format, rounding)
    coupled = hyper.weight_decay > 0 and not hyper.decoupled
    gradient = magnitudes.largest + (hyper.weight_decay * magnitudes.weight if coupled else 0.0)
    tiny, smallest_normal, largest = _range(format)
    subnormal = (1 - hyper.beta2) * magnitudes.smallest**2 < smallest_normal
    if gradient > math.sqrt(largest) or (coupled and (subnormal or rounding in ("moments", "betas"))):
        return {}
    per_side = roundings.of_v * steps + 1
    m_limit = 2 * roundings.of_m * (roundings.u * gradient * _geometric(hyper.beta1, steps) + tiny * steps)
    m_limit += 4 * _complement_error(hyper.beta1, roundings) * gradient
    if _complement_error(hyper.beta2, roundings) >= 1:
        return {"m": Budget(max_abs=m_limit)}
    w_limit = _weights_limit(hyper, steps, magnitudes.weight, roundings)
    v = Budget(max_ulp=2 * (per_side + (1 / _least_share_of_v(hyper.beta2, steps, roundings) - 1) / roundings.u))
    if coupled:
        drift = 2 * roundings.u * gradient + hyper.weight_decay * w_limit
        m_limit += drift
        v = Budget(max_abs=2 * gradient * drift + 2 * (per_side * roundings.u * gradient**2 + tiny * steps))
    moments: dict[Quantity, Budget] = {"m": Budget(max_abs=m_limit), "v": v, "vmax": v}
    if rounding == "moments" or subnormal:
        return moments
    if isinstance(hyper.lr, tuple) or hyper.lr == 0:
        return {"w": Budget(max_abs=w_limit), **moments}
    return {"w": Budget(max_steps=w_limit / hyper.lr), **moments}


def widest(budgets: Sequence[dict[Quantity, Budget]]) -> dict[Quantity, Budget]:
    """What holds for several kinds of parameters: the largest of each limit, and none where one of them has none."""
    first, *others = budgets
    found: dict[Quantity, Budget] = {}
    for quantity, budget in first.items():
        limits = [one[quantity].limits() for one in others if quantity in one]
        if len(limits) == len(others) and all(one.keys() == budget.limits().keys() for one in limits):
            found[quantity] = Budget(**{name: max(value, *(one[name] for one in limits)) if limits else value
                                        for name, value in budget.limits().items()})  # fmt: skip
    return found


def _roundings(format: Format, rounding: Rounding) -> _Roundings:
    u = 2.0**-format.precision
    match rounding:
        case "store":
            # A rounding in float32 is nothing beside one at the store; eight of them are counted as one.
            return _Roundings(u, of_v=1, of_m=1, of_update=1, scalar_u=0.0)
        case "scalars" | "betas":
            coarse = max(u, 2.0 ** -FORMATS["float32"].precision)
            return _Roundings(u, 3, 3, 8, scalar_u=coarse, beta_u=coarse if rounding == "betas" else 0.0)
        case _:
            return _Roundings(u, 3, 3, 8, scalar_u=0.0)


def _weights_limit(hyper: Hyper, steps: int, weight: float, roundings: _Roundings) -> float:
    u, (b1, b2) = roundings.u, hyper.betas_at(1)
    stores = 1 if hyper.weight_decay == 0 else 3
    limit = walked = 0.0
    for step in range(1, steps + 1):
        p1, p2 = b1**step, b2**step
        gradient = math.sqrt((1 - p2) / (1 - b2) / max(b2 ** (step - 1), u * u))
        update = _largest_update(b1, b2, step)
        relative = ((roundings.of_v * step + 1) / 2 + roundings.of_update) * u
        of_power = 2 * step if roundings.beta_u else step + 1
        relative += of_power * roundings.scalar_u * (p2 / (1 - p2) / 2 + p1 / (1 - p1)) + roundings.scalar_u
        relative += 1 / math.sqrt(_least_share_of_v(b2, step, roundings)) - 1
        rate = hyper.lr_at(step)
        walked += rate * update
        limit += stores * u * (weight + walked)
        limit += rate * (roundings.of_m * u * gradient / (1 - b1) + update * relative)
        limit += rate * 2 * _complement_error(b1, roundings) * gradient
    return 2 * limit


def _complement_error(beta: float, roundings: _Roundings) -> float:
    """c: largest relative error of 1 - beta where beta is rounded."""
    return roundings.beta_u * beta / (1 - beta)


def _least_share_of_v(b2: float, step: int, roundings: _Roundings) -> float:
    """(1 - c2) (1 - u')^t: what is left of v, at least, where beta2 is rounded."""
    return (1 - _complement_error(b2, roundings)) * (1 - roundings.beta_u) ** step


def _largest_update(b1: float, b2: float, step: int) -> float:
    """R: largest |m_hat| / sqrt(v_hat) after so many steps."""
    if b2 == 0:
        return (1 - b1) / (1 - b1**step) * _geometric(b1, step)
    spread = _geometric(b1 * b1 / b2, step)
    return math.sqrt((1 - b1) ** 2 / (1 - b2) * spread * (1 - b2**step)) / (1 - b1**step)


def _geometric(ratio: float, terms: int) -> float:
    """1 + ratio + ... + ratio^(terms - 1)."""
    return float(terms) if ratio == 1 else (1 - ratio**terms) / (1 - ratio)


def _range(format: Format) -> tuple[float, float, float]:
    """Smallest subnormal, smallest normal and largest number of a format."""
    bias = 2 ** (format.exponent_bits - 1) - 1
    largest = math.ldexp(2.0 - 2.0 ** (1 - format.precision), bias)
    return math.ldexp(1.0, 2 - bias - format.precision), math.ldexp(1.0, 1 - bias), largest
