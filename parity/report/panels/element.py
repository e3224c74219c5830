"""The elements that are farthest apart, with both values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    quantities, parameters = (parted[name].cast(pa.string()).to_numpy() for name in ("quantity", "parameter"))
    ulps = parted["max_ulp"].to_numpy()
    places: list[int] = []
    for quantity in QUANTITY_ORDER:
        mine = np.flatnonzero(quantities == quantity)
        # Stable: of equal distances the earliest step comes first.
        falling = mine[np.argsort(-ulps[mine].astype(np.float64), kind="stable")]
        _, first = np.unique(parameters[falling].astype(str), return_index=True)
        places += falling[np.sort(first)[:MOST_A_QUANTITY]].tolist()
    return tuple(_element(row) for row in parted.take(places).to_pylist()) if places else ()


def _element(row: Mapping[str, Any]) -> Element:
    return Element(
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
