"""The end of a session: the run that its tests made, its report, and whether it may be green."""

from __future__ import annotations

import shutil

import pytest

from parity.errors import ParityError
from parity.pytest_plugin import options
from parity.report.tally import alarm_lines, tally_lines
from parity.session import exit_code_beside_tests, gather

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
    try:
        run = gather(options.folder(config), stopped, written=options.report(config) is not None)
    except (ParityError, OSError) as error:
        raise pytest.UsageError(f"parity: {error}") from None
    if run is None:
        return
    config.stash[options.RUN] = run
    if exitstatus == pytest.ExitCode.OK:
        session.exitstatus = exit_code_beside_tests(run)


def summarize(terminal: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of verdicts, what turned the session red, and where the report is."""
    run = config.stash[options.RUN]
    terminal.section("parity")
    for line in tally_lines(run):
        terminal.write_line(line)
    if exit_code_beside_tests(run):
        for line in alarm_lines(run):
            terminal.write_line(line, red=True)
    report = options.report(config)
    if report is not None:
        terminal.write_line(f"report: {report}")


def clean(config: pytest.Config) -> None:
    """Leave no worker, and no folder that nobody asked for."""
    desk = config.stash.get(options.DESK, None)
    if desk is not None:
        desk.abandon()
    if not hasattr(config, "workerinput") and options.report(config) is None:
        shutil.rmtree(options.folder(config), ignore_errors=True)
