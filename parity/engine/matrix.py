"""Pairs by dtype: the worst of every pair over all cases, for the top of a report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from parity.case.expectation import Kind
from parity.engine.record import PairVerdict, Run
from parity.engine.result import PairResult
from parity.numerics.formats import FORMATS

WORST_FIRST = (
    Kind.CRASHED, Kind.NOT_COMPARABLE, Kind.DIVERGED, Kind.SKIPPED, Kind.EXPLAINED, Kind.WITHIN, Kind.IDENTICAL,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One pair in one dtype over all its cases.

    kinds: how often each verdict was given, worst first. first_step: the earliest step at which any
    case differs, None where none does. worst_ulp: of the weights. worst_steps: greatest difference
    of the weights in units of lr; worst_case: the case that has it.
    """

    kinds: tuple[tuple[Kind, int], ...]
    cases: int
    as_expected: int
    first_step: int | None
    worst_ulp: int
    worst_steps: float
    worst_case: str

    @property
    def worst(self) -> Kind:
        """The worst verdict that was given."""
        return self.kinds[0][0]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Entries by pair (actual, expected) and dtype; dtypes in the order of their precision."""

    dtypes: tuple[str, ...]
    rows: dict[tuple[str, str], dict[str, Entry]]


def build_matrix(run: Run) -> Matrix:
    """Fold all verdicts of a run into pairs by dtype."""
    groups: dict[tuple[str, str], dict[str, list[PairVerdict]]] = defaultdict(lambda: defaultdict(list))
    for one in run.verdicts:
        groups[one.actual, one.expected][one.dtype].append(one)
    pairs = run.pairs()
    rows = {
        pair: {dtype: _entry(pairs, by_dtype[dtype]) for dtype in FORMATS if dtype in by_dtype}
        for pair, by_dtype in groups.items()
    }
    dtypes = tuple(dtype for dtype in FORMATS if any(dtype in row for row in rows.values()))
    return Matrix(dtypes, rows)


def _entry(pairs: Mapping[tuple[str, str, str, str], PairResult], verdicts: list[PairVerdict]) -> Entry:
    first_step: int | None = None
    worst_ulp, worst_steps, worst_case = 0, 0.0, ""
    for one in verdicts:
        for distance in pairs[one.place].distances:
            if distance.first is not None and (first_step is None or distance.first.step < first_step):
                first_step = distance.first.step
            if distance.worst_max_steps is not None:
                worst_ulp = max(worst_ulp, int(distance.worst_max_ulp.value))
                if distance.worst_max_steps.value > worst_steps:
                    worst_steps, worst_case = distance.worst_max_steps.value, one.case
    kinds = [one.verdict.kind for one in verdicts]
    return Entry(
        kinds=tuple((kind, kinds.count(kind)) for kind in WORST_FIRST if kind in kinds),
        cases=len(verdicts),
        as_expected=sum(one.verdict.as_expected for one in verdicts),
        first_step=first_step,
        worst_ulp=worst_ulp,
        worst_steps=worst_steps,
        worst_case=worst_case,
    )
