"""Commands and scripts that show again what a page tells."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from parity.engine.findings import Finding
from parity.engine.record import Run
from parity.report.html.scripts import own_script
from parity.report.reproduction import explain_command

SCRIPT = """\
import parity

outcome = parity.run(
    keyword={case!r},
    implementations={names!r},
    dtypes=[{dtype!r}],
    output="runs/shown",
)
for one in outcome.verdicts:
    print(one.actual, one.expected, one.verdict.kind, one.verdict.reason)
"""


def finding_command(finding: Finding, run: Run) -> str:
    """``parity explain`` for a pair, else ``parity run`` on the worst place; empty where there is none."""
    place = finding.worst
    if place is None:
        return ""
    case, dtype = place
    names = _names(finding, run)
    if len(names) == 2 and " / " in finding.subject:
        return explain_command(case, names, dtype)
    words = ["parity", "run", "-k", case, *(word for name in names for word in ("-i", name)), "-d", dtype]
    return shlex.join(words)


def finding_script(finding: Finding, run: Run) -> str:
    """The same as a Python script: without parity where one weight shows it, else with what parity ships."""
    place, names = finding.worst, _names(finding, run)
    script = own_script(finding, run)
    if script or place is None or not names or any(name.startswith("user.") for name in names):
        return script
    # One alone has nothing to be compared with.
    sides = list(names) if len(names) > 1 else [*names, "numpy.adam.outside"]
    return SCRIPT.format(case=place[0], dtype=place[1], names=sides)


def _names(finding: Finding, run: Run) -> Sequence[str]:
    """Implementations that the finding is about."""
    known = {outcome.name for cell in run.cells for outcome in cell.outcomes}
    return finding.names if known.issuperset(finding.names) else ()
