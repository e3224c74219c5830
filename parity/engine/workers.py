"""The worker processes of one lane: started when first needed, one per framework, served many cells."""

from __future__ import annotations

import glob
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from parity.core.environment import processors
from parity.engine.forking import prepare_to_fork
from parity.engine.process import WorkerFailed, WorkerProcess, worker_environment
from parity.engine.protocol import INTERRUPTED


class Worker(Protocol):
    """What answers requests in their order: a process, or an implementation in this one."""

    environment: dict[str, Any]
    here: bool
    """Whether it works in this process, while it is sent a request."""

    def send(self, message: dict[str, Any]) -> None:
        """Put a request on its way."""

    def receive(self, timeout: float | None) -> dict[str, Any]:
        """The next answer; WorkerFailed where none can come."""

    def ask(self, message: dict[str, Any], timeout: float | None) -> dict[str, Any]:
        """Send and receive."""

    def close(self) -> None:
        """End it."""

    def end(self) -> None:
        """End it without waiting."""

    def kill(self) -> None:
        """End it now."""


LOGS = "logs"
"""Folder of a run directory in which every worker has a log."""


def _file_name(worker: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in worker)


def logs_of(folder: Path, worker: str) -> list[Path]:
    """The logs that a worker has left in a run directory, those in which anything stands."""
    found = (folder / LOGS).glob(f"{glob.escape(_file_name(worker))}-*.log")
    return sorted(path for path in found if path.stat().st_size)


class Workers:
    """Persistent processes by name; a process that failed is started anew when next asked for.

    variables: of their environment, beside those of this process. lanes: that share the processors. at_once: how many
    processes are to be at work at a time. refused: why what a worker of that name serves is not run here.
    """

    def __init__(
        self, logs: Path, lane: int, variables: Mapping[str, str] = MappingProxyType({}), lanes: int = 1
    ) -> None:
        self._logs, self._lane, self._variables = logs, lane, variables
        self.at_once = max(1, processors() // lanes)
        self.refused: Mapping[str, str] = {}
        self._processes: dict[str, Worker] = {}
        self._cold: dict[str, str] = {}
        self._stopped = False
        self._lock = threading.Lock()

    def admit(self, name: str, worker: Worker) -> None:
        """Let a worker of another kind serve under a name, until it is discarded."""
        with self._lock:
            self._processes[name] = worker

    def expect(self, frameworks: Mapping[str, str]) -> None:
        """Let what processes need be imported side by side, before the first one is asked for; frameworks: by name."""
        with self._lock:
            for name, framework in frameworks.items():
                if not (self._stopped or name in self._processes or name in self._cold or name in self.refused):
                    prepare_to_fork(framework, worker_environment(self._variables))

    def get(self, name: str, framework: str, python: str = "") -> Worker:
        """The process of that name, forked with a framework or under an interpreter; WorkerFailed where it fails."""
        with self._lock:
            if self._stopped:
                raise WorkerFailed(INTERRUPTED, "the run was interrupted")
            if name not in self._processes:
                self._processes[name] = WorkerProcess(
                    name,
                    self._logs / f"{_file_name(name)}-{self._lane}.log",
                    python,
                    self._variables,
                    framework=framework,
                    stopped=lambda: self._stopped,
                    cold=self._cold.get(name, ""),
                )
            return self._processes[name]

    @property
    def stopped(self) -> bool:
        """Whether stop() was called."""
        return self._stopped

    def discard(self, name: str, cold: str = "") -> None:
        """Forget a process that failed; cold: why the next one of that name must not be forked."""
        with self._lock:
            process = self._processes.pop(name, None)
            if cold:
                self._cold[name] = cold
        if process is not None:
            process.kill()

    def restart(self, name: str) -> None:
        """Let a process end, so that the next one of that name is another."""
        with self._lock:
            process = self._processes.get(name)
        if process is not None:
            # Until it has ended, a stop has to find it.
            process.close()
            self.discard(name)

    def close(self) -> None:
        """Let every process end."""
        for process in self._processes.values():
            process.close()
        self._processes.clear()

    def stop(self) -> None:
        """End every process now, and start none again; safe to call from another thread."""
        # First: who is starting a process holds the lock, and looks at this meanwhile.
        self._stopped = True
        with self._lock:
            for process in self._processes.values():
                process.end()
