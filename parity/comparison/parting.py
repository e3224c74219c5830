"""Where two sides part: the first element of a quantity that differs, measured in every unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parity.comparison.distance import Distance, First
from parity.comparison.metrics import measure
from parity.core.hyper import Hyper
from parity.numerics.formats import format_named


@dataclass(frozen=True, slots=True)
class Parting:
    """The element that is farthest at the first step at which a quantity differs.

    index: flat, inside its parameter. actual, expected: hex floats. ulp: `NO_DISTANCE` where a side is NaN or inf.
    steps: in units of lr, None for all quantities but w.
    """

    quantity: str
    step: int
    parameter: str
    index: int
    actual: str
    expected: str
    abs: float
    rel: float
    ulp: int
    steps: float | None


def partings_of(distances: Sequence[Distance], dtype: str, hyper: Hyper) -> tuple[Parting, ...]:
    """One for each quantity that differs, earliest step first."""
    found = [_parting(one.quantity, one.first, dtype, hyper) for one in distances if one.first is not None]
    return tuple(sorted(found, key=lambda one: one.step))


def _parting(quantity: str, first: First, dtype: str, hyper: Hyper) -> Parting:
    format = format_named(first.dtype or dtype)
    sides = [np.array([[float.fromhex(value)]]).astype(format.dtype) for value in (first.actual, first.expected)]
    metrics = measure(*sides)
    difference = float(metrics.max_abs[0])
    lr = hyper.of(first.parameter).lr_at(first.step)
    return Parting(
        quantity,
        first.step,
        first.parameter,
        first.index,
        first.actual,
        first.expected,
        difference,
        float(metrics.max_rel[0]),
        int(metrics.max_ulp[0]),
        difference / lr if quantity == "w" and lr else None,
    )
