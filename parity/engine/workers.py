"""The worker processes of one lane: started when first needed, one per framework, served many cells."""

from __future__ import annotations

import threading
from pathlib import Path

from parity.engine.process import WORKER_MODULE, WorkerFailed, WorkerProcess


class Workers:
    """Persistent processes by name; a process that failed is started anew when next asked for."""

    def __init__(self, logs: Path, lane: int) -> None:
        self._logs, self._lane = logs, lane
        self._processes: dict[str, WorkerProcess] = {}
        self._stopped = False
        self._lock = threading.Lock()

    def get(self, name: str, module: str = WORKER_MODULE) -> WorkerProcess:
        """The process of that name, running a module; WorkerFailed where it cannot be started."""
        with self._lock:
            if self._stopped:
                raise WorkerFailed("interrupted", "the run was interrupted")
            if name not in self._processes:
                file_name = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
                self._processes[name] = WorkerProcess(name, self._logs / f"{file_name}-{self._lane}.log", module=module)
            return self._processes[name]

    @property
    def stopped(self) -> bool:
        """Whether stop() was called."""
        return self._stopped

    def discard(self, name: str) -> None:
        """Forget a process that failed."""
        with self._lock:
            process = self._processes.pop(name, None)
        if process is not None:
            process.kill()

    def close(self) -> None:
        """Let every process end."""
        for process in self._processes.values():
            process.close()
        self._processes.clear()

    def stop(self) -> None:
        """End every process now, and start none again; safe to call from another thread."""
        with self._lock:
            self._stopped = True
            for process in self._processes.values():
                process.end()
