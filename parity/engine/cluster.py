"""Cells on the workers of a Dask cluster: each is run there as a lane of this machine runs it, and its files come back.

A Dask worker starts one process for a run (`parity.engine.host`), which has the variables of whoever asks and nothing
of Dask, and runs what it is sent (`parity.engine.errand`).
"""

from __future__ import annotations

import os
import pickle
import secrets
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from parity.core.environment import changes_numerics, describe_environment
from parity.core.errors import ParityError, UsageError
from parity.core.files import write_atomically
from parity.core.version import VERSION
from parity.engine.account import Explaining
from parity.engine.convoy import Interrupted
from parity.engine.errand import Errand, files_of, packages_of
from parity.engine.host import END_SECONDS, end_there, run_there, source_digest, tell
from parity.engine.plan import Cell
from parity.engine.result import CellResult
from parity.engine.run import Options, cell_key, explanations_path, part_paths, read_part

LOCAL = "local:"
"""What an address begins with that asks for so many workers on this machine."""

ATTEMPTS = 3
"""Workers that may be lost over one cell."""

_CONNECT_SECONDS = 5
_JOIN_SECONDS = 10
_LOOK_SECONDS = 1.0
_SILENT_SECONDS = 30
_EVERYWHERE = ("numpy", "ml_dtypes")
_VARIABLES = "distributed.nanny.pre-spawn-environ"
_QUIET = {
    "logging": {"distributed": "critical", "distributed.client": "critical"},
    "distributed.admin.large-graph-warning-threshold": "1 TB",
}

Explains = Callable[[], AbstractContextManager[Explaining]]


@contextmanager
def cluster_at(address: str, folder: Path, options: Options, explains: Explains | None) -> Iterator[list[There]]:
    """A place for every worker of the scheduler at an address, or of as many here as ``local:4`` says.

    ParityError, one line, where there is none that could run anything.
    """
    try:
        import dask

        # What goes wrong is told here, in one line; it is read when `distributed` is imported.
        dask.config.set(_QUIET)
        import distributed
    except ImportError as error:
        raise ParityError(
            f"--cluster {address}: {error.name} is not installed; pip install 'parity[cluster]'"
        ) from None
    number = address.removeprefix(LOCAL)
    if number != address and not (number.isdecimal() and int(number)):
        raise UsageError(f"--cluster {address}: {number!r} is no number of workers; allowed: {LOCAL}4, or an address")
    # It would set them in this process, and with them its threads.
    with ExitStack() as ends, dask.config.set({_VARIABLES: {}}), warnings.catch_warnings():
        # Releases that matter are compared below.
        warnings.simplefilter("ignore")
        scheduler = address
        if number != address:
            scratch = ends.enter_context(tempfile.TemporaryDirectory(prefix="parity-cluster-"))
            ends.enter_context(dask.config.set({"temporary-directory": scratch}))
            with _not_interrupted():
                scheduler = ends.enter_context(
                    distributed.LocalCluster(
                        n_workers=int(number), threads_per_worker=1, processes=True, dashboard_address=None,
                        memory_limit=None, silence_logs=50,
                    )
                ).scheduler_address  # fmt: skip
        try:
            distributed.comm.resolve_address(scheduler)
            client = distributed.Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
            ends.callback(_closed, client)
            client.wait_for_workers(1, timeout=_JOIN_SECONDS)
        except TimeoutError:
            raise ParityError(f"--cluster {address}: no worker has joined it in {_JOIN_SECONDS} s") from None
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ParityError(f"--cluster {address}: no scheduler answers there ({reason[:200]})") from None
        try:
            cluster = Cluster(address, client)
        except Interrupted as error:
            raise ParityError(f"--cluster {address}: {error}") from None
        ends.callback(cluster.end)
        yield [There(cluster, lane, worker, folder, options, explains) for lane, worker in enumerate(cluster.known)]


@contextmanager
def _not_interrupted() -> Iterator[None]:
    """Have nothing that is started by Dask's threads hear of a Ctrl-C of the terminal, which is this process's."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # It lets signals in again, in the thread that asks for it first.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _closed(client: Any) -> None:
    with suppress(Exception):
        client.close(timeout=END_SECONDS)


class Cluster:
    """The workers of a scheduler that may take part, and what each of them must not be asked; client: Dask's."""

    def __init__(self, address: str, client: Any) -> None:
        self.address, self.client, self.token = address, client, secrets.token_hex(8)
        self.known: dict[str, Mapping[str, str]] = {}
        self._turned_away: dict[str, str] = {}
        self._lock, self._looked = threading.Lock(), 0.0
        self.alive()
        if not self.known:
            reasons = dict.fromkeys(self._turned_away.values())
            raise ParityError(f"--cluster {address}: no worker there can take part: {'; '.join(reasons)}")
        for worker in (*self._turned_away, *self.known):
            self._say(worker)

    def alive(self) -> Mapping[str, Mapping[str, str]]:
        """Packages of other releases than here, with the reason, by worker; Interrupted where the scheduler is gone."""
        with self._lock:
            if self.client.status != "running":
                raise Interrupted(f"the scheduler at {self.address} went away; --resume goes on")
            if time.monotonic() - self._looked > _LOOK_SECONDS:
                self._look()
            return self.known

    def _look(self) -> None:
        try:
            there = set(self.client.sync(self.client.scheduler.ncores, callback_timeout=_SILENT_SECONDS))
            self.known = {worker: refused for worker, refused in self.known.items() if worker in there}
            new = sorted(there - self.known.keys() - self._turned_away.keys())
            told = self.client.run(tell, workers=new, on_error="return") if new else {}
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise Interrupted(f"the scheduler at {self.address} went away ({reason}); --resume goes on") from None
        for worker, found in told.items():
            if reason := _unfit(found):
                self._turned_away[worker] = reason
            else:
                self.known[worker] = _other_packages(found["environment"])
            if self._looked:
                self._say(worker)
        self._looked = time.monotonic()

    def _say(self, worker: str) -> None:
        refused = self.known.get(worker, {})
        if worker in self._turned_away:
            told = f"takes no part: {self._turned_away[worker]}"
        elif refused:
            told = f"does not run what needs another release: {'; '.join(refused.values())}"
        else:
            return
        print(f"parity: worker {worker} {told}", file=sys.stderr)

    def refused(self, cell: Cell, worker: str) -> dict[str, str]:
        """Why implementations of a cell are not run on a worker, by their own worker's name."""
        other = self.known.get(worker, {})
        return {
            one.worker: "; ".join(other[package] for package in packages_of(one) if package in other)
            for one in cell.candidates
            if any(package in other for package in packages_of(one))
        }

    def choose(self, cell: Cell, usual: str) -> str:
        """The worker on which most of a cell can be run; the usual one of its lane where that is as good."""
        alive = self.alive()
        if not alive:
            raise Interrupted(f"no worker is left at {self.address}; --resume goes on")
        return min(alive, key=lambda worker: (len(self.refused(cell, worker)), worker != usual))

    def end(self) -> None:
        """End what was started on the workers."""
        with suppress(Exception):
            if self.client.status == "running":
                self.client.run(end_there, self.token, on_error="ignore")


def _unfit(told: Any) -> str:
    """Why a worker cannot take part at all."""
    if isinstance(told, BaseException):
        return f"no parity of this version there ({type(told).__name__}: {' '.join(str(told).split())[:200]})"
    if told["version"] != VERSION:
        return f"parity {told['version']} there, {VERSION} here"
    if told["source"] != source_digest():
        return f"parity {VERSION} there too, but not the same source"
    other = _other_packages(told["environment"])
    return "; ".join(other[package] for package in _EVERYWHERE if package in other)


def _other_packages(environment: Mapping[str, Any]) -> dict[str, str]:
    there, here = environment["packages"], describe_environment()["packages"]
    return {
        package: f"{package} {there.get(package, 'is absent')} there, {here.get(package, 'absent')} here"
        for package in sorted({*there, *here})
        if there.get(package) != here.get(package)
    }


class There:
    """A place on the workers of a cluster, one cell at a time; worker: the one that it asks first."""

    def __init__(
        self, cluster: Cluster, lane: int, worker: str, folder: Path, options: Options, explains: Explains | None
    ) -> None:
        self._cluster, self._lane, self._worker = cluster, lane, worker
        self._folder, self._options, self._explains = folder, options, explains
        self._stopped = threading.Event()

    def run(self, cell: Cell) -> CellResult:
        """Run a cell on a worker, on another one where that is lost, and keep what it leaves."""
        key = cell_key(cell, self._options.keep_traces, self._explains is not None)
        files = files_of(cell)
        variables = {name: value for name, value in os.environ.items() if changes_numerics(name)}
        for _ in range(ATTEMPTS):
            self._worker = self._cluster.choose(cell, self._worker)
            refused = self._cluster.refused(cell, self._worker)
            # What was not run for want of a package is asked again by --resume.
            errand = Errand(cell, "" if refused else key, self._options, self._explains, self._lane, os.getcwd(), files,
                            refused)  # fmt: skip
            found = self._answer(pickle.dumps(errand), variables)
            if found is not None:
                return self._kept(cell, pickle.loads(found))
        raise Interrupted(f"{cell.name}: {ATTEMPTS} workers were lost over it, {self._worker} last; --resume goes on")

    def _answer(self, errand: bytes, variables: Mapping[str, str]) -> bytes | None:
        """What a worker answers, None where it is lost."""
        client, ended = self._cluster.client, threading.Event()
        asked = f"{self._cluster.token}-{self._lane}"
        future = client.submit(run_there, asked, errand, dict(variables), workers=[self._worker],
                               allow_other_workers=False, pure=False)  # fmt: skip
        future.add_done_callback(lambda _: ended.set())
        while not ended.wait(_LOOK_SECONDS / 4):
            if self._stopped.is_set():
                raise Interrupted
            if self._worker not in self._cluster.alive():
                future.cancel()
                return None
        if self._stopped.is_set():
            raise Interrupted
        if future.status == "finished":
            answer: bytes | None = future.result()
            return answer
        self._cluster.alive()
        if future.status == "error" and type(future.exception()).__name__ != "KilledWorker":
            error = future.exception()
            raise ParityError(f"worker {self._worker}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return None

    def _kept(self, cell: Cell, found: dict[str, bytes] | str) -> CellResult:
        if isinstance(found, str):
            raise ParityError(f"worker {self._worker}: {found}")
        explanations_path(self._folder, cell.name).unlink(missing_ok=True)
        last = part_paths(self._folder, cell.name)[0]
        # The result comes last: where it is, all of a cell is.
        for name in sorted(found, key=lambda name: self._folder / name == last):
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._folder / name, found[name])
        result = read_part(self._folder, cell.name)
        assert result is not None
        return result

    def stop(self) -> None:
        """Let nobody wait any more."""
        self._stopped.set()

    def close(self) -> None:
        """What was started ends with the cluster."""
