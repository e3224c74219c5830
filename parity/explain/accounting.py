"""Which causes a difference has: from the ladder where there is one, otherwise from the split and the choices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

from parity.core.hyper import Hyper
from parity.explain.causes import Cause, Family
from parity.explain.choices import switches
from parity.explain.ladder import Rung
from parity.explain.split import PairSplit, Term
from parity.explain.standing import Standing
from parity.numerics.ulp import NO_DISTANCE

NEAR = 4
"""ULP by which one step of a plain Adam, made from recorded states, may differ from another that only rounds."""

_FORMULA = ("epsilon", "amsgrad", "bias_correction", "step_count")


def causes_from_ladder(rungs: tuple[Rung, ...]) -> tuple[Cause, ...]:
    """One cause a family that changed a bit, the largest first.

    share: how far its switches moved w (where no switch moved it: how many elements they changed), of all that.
    """
    climbed = [rung for rung in rungs if rung.family is not None and rung.changed]
    by_moves = any(rung.moved for rung in climbed)
    weight = {id(rung): rung.moved if by_moves else float(rung.changed) for rung in climbed}
    total = sum(weight.values())
    found: list[Cause] = []
    for family in dict.fromkeys(rung.family for rung in climbed):
        own = [rung for rung in climbed if rung.family is family]
        assert family is not None
        found.append(
            Cause(
                family,
                "; ".join(rung.detail for rung in own),
                sum(weight[id(rung)] for rung in own) / total,
                {
                    "switches": [rung.choice for rung in own],
                    "changed_elements": sum(rung.changed for rung in own),
                    "moved_w_by_lr": max(rung.moved for rung in own),
                },
            )
        )
    return tuple(sorted(found, key=lambda cause: -(cause.share or 0.0)))


def causes_from_split(actual: Standing, expected: Standing, split: PairSplit, step: int) -> tuple[Cause, ...]:
    """What the terms of w say after a step that was split; share: of the sum of their roots of mean squares."""
    shares = _shares(split, split.steps.index(step))
    found = [*_formula(actual, expected, shares), *_values(actual, expected, shares)]
    for standing, scalars, rounding in (
        (actual, Term.SCALARS_ACTUAL, Term.ROUNDING_ACTUAL),
        (expected, Term.SCALARS_EXPECTED, Term.ROUNDING_EXPECTED),
    ):
        name = standing.trace.implementation
        if shares.get(scalars):
            detail = f"lr, betas and their powers as {name} forms them"
            found.append(Cause(Family.HYPERPARAMETER_ROUNDING, detail, shares[scalars]))
        found += _rounding(standing, shares.get(rounding, 0.0))
    found += [*_of_first(actual), *_of_first(expected), *_storage(actual, expected)]
    if actual.known and expected.known:
        found += _named_choices(actual, expected)
    return tuple(sorted(found, key=lambda cause: -(cause.share or 0.0)))


def _of_first(standing: Standing) -> Iterator[Cause]:
    """Scalars that are formed for all tensors in the dtype of the first."""
    first = standing.trace.layout.parameters[0]
    if standing.adam.others and standing.adam.twin.scalars_of_first:
        dtype = first.dtype or standing.trace.format.name
        name = standing.trace.implementation
        detail = f"{name} forms lr, powers of beta and alpha of all tensors in {dtype}, the dtype of the first"
        yield Cause(Family.BETA_POWER, detail)


def _storage(actual: Standing, expected: Standing) -> Iterator[Cause]:
    """Moments that one side keeps in another dtype than the other."""
    kept = [
        {one: set(side.trace.formats[one]) for one in ("m", "v") if one in side.trace.quantities}
        for side in (actual, expected)
    ]
    differing = [one for one in kept[0] if one in kept[1] and kept[0][one] != kept[1][one]]
    if differing:
        told = []
        for side, formats in zip((actual, expected), kept, strict=True):
            names = sorted({format.name for one in differing for format in formats[one]})
            told.append(f"{side.trace.implementation} keeps {' and '.join(differing)} in {' and '.join(names)}")
        yield Cause(Family.STATE_STORAGE, "; ".join(told))


def _shares(split: PairSplit, place: int) -> dict[Term, float]:
    rms = {term: float(series.rms[place]) for term, series in split.terms["w"].items()}
    total = sum(rms.values())
    return {term: one / total if total else 0.0 for term, one in rms.items()}


def _formula(actual: Standing, expected: Standing, shares: Mapping[Term, float]) -> Iterator[Cause]:
    share = shares.get(Term.FORMULA, 0.0)
    if not share:
        return
    one, other = actual.adam.twin.convention, expected.adam.twin.convention
    clip = actual.trace.hyper.stages.clip
    if one.epsilon is not other.epsilon:
        yield Cause(Family.EPSILON_PLACEMENT, f"{one.epsilon} -> {other.epsilon}", share)
    elif one.bias_correction is not other.bias_correction:
        yield Cause(Family.BIAS_CORRECTION, "on one side only", share)
    elif one.maximum is not other.maximum and actual.trace.hyper.amsgrad:
        yield Cause(Family.AMSGRAD, f"maximum {one.maximum} -> {other.maximum}", share)
    elif one.lazy_rows is not other.lazy_rows:
        detail = "stand still" if other.lazy_rows else "move on by their moments"
        yield Cause(Family.SPARSE_ROWS, f"rows whose gradient is 0 {detail}", share)
    elif one.clip_factor is not other.clip_factor and clip and clip.by_norm:
        yield Cause(Family.GRADIENT_CLIP, f"limit / norm {one.clip_factor} -> {other.clip_factor}", share)
    else:
        yield Cause(Family.STEP_COUNT, f"{one.step_count} -> {other.step_count}", share)


def _values(actual: Standing, expected: Standing, shares: Mapping[Term, float]) -> Iterator[Cause]:
    share = shares.get(Term.VALUES, 0.0)
    one, other = actual.adam.hyper, expected.adam.hyper
    differing = [each.name for each in fields(Hyper) if getattr(one, each.name) != getattr(other, each.name)]
    if share and differing:
        family = Family.EPSILON_VALUE if differing == ["eps"] else Family.HYPERPARAMETER_VALUE
        yield Cause(family, f"other {' and '.join(differing)}", share)


def _rounding(standing: Standing, share: float) -> Iterator[Cause]:
    name, left = standing.trace.implementation, standing.residual
    if standing.known:
        if share:
            yield Cause(Family.ROUNDING, f"what {name} rounds away from the truth of its convention", share)
        return
    worst = {one.quantity: one for one in left.differences if one.differing}
    evidence = {
        "implementation": name,
        "lock_step": left.lock_step,
        "residual": {
            quantity: {"differing": one.differing, "compared": one.compared, "max_ulp": one.max_ulp}
            for quantity, one in worst.items()
        },
    }
    first = max(worst.values(), key=lambda one: one.max_ulp)
    placed = f"a plain Adam with eps {standing.adam.twin.convention.epsilon}"
    what = "its claimed arithmetic" if standing.side.twin else placed
    far = "not a number or infinite against a number" if first.max_ulp == NO_DISTANCE else f"{first.max_ulp:,} ULP"
    detail = f"{name} against {what}: {first.quantity} up to {far}, {first.differing:,} elements differ"
    near = left.lock_step and all(one.max_ulp <= NEAR for one in worst.values())
    yield Cause(Family.ROUNDING if near else Family.UNEXPLAINED, detail, share, evidence)


def _named_choices(actual: Standing, expected: Standing) -> Iterator[Cause]:
    named = switches(actual.adam, expected.adam, actual.trace.format, actual.trace.steps)
    for switch in named:
        if switch.choice not in (*_FORMULA, "hyperparameters"):
            yield Cause(switch.family, switch.detail)
