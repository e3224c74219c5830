"""Cells on the workers of a Dask cluster: each is run there as a lane of this machine runs it, and its files come back.

A Dask worker starts one process for a run (`parity.engine.host`), which has the variables of whoever asks and nothing
of Dask, and runs what it is sent (`parity.engine.errand`).
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from parity.core.environment import changes_numerics, describe_environment, differences
from parity.core.errors import ParityError, UsageError
from parity.core.version import VERSION
from parity.engine.account import Explaining
from parity.engine.convoy import Interrupted
from parity.engine.errand import Errand, Task, answered, files_of, keep_files, packages_of, pickled
from parity.engine.host import END_SECONDS, NANNY_VARIABLES, end_there, run_there, source_digest, tell
from parity.engine.kinds import MachineKind, OnEveryKind, folder_of, kinds_of
from parity.engine.plan import Cell
from parity.engine.result import CellResult
from parity.engine.run import PARTS, Options, cell_key, explanations_path, part_paths, read_part

LOCAL = "local:"
"""What an address begins with that asks for so many workers on this machine."""

ATTEMPTS = 3
"""Workers that may be lost over one cell."""

_CONNECT_SECONDS = 5
_JOIN_SECONDS = 10
_LOOK_SECONDS = 1.0
_SILENT_SECONDS = 30
_EVERYWHERE = ("numpy", "ml_dtypes")
_QUIET = {
    "logging": {"distributed": "critical", "distributed.client": "critical"},
    "distributed.admin.large-graph-warning-threshold": "1 TB",
}

Explains = Callable[[], AbstractContextManager[Explaining]]


@contextmanager
def cluster_at(address: str, *, each_kind: bool = False) -> Iterator[Cluster]:
    """The workers of the scheduler at an address, or as many here as ``local:4`` says.

    each_kind: workers may be of unlike releases, and have variables of their own. ParityError, one line, where there is
    none that could run anything.
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
    with ExitStack() as ends, dask.config.set({NANNY_VARIABLES: {}}), warnings.catch_warnings():
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
            cluster = Cluster(address, client, each_kind=each_kind)
        except Interrupted as error:
            raise ParityError(f"--cluster {address}: {error}") from None
        ends.callback(cluster.end)
        yield cluster


def places_of(cluster: Cluster, folder: Path, options: Options, explains: Explains | None) -> list[There]:
    """One for every worker."""
    return [There(cluster, lane, worker, folder, options, explains) for lane, worker in enumerate(cluster.known)]


def places_of_kinds(
    cluster: Cluster, folder: Path, options: Options, explains: Explains | None
) -> tuple[tuple[MachineKind, ...], list[OnEveryKind]]:
    """The kinds of the workers, and a place for every worker of the kind that has most, with one of each other kind."""
    machines = kinds_of({worker: one.environment for worker, one in cluster.known.items()}, cluster.here)
    members = [
        [worker for worker, one in cluster.known.items() if not differences(kind.environment, one.environment)]
        for kind in machines
    ]
    for number in range(len(machines)):
        (folder_of(folder, number) / PARTS).mkdir(parents=True, exist_ok=True)
    lanes = range(max(map(len, members)))
    return machines, [
        OnEveryKind(
            [
                There(
                    cluster, lane * len(machines) + number, each[lane % len(each)], folder_of(folder, number), options,
                    explains, kind.environment,
                )
                for number, (kind, each) in enumerate(zip(machines, members, strict=True))
            ]
        )
        for lane in lanes
    ]  # fmt: skip


@contextmanager
def tasks_at(address: str) -> Iterator[Callable[[Task], Future[tuple[Any, dict[str, bytes]]]]]:
    """Have tasks done by the workers of a scheduler, one at a time by each; ParityError where a task has an error."""
    with cluster_at(address) as cluster, ExitStack() as ends:
        places = places_of(cluster, Path(), Options(), None)
        free: SimpleQueue[There] = SimpleQueue()
        for place in places:
            free.put(place)

        def done(task: Task) -> tuple[Any, dict[str, bytes]]:
            place = free.get()
            try:
                return place.do(task)
            except Interrupted as error:
                raise ParityError(f"--cluster {address}: {error or 'interrupted'}") from None
            finally:
                free.put(place)

        threads = ThreadPoolExecutor(len(places))
        ends.callback(threads.shutdown, cancel_futures=True)
        for place in places:
            ends.callback(place.stop)
        yield lambda task: threads.submit(done, task)


class Known(NamedTuple):
    """A worker that takes part. refused: packages that it must not be asked for, with the reason; environment: what its
    processes will have; variables: those of it that are its own."""

    refused: Mapping[str, str]
    environment: Mapping[str, Any]
    variables: Mapping[str, str]


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

    def __init__(self, address: str, client: Any, *, each_kind: bool) -> None:
        self.address, self.client, self.token = address, client, secrets.token_hex(8)
        self.here, self._each_kind = describe_environment(), each_kind
        self.known: dict[str, Known] = {}
        self._turned_away: dict[str, str] = {}
        self._lock, self._looked = threading.Lock(), 0.0
        self.alive()
        if not self.known:
            reasons = dict.fromkeys(self._turned_away.values())
            raise ParityError(f"--cluster {address}: no worker there can take part: {'; '.join(reasons)}")
        for worker in (*self._turned_away, *self.known):
            self._say(worker)

    def alive(self) -> Mapping[str, Known]:
        """Those that are there; Interrupted where the scheduler is gone."""
        with self._lock:
            if self.client.status != "running":
                raise Interrupted(f"the scheduler at {self.address} went away; --resume goes on")
            if time.monotonic() - self._looked > _LOOK_SECONDS:
                self._look()
            return self.known

    def _look(self) -> None:
        try:
            there = set(self.client.sync(self.client.scheduler.ncores, callback_timeout=_SILENT_SECONDS))
            self.known = {worker: one for worker, one in self.known.items() if worker in there}
            new = sorted(there - self.known.keys() - self._turned_away.keys())
            told = self.client.run(tell, workers=new, on_error="return") if new else {}
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise Interrupted(f"the scheduler at {self.address} went away ({reason}); --resume goes on") from None
        for worker, found in told.items():
            if reason := _unfit(found):
                self._turned_away[worker] = reason
            else:
                self.known[worker] = self._known(found)
            if self._looked:
                self._say(worker)
        self._looked = time.monotonic()

    def _known(self, told: Mapping[str, Any]) -> Known:
        other, there = _other_packages(told["environment"]), told["environment"]["packages"]
        # Where every kind is asked, another release makes another kind.
        refused = {one: why for one, why in other.items() if not (self._each_kind and one in there)}
        own = told["own"] if self._each_kind else {}
        return Known(refused, {**told["environment"], "variables": {**self.here["variables"], **own}}, own)

    def _say(self, worker: str) -> None:
        refused = self.known[worker].refused if worker in self.known else {}
        if worker in self._turned_away:
            told = f"takes no part: {self._turned_away[worker]}"
        elif refused:
            told = f"does not run what needs another release: {'; '.join(refused.values())}"
        else:
            return
        print(f"parity: worker {worker} {told}", file=sys.stderr)

    def refused(self, cell: Cell, worker: str) -> dict[str, str]:
        """Why implementations of a cell are not run on a worker, by their own worker's name."""
        return {one.worker: lacks for one in cell.candidates if (lacks := self.lacking(one.target, worker))}

    def lacking(self, target: str, worker: str) -> str:
        """Which releases of what decides the numbers of an implementation are others on a worker, empty for none."""
        other = self.known[worker].refused if worker in self.known else {}
        return "; ".join(other[package] for package in packages_of(target) if package in other)

    def choose_for(self, task: Task, usual: str) -> str:
        """The worker on which a task can be done, the usual one of its lane if it can; ParityError where none can."""
        lacking = {worker: self.lacking(task.target, worker) if task.target else "" for worker in self.alive()}
        able = [worker for worker, lacks in lacking.items() if not lacks]
        if lacking and not able:
            raise ParityError(f"{task.name}: no worker at {self.address} has what is here: {min(lacking.values())}")
        if not able:
            raise Interrupted(f"no worker is left at {self.address}")
        return min(able, key=lambda worker: worker != usual)

    def choose(self, cell: Cell, usual: str, kind: Mapping[str, Any] | None = None) -> str:
        """The worker, of a kind where that matters, on which most of a cell can be run; the usual one of its lane where
        that is as good."""
        alive = [worker for worker, one in self.alive().items() if not kind or not differences(kind, one.environment)]
        if not alive:
            raise Interrupted(f"no worker {'of a kind ' if kind else ''}is left at {self.address}; --resume goes on")
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
    """A place on the workers of a cluster, one cell at a time; worker: the one that it asks first; kind: environment of
    those that it may ask, None for all."""

    def __init__(
        self,
        cluster: Cluster,
        lane: int,
        worker: str,
        folder: Path,
        options: Options,
        explains: Explains | None,
        kind: Mapping[str, Any] | None = None,
    ) -> None:
        self._cluster, self._lane, self._worker, self._kind = cluster, lane, worker, kind
        self._folder, self._options, self._explains = folder, options, explains
        self._stopped = threading.Event()

    def run(self, cell: Cell) -> CellResult:
        """Run a cell on a worker, on another one where that is lost, and keep what it leaves."""
        return self.keep(cell, self.ask(cell))

    def ask(self, cell: Cell) -> dict[str, bytes]:
        """What a cell leaves on a worker, by path; ParityError where it cannot be run there."""
        key = cell_key(cell, self._options.keep_traces, self._explains is not None)
        files = files_of(cell)
        variables = {name: value for name, value in os.environ.items() if changes_numerics(name)}
        for _ in range(ATTEMPTS):
            self._worker = self._cluster.choose(cell, self._worker, self._kind)
            refused = self._cluster.refused(cell, self._worker)
            # What was not run for want of a package is asked again by --resume.
            errand = Errand(cell, "" if refused else key, self._options, self._explains, self._lane, os.getcwd(), files,
                            refused)  # fmt: skip
            own = self._cluster.known[self._worker].variables if self._worker in self._cluster.known else {}
            answer = self._answer(pickled(errand), {**variables, **own})
            if answer is not None:
                found: dict[str, bytes] | str = answered(answer, self._worker)
                if isinstance(found, str):
                    raise ParityError(f"worker {self._worker}: {found}")
                return found
        raise Interrupted(f"{cell.name}: {ATTEMPTS} workers were lost over it, {self._worker} last; --resume goes on")

    def do(self, task: Task) -> tuple[Any, dict[str, bytes]]:
        """What a task returns on a worker, and the files that it leaves; what it raises is raised here."""
        variables = {name: value for name, value in os.environ.items() if changes_numerics(name)}
        for _ in range(ATTEMPTS):
            self._worker = self._cluster.choose_for(task, self._worker)
            answer = self._answer(pickled(task), variables)
            if answer is not None:
                found: tuple[Any, dict[str, bytes]] | ParityError = answered(answer, self._worker)
                if isinstance(found, ParityError):
                    raise found
                return found
        raise Interrupted(f"{task.name}: {ATTEMPTS} workers were lost over it, {self._worker} last")

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

    def keep(self, cell: Cell, found: Mapping[str, bytes]) -> CellResult:
        """Keep what a cell left, and read its result."""
        explanations_path(self._folder, cell.name).unlink(missing_ok=True)
        # The result comes last: where it is, all of a cell is.
        keep_files(found, self._folder, self._worker, part_paths(self._folder, cell.name)[0])
        result = read_part(self._folder, cell.name)
        if result is None or result.key not in ("", cell_key(cell, self._options.keep_traces, bool(self._explains))):
            raise ParityError(f"worker {self._worker}: its answer is none to {cell.name}")
        return result

    def stop(self) -> None:
        """Let nobody wait any more."""
        self._stopped.set()

    def close(self) -> None:
        """What was started ends with the cluster."""
