"""Damaged inputs of every kind: a fixed part of what ``make fuzz`` asks for ten minutes, and its kills and rounds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough


HERE = Path(__file__).resolve().parent


@pytest.fixture
def program(tmp_path):
    """Run a program of this folder to its end; what it printed."""

    def run(name, *arguments, seconds=250):
        command = [sys.executable, str(HERE / name), *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=seconds,
                              env={**os.environ, "TMPDIR": str(tmp_path)})  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    return run


INPUTS = {"case": 60, "recording": 30, "trace": 150, "run": 8, "baseline": 60, "map": 6, "answer": 30,
          "command line": 15}  # fmt: skip


@pytest.mark.frameworks
def test_damaged_inputs_are_one_line_each(program):
    told = program("fuzz.py", "--fixed", *(f"{kind}={count}" for kind, count in INPUTS.items()))
    assert told.splitlines()[-1] == f"{sum(INPUTS.values())} inputs, 0 failed"


@pytest.mark.frameworks
def test_what_is_killed_at_any_moment_leaves_what_was_whole(program):
    told = program("killed.py", "all", 2, 0).splitlines()
    assert [one.partition(": kills 0 to 1: ")[0] for one in told] == [
        "run",
        "baseline save",
        "upgrade",
        "report",
        "record",
    ]
