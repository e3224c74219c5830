"""How the gradients of two trainings stand to each other on equal weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from parity.case.pairing import CommonSteps, Pairing
from parity.case.recording import Recording
from parity.numerics.formats import format_of
from parity.numerics.ulp import ulp_distance

ROUNDING = 1e-3
"""Relative size, in the norm of a tensor, up to which two gradients on equal weights are called rounding."""


class Likeness(StrEnum):
    """How the gradients of a tensor stand to each other on equal weights."""

    EQUAL = "equal"
    ROUNDING = "rounding"
    FACTOR = "factor"
    PERMUTED = "permuted"
    UNLIKE = "unlike"
    NOT_FINITE = "not finite"
    NOISE = "noise"
    ABSENT = "absent"


BENIGN = (Likeness.EQUAL, Likeness.ROUNDING, Likeness.NOISE, Likeness.ABSENT)
"""What needs no word. NOISE: on both sides no more than what rounding leaves of the other gradients, such as that of a
bias before a batch normalisation, which is 0 in real numbers."""

NOISE = 8
"""Units of rounding of the largest gradient of a step, root mean squares of tensors, up to which another is noise."""


@dataclass(frozen=True, slots=True)
class Gradient:
    """The gradients of a tensor at one step. factor: actual over expected; apart: relative, in the norm.

    apart is ``|a - factor * b| / |a|`` with the factor that leaves least; NaN where either is absent, inf where either
    holds what is no number, or `expected` is 0.
    """

    actual: str
    expected: str
    likeness: Likeness
    factor: float
    apart: float
    ulp: int

    @property
    def difference(self) -> float:
        """``|a - b| / |a|``, what the factor takes up included."""
        if not (self.apart < math.inf and self.factor):
            return self.apart
        # With r what the factor leaves, a = factor * b + r, and b is at a right angle to r.
        return math.hypot(self.apart, (1 - 1 / self.factor) * math.sqrt(max(0.0, 1 - self.apart**2)))

    @property
    def alike(self) -> bool:
        """Whether nothing but rounding parts them."""
        return self.likeness in BENIGN


def first_unlike(
    actual: Recording, expected: Recording, pairing: Pairing, steps: CommonSteps
) -> tuple[int, tuple[Gradient, ...]]:
    """The first common step whose gradients part while the weights before it are equal to the bit; else the first."""
    first: tuple[Gradient, ...] = ()
    for place in range(1, steps.count + 1):
        one, two = steps.rows(place)
        if place > 1 and not all(
            actual.before("w", pair.actual, one).tobytes()
            == expected.before("w", pair.expected, two)[pair.place].tobytes()
            for pair in pairing.pairs
        ):
            break
        now = tuple(_gradients(actual, expected, pairing, (one, two)))
        first = first or now
        if not all(gradient.alike for gradient in now):
            return steps.number(place), now
    return steps.first, first


def _gradients(actual: Recording, expected: Recording, pairing: Pairing, rows: tuple[int, int]) -> Iterator[Gradient]:
    one, two = rows
    yield from likenesses(
        (
            pair.actual,
            pair.expected,
            None if pair.actual in actual.step(one).none else actual.gradients(pair.actual, one),
            None if pair.expected in expected.step(two).none else expected.gradients(pair.expected, two)[pair.place],
        )
        for pair in pairing.pairs
    )


def likenesses(
    step: Iterable[tuple[str, str, np.ndarray | None, np.ndarray | None]],
) -> Iterator[Gradient]:
    """Of all tensors of a step: both names, both gradients."""
    found = [(likeness(*one), [_rms(side) for side in one[2:]], _unit(one[2])) for one in step]
    largest = [max(sizes[side] for _, sizes, _ in found) for side in (0, 1)]
    for one, sizes, unit in found:
        unlike = one.likeness in (Likeness.UNLIKE, Likeness.PERMUTED) and not np.isnan(one.apart)
        small = all(size <= NOISE * unit * most for size, most in zip(sizes, largest, strict=True))
        yield replace(one, likeness=Likeness.NOISE) if unlike and small else one


def _rms(array: np.ndarray | None) -> float:
    """Root mean square; 0 where there is no array, or no finite one."""
    found = 0.0 if array is None or not array.size else float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))
    return found if np.isfinite(found) else 0.0


def _unit(array: np.ndarray | None) -> float:
    """Of rounding, 2**-p; no more than that of float16, as a sixteenth of a gradient is no noise."""
    return 0.0 if array is None else 2.0 ** -max(11, format_of(array).precision)


def likeness(actual: str, expected: str, one: np.ndarray | None, two: np.ndarray | None) -> Gradient:
    """Hold the gradients of a tensor, (kept,) each, against each other; None where there is none."""
    if one is None or two is None:
        found = Likeness.ABSENT if one is two else Likeness.UNLIKE
        return Gradient(actual, expected, found, float("nan"), float("nan"), 0)
    two = two.astype(one.dtype)
    a, b = one.astype(np.float64), two.astype(np.float64)
    ulp = int(ulp_distance(one, two).max(initial=0))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Gradient(actual, expected, Likeness.NOT_FINITE, float("nan"), float("inf"), ulp)
    if not ulp:
        return Gradient(actual, expected, Likeness.EQUAL, 1.0, 0.0, 0)
    size = float(np.linalg.norm(a)) or 1.0
    square = float(np.dot(b, b))
    if not np.isfinite(square) or square == 0:
        return Gradient(actual, expected, Likeness.UNLIKE, float("nan"), float("inf"), ulp)
    # The factor that leaves least, in the least squares' sense.
    factor = float(np.dot(a, b)) / square
    apart = float(np.linalg.norm(a - factor * b)) / size
    if apart <= ROUNDING and factor:
        found = Likeness.ROUNDING if abs(factor - 1) <= ROUNDING else Likeness.FACTOR
        return Gradient(actual, expected, found, factor, apart, ulp)
    ordered = float(np.linalg.norm(np.sort(a) - np.sort(b))) / size
    found = Likeness.PERMUTED if ordered <= ROUNDING and a.any() and a.size > 1 else Likeness.UNLIKE
    return Gradient(actual, expected, found, factor, apart, ulp)


def told_of(unlike: Sequence[Gradient], of: int, step: int) -> str:
    """What is wrong with gradients that are not alike, as the end of a sentence. of: how many tensors there are."""
    lost = [one for one in unlike if one.likeness is Likeness.NOT_FINITE]
    if lost:
        return f"hold NaN or inf from step {step:,} on in {len(lost)} of {of} tensors: {_names(lost)}"
    factors = {round(one.factor, 3) for one in unlike if one.likeness is Likeness.FACTOR}
    if len(factors) == 1 and len(unlike) == of:
        return f"differ from step {step:,} on by a factor of {factor_text(unlike[0].factor)}"
    if factors and all(one.likeness is Likeness.FACTOR for one in unlike):
        told = ", ".join(f"{factor_text(one.factor)} in {one.actual}" for one in unlike)
        return f"differ from step {step:,} on by factors: {told}"
    kinds = ", ".join(f"{one.actual} ({one.likeness})" for one in unlike[:3])
    return f"are unlike from step {step:,} on in {len(unlike)} of {of} tensors: {kinds}: the model or the data"


def _names(found: Sequence[Gradient]) -> str:
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{', '.join(one.actual for one in found[:3])}{more}"


def meaning_of(factor: float) -> str:
    """What usually has such a factor, as a clause; empty where nothing is known for it."""
    text, whole = factor_text(factor), round(max(abs(factor), 1 / abs(factor)) if factor else 0)
    if text == "-1":
        return "one of them goes uphill: the sign is turned"
    if factor <= 0 or text not in (f"{whole}", f"1/{whole}") or whole < 2:
        return ""
    if whole == 2:
        return "as between a square and half of it"
    if whole >= LOSS_SCALE and whole & (whole - 1) == 0:
        return "as a loss scale that was not taken back"
    return f"as between a sum over {whole:,} and their mean (a batch, a sequence, devices)"


LOSS_SCALE = 1 << 13
"""Powers of two from here on are no batches."""


def factor_text(factor: float) -> str:
    """A factor as people write it: a whole number, or one over it."""
    if abs(factor - round(factor)) < 2e-3 * abs(factor):
        return f"{round(factor)}"
    if factor and abs(factor) < 1 and abs(1 / factor - round(1 / factor)) < 2e-3 * abs(1 / factor):
        return f"1/{round(1 / factor)}"
    return f"{factor:.4g}"
