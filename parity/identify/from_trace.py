"""A kept trace, or a recording, as an observation: the orbit is in its folder, and what it was given with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from parity.case.case import Case
from parity.case.gradients import fill_gradients, fill_weights
from parity.case.recording import recording_in
from parity.case.replay import RECORDED
from parity.comparison.trace import Trace, open_rows, read_trace
from parity.core.digest import InputDigest
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.core.layout import Layout
from parity.engine.protocol import GRADIENTS, WEIGHTS
from parity.identify.probes import Observation, Probe
from parity.numerics.formats import Format, format_named

NAME = "trace"
"""Of the probe: its numbers are those of a case, not one of `parity.identify.probes`."""

INPUT = "input"
"""The folder with weights.npy and gradients.npy that `parity run --keep-traces` leaves beside its traces."""

_None = Mapping[int, frozenset[str]]


def observation_from_trace(
    trace: Trace, input: Path | None = None, case: Case | None = None, *, hide_moments: bool = False
) -> Observation:
    """The orbit of a trace on its own inputs.

    case: makes the inputs again. input: a folder with weights.npy (1, size) and gradients.npy (steps + 1, size), row 0
    unused, bits as in the trace; by default `input` in the trace's folder or beside it. ParityError where the inputs
    are missing or are not those of the trace.
    """
    mixed = [name for name in trace.quantities if len({*trace.formats[name]}) > 1 or trace.layout.mixed]
    if mixed:
        told = f"{', '.join(mixed)} {'are' if len(mixed) > 1 else 'is'} not in one dtype"
        raise ParityError(f"{trace.folder}: {told}; a rule is read out of tensors that are alike")
    weights, gradients, none = _made(trace, case) if case is not None else _read(trace, input or _found(trace))
    if _digest(trace.layout, weights, gradients, none) != trace.input_digest:
        raise ParityError(f"{trace.folder}: {_strangers(case, input or _found(trace))} (its input digest differs)")
    weights, gradients = weights.view(trace.format.dtype), gradients.view(trace.format.dtype)
    weights.flags.writeable = gradients.flags.writeable = False
    probe = Probe(NAME, trace.layout, trace.format, weights, gradients, trace.hyper, none)
    hidden = {"m", "v", "vmax"} if hide_moments else set()
    rows: dict[str, Any] = {name: trace.array(name) for name in trace.quantities if name not in hidden}
    return Observation(probe, **rows)


def observation_from_recording(case: Case, *, hide_moments: bool = False) -> Observation:
    """What happened in a recorded training, as the case of it has it; ParityError where that begins with a state."""
    _check_simple(case)
    recording = recording_in(Path(case.recorded))
    format, layout = format_named(case.dtypes[0]), case.layout()
    weights, gradients, none = _inputs(case, format)
    hyper = case.hyper_for(Hyper())
    probe = Probe(RECORDED, layout, format, weights.view(format.dtype), gradients.view(format.dtype), hyper, none)
    shown = [one for one in ("w", "m", "v", "vmax") if one in recording.quantities and (one == "w" or not hide_moments)]
    kept = [one for one in shown if one != "vmax" or hyper.amsgrad]
    rows: dict[str, Any] = {
        quantity: np.stack([
            np.concatenate([recording.values(quantity, one.name, step) for one in case.parameters])
            for step in range(case.steps + 1)
        ])
        for quantity in kept
    }  # fmt: skip
    return Observation(probe, **rows)


def read_observation(
    folder: Path, input: Path | None = None, case: Case | None = None, *, hide_moments: bool = False
) -> tuple[Trace, Observation]:
    """The trace of a folder, checked, and its observation."""
    trace = read_trace(folder)
    return trace, observation_from_trace(trace, input, case, hide_moments=hide_moments)


def _strangers(case: Case | None, input: Path) -> str:
    if case is not None:
        return f"the case {case.name!r} gives other weights or gradients than this trace was made from"
    return f"{input} holds other inputs than this trace was made from, or some gradients were None: name its --case"


def _found(trace: Trace) -> Path:
    for folder in (trace.folder / INPUT, trace.folder.resolve().parent / INPUT):
        if folder.is_dir():
            return folder
    raise ParityError(
        f"{trace.folder}: the gradients are missing; keep {INPUT}/{WEIGHTS}.npy and {INPUT}/{GRADIENTS}.npy in it or "
        f"beside it, as 'parity run --keep-traces' does, or name the case it is of ({trace.case!r}) with --case"
    )


def _made(trace: Trace, case: Case) -> tuple[np.ndarray, np.ndarray, _None]:
    """Bits of the weights (size,) and gradients (steps, size), and whose gradients are None."""
    if case.layout() != trace.layout or case.steps != trace.steps:
        raise ParityError(f"{trace.folder}: is no trace of the case {case.name!r}: other parameters or steps")
    _check_simple(case)
    return _inputs(case, trace.format)


def _check_simple(case: Case) -> None:
    if case.begun:
        raise ParityError(f"{case.name}: begins with a state; which Adam it is shows from a first step on")


def _inputs(case: Case, format: Format) -> tuple[np.ndarray, np.ndarray, _None]:
    size = case.layout().size
    weights, gradients = np.zeros(size, format.unsigned), np.zeros((case.steps, size), format.unsigned)
    fill_weights(case, format, weights)
    absent = {
        step: frozenset(fill_gradients(case, format, step, gradients[step - 1])) for step in range(1, case.steps + 1)
    }
    return weights, gradients, MappingProxyType({step: names for step, names in absent.items() if names})


def _read(trace: Trace, folder: Path) -> tuple[np.ndarray, np.ndarray, _None]:
    size = trace.layout.size
    weights = _rows(trace, folder, WEIGHTS, (1, size))[0]
    return weights, _rows(trace, folder, GRADIENTS, (trace.steps + 1, size))[1:], MappingProxyType({})


def _rows(trace: Trace, folder: Path, name: str, shape: tuple[int, int]) -> np.ndarray:
    path = folder / f"{name}.npy"
    try:
        rows = open_rows(folder, name, "r")
    except FileNotFoundError:
        raise ParityError(f"{path}: missing; without it nobody knows what this trace was made from") from None
    except Exception as error:  # An altered header leads NumPy into its tokenizer: errors of any kind.
        raise ParityError(f"{path}: truncated or altered ({' '.join(str(error).split())})") from None
    if rows.shape != shape or rows.dtype != trace.format.unsigned:
        raise ParityError(f"{path}: {rows.dtype} {rows.shape} where {trace.format.unsigned} {shape} is expected")
    return rows


def _digest(layout: Layout, weights: np.ndarray, gradients: np.ndarray, none: _None) -> str:
    digest = InputDigest()
    digest.add(np.ascontiguousarray(weights))
    for step, row in enumerate(gradients, start=1):
        absent = none.get(step, ())
        digest.add(np.ascontiguousarray(row), [one.name for one in layout.parameters if one.name in absent])
    return str(digest)
