"""Asks a target all questions of a dtype, in processes of their own, and whether it answers the same twice."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from parity.comparison.trace import create_rows, hyper_to_json, layout_to_json, open_rows
from parity.core.errors import ParityError
from parity.engine.forking import prepare_to_fork
from parity.engine.plan import Candidate
from parity.engine.process import WorkerFailed, WorkerProcess, worker_environment
from parity.engine.protocol import GRADIENTS, HUNG, MISSING, PROGRESS, UNSUPPORTED, WEIGHTS
from parity.identify.probed import SECOND, Probed, Refused, Shown, probed_twice
from parity.identify.probes import BETAS, GROUPS, LAW, MAIN, MATRICES, OBSERVED, WIDE, Observation, Probe, probes
from parity.numerics.formats import Format, format_named, widest

TWICE = (MAIN, WIDE)
"""What is asked in both processes; the second is only held against the first."""

OnProbe = Callable[[str, int, int], None]
"""Called with the dtype and the name of a probe that was asked, how many were, and of how many."""

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
"""Variables from which frameworks take their number of threads."""


LOG = "worker.log"
"""What the first of both processes has printed, and where it raised."""

_NOT_TAKEN = {GROUPS: "hyperparameters of one tensor", BETAS: "betas that change"}
"""What many a function knows nothing of: who raises there takes none."""

PATIENCE = 2
"""How often a target may hang in one process before the rest is no longer asked."""


class _Broken(Exception):
    """The target cannot be asked at all; one line says why."""


def probe(
    candidate: Candidate,
    dtypes: Sequence[str],
    timeout: float | None = 300.0,
    *,
    hide_moments: bool = False,
    logs: Path | None = None,
    on_done: OnProbe = lambda name, done, total: None,
) -> dict[str, Probed]:
    """The answers of a target to all probes, by dtype.

    timeout: seconds for one probe. hide_moments: look at the weights only. logs: where those of the processes are
    kept. on_done: told of every probe that was asked. Where it breaks the contract, dies, hangs or raises, that
    question has no answer; where it is the plainest one, the dtype has none. ParityError, one line, where it cannot be
    asked at all.
    """
    formats = [format_named(dtype) for dtype in dtypes]
    for format in formats:
        if format.name not in candidate.dtypes:
            raise ParityError(f"{candidate.name} does not run in {format.name}; allowed: {', '.join(candidate.dtypes)}")
    plenty = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    few = 1 if plenty > 1 else 2
    given_up: set[str] = set()
    variables = dict.fromkeys(THREADS, str(few))
    for some in ({}, variables):
        prepare_to_fork(candidate.framework, worker_environment(some))
    with tempfile.TemporaryDirectory(prefix="parity-identify-") as place:
        folder = Path(place)
        kept = logs or folder
        questions: list[dict[Format, list[Probe]]] = [
            {format: [one for one in probes(format) if one.name not in SECOND] for format in formats},
            {format: [one for one in probes(format) if one.name in (*TWICE, *SECOND)] for format in formats},
        ]
        total = sum(len(asked) for what in questions for asked in what.values())
        number = count(1)

        def done(name: str) -> None:
            on_done(name, next(number), total)

        leading = _Sitting(candidate, timeout, folder / "first", kept / LOG, given_up, done, leads=True)
        following = _Sitting(
            candidate, timeout, folder / "second", kept / f"worker-{few}-threads.log", given_up, done, variables
        )
        first, second = _side_by_side(dict(zip((leading, following), questions, strict=True)))
    threads = plenty, few
    return {one.name: probed_twice(first[one.name], second[one.name], threads, hide_moments) for one in formats}


def _side_by_side(questions: Mapping[_Sitting, Mapping[Format, list[Probe]]]) -> list[dict[str, Shown]]:
    with ThreadPoolExecutor(len(questions)) as threads:
        asked = [threads.submit(sitting.ask, what) for sitting, what in questions.items()]
        try:
            return [one.result() for one in asked]
        except _Broken as error:
            raise ParityError(str(error)) from None
        finally:
            # After a failure, or Ctrl-C, nobody needs the other's answers; after success they have ended.
            for sitting in questions:
                sitting.stop()


class _Sitting:
    """A fresh process that is asked one probe after another, and another one once it has gone.

    given_up: dtypes in which the plainest question has no answer; who leads says so, the other one follows. `stop` may
    be called from any thread.
    """

    def __init__(
        self,
        candidate: Candidate,
        timeout: float | None,
        folder: Path,
        log: Path,
        given_up: set[str],
        on_done: Callable[[str], None],
        variables: Mapping[str, str] = MappingProxyType({}),
        *,
        leads: bool = False,
    ) -> None:
        self._candidate, self._timeout, self._folder, self._log = candidate, timeout, folder, log
        self._given_up, self._leads, self._variables = given_up, leads, variables
        self._process: WorkerProcess | None = None
        self._on_done = on_done
        self._hung = 0
        self._stopped = False

    def ask(self, questions: Mapping[Format, Sequence[Probe]]) -> dict[str, Shown]:
        """The answers by dtype and name of the probe; _Broken where there can be none."""
        try:
            return {format.name: self._of_dtype(format.name, asked) for format, asked in questions.items()}
        finally:
            if self._process is not None:
                self._process.close()

    def stop(self) -> None:
        """Whatever is asked, nobody waits for the answer any longer."""
        self._stopped = True

    def _of_dtype(self, dtype: str, asked: Sequence[Probe]) -> Shown:
        shown: Shown = {}
        for number, one in enumerate(asked):
            if dtype in self._given_up:
                break
            answer = self._answer_from(shown, number, one) if self._hung < PATIENCE else _given_up(one)
            shown[one.name] = answer
            self._on_done(f"{dtype} {one.name}")
            if self._leads and one.name == MAIN and isinstance(answer, Refused) and answer.failed:
                if answer.traceback:
                    shown |= self._of_matrices(len(asked), asked)
                self._given_up.add(dtype)
        return shown

    def _of_matrices(self, number: int, asked: Sequence[Probe]) -> Shown:
        """What a target that raises at the plainest question shows where all tensors are matrices, if anything."""
        told = {one.name: self._answer(number, one) for one in asked if one.name == MATRICES}
        return {name: one for name, one in told.items() if isinstance(one, Observation)}

    def _started(self) -> WorkerProcess:
        if self._process is None:
            try:
                self._process = WorkerProcess(
                    self._candidate.name,
                    self._log,
                    variables=self._variables,
                    framework=self._candidate.framework,
                    stopped=lambda: self._stopped,
                )
            except WorkerFailed as failure:
                raise _Broken(f"{self._candidate.name}: {failure.reason}") from None
        return self._process

    def _answer_from(self, shown: Shown, number: int, probe: Probe) -> Observation | Refused:
        """What it answers, begun with what it has shown of another probe where this one asks for that."""
        if not probe.begins:
            return self._answer(number, probe)
        before = shown[LAW]
        if isinstance(before, Refused):
            return replace(before, name=probe.name)
        if before.m is None or before.v is None:
            return Refused(probe.name, "hides m or v: nobody can hand its state over")
        if before.m.dtype != probe.format.dtype or before.v.dtype != probe.format.dtype:
            return Refused(probe.name, "keeps m or v in a wider dtype, in which no case begins")
        start = {"m": before.m[probe.begins], "v": before.v[probe.begins]}
        return self._answer(number, replace(probe, weights=before.w[probe.begins]), start)

    def _answer(
        self, number: int, probe: Probe, start: Mapping[str, np.ndarray] = MappingProxyType({})
    ) -> Observation | Refused:
        folder = self._folder / f"{probe.format.name}-{probe.name}"
        rows = _files(folder, probe, start)
        none = {str(step): sorted(names) for step, names in probe.none.items()}
        shown: list[str] = []
        wider: dict[str, Format] = {}

        def wanted_no_more() -> bool:
            return self._stopped or (probe.format.name in self._given_up and not self._leads)

        try:
            for asked, message in (
                ("start", self._start(probe, folder)),
                ("advance", {"until": probe.steps, "none": none}),
                ("finish", {}),
            ):
                process = self._started()
                try:
                    process.send({"op": asked, "run": number, **message})
                    answer = process.receive(self._timeout, wanted_no_more)
                except WorkerFailed as failure:
                    self._process = None
                    self._hung += failure.kind == HUNG
                    return Refused(probe.name, _place(rows, asked) + failure.reason, failed=True)
                if not answer["ok"]:
                    if answer["kind"] == MISSING:
                        raise _Broken(f"{self._candidate.name}: {answer['reason']}")
                    if answer["kind"] == UNSUPPORTED:
                        return Refused(probe.name, answer["reason"])
                    reason = _place(rows, asked) + answer["reason"]
                    if probe.name in _NOT_TAKEN and answer.get("traceback"):
                        return Refused(probe.name, f"takes no {_NOT_TAKEN[probe.name]}: {_raised(answer['reason'])}")
                    return Refused(probe.name, reason, failed=True, traceback=answer.get("traceback", ""))
                shown = answer.get("quantities", shown)
                wider |= {name: widest(map(format_named, told)) for name, told in answer.get("formats", {}).items()}
            rows |= {name: open_rows(folder / "output", name, "r") for name in wider}
            observation = _observation(probe, rows, shown, wider)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if _shows_its_inputs(observation):
            reason = "shows what it was given as its state: every v is the gradient of its step"
            return Refused(probe.name, reason, failed=True)
        return observation

    def _start(self, probe: Probe, folder: Path) -> dict[str, object]:
        return {
            "target": self._candidate.target,
            "dtype": probe.format.name,
            "parameters": layout_to_json(probe.layout),
            "hyper": hyper_to_json(probe.hyper),
            "steps": probe.steps,
            "batch": probe.steps,
            "rows": probe.steps + 1,
            "input": str(folder / "input"),
            "output": str(folder / "output"),
            "strided": probe.strided,
            **({"counts": [probe.begins] * len(probe.layout.parameters)} if probe.begins else {}),
        }


def _raised(reason: str) -> str:
    """What was raised, and the user's own line, without the words of a library about shapes."""
    kind, _, told = reason.partition(": ")
    return f"raises {kind}{' ' + told[told.rindex('(') :] if told.endswith(')') else ''}"


def _given_up(probe: Probe) -> Refused:
    return Refused(probe.name, f"not asked any more: it hung {PATIENCE} times", failed=True)


def _place(rows: Mapping[str, np.ndarray], asked: str) -> str:
    """Where a failure belongs: the step whose state is not stored."""
    done = int(rows[PROGRESS][0])
    return {"start": "", "advance": f"step {done + 1}: ", "finish": f"after step {done}: "}[asked]


def _files(folder: Path, probe: Probe, start: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The files of a probe, as the protocol has them; all that the worker writes, mapped.

    start: the moments it begins with, none for zeros.
    """
    layout, format, steps = probe.layout, probe.format, probe.steps
    create_rows(folder / "input", WEIGHTS, 1, layout, format)[0] = probe.weights.view(format.unsigned)
    create_rows(folder / "input", GRADIENTS, steps + 1, layout, format)[1:] = probe.gradients.view(format.unsigned)
    for quantity in ("m", "v", "vmax") if start else ():
        row = create_rows(folder / "input", quantity, 1, layout, format)[0]
        if quantity in start:
            row[:] = start[quantity].view(format.unsigned)
    rows = {name: create_rows(folder / "output", name, steps + 1, layout, format) for name in OBSERVED}
    path = folder / "output" / f"{PROGRESS}.npy"
    return {**rows, PROGRESS: np.lib.format.open_memmap(path, mode="w+", dtype=np.uint64, shape=(1,))}


def _observation(
    probe: Probe, rows: Mapping[str, np.ndarray], shown: Sequence[str], wider: Mapping[str, Format]
) -> Observation:
    states: dict[str, Any] = {}
    for quantity in shown:
        states[quantity] = rows[quantity].view(wider.get(quantity, probe.format).dtype).copy()
        states[quantity].flags.writeable = False
    return Observation(probe, **states)


def _shows_its_inputs(observation: Observation) -> bool:
    """Whether v is the gradient itself, also where that is negative."""
    if observation.v is None:
        return False
    gradients = observation.probe.gradients
    with np.errstate(invalid="ignore"):
        negative = bool((gradients < 0).any())
    return negative and np.array_equal(observation.v[1:], gradients)


def not_finite(observation: Observation) -> str:
    """Where a weight is first NaN or inf, or a moment NaN, in words; empty where none is."""
    found = []
    for quantity in OBSERVED:
        rows = getattr(observation, quantity)
        if rows is None:
            continue
        wrong = ~np.isfinite(rows) if quantity == "w" else np.isnan(rows)
        if wrong.any():
            step = int(np.argmax(wrong.any(axis=1)))
            place = int(np.argmax(wrong[step]))
            name = next(
                one.name for one, where in observation.probe.layout.slices() if where.start <= place < where.stop
            )
            found.append((step, f"{quantity}[{name!r}] is {rows[step, place]:g} from step {step} on"))
    return min(found)[1] if found else ""
