"""A Python that may run a worker: asked who it is, before anything is asked of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from parity.core.errors import ParityError
from parity.engine.plan import Candidate
from parity.engine.process import WorkerFailed, WorkerProcess

OLDEST = (3, 11)
"""The oldest Python that the worker's code runs on."""

_SECONDS = 60.0

# Also understood by interpreters that are too old to run a worker.
_QUESTION = """
import json, platform, sys
sys.path[:] = [place for place in sys.path if place]
lacks = ""
try:
    for module in ("numpy", "ml_dtypes"):
        __import__(module)
except Exception as error:
    lacks = "%s cannot be imported (%s: %s)" % (module, type(error).__name__, str(error).strip().split("\\n")[0])
about = [platform.python_implementation(), sys.platform, platform.machine()]
print(json.dumps({"version": list(sys.version_info[:3]), "about": about, "lacks": lacks}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python as it describes itself.

    path: absolute, links not followed, as a link is what makes a virtual environment. version: three numbers. about:
    implementation, system and machine. lacks: why a worker cannot have NumPy and ml_dtypes there, empty where it can.
    """

    path: str
    version: tuple[int, ...]
    about: tuple[str, ...]
    lacks: str


def find_interpreter(python: str, flag: str) -> Interpreter:
    """Ask the interpreter at a path, or of that name on PATH; ParityError, naming the flag, where it is no Python."""
    found = shutil.which(os.path.expanduser(python))
    if found is None:
        why = "cannot be executed" if Path(python).expanduser().exists() else "there is no such file"
        raise ParityError(f"{flag} {python}: {why}; allowed: the path of a Python interpreter")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        asked = subprocess.run(
            [found, "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            timeout=_SECONDS,
            check=False,
        )
    except OSError as error:
        raise ParityError(f"{flag} {python}: is no Python interpreter ({error.strerror})") from None
    except subprocess.TimeoutExpired:
        raise ParityError(f"{flag} {python}: is no Python interpreter (no answer in {_SECONDS:g} s)") from None
    try:
        told = json.loads(asked.stdout.decode(errors="replace").strip().rpartition("\n")[2])
        version, about, lacks = tuple(told["version"]), tuple(told["about"]), str(told["lacks"])
    except (ValueError, TypeError, KeyError):
        said = asked.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
        raise ParityError(
            f"{flag} {python}: is no Python interpreter (exit status {asked.returncode}{said and ': ' + said})"
        ) from None
    if version < OLDEST:
        raise ParityError(
            f"{flag} {python}: is Python {'.'.join(map(str, version))}; "
            f"allowed: {'.'.join(map(str, OLDEST))} and newer, which a worker needs"
        )
    return Interpreter(os.path.abspath(found), version, about, lacks)


def check_interpreter(python: str, flag: str) -> Interpreter:
    """The interpreter, which can run a worker; ParityError, naming the flag, where it lacks NumPy or ml_dtypes."""
    found = find_interpreter(python, flag)
    if found.lacks:
        raise ParityError(f"{flag} {python}: {found.lacks}; a worker needs numpy and ml_dtypes: install them there")
    return found


def unmet_under(
    python: str, candidates: Sequence[Candidate], timeout: float | None = 120.0
) -> dict[str, tuple[str, ...]]:
    """By name of candidate what it lacks under an interpreter, nothing where it can run; no framework is imported.

    python: one that check_interpreter passes. ParityError where a worker does not start there.
    """
    with TemporaryDirectory(prefix="parity-") as logs:
        try:
            worker = WorkerProcess("describe", Path(logs) / "describe.log", python)
            try:
                answers = {
                    one.name: worker.ask({"op": "describe", "target": one.target}, timeout) for one in candidates
                }
            finally:
                worker.close()
        except WorkerFailed as failure:
            raise ParityError(f"{python}: no worker runs there: {failure}") from None
    return {
        name: tuple(answer["missing"]) if answer["ok"] else (str(answer["reason"]),) for name, answer in answers.items()
    }


def runnable_under(python: str, candidates: Sequence[Candidate], what: str) -> tuple[Candidate, ...]:
    """Those candidates whose needs an interpreter meets; ParityError, naming `what`, where it meets none's."""
    unmet = unmet_under(python, candidates)
    able = tuple(candidate for candidate in candidates if not unmet[candidate.name])
    if not able:
        name, lacks = next(iter(unmet.items()), ("nothing", ()))
        more = f" (and {len(unmet) - 1} more cannot run either)" if len(unmet) > 1 else ""
        raise ParityError(f"{what}: no implementation can run there: {name} needs {' and '.join(lacks)}{more}")
    return able
