"""Optimizers that are no Adam, as far as they are known: their rules, held against what was recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from parity.identify.points import roundoff, smallest
from parity.identify.probes import Observation, Probe

ROUNDINGS = 64.0
"""Units by which a free orbit of sums may be off, and one more for each step."""


class Slot(NamedTuple):
    """A rule's view of one step, arrays (size,): two buffers, gradient, numbers asked for."""

    a: np.ndarray
    b: np.ndarray
    g: np.ndarray
    lr: float
    beta1: float
    beta2: float
    eps: float


class OtherOptimizer(NamedTuple):
    """A rule: its name, its formula, and the change and the buffers it makes."""

    name: str
    text: str
    step: Callable[[Slot], tuple[np.ndarray, np.ndarray, np.ndarray]]


def other_optimizer(observations: list[Observation]) -> OtherOptimizer | None:
    """The rule that every weight follows at every step, to rounding; None where none is known."""
    telling = [one for one in observations if _tells(one.probe)]
    for rule in RULES if telling else ():
        if all(_follows(rule, observed) for observed in telling):
            return rule
    return None


def _tells(probe: Probe) -> bool:
    """Whether the rules say anything of it: no decay or maximum is asked for, every gradient is there."""
    hyper = probe.hyper
    # Where squares are subnormal, free orbits tell nothing.
    return not (hyper.weight_decay or hyper.amsgrad or probe.none or 0 < hyper.eps < 1e-20)


def _follows(rule: OtherOptimizer, observed: Observation) -> bool:
    probe, hyper = observed.probe, observed.probe.hyper
    u, least = roundoff(probe.format), smallest(probe.format)
    a, b, size_a, size_b = np.zeros((4, probe.layout.size))
    w = observed.w.astype(np.float64)
    with np.errstate(all="ignore"):
        for step, row in enumerate(probe.gradients.astype(np.float64), start=1):
            slot = Slot(a, b, row, hyper.lr_at(step), *hyper.betas_at(step), hyper.eps)
            moved, a, b = rule.step(slot)
            size, size_a, size_b = rule.step(slot._replace(a=size_a, b=size_b, g=np.abs(row)))
            error = (ROUNDINGS + step) * u * size + 2 * u * np.abs(w[step]) + 2 * least
            actual = w[step - 1] - w[step]
            # Of a small m, the sign is not known.
            unsure = np.abs(np.abs(actual) - np.abs(moved)) <= error if rule.name == "Lion" else actual != actual
            far = ~(np.abs(actual - moved) <= error) & ~unsure & np.isfinite(actual) & np.isfinite(moved)
            if far.any():
                return False
    return True


def _momentum(s: Slot) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a = s.beta1 * s.a + s.g
    return s.lr * a, a, s.b


def _rmsprop(s: Slot) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    b = s.beta2 * s.b + (1 - s.beta2) * s.g**2
    return s.lr * s.g / (np.sqrt(b) + s.eps), s.a, b


def _adagrad(s: Slot) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    b = s.b + s.g**2
    return s.lr * s.g / (np.sqrt(b) + s.eps), s.a, b


def _adadelta(s: Slot) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    b = s.beta2 * s.b + (1 - s.beta2) * s.g**2
    moved = np.sqrt(s.a + s.eps) / np.sqrt(b + s.eps) * s.g
    return s.lr * moved, s.beta2 * s.a + (1 - s.beta2) * moved**2, b


def _lion(s: Slot) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    between = s.beta1 * s.a + (1 - s.beta1) * s.g
    return s.lr * np.sign(between), s.beta2 * s.a + (1 - s.beta2) * s.g, s.b


RULES = (
    OtherOptimizer("nothing: no weight ever changes", "w = w", lambda s: (0 * s.g, s.a, s.b)),
    OtherOptimizer("SGD", "w = w - lr * g", lambda s: (s.lr * s.g, s.a, s.b)),
    OtherOptimizer("SGD with momentum", "m = beta1 * m + g\nw = w - lr * m", _momentum),
    OtherOptimizer("RMSprop", "v = beta2 * v + (1 - beta2) * g^2\nw = w - lr * g / (sqrt(v) + eps)", _rmsprop),
    OtherOptimizer("Adagrad", "v = v + g^2\nw = w - lr * g / (sqrt(v) + eps)", _adagrad),
    OtherOptimizer(
        "Adadelta",
        "v = beta2 * v + (1 - beta2) * g^2\nx = sqrt(d + eps) / sqrt(v + eps) * g\n"
        "d = beta2 * d + (1 - beta2) * x^2\nw = w - lr * x",
        _adadelta,
    ),
    OtherOptimizer("Lion", "w = w - lr * sign(beta1 * m + (1 - beta1) * g)\nm = beta2 * m + (1 - beta2) * g", _lion),
    OtherOptimizer("sign descent", "w = w - lr * sign(g)", lambda s: (s.lr * np.sign(s.g), s.a, s.b)),
)
