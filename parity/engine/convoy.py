"""The implementations of a cell on their way: asked side by side, each on its own when it fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from parity.comparison.trace import create_rows, open_rows
from parity.core.environment import MACHINE
from parity.core.errors import ParityError
from parity.core.layout import Layout
from parity.core.state import QUANTITIES
from parity.engine.plan import Candidate
from parity.engine.process import WorkerFailed
from parity.engine.protocol import DIED, PROGRESS, SKIPPING_KINDS, misshapen
from parity.engine.result import Failure
from parity.engine.window import Window
from parity.engine.workers import Worker, Workers
from parity.numerics.formats import Format, format_named, formats_in, row_format, widest

Message = dict[str, Any]


class Interrupted(Exception):
    """The run was asked to stop; the cell leaves nothing behind."""


class Rerun(Exception):
    """A worker process was lost, and with it the other implementations it was running."""


@dataclass
class Participant:
    """An implementation on its way: where its rows are, what it was asked last, how far it came.

    stored: (1,), the last step whose state is stored, written by the worker. done: the last step it
    has answered for. formats: of every parameter, for the quantities that are not as wide as the weights.
    """

    number: int
    candidate: Candidate
    folder: Path
    rows: dict[str, np.ndarray]
    stored: np.ndarray
    asked: str = ""
    quantities: tuple[str, ...] = ()
    moved: bool = False
    done: int = 0
    formats: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def formats_of(self, quantity: str, layout: Layout, format: Format) -> tuple[Format, ...]:
        """Of every parameter."""
        if quantity in self.formats:
            return tuple(map(format_named, self.formats[quantity]))
        return formats_in(layout, format)

    def widen(self, formats: Mapping[str, Sequence[str]]) -> None:
        """Take note of what is wider than the weights, and look at the rows that the worker has put in their place."""
        for quantity, names in formats.items():
            before = self.formats.get(quantity, names)
            self.formats[quantity] = tuple(
                widest(map(format_named, both)).name for both in zip(before, names, strict=True)
            )
            rows = open_rows(self.folder, quantity, "r+")
            if rows.dtype != self.rows[quantity].dtype:
                self.rows[quantity] = rows


def participant_in(
    root: Path, number: int, candidate: Candidate, window: Window, layout: Layout, format: Format
) -> Participant:
    """A participant with a folder of its own under `root`, its rows still zero bits."""
    folder = root / candidate.name
    stored = row_format(layout, format)
    rows = {quantity: create_rows(folder, quantity, window.rows, layout, stored) for quantity in QUANTITIES}
    path = folder / f"{PROGRESS}.npy"
    progress = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint64, shape=(1,))
    return Participant(number, candidate, folder, rows, progress)


class _Owed(NamedTuple):
    """An answer on its way: that in this place of what a worker gives."""

    worker: Worker
    answers: Future[list[Message | WorkerFailed]]
    place: int

    def answer(self) -> Message:
        found = self.answers.result()[self.place]
        if isinstance(found, WorkerFailed):
            raise found
        return found


def _answers(worker: Worker, messages: Collection[Message], timeout: float | None) -> list[Message | WorkerFailed]:
    """Of a worker to several requests, in their order; that it failed is the last one."""
    found: list[Message | WorkerFailed] = []
    try:
        for message in messages:
            worker.send(message)
        for _ in messages:
            found.append(worker.receive(timeout))
    except WorkerFailed as failure:
        found.append(failure)
    return found


class Convoy:
    """Participants that go step by step together; who fails is left behind, with the reason in `failures`.

    traces_kept: the folder of one that failed is then removed, as no trace is whole that has no end. As many processes
    are at work at a time as `workers` allows: those that share a core take its caches from each other.
    """

    def __init__(
        self,
        participants: Sequence[Participant],
        workers: Workers,
        timeout: float | None,
        steps: int,
        failures: dict[str, Failure],
        *,
        traces_kept: bool,
    ) -> None:
        self.members = {participant.candidate.name: participant for participant in participants}
        self.alive = list(self.members)
        self.failures = failures
        self.environments: dict[str, dict[str, object]] = {}
        self._workers, self._timeout, self._steps = workers, timeout, steps
        self._traces_kept = traces_kept
        self._bystanders: list[str] = []
        self._threads = ThreadPoolExecutor(workers.at_once, "parity-ask")
        self._owed: dict[str, _Owed] = {}
        candidates = [participant.candidate for participant in participants]
        workers.expect({one.worker: one.framework for one in candidates if not one.python})

    def close(self) -> None:
        """Let go of everyone; a process that still owes an answer is ended, as nobody would hear it."""
        unheard = {
            self.members[name].candidate.worker: owed.worker
            for name, owed in self._owed.items()
            if not owed.answers.done()
        }
        for worker in unheard.values():
            worker.end()
        self._threads.shutdown(cancel_futures=True)
        for name in unheard:
            self._workers.discard(name)

    def ask(self, message_for: Callable[[Participant], Message]) -> None:
        """Ask everyone who is left, and wait for all answers."""
        self.receive(self.send(message_for))

    def restart(self, start: Callable[[Participant], Message], finish: Callable[[Participant], Message]) -> None:
        """Let those that are restarted save, end their processes, and let new ones load."""
        restarted = [name for name in self.alive if self.members[name].candidate.restart]
        self.receive(self.send(finish, restarted))
        for worker in {self.members[name].candidate.worker for name in restarted}:
            self._workers.restart(worker)
        self.receive(self.send(start, [name for name in restarted if name in self.alive]))

    def send(self, message_for: Callable[[Participant], Message], names: Iterable[str] | None = None) -> list[str]:
        """Put a request for everyone, or those of some names, on its way; they work side by side."""
        requests: dict[Worker, dict[str, Message]] = {}
        for name in list(self.alive if names is None else names):
            participant = self.members[name]
            if name not in self.alive:
                continue
            try:
                worker = self._worker_of(participant)
            except WorkerFailed as failure:
                self._lose(name, failure)
                continue
            self.environments[participant.candidate.home] = worker.environment
            message = message_for(participant)
            participant.asked = message["op"]
            requests.setdefault(worker, {})[name] = message
        for worker, messages in requests.items():
            answers = self._asked(worker, messages.values())
            self._owed |= {name: _Owed(worker, answers, place) for place, name in enumerate(messages)}
        return [name for messages in requests.values() for name in messages]

    def _asked(self, worker: Worker, messages: Collection[Message]) -> Future[list[Message | WorkerFailed]]:
        if not worker.here:
            return self._threads.submit(_answers, worker, messages, self._timeout)
        # What a framework keeps for each thread, as torch does its modes, is that of the user's own.
        answers: Future[list[Message | WorkerFailed]] = Future()
        answers.set_result(_answers(worker, messages, self._timeout))
        return answers

    def receive(self, asked: Iterable[str]) -> None:
        """Take the answers, in the order of the requests; Rerun where a process took bystanders with it."""
        for name in asked:
            if name not in self.alive:
                continue
            participant = self.members[name]
            try:
                answer = self._owed[name].answer()
                if wrong := misshapen(answer, self._steps):
                    raise WorkerFailed(DIED, f"an answer of the worker cannot be understood ({wrong})")
                try:
                    participant.widen(answer.get("formats", {}))
                except (ParityError, ValueError, OSError) as error:
                    raise WorkerFailed(DIED, f"an answer of the worker cannot be understood ({error})") from None
            except WorkerFailed as failure:
                self._lose(name, failure)
                continue
            if not answer["ok"]:
                self._fail(name, answer["kind"], answer["reason"], answer.get("traceback", ""))
            elif "step" in answer:
                participant.quantities, participant.done = tuple(answer["quantities"]), answer["step"]
            elif MACHINE in answer:
                home = participant.candidate.home
                self.environments[home] = {**self.environments[home], MACHINE: answer[MACHINE]}
        if self._bystanders:
            self._drop_all()
            raise Rerun

    def arrived(self, step: int) -> list[str]:
        """Who is left and has reached a step."""
        return [name for name in self.alive if self.members[name].done >= step]

    def _worker_of(self, participant: Participant) -> Worker:
        candidate = participant.candidate
        return self._workers.get(candidate.worker, candidate.framework, candidate.python)

    def _fail(self, name: str, kind: str, reason: str, traceback: str = "") -> None:
        participant = self.members[name]
        step = 0
        if participant.asked != "start" and kind not in SKIPPING_KINDS:
            step = int(participant.stored[0]) + 1
            reason = f"step {step}: {reason}" if step <= self._steps else f"after step {step - 1}: {reason}"
        elif participant.asked == "start" and participant.done:
            reason = f"restart after step {participant.done}: {reason}"
        self.failures[name] = Failure(kind, reason, step, traceback)
        self.alive.remove(name)
        if self._traces_kept:
            shutil.rmtree(participant.folder, ignore_errors=True)

    def _lose(self, name: str, failure: WorkerFailed) -> None:
        """A process is gone: the implementation it was busy with failed, the others it held are bystanders.

        Where it was a forked one, nobody has failed yet: what dies in a process that was started cold as well has.
        """
        if self._workers.stopped:
            raise Interrupted
        worker = self.members[name].candidate.worker
        self._workers.discard(worker, f"a forked one has gone: {failure.reason}" if failure.forked else "")
        if failure.forked:
            self.alive.remove(name)
            self._bystanders.append(name)
        else:
            self._fail(name, failure.kind, failure.reason)
        for other in list(self.alive):
            if self.members[other].candidate.worker == worker:
                self.alive.remove(other)
                self._bystanders.append(other)

    def _drop_all(self) -> None:
        """Let the processes that are left forget this pass."""
        for name in self.alive:
            participant = self.members[name]
            try:
                worker = self._worker_of(participant)
                worker.ask({"op": "drop", "run": participant.number}, self._timeout)
            except WorkerFailed:
                self._workers.discard(participant.candidate.worker)
