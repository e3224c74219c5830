"""One epsilon in another convention, exactly: for one step, and where it takes one, for one size of v."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from parity.adam.convention import Epsilon
from parity.core.errors import UsageError, nearest

CONVENTIONS: Mapping[str, Epsilon] = MappingProxyType(
    {
        **{epsilon.value: epsilon for epsilon in Epsilon},
        "paper": Epsilon.OUTSIDE,
        "torch": Epsilon.OUTSIDE,
        "optax": Epsilon.OUTSIDE,
        "keras": Epsilon.HAT,
        "tensorflow": Epsilon.HAT,
    }
)
"""What the place of eps is called: a convention, or who has it (Adam itself, not its sparse variants)."""

LIMITS = (1e-100, 1e100)
"""Between these an eps, its square and its root are ordinary float64 numbers."""


def convention_named(name: str) -> Epsilon:
    """The convention of that name, or that a framework of that name has; UsageError where there is none."""
    if name not in CONVENTIONS:
        raise UsageError(f"convention {name!r} is unknown; {nearest(name, CONVENTIONS)}")
    return CONVENTIONS[name]


def root_correction(beta2: float, step: int) -> float:
    """sqrt(1 - beta2^t), without the cancellation of 1 - beta2^t; step: t, 1-based."""
    return math.sqrt(-math.expm1(step * math.log(beta2))) if beta2 > 0 else 1.0


def check_epsilon(eps: float, beta2: float, step: int) -> None:
    """UsageError where one of them is not what the formulas are about."""
    smallest, largest = LIMITS
    if not smallest <= eps <= largest:
        raise UsageError(f"eps {eps:g}: allowed: a number from {smallest:g} to {largest:g}")
    if not 0 <= beta2 < 1:
        raise UsageError(f"beta2 {beta2:g}: allowed: a number from 0 to less than 1")
    if step < 1:
        raise UsageError(f"step {step}: steps count from 1")


def convert(eps: float, source: Epsilon, target: Epsilon, *, beta2: float, step: int, root: float = 0.0) -> float:
    """The eps with which `target` makes the update that `source` makes with `eps`, at one step t.

    With c = sqrt(1 - beta2^t) and r = sqrt(v_hat)::

        outside = hat / c                        hat = outside * c
        outside = inside / (r + sqrt(r^2 + inside))      inside = outside^2 + 2 * outside * r

    step: t, 1-based. root: r, which only INSIDE asks for: between OUTSIDE and HAT the number holds
    for every gradient, to and from INSIDE for this r alone (0: the limit of vanishing gradients, where
    inside = outside^2). eps: in units of the gradient, its square for INSIDE. UsageError where eps,
    beta2 or step are out of range. Source: Kingma & Ba 2015, Algorithm 1 and the form before section 2.1.
    """
    check_epsilon(eps, beta2, step)
    correction = root_correction(beta2, step)
    if source is target:
        return eps
    match source:
        case Epsilon.OUTSIDE:
            outside = eps
        case Epsilon.HAT:
            outside = eps / correction
        case Epsilon.INSIDE:
            outside = eps / (root + math.sqrt(root * root + eps))
    match target:
        case Epsilon.OUTSIDE:
            return outside
        case Epsilon.HAT:
            return outside * correction
        case Epsilon.INSIDE:
            return outside * outside + 2 * outside * root
