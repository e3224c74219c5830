"""Run one cell: all its implementations in step with each other, compared while they run."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from parity.case import Case
from parity.comparison.distance import Distance, Reach, fold, reach_of
from parity.comparison.divergence import Label, measure_batch, measure_standstill, to_table
from parity.digest import digest_of
from parity.engine.plan import Candidate, Cell
from parity.engine.process import WorkerFailed
from parity.engine.protocol import GRADIENTS, PROGRESS, SKIPPING_KINDS, UNSUPPORTED, WEIGHTS
from parity.engine.result import CellResult, Failure, Outcome, PairResult
from parity.engine.tables import TableWriter
from parity.engine.window import Window, plan_window
from parity.engine.workers import Workers
from parity.gradients import fill_gradients, fill_weights
from parity.layout import Layout
from parity.numerics.formats import Format, format_named
from parity.state import QUANTITIES
from parity.trace import create_rows, hyper_to_json, layout_to_json, write_header


class Interrupted(Exception):
    """The run was asked to stop; the cell leaves nothing behind."""


class Rerun(Exception):
    """A worker process was lost, and with it the other implementations it was running."""


@dataclass
class _Participant:
    """An implementation on its way: where its rows are, what it was asked last, how far it came.

    stored: (1,), the last step whose state is stored, written by the worker. done: the last step it
    has answered for.
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


@dataclass
class _Pair:
    """A pair on its way: what its steps were folded into."""

    actual: str
    expected: str
    steps: int = 0
    distances: dict[str, Distance] = field(default_factory=dict)


def run_cell(
    cell: Cell,
    key: str,
    workers: Workers,
    table: Path,
    scratch: Path,
    *,
    traces: Path | None,
    timeout: float | None,
    threads: ThreadPoolExecutor,
) -> CellResult:
    """Run every implementation of a cell and compare every pair, step by step.

    table: the parquet file to write. scratch: an empty folder for rows in flight. traces: where
    whole traces are kept, or None. An implementation that fails is left out from that step on; where
    its process is lost, the others are run again without it.
    """
    failures: dict[str, Failure] = {
        candidate.name: Failure(UNSUPPORTED, f"does not run in {cell.dtype}", 0)
        for candidate in cell.candidates
        if cell.dtype not in candidate.dtypes
    }
    while True:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        attempt = _Attempt(cell, workers, scratch, traces, timeout, threads, failures)
        try:
            with TableWriter(table) as writer:
                return attempt.run(key, writer)
        except Rerun:
            continue
        finally:
            shutil.rmtree(scratch)


def _advance_message(participant: _Participant, *, until: int, none: dict[str, list[str]]) -> dict[str, Any]:
    return {"op": "advance", "run": participant.number, "until": until, "none": none}


def _finish_message(participant: _Participant) -> dict[str, Any]:
    return {"op": "finish", "run": participant.number}


class _Attempt:
    """One pass over all steps of a cell with the implementations that have not failed."""

    def __init__(
        self,
        cell: Cell,
        workers: Workers,
        scratch: Path,
        traces: Path | None,
        timeout: float | None,
        threads: ThreadPoolExecutor,
        failures: dict[str, Failure],
    ) -> None:
        self.cell, self.workers, self.timeout = cell, workers, timeout
        self.traces, self.threads, self.failures = traces, threads, failures
        self.case: Case = cell.case
        self.format: Format = format_named(cell.dtype)
        self.layout: Layout = cell.case.layout()
        row_bytes = self.layout.size * self.format.dtype.itemsize
        self.window: Window = plan_window(self.case.steps, row_bytes, traces is not None)
        root = traces if traces is not None else scratch
        self.input = root / "input"
        self.participants = {
            candidate.name: self._participant(number, candidate, root)
            for number, candidate in enumerate(cell.candidates)
            if candidate.name not in failures
        }
        self.alive = list(self.participants)
        self.bystanders: list[str] = []
        self.pairs = [_Pair(actual, expected) for actual, expected in cell.pairs]
        self.input_digest = hashlib.sha256()
        self.environments: dict[str, dict[str, object]] = {}

    def run(self, key: str, writer: TableWriter) -> CellResult:
        """All steps, batch by batch; a batch is compared while the next is made where memory allows."""
        weights = create_rows(self.input, WEIGHTS, 1, self.layout, self.format)
        gradients = create_rows(self.input, GRADIENTS, self.window.rows, self.layout, self.format)
        fill_weights(self.case, self.format, weights[0])
        self.input_digest.update(weights[0].data)
        self._ask_all(self._start_message)
        before: range | None = None
        for batch in self.window.batches():
            none = self._fill(gradients, batch)
            asked = self._send_all(partial(_advance_message, until=batch[-1], none=none))
            if before is not None and self.window.overlaps:
                self._compare(before, weights[0], writer)
            self._receive_all(asked)
            if not self.window.overlaps:
                self._compare(batch, weights[0], writer)
            before = batch
        if before is not None and self.window.overlaps:
            self._compare(before, weights[0], writer)
        self._ask_all(_finish_message)
        return self._result(key, weights[0], writer.rows)

    def _participant(self, number: int, candidate: Candidate, root: Path) -> _Participant:
        folder = root / candidate.name
        rows = {
            quantity: create_rows(folder, quantity, self.window.rows, self.layout, self.format)
            for quantity in QUANTITIES
        }
        path = folder / f"{PROGRESS}.npy"
        stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint64, shape=(1,))
        return _Participant(number, candidate, folder, rows, stored)

    def _start_message(self, participant: _Participant) -> dict[str, Any]:
        return {
            "op": "start",
            "run": participant.number,
            "target": participant.candidate.target,
            "dtype": self.format.name,
            "parameters": layout_to_json(self.layout),
            "hyper": hyper_to_json(self.case.hyper_for(participant.candidate.defaults)),
            "steps": self.window.steps,
            "batch": self.window.batch,
            "rows": self.window.rows,
            "input": str(self.input.resolve()),
            "output": str(participant.folder.resolve()),
        }

    def _fill(self, gradients: np.ndarray, batch: range) -> dict[str, list[str]]:
        none: dict[str, list[str]] = {}
        for step in batch:
            row = gradients[self.window.row(step)]
            names = fill_gradients(self.case, self.format, step, row, self.threads)
            if names:
                none[str(step)] = list(names)
            self.input_digest.update(row.data)
            self.input_digest.update(",".join(names).encode())
        return none

    def _ask_all(self, message_for: Callable[[_Participant], dict[str, Any]]) -> None:
        self._receive_all(self._send_all(message_for))

    def _send_all(self, message_for: Callable[[_Participant], dict[str, Any]]) -> list[str]:
        """Put a request for every living implementation on its way; they work side by side."""
        asked = []
        for name in list(self.alive):
            participant = self.participants[name]
            if name not in self.alive:
                continue
            try:
                worker = self.workers.get(participant.candidate.worker)
            except WorkerFailed as failure:
                self._lose(name, failure)
                continue
            self.environments[participant.candidate.worker] = worker.environment
            message = message_for(participant)
            participant.asked = message["op"]
            worker.send(message)
            asked.append(name)
        return asked

    def _receive_all(self, asked: Iterable[str]) -> None:
        """Take the answers, in the order of the requests; Rerun where a process took bystanders with it."""
        for name in asked:
            if name not in self.alive:
                continue
            participant = self.participants[name]
            try:
                answer = self.workers.get(participant.candidate.worker).receive(self.timeout)
            except WorkerFailed as failure:
                self._lose(name, failure)
                continue
            if not answer["ok"]:
                self._fail(name, answer["kind"], answer["reason"])
            elif "step" in answer:
                participant.quantities, participant.done = tuple(answer["quantities"]), answer["step"]
        if self.bystanders:
            self._drop_all()
            raise Rerun

    def _fail(self, name: str, kind: str, reason: str) -> None:
        participant = self.participants[name]
        step = 0
        if participant.asked != "start" and kind not in SKIPPING_KINDS:
            step = int(participant.stored[0]) + 1
            reason = f"step {step}: {reason}" if step <= self.case.steps else f"after step {step - 1}: {reason}"
        self.failures[name] = Failure(kind, reason, step)
        self.alive.remove(name)
        if self.traces is not None:
            shutil.rmtree(participant.folder, ignore_errors=True)

    def _lose(self, name: str, failure: WorkerFailed) -> None:
        """A process is gone: the implementation it was busy with failed, the others it held are bystanders."""
        if self.workers.stopped:
            raise Interrupted
        participant = self.participants[name]
        self.workers.discard(participant.candidate.worker)
        self._fail(name, failure.kind, failure.reason)
        for other in list(self.alive):
            if self.participants[other].candidate.worker == participant.candidate.worker:
                self.alive.remove(other)
                self.bystanders.append(other)

    def _drop_all(self) -> None:
        """Let the processes that are left forget this pass."""
        for name in self.alive:
            participant = self.participants[name]
            try:
                self.workers.get(participant.candidate.worker).ask(
                    {"op": "drop", "run": participant.number}, self.timeout
                )
            except WorkerFailed:
                self.workers.discard(participant.candidate.worker)

    def _compare(self, batch: range, initial: np.ndarray, writer: TableWriter) -> None:
        rows = slice(self.window.row(batch[0]), self.window.row(batch[0]) + len(batch))
        arrived = [name for name in self.alive if self.participants[name].done >= batch[-1]]
        for name in arrived:
            participant = self.participants[name]
            participant.moved = participant.moved or bool(np.any(participant.rows["w"][rows] != initial))
        for pair in self.pairs:
            if pair.actual not in arrived or pair.expected not in arrived:
                continue
            writer.write(self._measure(pair, rows, batch))
            pair.steps += len(batch)

    def _measure(self, pair: _Pair, rows: slice, batch: range) -> pa.Table:
        actual, expected = self.participants[pair.actual], self.participants[pair.expected]
        lr_at = self.case.hyper_for(expected.candidate.defaults).lr_at
        measured = []
        for quantity in QUANTITIES:
            if quantity in actual.quantities and quantity in expected.quantities:
                ours = actual.rows[quantity][rows].view(self.format.dtype)
                theirs = expected.rows[quantity][rows].view(self.format.dtype)
                measured += measure_batch(quantity, ours, theirs, self.layout, batch, lr_at, self.threads)
        fold(measured, pair.distances)
        return to_table(Label(self.case.name, self.cell.dtype, pair.actual, pair.expected), measured)

    def _result(self, key: str, initial: np.ndarray, rows: int) -> CellResult:
        digest = self.input_digest.hexdigest()[:32]
        outcomes = []
        for candidate in self.cell.candidates:
            participant = self.participants.get(candidate.name)
            outcomes.append(self._outcome(candidate, participant, initial))
            if participant is not None and self.traces is not None and candidate.name not in self.failures:
                self._seal(participant, digest)
        return CellResult(
            key=key,
            case=self.case.name,
            dtype=self.cell.dtype,
            steps=self.case.steps,
            parameters=len(self.layout.parameters),
            elements=self.layout.size,
            input_digest=digest,
            outcomes=tuple(outcomes),
            pairs=tuple(
                PairResult(pair.actual, pair.expected, pair.steps, tuple(pair.distances.values()))
                for pair in self.pairs
            ),
            rows=rows,
            environments=self.environments,
        )

    def _outcome(self, candidate: Candidate, participant: _Participant | None, initial: np.ndarray) -> Outcome:
        hyper = hyper_to_json(self.case.hyper_for(candidate.defaults))
        failure = self.failures.get(candidate.name)
        if participant is None or failure is not None:
            moved = participant is not None and participant.moved
            return Outcome(candidate.name, hyper, (), moved, 0, {}, (), failure)
        last = self.window.row(self.case.steps)
        states = {quantity: participant.rows[quantity][last] for quantity in participant.quantities}
        nonfinite = sum(int(np.count_nonzero(~np.isfinite(bits.view(self.format.dtype)))) for bits in states.values())
        digests = {quantity: digest_of(bits) for quantity, bits in states.items()}
        reaches = self._reaches(candidate, states, initial)
        return Outcome(
            candidate.name,
            hyper,
            participant.quantities,
            participant.moved,
            nonfinite,
            digests,
            reaches,
            None,
        )

    def _reaches(self, candidate: Candidate, states: dict[str, np.ndarray], initial: np.ndarray) -> tuple[Reach, ...]:
        lr_at = self.case.hyper_for(candidate.defaults).lr_at
        distances: dict[str, Distance] = {}
        for quantity, bits in states.items():
            before, last = initial.view(self.format.dtype), bits.view(self.format.dtype)
            fold(
                measure_standstill(quantity, before, last, self.layout, self.case.steps, lr_at, self.threads),
                distances,
            )
        return tuple(map(reach_of, distances.values()))

    def _seal(self, participant: _Participant, digest: str) -> None:
        """Give the trace of an implementation that reached its end its header."""
        for surplus in (*(set(QUANTITIES) - set(participant.quantities)), PROGRESS):
            (participant.folder / f"{surplus}.npy").unlink()
        write_header(
            participant.folder,
            case=self.case.name,
            case_digest=self.case.digest(),
            input_digest=digest,
            implementation=participant.candidate.name,
            format=self.format,
            hyper=self.case.hyper_for(participant.candidate.defaults),
            layout=self.layout,
            steps=self.case.steps,
            quantities=participant.quantities,
            environment=self.environments[participant.candidate.worker],
        )
