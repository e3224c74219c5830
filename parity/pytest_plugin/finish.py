"""The end of a session: the run that its tests made, its report, and whether it may be green."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from parity.api.session import exit_code_beside_tests, gather, held
from parity.baseline.check import Checked
from parity.core.errors import NothingCompared, ParityError
from parity.engine.record import Run
from parity.pytest_plugin import options
from parity.pytest_plugin.desk import desk_of
from parity.report.drift import drift_summary
from parity.report.terminal import alarm_lines, tally_lines

INTERRUPTED = pytest.ExitCode.INTERRUPTED


def finish(session: pytest.Session, exitstatus: int) -> None:
    """End the workers; in the process that reports, gather the run and turn the session red where nothing else does."""
    config = session.config
    if config.option.collectonly:
        return
    desk = config.stash.get(options.DESK, None)
    if desk is not None:
        desk.close()
    if hasattr(config, "workerinput"):
        return
    stopped = "interrupted" if exitstatus == INTERRUPTED else str(session.shouldfail or session.shouldstop or "")
    folder = options.folder(config)
    try:
        watch = desk_of(config).watch()
        checked = None if watch is None else held(folder, watch)
        run = gather(folder, stopped, written=options.report(config) is not None)
    except (ParityError, OSError) as error:
        raise pytest.UsageError(f"parity: {error}") from None
    if checked is not None:
        config.stash[options.HELD] = checked
    if run is None:
        return
    config.stash[options.RUN] = run
    if exitstatus == pytest.ExitCode.OK:
        session.exitstatus = _exit_code(run, checked)


def _exit_code(run: Run, checked: Checked | None) -> int:
    """As beside tests; digests that were compared with a baseline are something compared."""
    code = exit_code_beside_tests(run)
    return 0 if code == NothingCompared.exit_code and checked is not None and checked.drifts else code


def summarize(terminal: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of verdicts, what turned the session red, and where the report is."""
    run = config.stash[options.RUN]
    terminal.section("parity")
    for line in tally_lines(run):
        terminal.write_line(line)
    checked = config.stash.get(options.HELD, None)
    if checked is not None:
        for line in _held_lines(config, checked):
            terminal.write_line(line)
    if _exit_code(run, checked):
        for line in alarm_lines(run):
            terminal.write_line(line, red=True)
    report = options.report(config)
    if report is not None:
        terminal.write_line(f"report: {report}")


def _held_lines(config: pytest.Config, checked: Checked) -> Iterator[str]:
    yield f"baseline: {drift_summary(checked)}"
    for one in checked.environment:
        yield f"  {one.what}: {one.before} in the baseline, {one.after} now"
    yield f"  {checked.baseline.folder}"
    if checked.obtained is not None:
        yield f"  {'updated' if config.getoption('parity_update') else 'obtained'}: {checked.obtained}"


def clean(config: pytest.Config) -> None:
    """Leave no worker, and no folder that nobody asked for."""
    desk = config.stash.get(options.DESK, None)
    if desk is not None:
        desk.abandon()
    if not hasattr(config, "workerinput") and options.report(config) is None:
        shutil.rmtree(options.folder(config), ignore_errors=True)
