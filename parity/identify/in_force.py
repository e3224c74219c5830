"""The hyperparameters and the bias correction that are in force, where they are others than was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from parity.core.hyper import Hyper
from parity.identify.answer import Answer
from parity.identify.bias_correction import PAPER, Correction
from parity.identify.first_and_second_moments import Moments
from parity.identify.points import Points
from parity.identify.probes import Observation
from parity.identify.update_rule import DECOUPLED
from parity.identify.weights import Weights, moves_of

FAMILIES = frozenset(
    {"hyperparameter-value", "hyperparameter-rounding", "epsilon-value", "epsilon-underflow", "schedule",
     "weight-decay", "amsgrad", "epsilon-placement", "bias-correction", "beta-power", "step-count"}
)  # fmt: skip
"""Departures after which it may be an Adam all the same, of what is in force."""

FOREIGN = frozenset({"unexplained", "relative", "gradient-scale", "partial-update", "none-gradient", "accumulation"})
"""Departures of which no Adam that is searched for has one."""


@dataclass(frozen=True, slots=True)
class InForce:
    """What an Adam takes. hyper: by probe."""

    hyper: Mapping[str, Hyper]
    correction: Correction

    def others(self, observations: Mapping[str, Observation], *names: str) -> bool:
        """Whether one of these hyperparameters is not what was asked for."""
        return any(
            getattr(hyper, one) != getattr(observations[name].probe.hyper, one)
            for name, hyper in self.hyper.items()
            for one in names
        )

    def asked_of(self, observations: Mapping[str, Observation]) -> dict[str, Observation]:
        """The observations as of probes that ask for the hyperparameters in force."""
        return {
            name: replace(one, probe=replace(one.probe, hyper=self.hyper[one.probe.name]))
            for name, one in observations.items()
        }


def certainly_another(found: Answer, taken: InForce, observations: Mapping[str, Observation]) -> bool:
    """Whether it cannot be an Adam of what was asked, by more than a decay or a rounding, which may not show."""
    values = any(one.family in ("hyperparameter-value", "schedule") for one in found.departures)
    return values or taken.correction != PAPER or taken.others(observations, "amsgrad")


def in_force(points: Points, found: Moments, moved: Weights, observations: Sequence[Observation]) -> InForce | None:
    """What all points of a probe say of it; None where nothing differs, or where it cannot be said.

    points: those with a gradient. Where m or v is hidden, nobody asks for bits.
    """
    rule = moved.rule
    if rule is None or found.m is None or found.v is None:
        return None
    if rule.count == "rows" or not rule.correction.of_exponents:
        return None
    scale = rule.scale(moves_of(points, found, found.gradient, observations[0].probe.format))
    taken = _Taken(points.step, scale.lr, found.beta1, found.beta2, scale.eps)
    maximum = all(one.evidence["vmax"] != "not used" for one in moved.findings if one.family == "amsgrad")
    made: dict[str, Hyper] = {}
    for number, one in enumerate(observations):
        probe, there = one.probe, points.probe == number
        places = {parameter.name: place for place, parameter in enumerate(probe.layout.parameters)}
        own = {
            name: taken.hyper(hyper, there & (points.place == places[name]), probe.steps)
            for name, hyper in probe.hyper.groups
        }
        groups = tuple((name, hyper) for name, hyper in own.items() if hyper is not None)
        others = there & ~np.isin(points.place, [places[name] for name in own])
        coupled = found.couplings.get(number, (0.0, "0"))
        asked = _decay(replace(probe.hyper, groups=()), *coupled, moved.decay.get(number, ""))
        of_all = None if asked is None else taken.hyper(asked, others, probe.steps)
        if of_all is None or len(groups) != len(own):
            return None
        made[probe.name] = replace(of_all, amsgrad=of_all.amsgrad and maximum, groups=groups)
    correction = replace(rule.correction, power=PAPER.power)
    if correction == PAPER and all(made[one.probe.name] == one.probe.hyper for one in observations):
        return None
    return InForce(made, correction)


class _Taken(NamedTuple):
    """What is read of every point: its step, and the numbers in force there; (points,) each."""

    step: np.ndarray
    lr: np.ndarray
    beta1: np.ndarray
    beta2: np.ndarray
    eps: np.ndarray

    def hyper(self, asked: Hyper, there: np.ndarray, steps: int) -> Hyper | None:
        """What tensors take that are asked for the same; None where their points do not agree. there: a mask."""
        step, lr, beta1, beta2, eps = (values[there] for values in self)
        every = range(1, steps + 1)
        asked_lr, betas = [asked.lr_at(step) for step in every], [asked.betas_at(step) for step in every]
        lrs = _by_step(asked_lr, step, lr)
        firsts = _by_step([one for one, _ in betas], step, beta1)
        seconds = _by_step([two for _, two in betas], step, beta2)
        epsilons = _by_step([asked.eps] * steps, step, eps)
        if lrs is None or firsts is None or seconds is None or epsilons is None or len(set(epsilons)) != 1:
            return None
        return replace(
            asked,
            lr=asked.lr if lrs == asked_lr else tuple(lrs),
            beta1=asked.beta1 if firsts == [one for one, _ in betas] else _one(firsts),
            beta2=asked.beta2 if seconds == [two for _, two in betas] else _one(seconds),
            eps=epsilons[0],
        )


def _by_step(asked: list[float], step: np.ndarray, values: np.ndarray) -> list[float] | None:
    """One number a step, as its points have it, as it was asked where there are none; None where they do not agree."""
    numbers = np.array(asked)
    places = step.astype(int) - 1
    numbers[places] = values
    return numbers.tolist() if (numbers[places] == values).all() else None


def _one(numbers: list[float]) -> float | tuple[float, ...]:
    return numbers[0] if len(set(numbers)) == 1 else tuple(numbers)


def _decay(asked: Hyper, share: float, what: str, formula: str) -> Hyper | None:
    """As the gradient (share of w, in words) and the formula of weights say; None for a decay of another kind."""
    if not asked.weight_decay:
        return asked
    if formula == DECOUPLED and not share:
        return replace(asked, decoupled=True)
    if formula:
        return None
    return replace(asked, weight_decay=share, decoupled=share == 0 and asked.decoupled)
