"""Optimizers that are no Adam: their rules run freely on the gradients, and held against what was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from parity.identify.answer import Answer, Finding
from parity.identify.ball import Ball, exact
from parity.identify.points import roundoff, smallest
from parity.identify.probes import MAIN, MATRICES, Observation, Probe
from parity.identify.relative_steps import Slot
from parity.identify.relatives import ADAMS, NOTHING, RULES, Rule
from parity.numerics.formats import Format

GLANCES = (1, 2, 4, 8)
"""Steps of the first probe over which a rule is tried, before it is held against all."""

TELLING = 0.1
"""Share of the points at which a rule has to say more than that anything may be."""

DOUBLE, SINGLE = 2.0**-53, 2.0**-24
"""By how much numbers are rounded before they are used."""

__all__ = ["NOTHING", "Relative", "answer_of", "nearest_rule", "orthogonalised", "other_optimizer"]

ORTHOGONAL = 2.0
"""Newton and Schulz's five steps bring singular values to between 0.68 and 1.13."""

_DECAYS = ("none", "gradient", "weights", "weights first", "weights, not scaled by lr", "inside")


@dataclass(frozen=True, slots=True)
class Relative:
    """A rule that all weights follow at all steps, to rounding.

    variant: of the rule, or of all of one formula that weights follow as well. numbers: its own, as they are in force,
    none where it may be another variant. decays: how weights decay, by the kind that is asked for; absent where none
    is. count: what t counts. unit: by how much its numbers are rounded first. elements: how many were compared.
    """

    rule: Rule
    variant: str
    numbers: Mapping[str, float]
    decays: Mapping[str, str]
    count: str
    unit: float
    elements: int


def other_optimizer(observations: Mapping[str, Observation]) -> Relative | None:
    """The rule that every weight follows at every step, whatever the target shows of its moments; None: none known."""
    telling = _telling(observations)
    if not telling:
        return None
    format = telling[0].probe.format
    units = _units(format)
    some = [one for one in telling if not one.probe.none]
    for rule in RULES:
        for numbers in _numbers(rule):
            # Numbers that are rounded more leave a wider room: what fails there fails, what says nothing says nothing.
            if not all(_follows(rule, numbers, units[-1], telling[0], until=steps) for steps in GLANCES):
                continue
            if not _says_something(rule, numbers, units[0], telling[0]):
                continue
            if not all(_follows(rule, numbers, units[-1], one) for one in some):
                continue
            for unit in units:
                if unit == units[-1] or all(_follows(rule, numbers, unit, one) for one in some):
                    found = _counted(rule, numbers, unit, telling)
                    if found is not None and _says_something(rule, numbers, unit, telling[0]):
                        return _decayed(_with_variants(found, numbers, telling), observations)
    return None


def _with_variants(found: Relative, numbers: Mapping[str, float | str], telling: Sequence[Observation]) -> Relative:
    """With the other variants of its formula that weights follow as well, where these say as much."""
    of_one_formula = [one for one in RULES if (one.name, one.text) == (found.rule.name, found.rule.text)]
    if of_one_formula == [found.rule]:
        return found
    some = [one for one in telling if not one.probe.none]
    told = sum(_told(found.rule, numbers, found.unit, one)[0] for one in some)
    alike = [
        one.variant
        for one in of_one_formula
        if one is not found.rule
        and any(all(_follows(one, own, found.unit, each) for each in some)
                and sum(_told(one, own, found.unit, each)[0] for each in some) >= told for own in _numbers(one))
    ]  # fmt: skip
    return replace(found, variant=" or ".join([found.variant, *alike]), numbers={}) if alike else found


def _telling(observations: Mapping[str, Observation]) -> list[Observation]:
    """What rules say something of, the plainest first: no decay or maximum is asked for, no square is subnormal."""
    chosen = [one for one in observations.values() if _tells(one.probe) and not one.probe.hyper.weight_decay]
    return sorted(chosen, key=lambda one: (bool(one.probe.none), one.probe.name != MAIN, one.probe.steps > 100))


def _tells(probe: Probe) -> bool:
    hyper = probe.hyper
    return not (hyper.amsgrad or 0 < hyper.eps < 1e-20 or hyper.betas_change)


def _units(format: Format) -> tuple[float, ...]:
    return (DOUBLE, SINGLE) if format.dtype.itemsize > 2 else (DOUBLE, SINGLE, roundoff(format))


def _numbers(rule: Rule) -> Iterator[dict[str, float | str]]:
    for chosen in product(*rule.numbers.values()):
        yield dict(zip(rule.numbers, chosen, strict=True))


class _Made(NamedTuple):
    """What a rule makes of some elements at a step: by how much it lessens them."""

    step: int
    place: slice
    change: Ball


def _changes(
    rule: Rule,
    numbers: Mapping[str, float | str],
    unit: float,
    observed: Observation,
    count: str = "seen",
    decay: str = "none",
    until: int | None = None,
) -> Iterator[_Made]:
    probe, hyper = observed.probe, observed.probe.hyper
    rows = observed.w.astype(np.float64)
    apart = rule.whole or probe.none
    places = [(one.name, one.shape, place) for one, place in probe.layout.slices()]
    parts = places if apart else [("", (probe.layout.size,), slice(0, probe.layout.size))]
    kept: list[dict[str, Ball]] = [{} for _ in parts]
    seen = [0] * len(parts)
    for step, row in enumerate(probe.gradients[:until].astype(np.float64), start=1):
        beta1, beta2 = hyper.betas_at(step)
        asked: dict[str, float] = {"lr": hyper.lr_at(step), "beta1": beta1, "beta2": beta2, "eps": hyper.eps}
        asked |= {name: asked[one] if isinstance(one, str) else one for name, one in numbers.items()}
        asked["decay"] = hyper.weight_decay if decay == "inside" else 0.0
        for number, (name, shape, place) in enumerate(parts):
            if name in probe.none.get(step, ()):
                continue
            seen[number] += 1
            whole = shape if rule.whole else (-1,)
            w = exact(rows[step - 1, place].reshape(whole), probe.format)
            g = exact(row[place].reshape(whole), probe.format)
            t = seen[number] if count == "seen" else step
            slot = Slot(g, w, t, asked, kept[number], unit, probe.format)
            lost = slot.number(hyper.weight_decay) * w if decay not in ("none", "inside") else None
            if lost is not None and decay == "gradient":
                slot.g = g + lost
            if lost is not None and decay == "weights first":
                slot.w = w - slot["lr"] * lost
            change = rule.step(slot)
            if lost is not None and decay in ("weights", "weights first"):
                change = change + slot["lr"] * lost
            elif lost is not None and decay.startswith("weights, "):
                change = change + lost
            yield _Made(step, place, change.shaped((-1,)))


def _far(made: _Made, observed: Observation) -> np.ndarray:
    """By how much each element is beyond what the rule allows, 0 where it is not."""
    before, after = (observed.w[row, made.place].astype(np.float64) for row in (made.step - 1, made.step))
    format = observed.probe.format
    slack = 2 * roundoff(format) * (np.abs(after) + np.abs(before)) + 2 * smallest(format)
    apart = np.abs(before - after - made.change.middle) - made.change.radius - slack
    known = np.isfinite(before) & np.isfinite(made.change.middle) & np.isfinite(made.change.radius)
    # What is no number where a rule has one is as far as can be.
    return np.where(known, np.where(np.isfinite(after), np.maximum(apart, 0), np.inf), 0.0)


def _follows(rule: Rule, numbers: Mapping[str, float | str], unit: float, observed: Observation, **asked: Any) -> bool:
    with np.errstate(all="ignore"):
        return all(not _far(made, observed).any() for made in _changes(rule, numbers, unit, observed, **asked))


def _says_something(rule: Rule, numbers: Mapping[str, float | str], unit: float, observed: Observation) -> bool:
    """Whether its intervals are narrow where it moves weights."""
    telling, moving = _told(rule, numbers, unit, observed)
    return telling >= TELLING * moving


def _told(rule: Rule, numbers: Mapping[str, float | str], unit: float, observed: Observation) -> tuple[int, int]:
    """Of how many elements its intervals are narrow, of all that it moves."""
    telling = moving = 0
    with np.errstate(all="ignore"):
        for made in _changes(rule, numbers, unit, observed):
            moves = made.change.middle != 0
            moving += int(moves.sum())
            telling += int((moves & (made.change.radius < np.abs(made.change.middle) / 8)).sum())
    return telling, moving


def _counted(
    rule: Rule, numbers: Mapping[str, float | str], unit: float, telling: Sequence[Observation]
) -> Relative | None:
    """With what t counts, where gradients are missing; None where neither fits."""
    missing = [one for one in telling if one.probe.none]
    counts = [
        one for one in ("seen", "step") if all(_follows(rule, numbers, unit, each, count=one) for each in missing)
    ]
    if not counts:
        return None
    count = "undetermined" if len(counts) == 2 else {"seen": "per_parameter", "step": "global"}[counts[0]]
    hyper = telling[0].probe.hyper
    asked = {"beta2": hyper.betas_at(1)[1], "eps": hyper.eps}
    in_force = {name: asked[one] if isinstance(one, str) else one for name, one in numbers.items()}
    return Relative(rule, rule.variant, in_force, {}, count, unit, sum(one.w[1:].size for one in telling))


def _decayed(found: Relative, observations: Mapping[str, Observation]) -> Relative:
    decays: dict[str, str] = {}
    elements = found.elements
    for one in observations.values():
        hyper = one.probe.hyper
        if not hyper.weight_decay or not _tells(one.probe):
            continue
        kind = "decoupled" if hyper.decoupled else "l2"
        order = _DECAYS if found.rule.name not in ("LAMB", "LARS", "NovoGrad") else _DECAYS[::-1]
        decays[kind] = next(
            (decay for decay in order if _follows(found.rule, found.numbers, found.unit, one, decay=decay)), "unknown"
        )
        elements += one.w[1:].size
    return replace(found, decays=decays, elements=elements)


def orthogonalised(observations: Mapping[str, Observation]) -> Answer | None:
    """What is said where the steps of all matrices are all but orthogonal, which those of no element-wise rule are."""
    observed = observations.get(MATRICES)
    if observed is None:
        return None
    rows, layout = observed.w.astype(np.float64), observed.probe.layout
    spreads: list[tuple[float, float]] = []
    for step, row in enumerate(observed.probe.gradients.astype(np.float64), start=1):
        for one, place in layout.slices():
            moved = (rows[step - 1] - rows[step])[place].reshape(one.shape)
            spreads.append((_spread(moved), _spread(row[place].reshape(one.shape))))
    most, given = max(one for one, _ in spreads), float(np.median([one for _, one in spreads]))
    if not most < ORTHOGONAL or given < 2 * ORTHOGONAL:
        return None
    detail = "not an Adam: Muon or its like: steps of matrices are orthogonalised, no element-wise rule"
    evidence = {"singular_values_apart": most, "of_gradients": given}
    told = {"name": "Muon", "variant": "orthogonalised steps", "hyperparameters": {}, "weight_decay": {}}
    return Answer("explained", {}, None, "w = w - c * orthogonalised(momentum of g), of every matrix",
                  (Finding("relative", detail, evidence),), {"elements": rows[1:].size, "differing": 0},
                  optimizer=told)  # fmt: skip


def _spread(matrix: np.ndarray) -> float:
    """The largest singular value over the smallest."""
    if not np.isfinite(matrix).all():
        return np.inf
    values = np.linalg.svd(matrix, compute_uv=False)
    return float(values[0] / values[-1]) if values[-1] > 0 else np.inf


def answer_of(found: Relative, format: Format) -> Answer:
    """What is said of a relative: no Adam, its name, its variant and its numbers."""
    name = found.rule.name + (f" ({found.variant})" if found.variant else "")
    numbers = "".join(f", {key} {value:g}" for key, value in found.numbers.items())
    text = found.rule.text
    wanted = {"decoupled": "weights", "l2": "gradient"}
    causes = [Finding("relative", f"not an Adam: {name}{numbers}", {"rule": text})]
    lines = {"gradient": "g = g + weight_decay * w"}
    lines |= dict.fromkeys(("weights", "weights first"), "w = w - lr * weight_decay * w")
    left = 0
    for kind, decay in found.decays.items():
        if decay == "unknown":
            left += 1
            causes.append(Finding("unexplained", f"{kind}: its decay follows no rule that is known"))
        elif decay not in (wanted[kind], "inside") and not decay.startswith(f"{wanted[kind]} "):
            told = {
                "none": "there is no decay",
                "gradient": "decay is in the gradient where decoupled is asked for",
                "weights": "decay is decoupled where L2 is asked for",
            }
            causes.append(Finding("weight-decay", told.get(decay, "decay is not scaled by lr"), {"of_weights": decay}))
        if decay in lines and lines[decay] not in text:
            text = f"if {kind}: {lines[decay]}\n{text}"
    if found.unit > DOUBLE:
        kept = "float32" if found.unit == SINGLE else format.name
        benign = roundoff(format) >= found.unit
        causes.append(Finding("hyperparameter-rounding", f"its numbers go through {kept}", {"format": kept}, benign))
    return Answer(
        "unexplained" if left else "explained",
        {},
        None,
        text,
        tuple(causes),
        {"elements": found.elements, "differing": 0},
        optimizer={
            "name": found.rule.name,
            "variant": found.variant,
            "hyperparameters": dict(found.numbers),
            "weight_decay": dict(found.decays),
            "step_count": found.count,
        },
    )


def nearest_rule(observations: Mapping[str, Observation]) -> dict[str, Any]:
    """The rule whose weights are nearest at most points: its name, and where it is farthest, in lr; empty: none.

    `distance` and `median` are in lr; the others are the place and what was recorded and expected there.
    """
    telling = _telling(observations)
    if not telling:
        return {}
    best: dict[str, Any] = {}
    for rule in (*RULES, *ADAMS):
        told = _distance(rule, next(_numbers(rule)), telling[0])
        if told and (not best or told["median"] < best["median"]):
            best = told
    return best


def _distance(rule: Rule, numbers: Mapping[str, float | str], observed: Observation) -> dict[str, Any]:
    probe = observed.probe
    distances: list[np.ndarray] = []
    worst, element, where = -1.0, 0, dict[str, Any]()
    with np.errstate(all="ignore"):
        for made in _changes(rule, numbers, DOUBLE, observed, until=GLANCES[-1]):
            lr = probe.hyper.lr_at(made.step)
            before, after = (observed.w[row, made.place].astype(np.float64) for row in (made.step - 1, made.step))
            far = np.abs(before - after - made.change.middle) / lr
            far = np.where(np.isfinite(far), far, np.inf)
            distances.append(far)
            place = int(np.argmax(far)) if far.size else 0
            if far.size and far[place] > worst:
                worst = float(far[place])
                moved = {"moved": float(before[place] - after[place]), "expected": float(made.change.middle[place])}
                where = {"step": made.step, **moved}
                element = made.place.start + place
    if not where:
        return {}
    parameter, within = next((one, at) for one, at in probe.layout.slices() if at.start <= element < at.stop)
    index = np.unravel_index(element - within.start, parameter.shape) if parameter.shape else ()
    name = rule.name + (f" ({rule.variant})" if rule.variant else "")
    return {"rule": name, "median": float(np.median(np.concatenate(distances))), "distance": worst, "probe": probe.name,
            "parameter": parameter.name, "index": [int(one) for one in index], **where}  # fmt: skip
