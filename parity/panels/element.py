"""The elements that are farthest apart, with both values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MOST_A_QUANTITY = 3

QUANTITY_ORDER = ("w", "m", "v", "vmax")


@dataclass(frozen=True, slots=True)
class Element:
    """Where one quantity of one parameter is farthest apart.

    step: 1-based; index: flat, in the parameter; actual, expected: hex floats; ulp: in the stored dtype. lr: the
    difference in units of lr, for w; absolute: None where NaN or inf stands on a side.
    """

    quantity: str
    parameter: str
    index: int
    step: int
    actual: str
    expected: str
    ulp: int
    absolute: float | None
    lr: float | None


def worst_elements(rows: pa.Table) -> tuple[Element, ...]:
    """Of one pair's rows, those of the parameters that are farthest apart in ULP, quantity by quantity."""
    parted = rows.filter(pc.greater(rows["differing"], 0))
    names = parted["quantity"].cast(pa.string()).to_numpy()
    found: list[Element] = []
    for quantity in QUANTITY_ORDER:
        worst = sorted(_by_parameter(parted.take(np.flatnonzero(names == quantity))), key=lambda one: -one.ulp)
        found += worst[:MOST_A_QUANTITY]
    return tuple(found)


def _by_parameter(rows: pa.Table) -> Iterator[Element]:
    parameters, ulps = rows["parameter"].cast(pa.string()).to_numpy(), rows["max_ulp"].to_numpy()
    for parameter in dict.fromkeys(parameters):
        places = np.flatnonzero(parameters == parameter)
        row = {name: column[0] for name, column in rows.take(places[[np.argmax(ulps[places])]]).to_pydict().items()}
        yield Element(
            quantity=row["quantity"],
            parameter=row["parameter"],
            index=row["worst_index"],
            step=row["step"],
            actual=row["actual_value"],
            expected=row["expected_value"],
            ulp=row["max_ulp"],
            absolute=_finite(row["max_abs"]),
            lr=_finite(row["max_steps"]),
        )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
