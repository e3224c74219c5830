"""Processes that carry out one implementation together, and end with the one that started them, however it ends."""

from __future__ import annotations

import atexit
import importlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from parity.core import bootstrap
from parity.core.collection import without_collection
from parity.core.errors import Unsupported

RANKS = 2


class Ranks:
    """RANKS processes, each of which answers every request; who dies takes the others along.

    module: its `serve(rank, folder, threads)` gives what answers in one of them; folder: where they meet, and nobody
    else. Unsupported where they cannot be started, or do not find each other.
    """

    def __init__(self, module: str, threads: int) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        # A file instead of a port: nobody else can take it in between.
        with tempfile.TemporaryDirectory(prefix="parity-ranks-") as folder:
            for rank in range(RANKS):
                asked = json.dumps([sys.path, [module, rank, folder, threads, os.getpid()]])
                try:
                    self._processes.append(
                        subprocess.Popen(
                            [sys.executable, bootstrap.__file__, "parity.implementations.ranks", asked],
                            stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE,
                            env=_environment(),
                        )
                    )
                except OSError as error:
                    self.close()
                    raise Unsupported(f"no second process can be started ({error.strerror})") from None
            atexit.register(self.close)
            try:
                self._answers()
            except RuntimeError as error:
                raise Unsupported(f"{RANKS} processes did not find each other: {error}") from None

    @property
    def process_ids(self) -> list[int]:
        """The operating system's numbers of the processes."""
        return [one.pid for one in self._processes]

    @property
    def ended(self) -> bool:
        """Whether one of them has gone, and all of them with it."""
        return any(one.poll() is not None for one in self._processes)

    def ask(self, message: Mapping[str, Any]) -> list[Any]:
        """The answer of each; Unsupported as all of them raised it, RuntimeError for all else, after which all end."""
        told = pickle.dumps(message, protocol=5)
        for one in self._processes:
            assert one.stdin is not None
            with suppress(BrokenPipeError):
                one.stdin.write(told)
                one.stdin.flush()
        return self._answers()

    def close(self) -> None:
        """End them all."""
        for one in self._processes:
            one.kill()
            one.wait()
            for pipe in (one.stdin, one.stdout):
                assert pipe is not None
                with suppress(OSError):
                    pipe.close()
        atexit.unregister(self.close)

    def _answers(self) -> list[Any]:
        found: list[Any] = []
        refused: list[str] = []
        for rank, one in enumerate(self._processes):
            assert one.stdout is not None
            try:
                raised, value = pickle.load(one.stdout)
            except (EOFError, pickle.UnpicklingError):
                code = one.wait()
                self.close()
                raise RuntimeError(f"process {rank} of {RANKS} died (exit status {code})") from None
            if raised == "raised":
                # The other one may wait for it for ever.
                self.close()
                raise RuntimeError(value)
            refused += [value] if raised else []
            found.append(value)
        if refused:
            raise Unsupported(refused[0])
        return found


def _environment() -> dict[str, str]:
    """Variables of a process that talks to those of its machine only."""
    found = dict(os.environ)
    if sys.platform == "linux":
        found.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return found


def serve(module: str, rank: int, folder: str, threads: int, parent: int) -> None:
    """Answer requests, each a pickle on standard input, until it ends or the parent is gone."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with os.fdopen(os.dup(0), "rb") as requests, os.fdopen(os.dup(1), "wb") as answers:
        # Whatever the framework prints must not end up among the answers.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        try:
            with without_collection():
                answer = importlib.import_module(module).serve(rank, folder, threads)
            found: tuple[str, Any] = ("", None)
        except Exception as error:
            found = "raised", _one_line(error)
        while True:
            pickle.dump(found, answers, protocol=5)
            answers.flush()
            try:
                message = pickle.load(requests)
            except EOFError:
                os._exit(0)
            try:
                found = "", answer(message)
            except Unsupported as error:
                found = "unsupported", str(error)
            except Exception as error:
                found = "raised", _one_line(error)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, also in the middle of waiting for the other one."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


if __name__ == "__main__":
    # Nothing is searched but where the process that started this one does.
    sys.path[:], of_this = json.loads(sys.argv[2])
    serve(*of_this)
