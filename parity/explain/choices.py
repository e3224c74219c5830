"""The choices by which two from-scratch Adams can differ, one by one, each with the family it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cache

import numpy as np

from parity.adam.arithmetic import Arithmetic, SquareRoot, plain, working_format
from parity.adam.convention import AverageStart, ClipFactor, Convention, Maximum, ScaleRange
from parity.adam.forms import Clipping, DecayWeights, Factors, Update
from parity.adam.kernels import Program
from parity.adam.oracle import Oracle
from parity.adam.scalars import Scalars, scalars
from parity.adam.stages import programs
from parity.core.hyper import Hyper
from parity.explain.causes import Family
from parity.explain.running import Adam
from parity.numerics.formats import Format

_OWN_RUNG = ("factors", "first_moment", "second_moment", "decay_gradient", "decay_weights", "maximum", "update",
             "rounding", "square_root", "subnormals", "clipping", "reduction",
             "averaging", "decays_by_zero")  # fmt: skip
_POWERS = frozenset({"k1", "k2", "i1", "i2", "r2", "step", "alpha"})
"""Scalars that are made of powers of beta."""
_ROUNDED = 4 * float(np.finfo(np.float32).eps)
"""Part of the largest lr up to which two schedules are one that is computed in float32, or in another order."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One choice made as the other side makes it. adam: with this and all earlier ones switched."""

    choice: str
    family: Family
    detail: str
    adam: Adam


def switches(actual: Adam, expected: Adam, format: Format, steps: int) -> Iterator[Switch]:
    """From one Adam to another, one choice after another; what cannot change a bit comes with the next, untold.

    The last switch computes as expected does. steps: of the run.
    """
    before = actual
    for choice, switched in _choices(expected):
        after = switched(before)
        if after is not before and not _same(before, after, format, steps):
            yield Switch(choice, *_told(choice, before, after, format, steps), after)
        before = after
    assert before.twin.convention == expected.twin.convention
    assert before.twin.arithmetic == expected.twin.arithmetic
    assert before.hyper == expected.hyper


def _choices(expected: Adam) -> Iterator[tuple[str, Callable[[Adam], Adam]]]:
    target = expected.twin
    yield "hyperparameters", lambda adam: adam if adam.hyper == expected.hyper else replace(adam, hyper=expected.hyper)
    yield "epsilon", lambda adam: _placed(adam, expected)
    yield "amsgrad", lambda adam: _with_maximum(adam, expected)
    for name in (
        "bias_correction",
        "step_count",
        "clip_factor",
        "lazy_rows",
        "average_start",
        "counts_left_out",
        "scale_range",
    ):
        value = getattr(target.convention, name)
        yield name, lambda adam, name=name, value=value: _with_convention(adam, **{name: value})  # type: ignore[misc]
    for name in _OWN_RUNG:
        value = getattr(target.arithmetic, name)
        yield name, lambda adam, name=name, value=value: _with_arithmetic(adam, expected, **{name: value})  # type: ignore[misc]
    rest = [one.name for one in fields(Arithmetic) if one.name not in _OWN_RUNG]
    values = {name: getattr(target.arithmetic, name) for name in rest}
    yield "tail", lambda adam: _with_arithmetic(adam, expected, **values)


def _placed(adam: Adam, expected: Adam) -> Adam:
    """With expected's place of epsilon, and for it the plain form of the update."""
    epsilon = expected.twin.convention.epsilon
    if epsilon is adam.twin.convention.epsilon:
        return adam
    return _with_update(_with_convention(adam, epsilon=epsilon), plain(epsilon).update)


def _with_maximum(adam: Adam, expected: Adam) -> Adam:
    """With what expected takes AMSGrad's maximum of, and for it the plainest form of the update that does so."""
    maximum = expected.twin.convention.maximum
    if maximum is adam.twin.convention.maximum:
        return adam
    switched = _with_convention(adam, maximum=maximum)
    if not adam.hyper.amsgrad:
        return switched
    return _with_update(switched, Oracle(adam.hyper, switched.twin.convention).forms.update)


def _with_update(adam: Adam, update: Update) -> Adam:
    """With another form of the update; decoupled decay goes with it where it is part of one of them."""
    arithmetic = adam.twin.arithmetic
    decay = arithmetic.decay_weights
    if "decoupled:" in update:
        decay = DecayWeights.IN_UPDATE
    elif decay is DecayWeights.IN_UPDATE:
        decay = DecayWeights.ONE_FACTOR
    return replace(adam, twin=replace(adam.twin, arithmetic=replace(arithmetic, update=update, decay_weights=decay)))


def _has(value: Convention | Arithmetic, values: Mapping[str, object]) -> bool:
    return all(getattr(value, name) == one for name, one in values.items())


def _with_convention(adam: Adam, **values: object) -> Adam:
    if _has(adam.twin.convention, values):
        return adam
    return replace(adam, twin=replace(adam.twin, convention=replace(adam.twin.convention, **values)))  # type: ignore[arg-type]


def _with_arithmetic(adam: Adam, expected: Adam, **values: object) -> Adam:
    inside = DecayWeights.IN_UPDATE in (adam.twin.arithmetic.decay_weights, expected.twin.arithmetic.decay_weights)
    if inside and "decay_weights" in values:
        return adam
    if inside and "update" in values:
        values["decay_weights"] = expected.twin.arithmetic.decay_weights
    library = expected.library if "square_root" in values else adam.library or expected.library
    if library is adam.library and _has(adam.twin.arithmetic, values):
        return adam
    arithmetic = replace(adam.twin.arithmetic, **values)  # type: ignore[arg-type]
    return replace(adam, twin=replace(adam.twin, arithmetic=arithmetic), library=library)


def _same(before: Adam, after: Adam, format: Format, steps: int) -> bool:
    """Whether no bit can depend on what was switched."""
    if before.hyper != after.hyper or _formula(before) != _formula(after):
        return False
    one, other = before.twin.arithmetic, after.twin.arithmetic
    around = (one.clipping, one.reduction) != (other.clipping, other.reduction)
    if around and before.hyper.stages.change_gradients:
        return False
    if one.averaging is not other.averaging and before.hyper.stages.average:
        return False
    if _root(before, format) is not _root(after, format):
        return False
    if _root(before, format) is not SquareRoot.IEEE and before.library is not after.library:
        return False
    if _programs(before) != _programs(after) or _rest(one) != _rest(other):
        return False
    if format.dtype.itemsize < 4 and one.rounding is not other.rounding:
        return False
    if one.factors is other.factors:
        return True
    return not any(_scalar_gaps(before, after, format, steps))


def _root(adam: Adam, format: Format) -> SquareRoot:
    """By what it takes roots; reciprocal ones are taken only where an eps is 0."""
    hypers = (adam.hyper, *(own for _, own in adam.hyper.groups))
    reciprocal = any(working_format(format).dtype.type(one.eps) == 0 for one in hypers)
    root = adam.twin.arithmetic.square_root
    return SquareRoot.IEEE if root is SquareRoot.REFINED and not reciprocal else root


def _formula(adam: Adam) -> Convention:
    """Its convention, without what is said of an AMSGrad, a clipping or steps left out that are not asked for."""
    convention = adam.twin.convention
    if not adam.hyper.amsgrad:
        convention = replace(convention, maximum=Maximum.BEFORE_CORRECTION)
    if not adam.hyper.stages.loss_scale:
        convention = replace(convention, scale_range=ScaleRange.FINITE)
        if adam.hyper.stages.accumulate == 1:
            convention = replace(convention, counts_left_out=False)
    if not adam.hyper.stages.average:
        convention = replace(convention, average_start=AverageStart.FIRST_WEIGHTS)
    return convention if adam.hyper.stages.clip else replace(convention, clip_factor=ClipFactor.EXACT)


def _programs(adam: Adam) -> tuple[Program, ...]:
    """All programs that a step may run."""
    both = (programs(adam.twin.arithmetic, adam.hyper, has_eps) for has_eps in (True, False))
    return tuple(program for every in both for program in every)


def _rest(arithmetic: Arithmetic) -> tuple[object, ...]:
    silent = {*_OWN_RUNG} - {"subnormals"}
    return tuple(getattr(arithmetic, one.name) for one in fields(arithmetic) if one.name not in silent)


def _told(choice: str, before: Adam, after: Adam, format: Format, steps: int) -> tuple[Family, str]:
    """The family of a choice, and what changes, in words."""
    one, other = before.twin, after.twin
    match choice:
        case "hyperparameters":
            return _values_told(before.hyper, after.hyper)
        case "epsilon":
            return Family.EPSILON_PLACEMENT, f"{one.convention.epsilon} -> {other.convention.epsilon}"
        case "bias_correction":
            return Family.BIAS_CORRECTION, "switched on" if other.convention.bias_correction else "switched off"
        case "step_count":
            return Family.STEP_COUNT, f"{_words(one.convention.step_count)} -> {_words(other.convention.step_count)}"
        case "clip_factor":
            told = f"limit / norm {_words(one.convention.clip_factor)} -> {_words(other.convention.clip_factor)}"
            return Family.GRADIENT_CLIP, told
        case "clipping":
            family = _clipping_family(before, after)
        case "reduction" | "averaging":
            family = Family.OPERATION_ORDER
        case "counts_left_out":
            return Family.STEP_COUNT, f"steps left out are {'' if other.convention.counts_left_out else 'not '}counted"
        case "scale_range":
            told = f"{_words(one.convention.scale_range)} -> {_words(other.convention.scale_range)}"
            return Family.GRADIENT_SCALE, f"the loss scale stays {told}"
        case "average_start":
            told = f"{_words(one.convention.average_start)} -> {_words(other.convention.average_start)}"
            return Family.WEIGHT_AVERAGE, f"the average of the weights begins at {told}"
        case "lazy_rows":
            detail = "stand still" if other.convention.lazy_rows else "move on by their moments"
            return Family.SPARSE_ROWS, f"rows whose gradient is 0 {detail}"
        case "factors":
            return _factors_told(before, after, format, steps)
        case "amsgrad":
            return Family.AMSGRAD, f"maximum {_words(one.convention.maximum)} -> {_words(other.convention.maximum)}"
        case "maximum":
            return Family.OPERATION_ORDER, f"{one.arithmetic.maximum} -> {other.arithmetic.maximum}"
        case "first_moment" | "second_moment" | "update" | "decay_gradient" | "decay_weights":
            left, right = (" ".join(str(getattr(side.arithmetic, choice)).split()) for side in (one, other))
            shown = _apart(left, right)
            return form_family(left, right), f"{shown[0] or 'in the update'} -> {shown[1] or 'in the update'}"
        case "decays_by_zero":
            return (
                Family.WEIGHT_DECAY,
                "by 0, which makes NaN of infinite weights, on one side only",
            )
        case "rounding":
            family = Family.ROUNDING
        case "square_root":
            family = Family.SQRT
        case "subnormals":
            family = Family.SUBNORMAL_FLUSH
        case _:
            return Family.PARTIAL_UPDATE, "elements at the end of a tensor, or alone in it, by another form"
    left, right = getattr(one.arithmetic, choice), getattr(other.arithmetic, choice)
    return family, f"{_words(left)} -> {_words(right)}"


def _clipping_family(before: Adam, after: Adam) -> Family:
    """Another formula where a norm is held and one side alone adds 1e-6 to it."""
    clip = after.hyper.stages.clip
    added = {one.twin.arithmetic.clipping is Clipping.TORCH for one in (before, after)}
    return Family.GRADIENT_CLIP if clip and clip.by_norm and len(added) == 2 else Family.OPERATION_ORDER


def _apart(left: str, right: str) -> tuple[str, str]:
    """Two forms without the lines that they share; as they are where nothing would be left of one."""
    lines, others = ([line.strip() for line in form.split(";")] for form in (left, right))
    own = "; ".join(line for line in lines if line not in others), "; ".join(one for one in others if one not in lines)
    return own if all(own) else (left, right)


def form_family(left: str, right: str) -> Family:
    """`fma` where only one of two forms contracts a product and a sum; lerp is made of one fma."""
    contracts = ["fma" in form or "lerp" in form for form in (left, right)]
    return Family.FMA if contracts[0] != contracts[1] else Family.OPERATION_ORDER


def _values_told(before: Hyper, after: Hyper) -> tuple[Family, str]:
    differing = [one.name for one in fields(Hyper) if getattr(before, one.name) != getattr(after, one.name)]
    if "lr" in differing and isinstance(before.lr, tuple) and isinstance(after.lr, tuple):
        apart = [abs(one - other) for one, other in zip(before.lr, after.lr, strict=True)]
        step = apart.index(max(apart))
        rounded = max(apart) <= _ROUNDED * max(*before.lr, *after.lr)
        family = Family.HYPERPARAMETER_ROUNDING if rounded else Family.SCHEDULE
        return family, f"lr of step {step + 1} {before.lr[step]:.9g} -> {after.lr[step]:.9g}"
    told = ", ".join(f"{name} {_number(getattr(before, name))} -> {_number(getattr(after, name))}"
                     for name in differing)  # fmt: skip
    return (Family.EPSILON_VALUE if differing == ["eps"] else Family.HYPERPARAMETER_VALUE), told


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else "a schedule" if isinstance(value, tuple) else str(value)


def _factors_told(before: Adam, after: Adam, format: Format, steps: int) -> tuple[Family, str]:
    gaps, asked = _scalar_gaps(before, after, format, steps)
    largest = sorted(gaps.items(), key=lambda one: -one[1])[:3]
    told = ", ".join(f"{name} by {gap:.2g}" for name, gap in largest)
    left, right = (_formed(one.twin.arithmetic.factors) for one in (before, after))
    formed = next((f"; {left[name]} -> {right[name]}" for name, _ in largest if left[name] != right[name]), "")
    lost = [name for name, gap in gaps.items() if gap == 1.0]
    if "eps" in lost:
        return Family.EPSILON_UNDERFLOW, "eps is 0 in the dtype on one side"
    if lost and _POWERS & set(lost):
        return Family.BETA_POWER, f"{' and '.join(lost)} of some steps is 0 or infinite on one side"
    own = asked or gaps.keys() - _POWERS
    family = Family.HYPERPARAMETER_ROUNDING if own else Family.BETA_POWER
    return family, f"scalars in force differ, relative to their size: {told}{formed}"


def _formed(factors: Factors) -> dict[str, str]:
    """The line that forms each scalar, the last one where there are several."""
    lines = filter(None, map(str.strip, factors.whole.splitlines()))
    return {line.split()[1]: line for line in lines}


def _scalar_gaps(before: Adam, after: Adam, format: Format, steps: int) -> tuple[dict[str, float], set[str]]:
    """Largest relative difference of every scalar that a program of either side uses; 1 where only one is 0 or inf.

    And which of lr and the betas differ that those are made of.
    """
    left, right = (
        _scalars(one.hyper, one.twin.convention, one.twin.arithmetic.factors, format, steps) for one in (before, after)
    )
    used = {
        str(operand)
        for one in (before, after)
        for program in _programs(one)
        for operation in program.operations
        for operand in operation.operands
    }
    gaps = {name: _gap(left[name], right[name]) for name in sorted(used & set(left) & set(right))}
    found = {name: gap for name, gap in gaps.items() if gap > 0}
    feeds = {name for name in ("lr", "b1", "b2") if found and _POWERS & used and _gap(left[name], right[name]) > 0}
    return found, feeds


@cache
def _scalars(hyper: Hyper, convention: Convention, factors: Factors, format: Format, steps: int) -> Scalars:
    counts = list(range(1, steps + 1))
    return scalars(hyper, convention, factors, [hyper.lr_at(step) for step in counts], counts, format)


def _gap(left: np.ndarray, right: np.ndarray) -> float:
    left, right = left.astype(np.float64), right.astype(np.float64)
    with np.errstate(all="ignore"):
        gaps = np.abs(left - right) / np.maximum(np.abs(left), np.abs(right))
    # inf - x over inf is NaN: one side is lost altogether.
    gaps = np.where(np.isnan(gaps), 1.0, gaps)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    return float(np.max(np.where(same, 0.0, gaps), initial=0.0))


def _words(value: object) -> str:
    return str(value).replace("_", " ") if isinstance(value, StrEnum) else str(value)
