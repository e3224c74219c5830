"""Case files as pytest collects them: one item for each case, dtype and pair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from parity.case.case import Case
from parity.case.case_file import is_case_file
from parity.case.catalogue import load_case_file
from parity.case.expectation import Kind
from parity.core.errors import ParityError
from parity.engine.candidates import known_names
from parity.engine.pair_answer import pair_answer
from parity.engine.plan import Candidate, Cell, pairs_of, parties_of, stale_expectations
from parity.pytest_plugin import options
from parity.pytest_plugin.desk import desk_of
from parity.pytest_plugin.told import NotAsExpected, properties
from parity.report.drift import drift_text
from parity.report.failure import failure_text
from parity.report.reproduction import run_command

NO_EXPECTATION = "no expectation is stated, so nothing of it is compared"


class CaseFile(pytest.File):
    """A case file; a sweep holds several cases."""

    def collect(self) -> Iterable[pytest.Item]:
        """Every pair that an expectation names among the selected implementations."""
        desk = desk_of(self.config)
        try:
            cases = load_case_file(_shown(self))
            candidates = desk.candidates()
        except ParityError as error:
            raise self.CollectError(str(error)) from None
        for case in cases:
            if not case.expect:
                yield StaleItem.from_parent(
                    self, name=f"{case.name}[expectations]", lines=(f"{case.name}: {NO_EXPECTATION}",)
                )
            for dtype in case.dtypes:
                pairs = pairs_of(case, [one.name for one in parties_of(case, candidates, dtype)], dtype)
                for pair in pairs:
                    desk.collected(pair)
                    yield PairItem.from_parent(self, case=case, dtype=dtype, names=pair)
                if options.baseline(self.config) is not None:
                    for name in dict.fromkeys(name for pair in pairs for name in pair):
                        yield BaselineItem.from_parent(self, case=case, dtype=dtype, names=(name,))


class CellItem(pytest.Item):
    """Something that is asked of a cell, which is run once for all of them. names: of the implementations."""

    END = ""

    def __init__(self, *, parent: CaseFile, case: Case, dtype: str, names: tuple[str, ...], **settings: Any) -> None:
        super().__init__(f"{case.name}[{'-'.join((dtype, *names))}{self.END}]", parent, **settings)
        self.file, self.case, self.dtype, self.names = parent, case, dtype, names
        self.cell_name = f"{case.name} {dtype}"
        self._mark(dtype)
        for name in dict.fromkeys(part for one in names for part in (one.partition(".")[0], one)):
            self._mark(name)
        if self.config.pluginmanager.hasplugin("xdist"):
            self.add_marker(pytest.mark.xdist_group(self.cell_name.replace(" ", "-")))

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Pairs that are to be compared."""
        return ()

    def reportinfo(self) -> tuple[Path, None, str]:
        """The case file, and the name of the item."""
        return self.path, None, self.name

    def _mark(self, name: str) -> None:
        marker = f"parity_{name.replace('.', '_')}"
        known = any(line.partition(":")[0] == marker for line in self.config.getini("markers"))
        if not known:
            self.config.addinivalue_line("markers", f"{marker}: pairs of case files with {name}")
        self.add_marker(marker)


class BaselineItem(CellItem):
    """One implementation in one case and dtype, held against the baseline."""

    END = "-baseline"

    def runtest(self) -> None:
        """Ask for the cell, and hold the implementation to what the baseline has."""
        desk = desk_of(self.config)
        cell = desk.cell(self.cell_name)
        result = desk.result(cell)
        failure = result.outcome(*self.names).failure
        fallen = [one for one in desk.fallen(cell) if one.implementation in self.names]
        if fallen:
            raise NotAsExpected(drift_text(fallen[0], desk.place()))
        if failure is not None:
            pytest.skip(failure.reason)


class PairItem(CellItem):
    """One pair in one case and dtype."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.pair: tuple[str, str] = (self.names[0], self.names[1])
        actual, expected = self.pair
        self.add_marker(pytest.mark.parity(case=self.case.name, dtype=self.dtype, actual=actual, expected=expected))

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """This one."""
        return (self.pair,)

    def runtest(self) -> None:
        """Ask for the cell, and hold the pair to what its case expects."""
        desk = desk_of(self.config)
        cell = desk.cell(self.cell_name)
        answer = pair_answer(cell, desk.result(cell), *self.pair)
        self.user_properties += properties(answer)
        if not answer.verdict.as_expected:
            raise NotAsExpected(failure_text(answer, run_command(cell, self.pair, str(_shown(self)))))
        if answer.verdict.kind is Kind.SKIPPED:
            pytest.skip(answer.verdict.reason)


class StaleItem(pytest.Item):
    """Expectations that match nothing; it always fails."""

    def __init__(self, *, lines: tuple[str, ...], **settings: Any) -> None:
        super().__init__(**settings)
        self.lines = lines

    def runtest(self) -> None:
        """Say what is stale."""
        pytest.fail("\n".join(self.lines), pytrace=False)

    def reportinfo(self) -> tuple[Path, None, str]:
        """The case file, and the name of the item."""
        return self.path, None, self.name


def plan(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Plan the cells of the pairs that are selected; expectations that match nothing become items that fail."""
    desk = desk_of(session.config)
    asked = [item for item in items if isinstance(item, CellItem)]
    _check_names(asked)
    desk.check_own()
    stale = _stale_items(session, [item for item in asked if isinstance(item, PairItem)])
    cells = _cells(asked, desk.candidates() if asked else ())
    desk.planned(cells, [line for item in stale for line in item.lines])
    items += stale


def _cells(items: Sequence[CellItem], candidates: Sequence[Candidate]) -> dict[str, Cell]:
    grouped: dict[str, list[CellItem]] = {}
    for item in items:
        grouped.setdefault(item.cell_name, []).append(item)
    cells = {}
    for name, group in grouped.items():
        taking_part = {name for item in group for name in item.names}
        parties = parties_of(group[0].case, candidates, group[0].dtype)
        chosen = tuple(one for one in parties if one.name in taking_part)
        cells[name] = Cell(group[0].case, group[0].dtype, chosen, tuple(pair for item in group for pair in item.pairs))
    return cells


def _check_names(items: Sequence[CellItem]) -> None:
    """UsageError where two files have cases of one name: a run could not tell them apart."""
    places: dict[str, Any] = {}
    for item in items:
        if places.setdefault(item.case.name, item.path) != item.path:
            raise pytest.UsageError(
                f"two cases are called {item.case.name!r}: {places[item.case.name]} and {item.path}; rename one"
            )


def _stale_items(session: pytest.Session, pairs: Sequence[PairItem]) -> list[StaleItem]:
    """One for each selected case with a stale expectation, and one for each whole folder whose base has one."""
    if not pairs:
        return []
    candidates = desk_of(session.config).candidates()
    cases = {item.case.name: item for item in pairs}
    found = []
    for folder in dict.fromkeys(item.path.parent for item in pairs):
        inside = [item for item in cases.values() if item.path.parent == folder]
        whole = {item.path for item in inside} == {path for path in folder.glob("*.toml") if is_case_file(path)}
        known = [*known_names(), *(one.name for one in candidates)]
        lines = stale_expectations([item.case for item in inside], known, whole)
        for item in inside:
            own = tuple(line for line in lines if line.startswith(f"{item.case.name}: "))
            lines = tuple(line for line in lines if line not in own)
            if own:
                found.append(StaleItem.from_parent(item.file, name=f"{item.case.name}[expectations]", lines=own))
        if lines:
            file = inside[0].file
            found.append(StaleItem.from_parent(file.parent or file, name="[expectations]", lines=lines))
    return found


def _shown(node: pytest.Item | pytest.Collector) -> Path:
    """The path as the user would write it."""
    start = node.config.invocation_params.dir
    return node.path.relative_to(start) if node.path.is_relative_to(start) else node.path
