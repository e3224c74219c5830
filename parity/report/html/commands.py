"""Commands and scripts that show again what a page tells."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from parity.engine.findings import Finding
from parity.engine.record import Run
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

TORCH_AND_KERAS = """\
import keras
import torch

lr, eps, g = 1e-3, 1e-7, 1e-7

w = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
w.grad = torch.full_like(w, g)
torch.optim.Adam([w], lr=lr, eps=eps).step()

v = keras.Variable([0.0], dtype="float64")
gradient = keras.ops.convert_to_tensor([g], dtype="float64")
keras.optimizers.Adam(learning_rate=lr, epsilon=eps).apply([gradient], [v])

print("torch:", w.item() / lr, "lr")
print("keras:", float(keras.ops.convert_to_numpy(v)[0]) / lr, "lr")
"""
"""One step from zero with a gradient as large as eps: needs both frameworks, and no parity."""


def finding_command(finding: Finding, run: Run) -> str:
    """``parity explain`` for a pair, else ``parity run`` on the worst place; empty where there is none."""
    place = worst_place(finding)
    if place is None:
        return ""
    case, dtype = place
    names = _names(finding, run)
    if len(names) == 2 and " / " in finding.subject:
        return explain_command(case, names, dtype)
    words = ["parity", "run", "-k", case, *(word for name in names for word in ("-i", name)), "-d", dtype]
    return shlex.join(words)


def finding_script(finding: Finding, run: Run) -> str:
    """The same as a Python script, where the finding is about implementations that parity ships."""
    place, names = worst_place(finding), _names(finding, run)
    if " / " in finding.subject and {name.partition(".")[0] for name in names} == {"torch", "keras"}:
        return TORCH_AND_KERAS
    if place is None or not names or any(name.startswith("user.") for name in names):
        return ""
    # One alone has nothing to be compared with.
    sides = list(names) if len(names) > 1 else [*names, "numpy.adam.outside"]
    return SCRIPT.format(case=place[0], dtype=place[1], names=sides)


def worst_place(finding: Finding) -> tuple[str, str] | None:
    """Case and dtype of the place in which a finding holds most."""
    case, _, dtype = finding.where[0].rpartition(" ") if finding.where else ("", "", "")
    return (case, dtype) if case else None


def _names(finding: Finding, run: Run) -> Sequence[str]:
    """Implementations that the finding is about."""
    known = {outcome.name for cell in run.cells for outcome in cell.outcomes}
    names = [part.strip() for part in finding.subject.replace(" / ", ", ").split(",")]
    return names if known.issuperset(names) else []
