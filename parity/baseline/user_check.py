"""A user's own test of an environment: a command, and what its exit code says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from parity.baseline.bisection import Answer
from parity.core.errors import UsageError

VARIABLE = "PARITY_PYTHON"
"""Has the path of the interpreter to be tested."""

_CANNOT_TELL = 125
_ABORT = 128


def run_check(command: str, python: str, log: Path) -> tuple[Answer, str]:
    """Run a command by the shell; exit codes as in `git bisect run`.

    0 is the same, 125 cannot tell, others to 127 changed. log: gets what it says. UsageError where it ends with
    another code, or by a signal: it wants all to stop.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        ended = subprocess.run(
            command,
            shell=True,
            env={**os.environ, VARIABLE: python},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    code = ended.returncode
    if code < 0 or code >= _ABORT:
        raise UsageError(f"--check {command!r}: ended with {code}, which stops the search; it said: {log}")
    answer = Answer.SAME if code == 0 else Answer.UNTOLD if code == _CANNOT_TELL else Answer.CHANGED
    return answer, f"exit code {code}"
