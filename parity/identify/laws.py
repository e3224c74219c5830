"""Laws that an element-wise optimizer keeps whatever its formula, held to the last bit, and what is no number."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parity.identify.answer import Finding
from parity.identify.points import roundoff
from parity.identify.probes import (
    BAD,
    BETAS,
    CONTINUED,
    GROUPS,
    LAW,
    LAWS,
    MOVED,
    NOT_FINITE,
    OMITTED,
    POWER,
    Observation,
)

ROUNDING = 256.0
"""Units by which a weight may be another and still be the same but for rounding: of itself, and of a step."""

ASIDE = (GROUPS, BETAS, NOT_FINITE, LAW, *LAWS)
"""Probes that the rule of all others is not read out of."""

_QUANTITIES = {"w": 0, "m": 1, "v": 2}
"""With which power of a scale of the gradient each goes."""

PROPAGATES = "only that weight"

NEVER = "cannot be seen: its tensor never moves"


def laws(observations: Mapping[str, Observation]) -> dict[str, str]:
    """What came of each law that was asked: in words, beginning with "holds" where it does."""
    plain = observations.get(LAW)
    if plain is None:
        return {}
    return {law: _kept(plain, observations[law], law) for law in LAWS if law in observations}


def _kept(plain: Observation, other: Observation, law: str) -> str:
    format, lr = plain.probe.format, plain.probe.hyper.lr_at(1)
    differing, elements, broken = 0, 0, list[str]()
    for quantity, power in _QUANTITIES.items():
        expected, actual = getattr(plain, quantity), getattr(other, quantity)
        if expected is None or actual is None:
            continue
        expected, actual = expected.astype(np.float64), actual.astype(np.float64)
        if law == "law-continued":
            expected = expected[CONTINUED:]
        elif law == "law-turned":
            actual = actual[:, ::-1]
        elif law == "law-left-out":
            expected = np.insert(expected, OMITTED, expected[OMITTED - 1], axis=0)
        elif law == "law-moved":
            actual = actual[:, MOVED:]
        elif law == "law-scaled":
            expected = expected * 2.0 ** (power * POWER.get(plain.kept.get("w", format).name, 4))
        apart = (expected != actual) & ~(np.isnan(expected) & np.isnan(actual))
        differing, elements = differing + int(apart.sum()), elements + expected[1:].size
        if apart.any():
            with np.errstate(all="ignore"):
                distance = np.abs(expected - actual)
                size = np.maximum.accumulate(np.abs(expected), axis=0) + (lr if quantity == "w" else 0.0)
                beyond = ~(distance <= ROUNDING * roundoff(format) * size) & apart
            if beyond.any():
                unit = lr if quantity == "w" else float(np.abs(expected).max())
                far = float(np.max(np.where(beyond, np.where(np.isfinite(distance), distance, np.inf), 0.0))) / unit
                broken.append(f"{quantity} is up to {far:.3g} {'lr' if quantity == 'w' else 'of its greatest'} apart")
    if not differing:
        return f"holds, {elements:,} elements bit for bit"
    if not broken:
        return f"holds to rounding, {differing:,} of {elements:,} elements have other bits"
    return f"does not hold: {', '.join(broken)}"


def not_finite_gradients(observations: Mapping[str, Observation]) -> dict[str, str]:
    """What a gradient that is NaN, and one that is inf, makes of the weights of its step, in words."""
    seen = observations.get(NOT_FINITE)
    if seen is None:
        return {}
    places = {one.name: place for one, place in seen.probe.layout.slices()}
    w = seen.w.astype(np.float64)
    told: dict[str, str] = {}
    for step, (name, element, value) in BAD.items():
        before, after = w[step - 1], w[step]
        # What an earlier one has spoilt tells nothing.
        sound = np.isfinite(before)
        own = np.zeros(len(w[0]), bool)
        own[places[name]] = True
        here = np.zeros(len(w[0]), bool)
        here[places[name].start + element] = True
        broken, moved = sound & ~np.isfinite(after), sound & (before != after)
        stands = (w[:, own] == w[0, own]).all() and (w != w[0]).any()
        told[f"{value:g}"] = NEVER if stands else _event(broken, moved, sound, own, here)
    return told


def _event(broken: np.ndarray, moved: np.ndarray, sound: np.ndarray, own: np.ndarray, here: np.ndarray) -> str:
    if not sound[here].any():
        return "cannot be seen: that weight was no number before"
    if broken.any():
        if not (broken & ~here).any():
            return f"{PROPAGATES} becomes NaN or inf"
        return (
            "its whole tensor becomes NaN or inf" if not (broken & ~own).any() else "weights of all tensors become NaN"
        )
    if not (moved & own).any():
        return "its tensor stands at that step" if (moved & ~own).any() else "no weight moves at that step"
    return "it is left out or taken as a number: no weight becomes NaN"


def findings_of(not_finite: Mapping[str, str]) -> tuple[Finding, ...]:
    """What departs from a formula in which a number that is none goes on to its weight."""
    return tuple(
        Finding("non-finite", f"where a gradient is {value}, {told}", {"gradient": value})
        for value, told in not_finite.items()
        if not told.startswith((PROPAGATES, "cannot"))
    )
