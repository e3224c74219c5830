"""What a Dask worker does for a cluster: it tells what it has, and hands cells to a process of its own.

That process has the variables of whoever asks and nothing of Dask; it ends with the worker, or when nobody has asked
it for a minute. Nothing is imported here that a worker would wait for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import parity
from parity.core.digest import digest_of
from parity.core.environment import changes_numerics, describe_environment
from parity.core.version import VERSION
from parity.engine.process import worker_environment

END_SECONDS = 5

NANNY_VARIABLES = "distributed.nanny.pre-spawn-environ"
"""The key of Dask's configuration with what its nannies set."""


@cache
def source_digest() -> str:
    """Of every line of this package: one that was changed says of itself that it is the same version."""
    package = Path(parity.__file__).parent
    return digest_of(b"".join(path.read_bytes() for path in sorted(package.rglob("*.py"))))


def tell(dask_worker: Any = None) -> dict[str, Any]:
    """What a worker says of itself, which may have lived for longer than what is installed.

    own: its variables that change numerics, but for those that a nanny of Dask has set.
    """
    environment, set_by_nanny = describe_environment(), {}
    if getattr(dask_worker, "nanny", None):
        from dask import config

        set_by_nanny = {name: str(value) for name, value in config.get(NANNY_VARIABLES, {}).items()}
    own = {name: value for name, value in environment["variables"].items() if set_by_nanny.get(name) != value}
    return {"version": VERSION, "source": source_digest.__wrapped__(), "environment": environment, "own": own}


_processes: dict[str, subprocess.Popen[bytes]] = {}
"""By run and lane."""


def run_there(asked: str, errand: bytes, variables: dict[str, str]) -> bytes | None:
    """Have a cell run in the process of a lane; None where that is lost."""
    for one in [one for one, process in list(_processes.items()) if process.poll() is not None]:
        del _processes[one]
    process = _processes.get(asked)
    if process is None:
        environment = {name: value for name, value in worker_environment().items() if not changes_numerics(name)}
        process = _processes[asked] = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from parity.engine.errand import serve; serve({os.getpid()})"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**environment, **variables}, start_new_session=True,
        )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError):
        send(process.stdin, errand)
        return receive(process.stdout)
    return None


def end_there(token: str) -> None:
    """End every process of a run."""
    own = [_processes.pop(asked) for asked in list(_processes) if asked.startswith(f"{token}-")]
    for process in own:
        process.terminate()
    for process in own:
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        process.kill()
        process.wait()


def send(stream: Any, content: bytes) -> None:
    """Write a message, its length before it."""
    stream.write(len(content).to_bytes(8, "big") + content)
    stream.flush()


def receive(stream: Any) -> bytes | None:
    """Read a message; None where none comes any more."""
    head = stream.read(8)
    length = int.from_bytes(head, "big")
    if len(head) < 8 or length > sys.maxsize:
        return None
    content: bytes = stream.read(length)
    return content if len(content) == length else None
