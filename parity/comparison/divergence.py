"""Divergence: the table of distances between two traces of one case, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.comparison.metrics import Metrics, measure
from parity.core.hyper import Hyper
from parity.core.layout import Layout
from parity.numerics.formats import Format, in_format, widest

if TYPE_CHECKING:
    import pyarrow as pa

OPEN = "open"
"""Mode of a run in which every implementation goes on from its own state."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a part of the table is about."""

    case: str
    dtype: str
    actual: str
    expected: str
    mode: str = OPEN


@dataclass(frozen=True, slots=True)
class Measured:
    """One quantity of one parameter over consecutive steps.

    steps: 1-based, (n,). max_steps: max_abs in units of lr, NaN for all quantities but w.
    actual_values, expected_values: both sides at worst_index as hex floats, None where nothing differs. dtype: in which
    they were compared, empty where it is the case's.
    """

    quantity: str
    parameter: str
    steps: np.ndarray
    metrics: Metrics
    max_steps: np.ndarray
    actual_values: list[str | None]
    expected_values: list[str | None]
    dtype: str = ""


def measure_batch(
    quantity: str,
    actual: np.ndarray,
    expected: np.ndarray,
    layout: Layout,
    steps: range,
    hyper: Hyper,
) -> list[Measured]:
    """Measure rows (len(steps), layout.size) of two sides, parameter by parameter, w in units of its lr."""
    if actual.shape != (len(steps), layout.size):
        raise ValueError(f"{quantity}: rows of shape {actual.shape} for {len(steps)} steps of {layout.size} elements")
    return [
        label_metrics(quantity, parameter.name, measure(actual[:, place], expected[:, place]),
                      actual[:, place], expected[:, place], steps, hyper.of(parameter.name).lr_at)
        for parameter, place in layout.slices()
    ]  # fmt: skip


def label_metrics(
    quantity: str,
    parameter: str,
    metrics: Metrics,
    actual: np.ndarray,
    expected: np.ndarray,
    steps: range,
    lr_at: Callable[[int], float],
    dtype: str = "",
) -> Measured:
    """Say of which rows (len(steps), size) metrics are, and look up the values where they are farthest."""
    return Measured(
        quantity=quantity,
        parameter=parameter,
        steps=np.arange(steps.start, steps.stop, dtype=np.int64),
        metrics=metrics,
        max_steps=_in_steps(quantity, metrics.max_abs, steps, lr_at),
        actual_values=_values_at(actual, metrics.worst_index),
        expected_values=_values_at(expected, metrics.worst_index),
        dtype=dtype,
    )


@dataclass(frozen=True, slots=True)
class Formats:
    """Of one quantity, parameter by parameter: those of either side, and the case's."""

    actual: Sequence[Format]
    expected: Sequence[Format]
    usual: Format

    @property
    def alike(self) -> bool:
        """Whether there is but one, so that whole rows can be compared."""
        return {*self.actual, *self.expected} == {self.usual}


def measure_apart(
    quantity: str,
    actual: np.ndarray,
    expected: np.ndarray,
    layout: Layout,
    steps: range,
    hyper: Hyper,
    formats: Formats | None,
) -> list[Measured]:
    """As `measure_batch`, each parameter in the format that holds the numbers of both sides exactly."""
    if formats is None or formats.alike:
        return measure_batch(quantity, actual, expected, layout, steps, hyper)
    found = []
    for (parameter, place), one, other in zip(layout.slices(), formats.actual, formats.expected, strict=True):
        format = widest((one, other))
        left, right = in_format(actual[:, place], format), in_format(expected[:, place], format)
        dtype = "" if format is formats.usual else format.name
        lr_at = hyper.of(parameter.name).lr_at
        found.append(label_metrics(quantity, parameter.name, measure(left, right), left, right, steps, lr_at, dtype))
    return found


def measure_standstill(
    quantity: str,
    initial: np.ndarray,
    last: np.ndarray,
    layout: Layout,
    step: int,
    hyper: Hyper,
    formats: Formats | None = None,
) -> list[Measured]:
    """Measure an optimizer that never steps against a last state (layout.size,): initial weights, moments 0."""
    still = initial if quantity == "w" else np.broadcast_to(np.zeros(1, last.dtype), last.shape)
    return measure_apart(quantity, still[None], last[None], layout, range(step, step + 1), hyper, formats)


def _in_steps(quantity: str, max_abs: np.ndarray, steps: range, lr_at: Callable[[int], float]) -> np.ndarray:
    if quantity != "w":
        return np.full(len(steps), np.nan)
    lr = np.array([lr_at(step) for step in steps], dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(max_abs == 0, 0.0, max_abs / lr)


def _values_at(rows: np.ndarray, indices: np.ndarray) -> list[str | None]:
    return [None if index < 0 else float(row[index]).hex() for row, index in zip(rows, indices, strict=True)]


def schema() -> pa.Schema:
    """Columns of divergence.parquet and divergence.csv, in order."""
    import pyarrow as pa

    text, count, real, ulp = pa.dictionary(pa.int32(), pa.string()), pa.int64(), pa.float64(), pa.uint64()
    return pa.schema(
        [
            ("case", text), ("dtype", text), ("mode", text), ("actual", text), ("expected", text),
            ("quantity", text), ("parameter", text), ("step", count), ("elements", count),
            ("differing", count), ("max_abs", real), ("max_rel", real), ("max_ulp", ulp), ("p99_ulp", ulp),
            ("rms_abs", real), ("max_steps", real), ("worst_index", count), ("actual_value", pa.string()),
            ("expected_value", pa.string()), ("nonfinite", count),
        ]
    )  # fmt: skip


def to_table(label: Label, measured: Iterable[Measured]) -> pa.Table:
    """The rows of a divergence table."""
    import pyarrow as pa

    parts = list(measured)
    if not parts:
        return schema().empty_table()
    rows = [len(part.steps) for part in parts]

    def words(values: Sequence[str]) -> pa.DictionaryArray:
        places = {value: place for place, value in enumerate(dict.fromkeys(values))}
        indices = np.repeat(np.array([places[value] for value in values], np.int32), rows)
        return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(list(places)))

    def column(name: str) -> Any:
        if name in Label.__dataclass_fields__:
            return words([getattr(label, name)] * len(parts))
        if name in ("quantity", "parameter"):
            return words([getattr(part, name) for part in parts])
        if name in ("actual_value", "expected_value"):
            return pa.array([value for part in parts for value in getattr(part, f"{name}s")], pa.string())
        if name == "step":
            return np.concatenate([part.steps for part in parts])
        if name == "max_steps":
            return pa.array(np.concatenate([part.max_steps for part in parts]), from_pandas=True)
        return np.concatenate([getattr(part.metrics, name) for part in parts])

    return pa.table({name: column(name) for name in schema().names}, schema=schema())
