"""Workers that are ready at once: forked from a process that has imported a framework, and done nothing else.

``python -m parity.engine.forking FRAMEWORK FD`` is that process; in place of a framework stand the modules that a
plug-in imports first, as ``import jax optax``. The pools of OpenMP and XLA come with the first
operation, which is the child's: after the import torch 2.13 and JAX 0.10.2 have 1 or 2 threads, TensorFlow 2.21 up to
4 (OpenBLAS's, the allocator's), all of which wait, so that no lock is held by a thread that a fork leaves behind.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from parity.core.collection import without_collection
from parity.implementations.registry import shipped_implementations

COLD = "PARITY_COLD"
"""Where this variable is set, no worker is forked."""

MOST = 12
"""Processes to fork from at a time; for one more, the one that has been without a worker for longest ends."""

_IRRELEVANT = frozenset({"COLUMNS", "LINES", "NO_COLOR", "OLDPWD", "PARITY_CACHE", "PARITY_KERNELS", "PWD",
                         "PYTEST_CURRENT_TEST", "SHLVL", "TERM", "TMPDIR", "_"})  # fmt: skip
"""Variables that no framework looks at; of all others an import may remember what they were."""

_POLL = 0.05

Stopped = Callable[[], bool]


class NotForked(Exception):
    """Nothing could be forked; one line says why."""


class ForkedProcess:
    """A forked worker with the methods of `subprocess.Popen`; what it is a child of tells how it ended."""

    def __init__(self, origin: _Origin, pid: int, stdin: int, stdout: int) -> None:
        self._origin, self.pid = origin, pid
        self.stdin, self.stdout = os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb", 0)
        self.returncode: int | None = None
        origin.workers.add(self)

    def poll(self) -> int | None:
        """The exit status, negative for a signal, None while it runs; -SIGKILL where nobody can tell any more."""
        if self.returncode is None:
            try:
                self.returncode = self._origin.ask({"status": self.pid})["status"]
            except NotForked:
                # Who outlives its origin ends by itself.
                self.returncode = -signal.SIGKILL
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """As `poll`, once it has ended; subprocess.TimeoutExpired where it has not after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            time.sleep(0.005)
        return code

    def kill(self) -> None:
        """End it; its origin does so, as no other process can have its number until that has asked how it ended."""
        if self.returncode is None:
            with suppress(NotForked):
                self._origin.ask({"kill": self.pid})


class _Origin:
    """A process to fork from, seen from the engine; one request at a time."""

    def __init__(self, framework: str, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", __name__, framework, str(theirs.fileno())]
        nothing = subprocess.DEVNULL
        with theirs:
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=dict(environment), stdin=nothing, stdout=nothing,
                # Where nothing lies that an import could find: what it finds is for workers in every folder.
                stderr=nothing, start_new_session=True, cwd="/",
            )  # fmt: skip
        self._socket, self._lock, self._ready = ours, threading.Lock(), False
        self.alive = True
        self.workers: weakref.WeakSet[ForkedProcess] = weakref.WeakSet()

    @property
    def idle(self) -> bool:
        """Whether every worker that was forked from it has ended, or was let go of."""
        return all(worker.returncode is not None for worker in self.workers)

    def ask(self, message: Mapping[str, Any], fds: tuple[int, ...] = (), stopped: Stopped = bool) -> dict[str, Any]:
        """The answer to a request; NotForked where the process is gone, or `stopped` says so while it still imports."""
        with self._lock:
            try:
                while not self._ready:
                    self._socket.settimeout(_POLL)
                    with suppress(TimeoutError):
                        if not self._socket.recv(1):
                            raise NotForked("the import failed")
                        self._ready = True
                    if stopped():
                        raise NotForked("the run was interrupted")
                self._socket.settimeout(None)
                socket.send_fds(self._socket, [json.dumps(message).encode() + b"\n"], fds)
                told = b""
                while not told.endswith(b"\n"):
                    piece = self._socket.recv(1 << 16)
                    if not piece:
                        raise NotForked("the process to fork from died")
                    told += piece
            except OSError as error:
                self.end()
                raise NotForked(f"the process to fork from died ({error.strerror})") from None
            except BaseException:
                # Whatever comes in between, also a Ctrl-C: the next one must not read an answer that was not meant.
                self.end()
                raise
        answer: dict[str, Any] = json.loads(told)
        return answer

    def end(self) -> None:
        """End it; its children notice."""
        self.alive = False
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def leave(self) -> None:
        """Let go of what belongs to the process that this one was forked from."""
        self._socket.close()
        self._process.returncode = 0


_origins: dict[tuple[object, ...], _Origin] = {}
_lock = threading.Lock()


def _start_anew() -> None:
    global _lock
    for origin in _origins.values():
        origin.leave()
    _origins.clear()
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    # An engine that is forked itself must not take the answers meant for the other one.
    os.register_at_fork(after_in_child=_start_anew)


@atexit.register
def end_origins() -> None:
    """End every process to fork from."""
    with _lock:
        for origin in _origins.values():
            if origin.alive:
                origin.end()
        _origins.clear()


def prepare_to_fork(framework: str, environment: Mapping[str, str]) -> None:
    """Begin to import a framework without waiting: several are imported side by side before the first worker."""
    with suppress(NotForked):
        _origin_of(framework, environment)


def _origin_of(framework: str, environment: Mapping[str, str]) -> _Origin:
    """What a worker is forked from, which may still import; NotForked where there can be none."""
    if not hasattr(os, "fork") or not hasattr(socket, "send_fds"):
        raise NotForked("this system cannot fork")
    if environment.get(COLD):
        raise NotForked(f"{COLD} is set")
    if not all(map(os.path.isabs, _path_of(environment))):
        raise NotForked("PYTHONPATH has a relative entry")
    key = (framework, *_surroundings(environment))
    with _lock:
        origin = _origins.pop(key, None)
        if origin is None or not origin.alive:
            _make_room()
            origin = _Origin(framework, environment)
        # The last of them is the one that was asked for last.
        _origins[key] = origin
    return origin


def _make_room() -> None:
    """End the process to fork from that has been idle for longest, where there are as many as there may be."""
    for key in [key for key, one in _origins.items() if not one.alive]:
        del _origins[key]
    if len(_origins) >= MOST:
        idle = [key for key, one in _origins.items() if one.idle]
        if not idle:
            raise NotForked(f"there are {MOST} processes to fork from, and all have workers")
        _origins.pop(idle[0]).end()


def fork_worker(framework: str, environment: Mapping[str, str], log: int, stopped: Stopped) -> ForkedProcess:
    """A worker that has the framework, or modules, imported, empty for none; NotForked where it has to be started cold.

    environment: all variables it is to see; log: where its standard error goes. It works in today's folder, and finds
    modules as a worker does that is started now.
    """
    origin = _origin_of(framework, environment)
    requests, answers = os.pipe(), os.pipe()
    message = {"folder": os.getcwd(), "umask": _umask(), "environment": dict(environment)}
    try:
        answer = origin.ask(message, (requests[0], answers[1], log), stopped)
        if "refused" in answer:
            raise NotForked(answer["refused"])
    except NotForked:
        os.close(requests[1])
        os.close(answers[0])
        raise
    finally:
        os.close(requests[0])
        os.close(answers[1])
    return ForkedProcess(origin, answer["pid"], requests[1], answers[0])


def _surroundings(environment: Mapping[str, str]) -> tuple[object, ...]:
    """What an import may have looked at, or a child inherits and cannot change back."""
    names = sorted(name for name in vars(resource) if name.startswith("RLIMIT_"))
    limits = tuple(resource.getrlimit(getattr(resource, name)) for name in names)
    cores = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    relevant = frozenset((name, value) for name, value in environment.items() if name not in _IRRELEVANT)
    return relevant, cores, os.getpriority(os.PRIO_PROCESS, 0), limits


def _umask() -> int:
    """Of this process; only setting it tells it, but on Linux, where no other thread can meet it in between."""
    with suppress(OSError), open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def main(framework: str, descriptor: int) -> None:
    """Import a framework, then fork until the engine is gone."""
    engine = os.getppid()
    imported = threading.Event()

    def end_with_engine() -> None:
        while not imported.wait(0.2):
            if os.getppid() != engine:
                os._exit(1)

    # A daemon: an import that fails ends the process, which would wait for it.
    watch = threading.Thread(target=end_with_engine, daemon=True)
    watch.start()
    base = [place for place in sys.path if place not in {os.getcwd(), *_path_of(os.environ)}]
    with without_collection():
        load = next((one.load for one in shipped_implementations().values() if one.framework == framework), None)
        if load is not None:
            load()
        for name in framework.split()[1:]:
            importlib.import_module(name)
        # What every worker needs is the same for all.
        import parity.engine.worker  # noqa: F401

        # What is here now lives as long as a worker, which need not look at it: to do so would copy its pages.
        gc.freeze()
    imported.set()
    watch.join()
    children: set[int] = set()
    with socket.socket(fileno=descriptor) as requests:
        requests.sendall(b"!")
        while True:
            told, fds, _, _ = socket.recv_fds(requests, 1 << 16, 3)
            while told and not told.endswith(b"\n"):
                told += requests.recv(1 << 16)
            if not told:
                # Without the handlers that a framework has registered for the end: nothing was computed here.
                os._exit(0)
            message = json.loads(told)
            answer: dict[str, Any] = {}
            if "status" in message:
                answer["status"] = status = _status(message["status"])
                if status is not None:
                    children.discard(message["status"])
            elif "kill" in message:
                if message["kill"] in children:
                    os.kill(message["kill"], signal.SIGKILL)
            elif refused := _shadowed([message["folder"], *_path_of(message["environment"])]):
                answer["refused"] = refused
            else:
                answer["pid"] = _forked(message, fds, requests, base)
                children.add(answer["pid"])
            for one in fds:
                os.close(one)
            requests.sendall(json.dumps(answer).encode() + b"\n")


def _shadowed(places: list[str]) -> str:
    """Why a worker that starts now would import another module than was imported here; empty where it would not."""
    loaded = {name: _file_of(module) for name, module in list(sys.modules.items()) if "." not in name}
    del loaded["__main__"]
    for place in places:
        with suppress(OSError):
            for entry in sorted(os.listdir(place)):
                name, path = entry.partition(".")[0], Path(place, entry)
                # What is built in or frozen is found before any place is looked at.
                if not loaded.get(name):
                    continue
                inits = [path / f"__init__{end}" for end in (".py", ".pyc")] if name == entry else [path]
                found = next((one for one in inits if one.suffix in {".py", ".pyc", ".so"} and one.is_file()), None)
                if found is not None and found.resolve() != Path(loaded[name]).resolve():
                    return f"there is a {name} in {place}"
    return ""


def _file_of(module: Any) -> str:
    spec = getattr(module, "__spec__", None)
    return (spec.origin or "") if spec is not None and spec.has_location else ""


def _status(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _forked(message: Mapping[str, Any], fds: list[int], requests: socket.socket, base: list[str]) -> int:
    with warnings.catch_warnings():
        # JAX warns of threads that it has not started.
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        requests.close()
        os.setsid()
        for target, one in enumerate(fds):
            os.dup2(one, target)
            os.close(one)
        _take_over(message, base)
        from parity.engine.worker import main as work

        # What was registered before is its origin's; what a framework leaves in files, as AutoGraph does, is the
        # worker's own to remove.
        atexit._clear()
        work()
        atexit._run_exitfuncs()
        code = 0
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _take_over(message: Mapping[str, Any], base: list[str]) -> None:
    """The folder, variables and places of modules of a worker that is started now, and random numbers of its own."""
    import random
    import tempfile

    import numpy as np

    os.chdir(message["folder"])
    os.umask(message["umask"])
    os.environ.clear()
    os.environ.update(message["environment"])
    # A place that is named twice counts once, but for the first, which comes when the others stand already.
    sys.path[:] = [*([] if sys.flags.safe_path else [os.getcwd()]), *dict.fromkeys([*_path_of(os.environ), *base])]
    importlib.invalidate_caches()
    tempfile.tempdir = None
    random.seed()
    np.random.seed()  # noqa: NPY002
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _path_of(environment: Mapping[str, str]) -> list[str]:
    return [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
