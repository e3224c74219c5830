"""A worker process seen from the engine: start it, ask it, notice its death or its silence."""

from __future__ import annotations

import json
import logging
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import parity
from parity.core import bootstrap
from parity.core.errors import ParityError
from parity.core.files import json_in
from parity.engine.forking import ForkedProcess, NotForked, Stopped, fork_worker
from parity.engine.protocol import DIED, HUNG, INTERRUPTED, PROTOCOL

WORKER_MODULE = "parity.engine.worker"
START_SECONDS = 120.0

LONGEST_ANSWER = 1 << 24
"""Bytes; a traceback of a user's code is the longest that there is."""

_POLL = 0.05

_WARNED = re.compile(r"\S+:\d+: \w*Warning: ")
"""How Python begins a warning; nobody dies of one."""

_log = logging.getLogger("parity")

_PACKAGE = Path(parity.__file__).resolve().parent
_OF_THIS_PYTHON = ("PYTHONPATH", "PYTHONHOME")
"""Variables that would bring packages of this interpreter to another."""


def worker_environment(variables: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """All variables of a worker that starts now; variables: beside those of this process."""
    environment = {**os.environ, **variables}
    # Workers share the cores: a thread that spins for its next task takes them from the others.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    return environment


class WorkerFailed(Exception):
    """The process is gone: it died, or was ended because it did not answer in time.

    forked: it died and was a forked one, so that the fork may be to blame and not what it was asked.
    """

    def __init__(self, kind: str, reason: str, forked: bool = False) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.forked = kind, reason, forked


class WorkerProcess:
    """One worker under one interpreter; answers come in the order of the requests.

    python: an interpreter that may have another NumPy and other frameworks, and has no need of parity; empty for this
    one. variables: of its environment, beside those of this process. framework: what it is to have imported, where it
    can be forked; `cold` says why it was not, and why it must not be where that is given. stopped: is asked until it
    is ready. WorkerFailed where it does not start.
    """

    here = False

    def __init__(
        self,
        name: str,
        log: Path,
        python: str = "",
        variables: Mapping[str, str] = MappingProxyType({}),
        framework: str = "",
        stopped: Stopped = bool,
        cold: str = "",
    ) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = worker_environment(variables)
        self.cold = "it has an interpreter of its own" if python else cold
        with log.open("ab") as errors:
            self._said = errors.tell()
            self._process = self._started(environment, errors.fileno(), python, framework, stopped)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)
        self._buffer = b""
        self.send({"op": "hello"})
        hello = self.receive(START_SECONDS, stopped)
        if hello.get("protocol") != PROTOCOL:
            self.kill()
            raise ParityError(
                f"worker {name!r} speaks protocol {hello.get('protocol')!r}; this engine speaks {PROTOCOL}"
            )
        if not isinstance(hello.get("environment"), dict):
            raise self._not_understood("it greets without an environment")
        self.environment: dict[str, Any] = hello["environment"]

    def _started(
        self, environment: dict[str, str], log: int, python: str, framework: str, stopped: Stopped
    ) -> subprocess.Popen[bytes] | ForkedProcess:
        if not python:
            try:
                if self.cold:
                    raise NotForked(self.cold)
                return fork_worker(framework, environment, log, stopped)
            except NotForked as reason:
                if stopped():
                    raise WorkerFailed(INTERRUPTED, "the run was interrupted") from None
                self.cold = str(reason)
                _log.info("worker %s is started cold: %s", self.name, reason)
        command = [sys.executable, "-m", WORKER_MODULE]
        if python:
            command = [python, bootstrap.__file__, WORKER_MODULE]
            for name in _OF_THIS_PYTHON:
                environment.pop(name, None)
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                # A Ctrl-C of the terminal is the engine's to handle: it must end with a readable run.
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerFailed(DIED, f"{command[0]} cannot be started ({error.strerror})") from None

    @property
    def process_id(self) -> int:
        """The operating system's number of the process."""
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Put a request on its way; where the process is gone, `receive` tells after its last answers."""
        # What it says from now on is what may tell of its death.
        self._said = self.log.stat().st_size if self.log.exists() else 0
        with suppress(BrokenPipeError):
            self._requests.write(json.dumps(message).encode() + b"\n")
            self._requests.flush()

    def receive(self, timeout: float | None, stopped: Stopped | None = None) -> dict[str, Any]:
        """The next answer; WorkerFailed after `timeout` seconds (the process is then ended) or at its death.

        stopped: is asked meanwhile whether the answer is still wanted.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if stopped is not None and stopped():
                self.kill()
                raise WorkerFailed(INTERRUPTED, "the run was interrupted")
            if not self._selector.select(left if stopped is None or left is None else min(left, _POLL)):
                if left is None or left > 0:
                    continue
                self.kill()
                raise WorkerFailed(HUNG, f"no answer in {timeout:g} s (--timeout); the process was ended")
            piece = os.read(self._answers.fileno(), 1 << 16)
            if not piece:
                raise self._died()
            self._buffer += piece
            if len(self._buffer) > LONGEST_ANSWER:
                raise self._not_understood(f"it has no end after {LONGEST_ANSWER >> 20} MiB")
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            answer = json_in(line)
        except ValueError as error:
            raise self._not_understood(str(error)) from None
        if not isinstance(answer, dict):
            raise self._not_understood(f"it is a {type(answer).__name__}")
        return answer

    def _not_understood(self, why: str) -> WorkerFailed:
        self.kill()
        return WorkerFailed(DIED, f"an answer of the worker process cannot be understood ({why}); it was ended")

    def ask(self, message: dict[str, Any], timeout: float | None) -> dict[str, Any]:
        """Send and receive."""
        self.send(message)
        return self.receive(timeout)

    def close(self) -> None:
        """Ask the process to end, and end it where it does not."""
        if self._process.poll() is None:
            self.send({"op": "quit"})
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
        self.kill()

    def end(self) -> None:
        """End the process without waiting; whoever is waiting for its answer sees it die."""
        if self._process.poll() is None:
            self._process.kill()

    def kill(self) -> None:
        """End the process now, and let go of its pipes."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._selector.close()
        for pipe in (self._requests, self._answers):
            with suppress(OSError):
                pipe.close()

    def _died(self) -> WorkerFailed:
        code = self._process.wait()
        self.kill()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        last = self._last_words()
        return WorkerFailed(DIED, f"the worker process died ({how})" + (f": {last}" if last else ""), not self.cold)

    def _last_words(self) -> str:
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._said)
            lines = log.read().decode(errors="replace").split("\n")
        spoken = [line for line in lines if line.strip() and not line[0].isspace() and not _WARNED.match(line)]
        return spoken[-1].strip()[:200] if spoken else ""
