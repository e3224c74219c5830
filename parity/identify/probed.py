"""What a target showed in two processes: its answers to all questions, and whether both are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from parity.identify.answer import Finding
from parity.identify.probes import BETAS, GROUPS, LONG, MAIN, NOT_FINITE, OBSERVED, Observation
from parity.numerics.formats import to_bits

SECOND = (LONG, NOT_FINITE, GROUPS, BETAS)
"""What is asked in the second one only: so many steps that both processes are busy for as long, and, as nobody reads
its log, what may warn of numbers that are none, or of hyperparameters that are not taken."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A question that a target does not answer, and why.

    failed: it did not say so, but raised, broke the contract, died or hung. traceback: where it raised.
    """

    name: str
    reason: str
    failed: bool = False
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Probed:
    """What a target showed in one dtype. unsteady: where two fresh processes did not show the same."""

    observations: Mapping[str, Observation]
    refused: tuple[Refused, ...] = ()
    unsteady: Finding | None = None

    @property
    def failed(self) -> Refused | None:
        """Why nothing is known of this dtype; None where something is."""
        return next((one for one in self.refused if one.failed and one.name == MAIN), None)


Shown = dict[str, Observation | Refused]


def probed_twice(first: Shown, second: Shown, threads: tuple[int, int], hide_moments: bool) -> Probed:
    """What both processes showed, put together. threads: of either."""
    refused = tuple(one for one in first.values() if isinstance(one, Refused))
    probed = Probed(MappingProxyType({}), refused)
    if probed.failed is not None:
        matrices = {name: one for name, one in first.items() if isinstance(one, Observation)}
        return replace(probed, observations=MappingProxyType(matrices))
    unsteady = _unsteady(first, second, threads)
    first = {**first, **{name: one for name, one in second.items() if name in SECOND}}
    probed = Probed(MappingProxyType({}), tuple(one for one in first.values() if isinstance(one, Refused)))
    observations = {
        name: replace(one, m=None, v=None, vmax=None) if hide_moments else one
        for name, one in first.items()
        if isinstance(one, Observation)
    }
    return replace(probed, observations=MappingProxyType(observations), unsteady=unsteady)


def _unsteady(first: Shown, second: Shown, threads: tuple[int, int]) -> Finding | None:
    """The first quantity that is not the same in both processes."""
    asked = f"the same question in two fresh processes with {threads[0]} and {threads[1]} threads"
    for name, other in second.items():
        if name in SECOND:
            continue
        one = first[name]
        refusals = [answer for answer in (one, other) if isinstance(answer, Refused)]
        if len(refusals) == 1:
            detail = f"{asked} is answered once, and refused once: {refusals[0].reason}"
            return Finding("nondeterminism", detail, {"probe": name, "threads": list(threads)})
        if isinstance(one, Refused) or isinstance(other, Refused):
            continue
        counts = dict(_differing(one, other))
        if not counts:
            continue
        quantity = min(counts, key=lambda quantity: counts[quantity][0])
        step, differing = counts[quantity]
        elements = one.probe.gradients.size
        detail = (
            f"{asked} is answered differently: {quantity} differs in {differing:,} of {elements:,} elements, "
            f"first at step {step} (probe {name!r})"
        )
        evidence = {
            "probe": name,
            "threads": list(threads),
            "quantity": quantity,
            "first_step": step,
            "elements": elements,
            "differing": {quantity: count for quantity, (_, count) in counts.items()},
            "rounding": _only_rounding(one, other),
        }
        return Finding("nondeterminism", detail, evidence)
    return None


ROUNDING = 256.0
"""Units of an element's greatest value so far by which two runs may be apart and differ by rounding only."""


def _only_rounding(one: Observation, other: Observation) -> bool:
    """Whether two runs show the same but for rounding."""
    probe = one.probe
    for quantity in OBSERVED:
        ours, theirs = getattr(one, quantity), getattr(other, quantity)
        if (ours is None) != (theirs is None):
            return False
        if ours is None:
            continue
        ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
        with np.errstate(all="ignore"):
            size = np.maximum.accumulate(np.maximum(np.abs(ours), np.abs(theirs)), axis=0)
            size = size + (probe.hyper.lr_at(1) if quantity == "w" else 0.0)
            near = np.abs(ours - theirs) <= ROUNDING * 2.0**-probe.format.precision * size
        if not (near | (np.isnan(ours) & np.isnan(theirs)) | (ours == theirs)).all():
            return False
    return True


def _differing(one: Observation, other: Observation) -> Iterator[tuple[str, tuple[int, int]]]:
    """Quantities that differ, each with the first step and the number of elements; NaN is NaN."""
    for quantity in OBSERVED:
        ours, theirs = getattr(one, quantity), getattr(other, quantity)
        if ours is None and theirs is None:
            continue
        if ours is None or theirs is None:
            yield quantity, (1, one.probe.gradients.size)
            continue
        if ours.dtype != theirs.dtype:
            yield quantity, (1, one.probe.gradients.size)
            continue
        apart = (to_bits(ours) != to_bits(theirs)) & ~(np.isnan(ours) & np.isnan(theirs))
        if apart.any():
            yield quantity, (int(np.argmax(apart.any(axis=1))), int(np.count_nonzero(apart)))
