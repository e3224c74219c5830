"""Which Adam in real numbers: the formula and hyperparameters that reproduce what was observed, to rounding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from parity.adam.convention import Epsilon
from parity.identify.accumulation import accumulation, of_updates
from parity.identify.answer import Answer, Finding
from parity.identify.first_and_second_moments import BEFORE_DECAY, Moments, moments
from parity.identify.in_force import InForce, in_force
from parity.identify.moment_departures import Moment
from parity.identify.points import Points, points_of
from parity.identify.probes import Narrowing, Observation, Probe
from parity.identify.search import Expected
from parity.identify.update_forms import Form, Moves, middle
from parity.identify.update_rule import Rule
from parity.identify.weights import (
    Weights,
    absent_gradients,
    decayed,
    moves_of,
    never_updated,
    standing_tensors,
    weights,
    with_maximum,
    zero_over_zero,
)
from parity.numerics.formats import Format
from parity.numerics.rounding import round_to
from parity.numerics.ulp import ulp_distance

_FORMS = {Form.OUTSIDE: "outside", Form.HAT: "hat", Form.INSIDE: "inside", Form.TWICE: "inside and outside",
          Form.NESTEROV: "outside", Form.NESTEROV_HAT: "hat", Form.NO_ROOT: "outside"}  # fmt: skip

_COUNTS = {"seen": "per_parameter", "step": "global", "rows": "per_row"}

GLANCE = 4096
"""Points on which the nearest of the rules is chosen, where none fits."""


NARROWED = {f"weights are {way}": way for way in (Narrowing.COPIES, Narrowing.EITHER_WAY)}
"""In words: how weights may have got into a narrower format, where they are not rounded to nearest."""


def fit(
    observations: Mapping[str, Observation], claim: str | None, narrowed: Mapping[str, Narrowing] = NARROWED
) -> Answer:
    """The rule that a target follows in one dtype, and what it departs in from what is claimed.

    observations: by the name of the probe, any may be missing. claim: epsilon placement ("outside", "hat", "inside")
    that the target names, None for the paper's Algorithm 1. Every step is computed from the recorded state before it;
    where m or v is hidden, these alone run freely. A point counts as explained if the rule, with its operations
    rounded in any order, can give what was recorded. narrowed: in words, how weights that are narrower than moments may
    have got there where no rule explains them as observed; what does is a finding.
    """
    return fitted(observations, claim, narrowed)[0]


def fitted(
    observations: Mapping[str, Observation], claim: str | None, narrowed: Mapping[str, Narrowing] = NARROWED
) -> tuple[Answer, InForce | None]:
    """As `fit`, and what is in force, where that is not what was asked for."""
    chosen = list(observations.values())
    if not chosen:
        return Answer("unexplained", {}, None, "", (), {"elements": 0}), None
    every = accumulation(chosen)
    if every == 1:
        return _fit(chosen, claim, narrowed)
    return of_updates(chosen, every, lambda shown: _fit(shown, claim, narrowed)[0]), None


def _fit(
    chosen: Sequence[Observation], claim: str | None, narrowed: Mapping[str, Narrowing]
) -> tuple[Answer, InForce | None]:
    points = points_of(chosen)
    present = points.at(points.present)
    standing = never_updated(present, chosen[0].probe.format)
    lost = zero_over_zero(present)
    found = moments(present.at(~(standing | lost)), chosen[0].probe.format)
    answer, taken = _with_weights(points, standing, lost, found, chosen, claim)
    follow = all(one.explained for one in (found.m, found.v) if one is not None)
    if answer.verdict != "unexplained" or not follow or not any("w" in one.kept for one in chosen):
        return answer, taken
    for told, way in narrowed.items():
        # Moments know nothing of how weights are narrowed.
        points = points_of([replace(one, narrowing=way) for one in chosen])
        other, _ = _with_weights(points, standing, lost, found, chosen, claim)
        if other.verdict != "unexplained":
            return replace(other, causes=(*other.causes, Finding("state-storage", told))), None
    return answer, None


def _with_weights(
    points: Points,
    standing: np.ndarray,
    lost: np.ndarray,
    found: Moments,
    chosen: Sequence[Observation],
    claim: str | None,
) -> tuple[Answer, InForce | None]:
    """What moves the weights beside moments that are known. standing, lost: masks of points that no rule moves."""
    format = chosen[0].probe.format
    present = points.at(points.present)
    aside = [standing_tensors(present, standing)] if standing.any() else []
    if lost.any():
        detail = "where lr is 0, weights whose m and v are 0 become NaN: sqrt(v) is divided by lr"
        aside.append(Finding("non-finite", detail, {"points": int(lost.sum())}))
    left_out = standing | lost
    present = present.at(~left_out)
    missing = absent_gradients(points.at(~points.present), format)
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
    # Numbers read beside a moment that nothing explains are no names.
    findings = (*aside, *_findings(found, moved.findings if all(follows) else (), missing))
    left = residual(present, found, moved, expected, [one.probe for one in chosen], format)
    left["elements"] += int(left_out.sum())
    verdict = "unexplained" if left["differing"] else "explained"
    if moved.rule is None:
        # Numbers read out of the one moment that a stranger shows are none of an Adam's.
        known = found.findings if len(follows) == 2 else ()
        return Answer("unexplained", {}, None, "", (*aside, *known, *_unknown(follows, left)), left), None
    if left["differing"]:
        findings = (*findings, *_left(found, moved, left))
    answer = Answer(
        verdict,  # type: ignore[arg-type]
        convention_of(present, found, moved, chosen),
        None,
        formula_of(found, moved, chosen),
        findings,
        left,
    )
    return answer, None if left["differing"] else in_force(present, found, moved, chosen)


def _expected(claim: str | None) -> Expected:
    if claim is None:
        return Expected(count="")
    epsilon = Epsilon(claim)
    # As the frameworks whose form it is: torch counts per parameter, Keras and optax globally.
    return Expected(Form[epsilon.name], "seen" if epsilon is Epsilon.OUTSIDE else "step")


def _findings(found: Moments, moved: Sequence[Finding], missing: Finding | None) -> tuple[Finding, ...]:
    findings = [*found.findings, *moved]
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


def convention_of(
    points: Points, found: Moments, moved: Weights, observations: Sequence[Observation]
) -> dict[str, Any]:
    """Choices of the formula by name, and the hyperparameters in force where the first probe asks for others."""
    rule = moved.rule
    if rule is None:
        return {}
    asked = observations[0].probe.hyper
    first = points.at(points.probe == 0)
    lr = np.ones(1) if not len(first) else first.lr
    distinct = bool((points.seen != points.step).any())
    decays = {one for one in moved.decay.values() if one}
    return {
        "epsilon": "undetermined" if rule.eps.name == "none" else _FORMS[rule.form],
        "bias_correction": rule.correction.name,
        "step_count": _COUNTS[rule.count] if distinct else "undetermined",
        "weight_decay": sorted(decays | {f"g = g + {what} * w" for k, what in found.couplings.values() if k}),
        "amsgrad": any(one.probe.hyper.amsgrad for one in observations)
        and not any(one.family == "amsgrad" for one in moved.findings),
        "hyperparameters": {
            "lr": _in_force(rule.lr, float(lr[0])),
            "beta1": float(found.beta1[points.probe == 0][0]) if len(first) else asked.beta1,
            "beta2": float(found.beta2[points.probe == 0][0]) if len(first) else asked.beta2,
            "eps": _in_force(rule.eps, asked.eps),
        },
    }


def _in_force(choice: Any, asked: float) -> float | str:
    if choice.name == "asked":
        return asked
    if choice.name == "factor":
        return float(choice.number * asked)
    if choice.name == "constant":
        return float(choice.number)
    return str(choice.name)


def formula_of(found: Moments, moved: Weights, observations: Sequence[Observation]) -> str:
    """The rule as lines of text, in the order in which a step computes them."""
    rule = moved.rule
    if rule is None:
        return ""
    probes = [one.probe for one in observations]
    coupled = {number: f"g = g + {what} * w" for number, (k, what) in found.couplings.items() if k}
    lines = _by_decay(coupled, probes)
    first, second = found.m_rule, found.v_rule
    if any(one.detail.endswith(BEFORE_DECAY) for one in found.findings):
        lines.insert(0, f"g = {first}")
        first, second = "g", "g^2" if second == f"({first})^2" else second
    lines.append(_average("m", "beta1", first, found.m))
    lines.append("v = max(beta2 * v, g^2)" if second == "max" else _average("v", "beta2", second, found.v))
    if any(one.probe.hyper.amsgrad for one in observations) and not any(
        one.family == "amsgrad" for one in moved.findings
    ):
        always = all(one.hyper.amsgrad for one in probes)
        lines.append(("" if always else "if amsgrad: ") + "vmax = max(vmax, v), in the place of v")
    counted = {"seen": "gradients of the parameter", "step": "steps", "rows": "gradients of the row"}[rule.count]
    lines.append(f"{rule.correction.text}; t: {counted}")
    lines += _by_decay({number: text for number, text in moved.decay.items() if text}, probes)
    lines.append(f"w = w - {rule.form.value}")
    return "\n".join(lines)


def _by_decay(lines: Mapping[int, str], probes: Sequence[Probe]) -> list[str]:
    """Lines by number of the probe, each once, with the kind of decay at which it is done, where both are asked for."""
    asked = {number: one.hyper.decoupled for number, one in enumerate(probes) if one.hyper.weight_decay}
    told = []
    for line in sorted(set(lines.values())):
        kinds = {asked[number] for number, one in lines.items() if one == line}
        condition = "" if kinds == set(asked.values()) else f"if {'' if kinds == {True} else 'not '}decoupled: "
        told.append(condition + line)
    return told


def _average(name: str, beta: str, fresh: str, moment: Moment | None) -> str:
    factor = f"(1 - {beta})"
    if moment is not None and any("lacks the factor" in one.detail for one in moment.findings):
        return f"{name} = {beta} * {name} + {fresh}"
    scale = "" if moment is None or moment.scale == 1 else f"{moment.scale:g} * "
    return f"{name} = {beta} * {name} + {factor} * {scale}{fresh}"


class _Unexplained(NamedTuple):
    """A quantity at points that no rule explains: what was recorded, and what the nearest rule gives."""

    quantity: str
    places: np.ndarray
    actual: np.ndarray
    fitted: np.ndarray


def residual(
    points: Points, found: Moments, moved: Weights, expected: Expected, probes: Sequence[Probe], format: Format
) -> dict[str, Any]:
    """Points that nothing explains, as JSON values.

    elements, differing: numbers of points. Where some differ, by quantity: max_ulp, the greatest distance from what the
    fitted rule gives, rounded once, in units of the last place of the dtype (`NO_DISTANCE` between NaN or inf and
    anything else); where: probe, step, parameter and index of that element. Where no rule fits w, it is held against
    the form of the update that fewest points contradict, with the decay and the maximum that are asked for.
    """
    wrong, largest, where = np.zeros(len(points), bool), {}, {}
    for quantity, places, actual, fitted in _unexplained(points, found, moved, expected, probes, format):
        wrong[places] = True
        # Rounded once, here: distances are units of the dtype, both sides being doubles.
        far = ulp_distance(round_to(actual, format), round_to(fitted, format))
        worst = int(np.argmax(far))
        largest[quantity], where[quantity] = int(far[worst]), _where(points, int(places[worst]), probes)
    left: dict[str, Any] = {"elements": len(points), "differing": int(wrong.sum())}
    return {**left, "max_ulp": largest, "where": where} if largest else left


def _unexplained(
    points: Points, found: Moments, moved: Weights, expected: Expected, probes: Sequence[Probe], format: Format
) -> Iterator[_Unexplained]:
    for one in (found.m, found.v):
        if one is not None and one.wrong.any():
            places = np.flatnonzero(one.wrong)
            yield _Unexplained(one.name, places, one.average.after[places], one.average.expected[places])
    if not moved.wrong.any():
        return
    decoupled, amsgrad = (np.array([getattr(one.hyper, name) for one in probes]) for name in ("decoupled", "amsgrad"))
    moves = with_maximum(points, moves_of(points, found, found.gradient, format), amsgrad)
    moves = decayed(points, moves, decoupled, format)
    rule, mask = moved.rule, moved.wrong
    if rule is None:
        rule = _nearest(moves, expected, format)
        mask = rule.wrong(moves, format)
    places = np.flatnonzero(mask)
    if len(places):
        some = moves.at(places)
        fitted = some.w0 - middle(some, rule.form, rule.scale(some))
        yield _Unexplained("w", places, points.w1[places], fitted)


def _nearest(moves: Moves, expected: Expected, format: Format) -> Rule:
    """The rule with no departure but its form that fewest points contradict."""
    some = moves.at(np.arange(0, len(moves), max(1, len(moves) // GLANCE)))
    rules = [expected.rule, *(Rule(form, count=expected.count_of(form)) for form in Form)]
    return min(rules, key=lambda rule: int(rule.wrong(some, format).sum()))


def _where(points: Points, place: int, probes: Sequence[Probe]) -> dict[str, Any]:
    probe = probes[int(points.probe[place])]
    parameter, within = list(probe.layout.slices())[int(points.place[place])]
    index = np.unravel_index(int(points.element[place]) - within.start, parameter.shape) if parameter.shape else ()
    return {
        "probe": probe.name,
        "step": int(points.step[place]),
        "parameter": parameter.name,
        "index": [int(one) for one in index],
    }
