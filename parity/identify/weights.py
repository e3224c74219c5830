"""The update of the weights of all probes: the plain ones first, then those with decay and under AMSGrad."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from parity.identify.answer import Finding
from parity.identify.exponential_average import Average, averaged
from parity.identify.first_and_second_moments import Moments, tensors_that_decay
from parity.identify.points import Points, Reading, cast, roundoff, smaller_formats, smallest, tensors_in_words
from parity.identify.search import Expected, search
from parity.identify.update_forms import Moves
from parity.identify.update_rule import (
    Decay,
    Rule,
    amsgrad_departure,
    decay_departure,
    decay_share,
    decays,
    departures,
    running_maximum,
    unseen_decay,
)
from parity.identify.varying import varying_rule
from parity.numerics.formats import Format


@dataclass(frozen=True, slots=True)
class Weights:
    """What was found about the update. rule: None where none fits; findings: departures from what was expected.

    wrong: mask (points,) of what no rule explains. decay: formula of the decay of weights, by probe.
    """

    rule: Rule | None
    findings: tuple[Finding, ...]
    wrong: np.ndarray
    decay: dict[int, str]


def moves_of(points: Points, found: Moments, gradient: np.ndarray, format: Format) -> Moves:
    """What the update takes, moments that are hidden being averaged from the gradient."""
    if found.m is not None:
        m, m_error = found.m.used, found.m.slack
    else:
        m, m_error = averaged(points, gradient, found.beta1, format)
    if found.v is not None:
        v, v_error = found.v.used, found.v.slack
    else:
        v, v_error = averaged(points, gradient**2, found.beta2, format)
    return Moves(
        w0=points.w0, w1=points.w1, w_error=points.w_error, m=m, m_error=m_error, v=v, v_error=v_error,
        g=gradient, probe=points.probe, lr=points.lr, first_lr=points.first_lr, last_lr=points.last_lr,
        next_lr=points.next_lr, eps=points.eps, decay=points.decay, beta1=found.beta1,
        beta2=found.beta2, asked1=points.beta1, asked2=points.beta2, product1=points.product1,
        product2=points.product2, step=points.step, seen=points.seen, rows=points.rows, tensor=points.tensor,
        place=points.place, of=points.of,
    )  # fmt: skip


def weights(
    points: Points, found: Moments, decoupled: np.ndarray, amsgrad: np.ndarray, expected: Expected, format: Format
) -> Weights:
    """The rule of the update. points: those with a gradient; decoupled, amsgrad: by probe, what is asked."""
    moves = moves_of(points, found, found.gradient, format)
    special = amsgrad[points.probe] | (points.decay != 0)
    plain = ~special
    if plain.any():
        rule, finding, stuck, kept = _plain(points.at(plain), moves.at(plain), expected, format)
    else:
        if found.m is None:
            with np.errstate(all="ignore"):
                coupled = np.where(decoupled[points.probe], 0.0, points.decay) * points.w0
                moves = moves_of(points, found, found.gradient + coupled, format)
        rule, finding, stuck, kept = _as_asked(points, moves, decoupled, amsgrad, expected, format)
        plain = np.ones(len(points), bool)
    if kept is not None:
        moves = replace(moves, w_error=_storage_error(moves, kept))
    if rule is None:
        return Weights(None, (), np.ones(len(points), bool), {})
    findings = [*departures(rule, expected.form, expected.count_of(rule.form)), *([finding] if finding else [])]
    if (rule.scale(moves).c2 == 0).any():
        findings = [_never_moves(one) if one.family == "beta-power" else one for one in findings]
    wrong, decay = np.zeros(len(points), bool), {}
    free = _standing(points, moves, rule, stuck, plain, format)
    for probe in np.unique(points.probe[special]).tolist():
        there = np.flatnonzero((points.probe == probe) & ~free)
        if not len(there):
            # What goes into the gradient shows in m, also where no weight moves.
            coupling = found.couplings.get(probe, (0.0, "0"))
            departure = decay_departure(bool(decoupled[probe]), coupling, UNSEEN) if coupling[0] else None
            findings += [] if departure is None or departure in findings else [departure]
            continue
        some = points.at(there)
        if some.decay[0] == 0:
            departure, explained = amsgrad_departure(some, moves.at(there), rule, format)
        else:
            taken = with_maximum(points, moves, amsgrad)
            departure, explained, decay[probe] = _decaying(
                some, taken, there, rule, found, bool(decoupled[probe]), points, format
            )
        wrong[there] = not explained
        if departure is not None and all(departure.detail != one.detail for one in findings):
            findings.append(departure)
    return Weights(rule, tuple(findings), wrong, decay)


def _as_asked(
    points: Points, moves: Moves, decoupled: np.ndarray, amsgrad: np.ndarray, expected: Expected, format: Format
) -> _Plain:
    """The rule where every probe asks for decay or for AMSGrad: done as asked, not done, or decoupled all the same."""
    taken = with_maximum(points, moves, amsgrad)
    every = np.ones_like(decoupled)
    for some in (decayed(points, taken, decoupled, format), moves, decayed(points, taken, every, format)):
        found = _plain(points, some, expected, format)
        if found.rule is not None:
            break
    return found


def with_maximum(points: Points, moves: Moves, amsgrad: np.ndarray) -> Moves:
    """With vmax in the place of v, in the probes (by index) that ask for it."""
    asked = amsgrad[points.probe]
    if not asked.any():
        return moves
    kept = points.x1.copy()
    for probe in np.unique(points.probe[asked & np.isnan(points.x1)]).tolist():
        there = points.probe == probe
        kept[there] = running_maximum(points.at(there), moves.v[there])
    return replace(moves, v=np.where(asked, kept, moves.v))


def decayed(points: Points, moves: Moves, decoupled: np.ndarray, format: Format) -> Moves:
    """After the decoupled decay, in the probes (by index) that ask for it, however it is rounded."""
    with np.errstate(all="ignore"):
        # From the weights before the update (Loshchilov & Hutter 2019, Algorithm 2, as torch has it).
        lost = points.w0 * np.where(decoupled[points.probe], points.lr * points.decay, 0.0)
        slack = roundoff(format) * (3 * np.abs(lost) + 2 * (lost != 0) * np.abs(points.w0))
        return replace(moves, w0=points.w0 - lost, w_error=moves.w_error + slack)


def _never_moves(finding: Finding) -> Finding:
    """A power of beta2 that is 1 is more than a matter of rounding."""
    return replace(finding, detail=f"{finding.detail}: 1 - beta2^t is 0 and no weight moves", benign=False)


class _Plain(NamedTuple):
    """The rule, the finding about how weights stand or are kept, the mask of those that stand, the format of all."""

    rule: Rule | None
    finding: Finding | None
    stuck: np.ndarray
    kept: Format | None = None


def _plain(points: Points, moves: Moves, expected: Expected, format: Format) -> _Plain:
    none = np.zeros(len(points), bool)
    bad = expected.rule.wrong(moves, format)
    if not bad.any():
        return _Plain(expected.rule, None, none)
    found = search(moves, expected, format)
    if found is not None:
        return _Plain(found, None, none)
    still = ~changed(moves.w0, moves.w1)
    if not (bad & ~still).any():
        return _Plain(expected.rule, standing_weights(points, bad), bad)
    going = ~still
    found = search(moves.at(going), expected, format) if still.any() else None
    if found is None:
        varying = varying_rule(moves, expected, format)
        if varying is not None:
            return _Plain(varying, None, none)
        return _kept(moves, expected, format)
    stuck = found.wrong(moves, format)
    return _Plain(found, standing_weights(points, stuck) if stuck.any() else None, stuck)


def _kept(moves: Moves, expected: Expected, format: Format) -> _Plain:
    """The rule where weights are kept in a smaller format, whose rounding hides the others."""
    none = np.zeros(len(moves), bool)
    for kept in reversed(smaller_formats(format)):
        with np.errstate(all="ignore"):
            if not ((cast(moves.w1, kept) == moves.w1) | np.isnan(moves.w1)).all():
                continue
            found = search(replace(moves, w_error=_storage_error(moves, kept)), expected, format)
        if found is not None:
            finding = Finding("state-storage", f"w is kept in {kept.name}", {"format": kept.name})
            return _Plain(found, finding, none, kept)
    return _Plain(None, None, none)


def _storage_error(moves: Moves, kept: Format) -> np.ndarray:
    """Half a spacing of the weights in a format."""
    return np.asarray(np.maximum(np.abs(moves.w1) * 2.0**-kept.precision, smallest(kept) / 2))


def _standing(
    points: Points, moves: Moves, rule: Rule, stuck: np.ndarray, plain: np.ndarray, format: Format
) -> np.ndarray:
    """Mask of points of any probe that stand, where some do in the plain probes."""
    free = np.zeros(len(points), bool)
    if stuck.any():
        free = ~changed(moves.w0, moves.w1)
    free[plain] |= stuck
    return free


def _decaying(
    points: Points,
    moves: Moves,
    there: np.ndarray,
    rule: Rule,
    found: Moments,
    decoupled: bool,
    every: Points,
    format: Format,
) -> tuple[Finding | None, bool, str]:
    """Departure of a probe with decay, whether its points are explained, and the formula of the decay."""
    probe, asked = int(points.probe[0]), float(points.decay[0])
    if found.m is not None:
        couplings = [found.couplings[probe]] if probe in found.couplings else []
    else:
        couplings = [(0.0, "0"), (asked, "weight_decay")]
        couplings = couplings if decoupled else couplings[::-1]
    for coupling in couplings:
        some = moves.at(there)
        if found.m is None:
            with np.errstate(all="ignore"):
                gradient = every.g + np.where(every.probe == probe, coupling[0] * every.w0, 0.0)
            some = moves_of(every, found, gradient, format).at(there)
        kinds = list(decays(some, rule, format))
        # What is asked comes first: lr * weight_decay of the weights, or nothing beside the gradient.
        if coupling[0] != 0:
            kinds = [kinds[2], *kinds[:2], *kinds[3:]]
        for kind in kinds:
            if kind.wrong(some, rule, format).any():
                continue
            if not decoupled and coupling[0] == 0 and kind.name == "before":
                none = next(one for one in kinds if one.name == "none")
                if not none.wrong(some, rule, format).any():
                    return unseen_decay(), True, ""
            return decay_departure(decoupled, coupling, kind), True, kind.text
        if (apart := _decays_by_tensor(some, kinds, points, rule, format)) is not None:
            return apart, True, "w = w - lr * weight_decay * w" if not coupling[0] else ""
        read = decay_share(some, rule, format)
        kind = _read(read, some)
        if not read.empty and not kind.wrong(some, rule, format).any():
            return decay_departure(decoupled, coupling, kind), True, kind.text
    return Finding("weight-decay", "decay follows no rule that is known", {}), False, "unknown"


def _decays_by_tensor(moves: Moves, kinds: list[Decay], points: Points, rule: Rule, format: Format) -> Finding | None:
    """What some tensors depart in where each decays by lr * weight_decay, not at all, or by a share of its own."""
    masks = {kind.name: kind.wrong(moves, rule, format) for kind in kinds if kind.name in ("before", "none")}
    shares = []
    for name in np.unique(moves.tensor).tolist():
        there = moves.tensor == name
        if not masks["before"][there].any():
            shares.append((there, 1.0))
        elif not masks["none"][there].any():
            shares.append((there, 0.0))
        else:
            part = moves.at(there)
            read = decay_share(part, rule, format)
            if read.empty or _read(read, part).wrong(part, rule, format).any():
                return None
            asked = float(part.lr[0] * part.decay[0])
            shares.append((there, Reading(read.low / asked, read.high / asked).named()))
    return tensors_that_decay(points, shares)


UNSEEN = Decay("none", "", np.zeros(0))
"""The decay of weights that stand."""


def _read(read: Reading, moves: Moves) -> Decay:
    value = read.named() if not read.empty else 0.0
    return Decay("share", f"w = w - {value:g} * w", np.full(len(moves), value))


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Mask of numbers that are others than before; NaN stays NaN."""
    return np.asarray((before != after) & ~(np.isnan(before) & np.isnan(after)))


def standing_weights(points: Points, stuck: np.ndarray) -> Finding:
    """Describes weights that stand. stuck: mask of points whose weight stays where the rule moves it visibly."""
    some = points.at(stuck)
    evidence = {"points": int(stuck.sum()), "elements": len(np.unique(some.element))}
    moving = changed(points.w0, points.w1)
    if not moving.any():
        return Finding("partial-update", "no weight ever moves, whatever the moments are", evidence)
    elements = {(probe, element) for probe, element in zip(some.probe.tolist(), some.element.tolist(), strict=True)}
    moved = points.at(moving)
    also = elements & set(zip(moved.probe.tolist(), moved.element.tolist(), strict=True))
    if some.empty.all() and not (moving & points.empty).any():
        return Finding("sparse-rows", "weights of rows whose gradient is zero wait", evidence)
    if also:
        return Finding("partial-update", "some weights stand at some steps", evidence | {"also_moving": len(also)})
    return Finding("partial-update", f"{_which(points, some, moved)} never move", evidence)


def _which(points: Points, stuck: Points, moved: Points) -> str:
    # Tensors: those of which nothing moves in any probe.
    still = set(zip(stuck.probe.tolist(), stuck.place.tolist(), strict=True))
    going = set(zip(moved.probe.tolist(), moved.place.tolist(), strict=True))
    if not still & going:
        if (stuck.place == stuck.of - 1).all():
            return "the weights of the last tensor"
        return tensors_in_words(stuck, moved)
    starts: dict[tuple[int, float], tuple[int, int]] = {}
    for key in still:
        row = points.element[(points.probe == key[0]) & (points.place == key[1])]
        starts[key] = int(row.min()), int(row.max())
    keys = list(zip(stuck.probe.tolist(), stuck.place.tolist(), strict=True))
    within = np.array([element - starts[key][0] for key, element in zip(keys, stuck.element.tolist(), strict=True)])
    last = np.array([element == starts[key][1] for key, element in zip(keys, stuck.element.tolist(), strict=True)])
    if last.all():
        return "the last elements of tensors"
    if within.min() >= 256:
        return f"elements from number {within.min()} on"
    return "some elements"


def never_updated(points: Points, format: Format) -> np.ndarray:
    """Mask of the points of tensors of which nothing ever changes, m shown, whatever their gradients; none if all are.

    points: those with a gradient. Weights may decay all the same, as decoupled decay moves them.
    """
    tensors = np.unique(points.probe * (points.place.max(initial=0) + 1) + points.place, return_inverse=True)[1]
    with np.errstate(all="ignore"):
        # A weight may stand as it rounds, m does not.
        told = ~np.isnan(points.m1) & ((1 - points.beta1) * np.abs(points.g) > 4 * smallest(format))
        lost = points.lr * points.decay * points.w0
        slack = points.w_error + roundoff(format) * (3 * np.abs(lost) + 3 * np.abs(points.w0)) + smallest(format)
        decays = (points.decay != 0) & (np.abs(points.w0 - lost - points.w1) <= slack)
    moved = changed(points.w0, points.w1) & ~decays
    touched = moved | changed(points.m0, points.m1) | changed(points.v0, points.v1)
    stands = (np.bincount(tensors, touched) == 0) & (np.bincount(tensors, told) > 0)
    return np.asarray(stands[tensors] & (not stands.all()))


def standing_tensors(points: Points, standing: np.ndarray) -> Finding:
    """Describes tensors that are never updated. standing: mask of their points."""
    some, others = points.at(standing), points.at(~standing)
    ends = {"the last tensor": points.place == points.of - 1, "the first tensor": points.place == 0}
    # The only tensor is first and last.
    several = points.of > 1
    words = [
        name for name, there in ends.items() if (there == standing)[several].all() and not standing[~several].any()
    ]
    evidence = {"tensors": sorted(set(some.tensor.tolist())), "points": int(standing.sum())}
    decay = changed(some.w0, some.w1).any()
    what = "never updated, but for the decay of weights" if decay else "never updated, neither weights nor moments"
    return Finding("partial-update", f"{what}: {words[0] if words else tensors_in_words(some, others)}", evidence)


def zero_over_zero(points: Points) -> np.ndarray:
    """Mask of the points at which lr, m and v are 0 and the weight becomes NaN: v is divided by lr there."""
    nothing = (points.lr == 0) & (points.g == 0) & ~(np.abs(points.m1) > 0) & ~(np.abs(points.v1) > 0)
    return np.asarray(nothing & np.isfinite(points.w0) & np.isnan(points.w1))


def absent_gradients(points: Points, format: Format) -> Finding | None:
    """What happens instead, at points without a gradient."""
    if not len(points):
        return None
    moved = changed(points.w0, points.w1)
    touched = moved | changed(points.m0, points.m1) | changed(points.v0, points.v1)
    if not touched.any():
        return None
    evidence = {"points": int(touched.sum()), "weights_moved": int(moved.sum())}
    for fresh, what in ((points.g, "a gradient of zero"), (points.late, "the last gradient")):
        m = Average(points.m0, points.m1, fresh, points.beta1, 1 - points.beta1, format)
        v = Average(points.v0, points.v1, fresh**2, points.beta2, 1 - points.beta2, format)
        shown = [one for one in (m, v) if not np.isnan(one.after).all()]
        if shown and not any(one.wrong.any() for one in shown):
            return Finding("none-gradient", f"None is taken as {what}", evidence)
    if not (touched & ~moved).any() and not np.isnan(points.m1).all():
        return Finding("none-gradient", "weights move at steps without a gradient, the moments do not", evidence)
    return Finding("none-gradient", "a parameter changes at steps at which its gradient is None", evidence)
