"""Where the place of epsilon matters: sizes of the gradient by steps, as differences of one update in units of lr."""

from __future__ import annotations

from dataclasses import dataclass

from parity.adam.convention import Epsilon
from parity.adam.epsilon_conversion import Conversion, conversion
from parity.adam.epsilon_gap import curve
from parity.report.panels.heat import heat_of

EPS = 1e-8
BETA2 = 0.999
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
DECADES = tuple(range(-13, 1))


@dataclass(frozen=True, slots=True)
class Gap:
    """The difference of one update, in units of lr, and its level of heat."""

    lr: float
    heat: int


@dataclass(frozen=True, slots=True)
class EpsilonMap:
    """The same eps in two places, for a gradient that is the same at every step.

    steps: columns; gradients: rows, the size of the gradient; gaps: by row and column.
    """

    actual: Epsilon
    expected: Epsilon
    steps: tuple[int, ...]
    gradients: tuple[float, ...]
    gaps: tuple[tuple[Gap, ...], ...]
    conversion: Conversion


def epsilon_maps() -> tuple[EpsilonMap, ...]:
    """Keras's place against torch's, then optax's eps_root against both."""
    pairs = ((Epsilon.HAT, Epsilon.OUTSIDE), (Epsilon.INSIDE, Epsilon.OUTSIDE))
    return tuple(epsilon_map(*pair) for pair in pairs)


def epsilon_map(actual: Epsilon, expected: Epsilon) -> EpsilonMap:
    """The map of two places of epsilon."""
    gradients = tuple(float(f"1e{decade}") for decade in DECADES)
    return EpsilonMap(
        actual=actual,
        expected=expected,
        steps=STEPS,
        gradients=gradients,
        gaps=tuple(tuple(_gap(actual, expected, gradient, step) for step in STEPS) for gradient in gradients),
        conversion=conversion(EPS, actual, expected, beta2=BETA2, steps=STEPS[-1]),
    )


def _gap(actual: Epsilon, expected: Epsilon, gradient: float, step: int) -> Gap:
    one, other = (curve(EPS, epsilon, BETA2, step) for epsilon in (actual, expected))
    lr = abs(one.at(gradient) - other.at(gradient))
    return Gap(lr, heat_of(lr))
