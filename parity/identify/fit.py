"""Which Adam in real numbers: the formula and hyperparameters that reproduce what was observed, to rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.adam.convention import Epsilon
from parity.identify.absent import absent
from parity.identify.answer import Answer, Finding
from parity.identify.formula import convention_of, formula_of
from parity.identify.moments import Moments, moments
from parity.identify.observation import Observation
from parity.identify.other import Other, other
from parity.identify.points import points_of
from parity.identify.residual import residual
from parity.identify.search import Expected
from parity.identify.update import Form
from parity.identify.weights import Weights, weights

NOT_FITTED = ("wide",)
"""Probes that are asked for another purpose."""


def fit(observations: Mapping[str, Observation], claim: str | None) -> Answer:
    """The rule that a target follows in one dtype, and what it departs in from what is claimed.

    observations: by the name of the probe, any may be missing. claim: epsilon placement ("outside", "hat", "inside")
    that the target names, None for the paper's Algorithm 1. Every step is computed from the recorded state before it;
    where m or v is hidden, these alone run freely. A point counts as explained if the rule, with its operations
    rounded in any order, can give what was recorded.
    """
    chosen = [one for name, one in observations.items() if name not in NOT_FITTED] or list(observations.values())
    if not chosen:
        return Answer("unexplained", {}, None, "", (), {"elements": 0})
    format = chosen[0].probe.format
    points = points_of(chosen)
    present = points.at(points.present)
    missing = absent(points.at(~points.present), format)
    found = moments(present, format)
    expected = _expected(claim)
    asked = [one.probe.hyper for one in chosen]
    moved = weights(
        present,
        found,
        np.array([one.decoupled for one in asked]),
        np.array([one.amsgrad for one in asked]),
        expected,
        format,
    )
    follows = [one.explained for one in (found.m, found.v) if one is not None]
    if moved.rule is None or not all(follows):
        # An optimizer that keeps no moments of Adam, or not what it shows as such.
        rule = None if len(follows) == 2 and all(follows) else other(chosen)
        if rule is not None:
            return _another(rule)
    findings = _findings(found, moved, missing)
    left = residual(present, found, moved, expected, [one.probe for one in chosen], format)
    verdict = "unexplained" if left["differing"] else "explained"
    if moved.rule is None:
        # Numbers read out of the one moment that a stranger shows are none of an Adam's.
        known = found.findings if len(follows) == 2 else ()
        return Answer("unexplained", {}, None, "", (*known, *_unknown(follows, left)), left)
    if left["differing"]:
        findings = (*findings, *_left(found, moved, left))
    return Answer(
        verdict,  # type: ignore[arg-type]
        convention_of(present, found, moved, chosen),
        None,
        formula_of(found, moved, chosen),
        findings,
        left,
    )


def _expected(claim: str | None) -> Expected:
    if claim is None:
        return Expected(count="")
    epsilon = Epsilon(claim)
    # As the frameworks whose form it is: torch counts per parameter, Keras and optax globally.
    return Expected(Form[epsilon.name], "seen" if epsilon is Epsilon.OUTSIDE else "step")


def _another(rule: Other) -> Answer:
    detail = f"not an Adam: {rule.name}"
    return Answer("explained", {}, None, rule.text, (Finding("unexplained", detail, {"rule": rule.text}),), {})


def _findings(found: Moments, moved: Weights, missing: Finding | None) -> tuple[Finding, ...]:
    findings = [*found.findings, *moved.findings]
    if missing is not None:
        # A None that is taken as a gradient is counted as one: no departure of its own.
        findings = [one for one in findings if one.family != "step-count" or "count" not in one.evidence]
        findings.append(missing)
    return tuple(findings)


def _unknown(follows: list[bool], left: Mapping[str, Any]) -> tuple[Finding, ...]:
    if len(follows) == 2 and all(follows):
        detail = "m and v are those of an Adam; w follows no update that is known"
    else:
        detail = "not an Adam, and no other optimizer that is known"
    return (Finding("unexplained", detail, dict(left)),)


def _left(found: Moments, moved: Weights, left: Mapping[str, Any]) -> tuple[Finding, ...]:
    which = [one.name for one in (found.m, found.v) if one is not None and not one.explained]
    which += ["w"] if moved.wrong.any() else []
    if any(one.detail.startswith("decay follows no rule") for one in moved.findings) and which == ["w"]:
        return ()
    follow = "follow" if len(which) > 1 else "follows"
    return (Finding("unexplained", f"{' and '.join(which)} {follow} no rule that is known", dict(left)),)
