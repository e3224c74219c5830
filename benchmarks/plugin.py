"""What the pytest plug-in costs a session that does not use it."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = 20.0
ROUNDS = 31


def milliseconds(folder: Path, *flags: str) -> float:
    """CPU time of a session with one trivial test: wall time is too noisy for a difference so small."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *flags]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def rows() -> list[tuple[str, float, float, bool]]:
    """Milliseconds with the plug-in over without it, in turns; the median of the differences."""
    differences = []
    with tempfile.TemporaryDirectory(prefix="parity-bench-") as name:
        folder = Path(name)
        (folder / "test_trivial.py").write_text("def test():\n    pass\n")
        milliseconds(folder)
        for _ in range(ROUNDS):
            without = milliseconds(folder, "-p", "no:parity")
            differences.append(milliseconds(folder) - without)
    cost = statistics.median(differences)
    return [("CPU milliseconds that it adds to a session without parity", cost, TARGET, cost <= TARGET)]


if __name__ == "__main__":
    for name, figure, target, passed in rows():
        print(f"{name:62} {figure:6.2f}  at most {target:4.2f}  {'passed' if passed else 'FAILED'}")
