"""Case files as pytest collects them: one item for each case, dtype and pair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from parity.case import Case
from parity.case_file import is_case_file
from parity.catalogue import load_case_file
from parity.engine.pair_answer import pair_answer
from parity.engine.plan import pairs_of
from parity.errors import ParityError
from parity.expectation import Kind
from parity.pytest_plugin import options
from parity.pytest_plugin.desk import desk_of, stale_lines
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
            names = [candidate.name for candidate in desk.candidates()]
        except ParityError as error:
            raise self.CollectError(str(error)) from None
        for case in cases:
            if not case.expect:
                yield StaleItem.from_parent(
                    self, name=f"{case.name}[expectations]", lines=(f"{case.name}: {NO_EXPECTATION}",)
                )
            for dtype in case.dtypes:
                pairs = pairs_of(case, names, dtype)
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


def stale_items(session: pytest.Session, pairs: Sequence[PairItem]) -> list[StaleItem]:
    """One for each selected case with a stale expectation, and one for each whole folder whose base has one."""
    if not pairs:
        return []
    candidates = desk_of(session.config).candidates()
    cases = {item.case.name: item for item in pairs}
    found = []
    for folder in dict.fromkeys(item.path.parent for item in pairs):
        inside = [item for item in cases.values() if item.path.parent == folder]
        whole = {item.path for item in inside} == {path for path in folder.glob("*.toml") if is_case_file(path)}
        lines = stale_lines([item.case for item in inside], candidates, whole=whole)
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
