"""Hold one kept trace against another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parity.case.expectation import Expectation, Kind
from parity.comparison.distance import Distance, Reach, fold, reach_of
from parity.comparison.divergence import Formats, Label, measure_apart, measure_standstill, schema, to_table
from parity.comparison.trace import Trace
from parity.comparison.verdict import Verdict, judge, judge_failure
from parity.core.shown import Shown
from parity.core.state import QUANTITIES

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

BATCH_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Divergence(Shown):
    """The distances of two traces. table: columns of `parity.comparison.divergence.schema`; distances by quantity."""

    actual: str
    expected: str
    table: pa.Table
    distances: tuple[Distance, ...]
    verdict: Verdict

    def frame(self) -> pd.DataFrame:
        """The table as a DataFrame."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame


def compare_traces(actual: Trace, expected: Trace, expectation: Expectation | None = None) -> Divergence:
    """All metrics of two traces at every step; NOT_COMPARABLE where they do not answer the same question."""
    import pyarrow as pa

    refusal = why_not_comparable(actual, expected)
    if refusal:
        verdict = judge_failure(Kind.NOT_COMPARABLE, refusal, expectation)
        return Divergence(actual.implementation, expected.implementation, schema().empty_table(), (), verdict)
    label = Label(expected.case, expected.format.name, actual.implementation, expected.implementation)
    quantities = [quantity for quantity in expected.quantities if quantity in actual.quantities]
    distances: dict[str, Distance] = {}
    tables = []
    for steps in _batches(expected):
        rows = slice(steps.start, steps.stop)
        for quantity in quantities:
            ours, theirs = actual.array(quantity)[rows], expected.array(quantity)[rows]
            formats = Formats(actual.formats[quantity], expected.formats[quantity], expected.format)
            measured = measure_apart(quantity, ours, theirs, expected.layout, steps, expected.hyper, formats)
            fold(measured, distances)
            tables.append(to_table(label, measured))
    verdict = judge(
        tuple(distances.values()),
        (_moved(actual), _moved(expected)),
        expectation,
        reaches=_reaches(expected),
        one_sided=[one for one in QUANTITIES if (one in actual.quantities) != (one in expected.quantities)],
    )
    return Divergence(
        actual.implementation,
        expected.implementation,
        pa.concat_tables(tables),
        tuple(distances.values()),
        verdict,
    )


def why_not_comparable(actual: Trace, expected: Trace) -> str:
    """One line where two traces do not answer the same question, empty where they do."""
    for what, ours, theirs in (
        ("dtype", actual.format.name, expected.format.name),
        ("steps", actual.steps, expected.steps),
        ("parameters", _told(actual), _told(expected)),
        ("input digest", actual.input_digest, expected.input_digest),
    ):
        if ours != theirs:
            return f"{what} differs: {ours} against {theirs}"
    if expected.steps < 1:
        return "neither trace has a step"
    if actual.folder.resolve() == expected.folder.resolve():
        return "both are the same trace folder"
    return ""


def _told(trace: Trace) -> str:
    return ", ".join(f"{one.name}{list(one.shape)}{one.dtype and ' ' + one.dtype}" for one in trace.layout.parameters)


def _batches(trace: Trace) -> Iterator[range]:
    batch = max(1, BATCH_BYTES // max(1, trace.layout.size * trace.stored("w").dtype.itemsize))
    for first in range(1, trace.steps + 1, batch):
        yield range(first, min(first + batch, trace.steps + 1))


def _reaches(trace: Trace) -> tuple[Reach, ...]:
    initial = trace.array("w")[0]
    distances: dict[str, Distance] = {}
    for quantity in trace.quantities:
        last = trace.array(quantity)[-1]
        fold(
            measure_standstill(
                quantity,
                initial,
                last,
                trace.layout,
                trace.steps,
                trace.hyper,
                Formats(trace.formats[quantity], trace.formats[quantity], trace.format),
            ),
            distances,
        )
    return tuple(map(reach_of, distances.values()))


def _moved(trace: Trace) -> bool:
    bits = trace.array("w").view(trace.stored("w").unsigned)
    return any(bool(np.any(row != bits[0])) for row in bits[1:])
