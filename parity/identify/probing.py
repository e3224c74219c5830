"""Asks a target all questions of a dtype, in processes of their own, and whether it answers the same twice."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from parity.comparison.trace import create_rows, hyper_to_json, layout_to_json
from parity.core.errors import ParityError
from parity.core.state import QUANTITIES
from parity.engine.plan import Candidate
from parity.engine.process import WorkerFailed, WorkerProcess
from parity.engine.protocol import GRADIENTS, MISSING, PROGRESS, RAISED, UNSUPPORTED, WEIGHTS
from parity.identify.answer import Finding
from parity.identify.probes import MAIN, WIDE, Observation, Probe, probes
from parity.implementations.registry import framework_of
from parity.numerics.formats import Format, format_named

TWICE = (MAIN, WIDE)
"""What is asked in both processes; the second is only held against the first."""

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
"""Variables from which frameworks take their number of threads."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A question that a target does not answer, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Probed:
    """What a target showed in one dtype. unsteady: where two fresh processes did not show the same."""

    observations: Mapping[str, Observation]
    refused: tuple[Refused, ...] = ()
    unsteady: Finding | None = None


_Shown = dict[str, Observation | Refused]


class _Broken(Exception):
    """The target cannot be asked any further; one line says why."""


def probe(
    candidate: Candidate, dtypes: Sequence[str], timeout: float | None = 300.0, *, hide_moments: bool = False
) -> dict[str, Probed]:
    """The answers of a target to all probes, by dtype.

    timeout: seconds for one probe. hide_moments: look at the weights only. ParityError, one line, where it breaks the
    contract, dies, hangs, or raises where the plainest question is asked; what it raises at another is a refusal.
    """
    formats = [format_named(dtype) for dtype in dtypes]
    for format in formats:
        if format.name not in candidate.dtypes:
            raise ParityError(f"{candidate.name} does not run in {format.name}; allowed: {', '.join(candidate.dtypes)}")
    plenty = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    few = 1 if plenty > 1 else 2
    with tempfile.TemporaryDirectory(prefix="parity-identify-") as folder:
        first, second = _side_by_side(
            [
                _Sitting(candidate, timeout, Path(folder) / "first", {}),
                _Sitting(candidate, timeout, Path(folder) / "second", dict.fromkeys(THREADS, str(few))),
            ],
            [
                {format: list(probes(format)) for format in formats},
                {format: [one for one in probes(format) if one.name in TWICE] for format in formats},
            ],
        )
    return {
        format.name: _probed(first[format.name], second[format.name], (plenty, few), hide_moments) for format in formats
    }


def _side_by_side(
    sittings: Sequence[_Sitting], questions: Sequence[Mapping[Format, list[Probe]]]
) -> list[dict[str, _Shown]]:
    with ThreadPoolExecutor(len(sittings)) as threads:
        asked = [threads.submit(one.ask, what) for one, what in zip(sittings, questions, strict=True)]
        try:
            return [one.result() for one in asked]
        except _Broken as error:
            raise ParityError(str(error)) from None
        finally:
            # After a failure, or Ctrl-C, nobody needs the other's answers; after success they have ended.
            for sitting in sittings:
                sitting.stop()


class _Sitting:
    """One fresh process that is asked one probe after another; `stop` may be called from any thread."""

    def __init__(self, candidate: Candidate, timeout: float | None, folder: Path, variables: Mapping[str, str]) -> None:
        self._candidate, self._timeout, self._folder, self._variables = candidate, timeout, folder, variables
        self._process: WorkerProcess | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def ask(self, questions: Mapping[Format, Sequence[Probe]]) -> dict[str, _Shown]:
        """The answers by dtype and name of the probe; _Broken where there can be no more."""
        try:
            process = WorkerProcess(
                self._candidate.name,
                self._folder / "worker.log",
                variables=self._variables,
                framework=framework_of(self._candidate.worker),
                stopped=lambda: self._stopped,
            )
        except WorkerFailed as failure:
            raise _Broken(f"{self._candidate.name}: {failure.reason}") from None
        with self._lock:
            self._process = process
            if self._stopped:
                process.end()
        try:
            return {
                format.name: {one.name: self._answer(process, number, one) for number, one in enumerate(asked)}
                for format, asked in questions.items()
            }
        finally:
            process.close()

    def stop(self) -> None:
        """End the process, if there is one, without waiting."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.end()

    def _answer(self, process: WorkerProcess, number: int, probe: Probe) -> Observation | Refused:
        folder = self._folder / f"{probe.format.name}-{probe.name}"
        rows = _files(folder, probe)
        none = {str(step): sorted(names) for step, names in probe.none.items()}
        shown: list[str] = []
        for asked, message in (
            ("start", self._start(probe, folder)),
            ("advance", {"until": probe.steps, "none": none}),
            ("finish", {}),
        ):
            try:
                answer = process.ask({"op": asked, "run": number, **message}, self._timeout)
            except WorkerFailed as failure:
                raise _Broken(f"{self._told(probe)}: {self._place(rows, asked)}{failure.reason}") from None
            if not answer["ok"]:
                kind, reason = answer["kind"], answer["reason"]
                if kind == MISSING:
                    raise _Broken(f"{self._candidate.name}: {reason}")
                if kind == UNSUPPORTED:
                    return Refused(probe.name, reason)
                where = self._place(rows, asked)
                if kind == RAISED and probe.name != MAIN:
                    return Refused(probe.name, where + reason)
                raise _Broken(f"{self._told(probe)}: {where}{reason}")
            shown = answer.get("quantities", shown)
        observation = _observation(probe, rows, shown)
        if _shows_its_inputs(observation):
            raise _Broken(
                f"{self._told(probe)}: shows what it was given as its state: every v is the gradient of its step"
            )
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
        }

    def _place(self, rows: Mapping[str, np.ndarray], asked: str) -> str:
        """Where a failure belongs: the step whose state is not stored."""
        done = int(rows[PROGRESS][0])
        return {"start": "", "advance": f"step {done + 1}: ", "finish": f"after step {done}: "}[asked]

    def _told(self, probe: Probe) -> str:
        return f"{self._candidate.name} in {probe.format.name}, probe {probe.name!r}"


def _files(folder: Path, probe: Probe) -> dict[str, np.ndarray]:
    """The files of a probe, as the protocol has them; all that the worker writes, mapped."""
    layout, format, steps = probe.layout, probe.format, probe.steps
    create_rows(folder / "input", WEIGHTS, 1, layout, format)[0] = probe.weights.view(format.unsigned)
    create_rows(folder / "input", GRADIENTS, steps + 1, layout, format)[1:] = probe.gradients.view(format.unsigned)
    rows = {name: create_rows(folder / "output", name, steps + 1, layout, format) for name in QUANTITIES}
    path = folder / "output" / f"{PROGRESS}.npy"
    return {**rows, PROGRESS: np.lib.format.open_memmap(path, mode="w+", dtype=np.uint64, shape=(1,))}


def _observation(probe: Probe, rows: Mapping[str, np.ndarray], shown: Sequence[str]) -> Observation:
    states = {}
    for quantity in shown:
        states[quantity] = rows[quantity].view(probe.format.dtype).copy()
        states[quantity].flags.writeable = False
    return Observation(probe, **states)


def _shows_its_inputs(observation: Observation) -> bool:
    """Whether v is the gradient itself, also where that is negative."""
    if observation.v is None:
        return False
    gradients = observation.probe.gradients
    return bool((gradients < 0).any()) and np.array_equal(observation.v[1:], gradients)


def _probed(first: _Shown, second: _Shown, threads: tuple[int, int], hide_moments: bool) -> Probed:
    unsteady = _unsteady(first, second, threads)
    observations = {
        name: replace(one, m=None, v=None, vmax=None) if hide_moments else one
        for name, one in first.items()
        if isinstance(one, Observation) and name != WIDE
    }
    refused = tuple(one for one in first.values() if isinstance(one, Refused))
    return Probed(MappingProxyType(observations), refused, unsteady)


def _unsteady(first: _Shown, second: _Shown, threads: tuple[int, int]) -> Finding | None:
    """The first quantity that is not the same in both processes."""
    asked = f"the same question in two fresh processes with {threads[0]} and {threads[1]} threads"
    for name, other in second.items():
        one = first[name]
        refusals = [answer for answer in (one, other) if isinstance(answer, Refused)]
        if len(refusals) == 1:
            detail = f"{asked} is answered once, and refused once: {refusals[0].reason}"
            return Finding("nondeterminism", detail, {"probe": name, "threads": list(threads)})
        if isinstance(one, Refused) or isinstance(other, Refused):
            continue
        counts = dict(_differing(one, other))
        if not counts:
            continue
        quantity = min(counts, key=lambda quantity: counts[quantity][0])
        step, differing = counts[quantity]
        elements = one.probe.gradients.size
        detail = (
            f"{asked} is answered differently: {quantity} differs in {differing:,} of {elements:,} elements, "
            f"first at step {step} (probe {name!r})"
        )
        evidence = {
            "probe": name,
            "threads": list(threads),
            "quantity": quantity,
            "first_step": step,
            "elements": elements,
            "differing": {quantity: count for quantity, (_, count) in counts.items()},
        }
        return Finding("nondeterminism", detail, evidence)
    return None


def _differing(one: Observation, other: Observation) -> Iterator[tuple[str, tuple[int, int]]]:
    """Quantities that differ, each with the first step and the number of elements; NaN is NaN."""
    for quantity in QUANTITIES:
        ours, theirs = getattr(one, quantity), getattr(other, quantity)
        if ours is None and theirs is None:
            continue
        if ours is None or theirs is None:
            yield quantity, (1, one.probe.gradients.size)
            continue
        bits = one.probe.format.unsigned
        apart = (ours.view(bits) != theirs.view(bits)) & ~(np.isnan(ours) & np.isnan(theirs))
        if apart.any():
            yield quantity, (int(np.argmax(apart.any(axis=1))), int(np.count_nonzero(apart)))
