"""The record of a run: what was asked, what was compared, every verdict.

run.json is this value without the distances, which are read out of divergence.parquet beside it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from parity.case.expectation import Kind
from parity.comparison.distance import Distance
from parity.comparison.trace import hyper_from_json
from parity.comparison.verdict import Verdict
from parity.core.digest import SEAL, seal_of
from parity.core.environment import FACTS, describe_environment, differences, lacking
from parity.core.errors import ParityError
from parity.core.files import write_atomically
from parity.core.shown import Shown
from parity.engine.findings import Finding, find
from parity.engine.kinds import Kinds
from parity.engine.plan import Plan
from parity.engine.power import Held, Naming, Power, PowerTable, powers_of, reference_of
from parity.engine.result import CellResult, PairResult, judge_pair
from parity.engine.run import INTERRUPTED, Progress
from parity.engine.tables import PARQUET, check_whole_table, read_distances
from parity.numerics.formats import FORMATS

SCHEMA = 4
FILE = "run.json"


@dataclass(frozen=True, slots=True)
class PairVerdict(Shown):
    """The verdict on one pair in one case and dtype."""

    case: str
    dtype: str
    actual: str
    expected: str
    verdict: Verdict

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Case, dtype, actual and expected."""
        return self.case, self.dtype, self.actual, self.expected


@dataclass(frozen=True, slots=True)
class Counts:
    """How much was asked for and how much was compared.

    unbounded: verdicts that are as expected though DIVERGED, as rounding has no limit there. steps:
    optimizer steps over all implementations and cells. tensors: parameters times quantities
    times pairs. elements: elements compared, over all pairs, quantities and steps. rows: of the table.
    """

    cells_planned: int
    cells: int
    pairs: int
    as_expected: int
    unbounded: int
    steps: int
    tensors: int
    elements: int
    rows: int


@dataclass(frozen=True, slots=True)
class Run(Shown):
    """A whole run.

    stopped: why it ended early, empty where it did not. stale: expectations that match nothing. powers: what
    the budgets that its pairs were held to catch. names: how many Adams this parity names. conventions: by
    implementation, where its epsilon is said to stand; without those that do not say. table: digest of
    divergence.parquet, empty until it is written. kinds: the same cells on every kind of machine, None where that was
    not asked.
    """

    schema: int
    version: str
    complete: bool
    stopped: str
    counts: Counts
    environment: dict[str, Any]
    workers: dict[str, dict[str, Any]]
    cases: dict[str, dict[str, str]]
    stale: tuple[str, ...]
    findings: tuple[Finding, ...]
    verdicts: tuple[PairVerdict, ...]
    cells: tuple[CellResult, ...]
    powers: tuple[Power, ...] = ()
    names: tuple[Naming, ...] = ()
    conventions: dict[str, str] = field(default_factory=dict)
    table: str = ""
    kinds: Kinds | None = None

    @property
    def unexpected(self) -> tuple[PairVerdict, ...]:
        """Verdicts that are not as expected."""
        return tuple(one for one in self.verdicts if not one.verdict.as_expected)

    @property
    def broken(self) -> tuple[tuple[str, str, str], ...]:
        """Case, dtype and implementation wherever a claim does not hold that was confirmed on such a machine."""
        return tuple(
            (cell.case, cell.dtype, one.implementation)
            for cell in self.cells
            for one in cell.account.held
            if one.broken and not one.unconfirmed
        )

    @property
    def exit_code(self) -> int:
        """0 all as expected, 1 something is not, 2 interrupted, 5 nothing was compared.

        A claim that does not hold is not as expected where it was confirmed; elsewhere verdicts alone decide.
        """
        if self.stopped.startswith(INTERRUPTED):
            return 2
        if not self.counts.elements and not any(one.verdict.kind is Kind.CRASHED for one in self.unexpected):
            return 5
        return 1 if self.unexpected or self.broken or self.stale or not self.complete else 0

    def pair(self, verdict: PairVerdict) -> PairResult:
        """The distances behind a verdict; for many of them, `pairs`."""
        cell = next(one for one in self.cells if (one.case, one.dtype) == (verdict.case, verdict.dtype))
        return next(one for one in cell.pairs if (one.actual, one.expected) == (verdict.actual, verdict.expected))

    def pairs(self) -> dict[tuple[str, str, str, str], PairResult]:
        """The distances behind every verdict, by its place."""
        return {(cell.case, cell.dtype, one.actual, one.expected): one for cell in self.cells for one in cell.pairs}


_RUN = TypeAdapter(Run)
_NOT_TOLD: Any = {
    "cells": {"__all__": {"pairs": {"__all__": {"distances"}}, "outcomes": {"__all__": {"failure": {"traceback"}}}}}
}
"""Distances stand in the table, tracebacks in the logs."""
_ZEROS = "opposite_zeros"
_ZEROS_ROWS = TypeAdapter(list[tuple[str, str, str, str, str, int]])


def record(plan: Plan, progress: Progress, version: str, power: PowerTable) -> Run:
    """Judge what was computed and write down what it was. power: figures of the shipped cases."""
    cells = {cell.name: cell for cell in plan.cells}
    conventions = {candidate.name: candidate.convention for candidate in plan.candidates}
    verdicts = []
    held: list[Held] = []
    for result in progress.results:
        case = cells[f"{result.case} {result.dtype}"].case
        for pair in result.pairs:
            expectation = case.expectation_for(pair.actual, pair.expected, result.dtype)
            verdict = judge_pair(result, pair, expectation)
            verdicts.append(PairVerdict(result.case, result.dtype, pair.actual, pair.expected, verdict))
            # What is equal or explained does not rest on a budget.
            rests = verdict.kind in (Kind.WITHIN, Kind.DIVERGED)
            if expectation is not None and expectation.verdict == Kind.WITHIN and rests:
                reference = reference_of(pair.expected, conventions[pair.expected], expectation)
                held.append((case, result.dtype, reference, expectation, (pair.actual, pair.expected)))
    powers = powers_of(power, held)
    return Run(
        schema=SCHEMA,
        version=version,
        complete=progress.complete,
        stopped=progress.stopped,
        counts=count(progress.planned, progress.results, verdicts),
        environment=describe_environment(),
        workers=_workers(progress.results),
        cases={
            cell.case.name: {"summary": cell.case.summary, "why": cell.case.why, "digest": cell.case.digest()}
            for cell in plan.cells
        },
        stale=plan.stale,
        findings=find(
            progress.results,
            [(one.case, one.dtype, one.actual, one.expected, one.verdict) for one in verdicts],
            powers,
        ),
        verdicts=tuple(verdicts),
        cells=progress.results,
        powers=powers,
        names=tuple(power.names),
        conventions={name: str(place) for name, place in sorted(conventions.items()) if place is not None},
    )


def _workers(results: Sequence[CellResult]) -> dict[str, dict[str, Any]]:
    """What surrounded each worker; on machines that are unlike it stands once for each kind, with a number."""
    found: dict[str, dict[str, Any]] = {}
    for result in results:
        for worker, facts in result.environments.items():
            kinds = (f"{worker} ({number})" if number > 1 else worker for number in itertools.count(1))
            found[next(one for one in kinds if one not in found or not differences(found[one], facts))] = facts
    return found


def count(planned: int, results: Sequence[CellResult], verdicts: Sequence[PairVerdict]) -> Counts:
    """What cells and verdicts come to. planned: cells that were asked for."""
    return Counts(
        cells_planned=planned,
        cells=len(results),
        pairs=len(verdicts),
        as_expected=sum(one.verdict.as_expected for one in verdicts),
        unbounded=sum(
            one.verdict.as_expected and one.verdict.kind is Kind.DIVERGED and one.verdict.wanted is Kind.WITHIN
            for one in verdicts
        ),
        steps=sum(cell.steps * sum(one.failure is None for one in cell.outcomes) for cell in results),
        tensors=sum(cell.parameters * len(pair.distances) for cell in results for pair in cell.pairs),
        elements=sum(cell.compared for cell in results),
        rows=sum(cell.rows for cell in results),
    )


def write_run(run: Run, folder: Path) -> None:
    """Write run.json atomically, with its seal: without distances, but for the zeros that no column counts."""
    told = json.loads(_RUN.dump_json(run, exclude=_NOT_TOLD))
    if run.kinds is None:
        del told["kinds"]
    told[_ZEROS] = [
        (*place, one.quantity, one.opposite_zeros)
        for place, pair in run.pairs().items()
        for one in pair.distances
        if one.opposite_zeros
    ]
    told[SEAL] = seal_of(told)
    lines = ",\n".join(f'"{key}": {_line_by_line(value)}' for key, value in told.items())
    write_atomically(folder / FILE, f"{{\n{lines}\n}}\n")


def _line_by_line(value: Any) -> str:
    """JSON with a line for each item of a list, so that a difference between two runs is seen."""
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(json.dumps(one, separators=(",", ":")) for one in value) + "\n]"
    return json.dumps(value, separators=(",", ":"))


def read_run(folder: Path) -> Run:
    """Read a run directory; ParityError where its record or table is missing, altered or of another schema."""
    path = folder / FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ParityError(f"{folder}: {_absent(folder, error)}") from None
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ParityError(f"{path}: truncated or altered, no JSON ({error})") from None
    if not isinstance(told, dict) or not isinstance(told.get("schema"), int):
        raise ParityError(f"{path}: no record of a run, or altered (it has no schema)")
    if told["schema"] != SCHEMA:
        raise ParityError(f"{path}: schema {told['schema']}; this parity reads schema {SCHEMA}; {_other(told)}")
    if told.get(SEAL) != seal_of(told):
        raise ParityError(f"{path}: altered after it was written (its seal does not fit); run its cases again")
    run, zeros = _validated(path, told)
    wrong = _stranger(run)
    if not wrong:
        check_whole_table(folder, run.table, run.counts.rows)
        run = _with_distances(run, read_distances(folder / PARQUET, zeros))
        wrong = contradiction(run)
    if wrong:
        raise ParityError(f"{path}: altered, it contradicts itself ({wrong})")
    return run


def _stranger(run: Run) -> str:
    """What in a run speaks of something that is not in it, or not at all; empty where nothing does."""
    for cell in run.cells:
        if cell.case not in run.cases or cell.dtype not in FORMATS:
            return f"a cell {cell.case} {cell.dtype}, which was not asked for"
        there = {one.name for one in cell.outcomes}
        for pair in cell.pairs:
            if not {pair.actual, pair.expected} <= there:
                return f"a pair {pair.actual} / {pair.expected} in {cell.case} {cell.dtype}, which was not run"
        for outcome in cell.outcomes:
            for formats in outcome.formats.values():
                if not {*formats.values()} <= {*FORMATS}:
                    return f"dtypes of {outcome.name} in {cell.case} {cell.dtype} that are none"
    pairs = run.pairs()
    for one in run.verdicts:
        if one.place not in pairs:
            return f"a verdict on {one.actual} / {one.expected} in {one.case} {one.dtype}, which was not run"
    return ""


def _with_distances(run: Run, found: Mapping[tuple[str, str, str, str], tuple[Distance, ...]]) -> Run:
    cells = (
        replace(
            cell,
            pairs=tuple(
                replace(
                    one,
                    distances=tuple(
                        each.compared_in(cell.compared_in(one, each.quantity))
                        for each in found.get((cell.case, cell.dtype, one.actual, one.expected), ())
                    ),
                )
                for one in cell.pairs
            ),
        )
        for cell in run.cells
    )
    return replace(run, cells=tuple(cells))


def _absent(folder: Path, error: OSError) -> str:
    """Why there is no run.json to read."""
    if isinstance(error, NotADirectoryError):
        return "a file, not the directory of a run"
    if not isinstance(error, FileNotFoundError):
        return f"{FILE} cannot be read ({error.strerror})"
    cells = len([*(folder / "parts").glob("*.parquet")])
    if cells:
        told = f"{cells} cell{'' if cells == 1 else 's'}"
        return f"{FILE} is missing, as where a run was killed; 'parity run --resume' goes on after its {told}"
    return f"no run here, {FILE} is missing"


def _other(told: Mapping[str, Any]) -> str:
    """What to do about another schema."""
    advice = "update this one" if told["schema"] > SCHEMA else "make it again with 'parity run'"
    return f"parity {told.get('version')!r} wrote it: {advice}"


def _validated(path: Path, told: Mapping[str, Any]) -> tuple[Run, dict[tuple[str, ...], int]]:
    """What a file says, and its opposite zeros by case, dtype, pair and quantity."""
    try:
        rows = _ZEROS_ROWS.validate_python(told.get(_ZEROS))
        return _RUN.validate_python(told), {tuple(place): number for *place, number in rows}
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise ParityError(f"{path}: altered, truncated or of another schema ({key}: {first['msg']})") from None


def contradiction(run: Run) -> str:
    """What in a run of which nothing is a stranger cannot be together; of one that is sound every page can be made."""
    counted = count(run.counts.cells_planned, run.cells, run.verdicts)
    for name in (each.name for each in fields(Counts)):
        told, found = getattr(run.counts, name), getattr(counted, name)
        if told != found:
            return f"counts.{name} {told:,}, counted {found:,}"
    for cell in run.cells:
        for outcome in cell.outcomes:
            try:
                _ = hyper_from_json(outcome.hyper) if outcome.hyper else None
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                return f"hyperparameters of {outcome.name} in {cell.case} {cell.dtype} that are none"
    if run.counts.cells > run.counts.cells_planned:
        return f"{run.counts.cells} cells of {run.counts.cells_planned}"
    return next(_lacking(run), "")


def _lacking(run: Run) -> Iterator[str]:
    """Keys that are not there, of tables whose keys are not checked as they are read."""
    environments: list[tuple[str, Mapping[str, Any], tuple[str, ...]]] = [("environment", run.environment, FACTS)]
    environments += [(f"workers.{name}", worker, ("python", "packages")) for name, worker in run.workers.items()]
    for place, environment, facts in environments:
        if lacks := lacking(environment, facts):
            yield f"{place} lacks {lacks}"
    for name, case in run.cases.items():
        yield from (f"cases.{name} lacks {key}" for key in ("summary", "why", "digest") if key not in case)
