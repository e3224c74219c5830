"""Run one cell: all its implementations in step with each other, compared while they run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from parity.case.case import DEFAULT, Case
from parity.case.gradients import fill_gradients, fill_start, fill_weights
from parity.comparison.distance import Distance, fold
from parity.comparison.divergence import Formats, Label, Measured, label_metrics, measure_apart, to_table
from parity.comparison.metrics import measure_pairs
from parity.comparison.trace import create_rows, hyper_to_json, layout_to_json
from parity.core.digest import InputDigest
from parity.core.hyper import Hyper
from parity.core.layout import Layout
from parity.core.state import QUANTITIES
from parity.engine.convoy import Convoy, Message, Participant, Rerun, participant_in
from parity.engine.outcome import outcome_of, outcome_without_end, seal_trace
from parity.engine.plan import Cell
from parity.engine.protocol import GRADIENTS, MISSING, UNSUPPORTED, WEIGHTS
from parity.engine.result import CellResult, Failure, PairResult
from parity.engine.sampling import Sampling
from parity.engine.tables import TableWriter
from parity.engine.window import Window, plan_window
from parity.engine.workers import Workers
from parity.numerics.formats import Format, format_named, row_format, widest


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
    sample: tuple[Case, Path] | None = None,
) -> CellResult:
    """Run every implementation of a cell and compare every pair, step by step.

    table: the parquet file to write. scratch: an empty folder for rows in flight. traces: where whole traces are kept,
    or None. sample: the case on a sample, and where whole traces of that are kept. An implementation that fails is left
    out from that step on; where its process is lost, the others are run again without it.
    """
    failures: dict[str, Failure] = {
        candidate.name: Failure(UNSUPPORTED, f"does not run in {cell.dtype}", 0)
        for candidate in cell.candidates
        if cell.dtype not in candidate.dtypes
    }
    for candidate in cell.candidates:
        if candidate.worker in workers.refused:
            failures.setdefault(candidate.name, Failure(MISSING, workers.refused[candidate.worker], 0))
    while True:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        sampling = None if sample is None else Sampling(*sample, format_named(cell.dtype))
        attempt = _Attempt(cell, workers, scratch, traces, timeout, threads, failures, sampling)
        try:
            with TableWriter(table) as writer:
                return attempt.run(key, writer)
        except Rerun:
            continue
        finally:
            attempt.convoy.close()
            shutil.rmtree(scratch)


def _advance_message(participant: Participant, *, until: int, none: dict[str, list[str]]) -> Message:
    return {"op": "advance", "run": participant.number, "until": until, "none": none}


def _finish_message(participant: Participant) -> Message:
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
        sampling: Sampling | None,
    ) -> None:
        self.sampling = sampling
        self.cell, self.workers, self.traces, self.threads = cell, workers, traces, threads
        self.case: Case = cell.case
        self.format: Format = format_named(cell.dtype)
        self.layout: Layout = cell.case.layout()
        self.stored: Format = row_format(self.layout, self.format)
        row_bytes = self.layout.size * self.stored.dtype.itemsize
        self.window: Window = plan_window(self.case.steps, row_bytes, traces is not None, self.case.restart)
        self.scratch = scratch
        self.counts: np.ndarray | None = None
        root = traces if traces is not None else scratch
        self.input = root / "input"
        participants = [
            participant_in(root, number, candidate, self.window, self.layout, self.format)
            for number, candidate in enumerate(cell.candidates)
            if candidate.name not in failures
        ]
        kept = traces is not None
        self.convoy = Convoy(participants, workers, timeout, self.case.steps, failures, traces_kept=kept)
        self.pairs = [_Pair(actual, expected) for actual, expected in cell.pairs]
        self.input_digest = InputDigest()

    def run(self, key: str, writer: TableWriter) -> CellResult:
        """All steps, batch by batch; a batch is compared while the next is made where memory allows."""
        weights = create_rows(self.input, WEIGHTS, 1, self.layout, self.stored)
        gradients = create_rows(self.input, GRADIENTS, self.window.rows, self.layout, self.stored)
        fill_weights(self.case, self.format, weights[0])
        self.input_digest.add(weights[0])
        if self.case.begun:
            self._fill_start()
        self.convoy.ask(partial(self._start_message, first=1))
        before: range | None = None
        for batch in self.window.batches():
            none = self._fill(gradients, batch)
            asked = self.convoy.send(partial(_advance_message, until=batch[-1], none=none))
            if before is not None and self.window.overlaps:
                self._compare(before, weights[0], writer)
            self.convoy.receive(asked)
            if not self.window.overlaps:
                self._compare(batch, weights[0], writer)
            before = batch
            if batch[-1] in self.case.restart:
                self.convoy.restart(partial(self._start_message, first=batch[-1] + 1), _finish_message)
        if before is not None and self.window.overlaps:
            self._compare(before, weights[0], writer)
        self.convoy.ask(_finish_message)
        return self._result(key, weights[0], writer.rows)

    def _fill_start(self) -> None:
        moments = ("m", "v", "vmax")
        rows = {name: create_rows(self.input, name, 1, self.layout, self.stored)[0] for name in moments}
        self.counts = fill_start(self.case, self.format, rows)
        for row in rows.values():
            self.input_digest.add(row)
        self.input_digest.add(self.counts)

    def _start_message(self, participant: Participant, *, first: int) -> Message:
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
            **({} if self.counts is None else {"counts": self.counts.tolist()}),
            **(self._leg(participant, first) if participant.candidate.restart else {}),
        }

    def _leg(self, participant: Participant, first: int) -> Message:
        """The part of an orbit from a step to the next restart: where it is loaded from and saved to."""
        ends = participant.candidate.restart

        def folder(step: int) -> str:
            path = self.scratch / "restarts" / f"{participant.number}-{step}"
            path.mkdir(parents=True, exist_ok=True)
            return str(path.resolve())

        last = next((end for end in ends if end >= first), None)
        legs: Message = {"first": first, "last": last or self.window.steps}
        if first > 1:
            legs["load"] = folder(first - 1)
        if last is not None:
            legs["save"] = folder(last)
        return legs

    def _fill(self, gradients: np.ndarray, batch: range) -> dict[str, list[str]]:
        none: dict[str, list[str]] = {}
        for step in batch:
            row = gradients[self.window.row(step)]
            names = fill_gradients(self.case, self.format, step, row, self.threads)
            if names:
                none[str(step)] = list(names)
            self.input_digest.add(row, names)
        return none

    def _compare(self, batch: range, initial: np.ndarray, writer: TableWriter) -> None:
        rows = slice(self.window.row(batch[0]), self.window.row(batch[0]) + len(batch))
        arrived = self.convoy.arrived(batch[-1])
        for name in arrived:
            participant = self.convoy.members[name]
            participant.moved = participant.moved or bool(np.any(participant.rows["w"][rows] != initial))
            if self.sampling is not None:
                self.sampling.keep(participant, rows, batch)
        pairs = [pair for pair in self.pairs if pair.actual in arrived and pair.expected in arrived]
        for pair, parts in zip(pairs, self._measure(pairs, rows, batch), strict=True):
            fold(parts, pair.distances)
            writer.write(to_table(Label(self.case.name, self.cell.dtype, pair.actual, pair.expected), parts))
            pair.steps += len(batch)

    def _measure(self, pairs: Sequence[_Pair], rows: slice, batch: range) -> list[list[Measured]]:
        """For each pair every quantity that both sides show, of every parameter; a row is read once for all pairs."""
        measured: list[list[Measured]] = [[] for _ in pairs]
        places = [place for _, place in self.layout.slices()]
        for quantity in QUANTITIES:
            chosen = [number for number, pair in enumerate(pairs) if quantity in self._shared(pair)]
            for number in [number for number in chosen if not self._formats(pairs[number], quantity).alike]:
                chosen.remove(number)
                pair = pairs[number]
                measured[number] += measure_apart(
                    quantity, self._rows(pair.actual, quantity, rows), self._rows(pair.expected, quantity, rows),
                    self.layout, batch, self._hyper(pair), self._formats(pair, quantity),
                )  # fmt: skip
            names = list(
                dict.fromkeys(name for number in chosen for name in (pairs[number].actual, pairs[number].expected))
            )
            sides = {name: self._rows(name, quantity, rows) for name in names}
            asked = [(names.index(pairs[number].actual), names.index(pairs[number].expected)) for number in chosen]
            for number, found in zip(chosen, measure_pairs(list(sides.values()), asked, places), strict=True):
                pair = pairs[number]
                ours, theirs, hyper = sides[pair.actual], sides[pair.expected], self._hyper(pair)
                measured[number] += [
                    label_metrics(quantity, parameter.name, metrics, ours[:, place], theirs[:, place], batch,
                                  hyper.of(parameter.name).lr_at)
                    for (parameter, place), metrics in zip(self.layout.slices(), found, strict=True)
                ]  # fmt: skip
        return measured

    def _hyper(self, pair: _Pair) -> Hyper:
        return self.case.hyper_for(self.convoy.members[pair.expected].candidate.defaults)

    def _shared(self, pair: _Pair) -> list[str]:
        """Quantities that both sides show."""
        actual, expected = self.convoy.members[pair.actual], self.convoy.members[pair.expected]
        return [one for one in QUANTITIES if one in actual.quantities and one in expected.quantities]

    def _formats(self, pair: _Pair, quantity: str) -> Formats:
        actual, expected = (
            self.convoy.members[name].formats_of(quantity, self.layout, self.format)
            for name in (pair.actual, pair.expected)
        )
        return Formats(actual, expected, self.format)

    def _rows(self, name: str, quantity: str, rows: slice) -> np.ndarray:
        member = self.convoy.members[name]
        stored = widest(member.formats_of(quantity, self.layout, self.format))
        return member.rows[quantity][rows].view(stored.dtype)

    def _result(self, key: str, initial: np.ndarray, rows: int) -> CellResult:
        digest = str(self.input_digest)
        outcomes = []
        for candidate in self.cell.candidates:
            participant = self.convoy.members.get(candidate.name)
            failure = self.convoy.failures.get(candidate.name)
            if participant is None or failure is not None:
                outcomes.append(outcome_without_end(self.case, candidate, participant, failure))
                continue
            outcomes.append(outcome_of(self.case, participant, self.window, initial, self.format))
            environment = self.convoy.environments[candidate.home]
            if self.sampling is not None:
                self.sampling.seal(participant, digest, environment)
            if self.traces is not None:
                seal_trace(self.case, participant, self.format, digest, environment)
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
            environments=self.convoy.environments,
            stages=tuple(_stages(self.case)),
        )


def _stages(case: Case) -> Iterator[str]:
    """What stands around the step: stages, those of a kind with it; groups, and of what if of decay alone; defaults."""
    stages = case.around()
    kinds = {
        "average": "beside" if stages.shows_average else None,
        "clip": stages.clip and stages.clip.by,
        "schedule": stages.schedule and stages.schedule.decay,
        "state": stages.state and ("master" if stages.state.master else "moments"),
    }
    for name in stages.names:
        yield f"{name}.{kinds[name]}" if kinds.get(name) else name
    own = {name for parameter in case.parameters if parameter.hyper for name in parameter.hyper.told()}
    if own:
        yield "groups.weight_decay" if own == {"weight_decay"} else "groups"
    if DEFAULT in dict(case.hyper).values():
        yield "defaults"
