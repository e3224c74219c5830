"""A training that happened: what its optimizer was given and what it made of it, read and checked to the last bit."""

from __future__ import annotations

import hashlib
import math
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from parity.case.journal import (
    JOURNAL,
    PENDING,
    RecordedStep,
    digest_of_step,
    journal_file,
    lines_of,
    steps_of,
    waiting_after,
)
from parity.case.recording_header import GRADIENTS, HEADER, SCHEMA_VERSION, UNSEALED_VERSION, read_header
from parity.core.errors import ParityError, nearest
from parity.core.layout import Layout, Parameter
from parity.numerics.formats import Format, format_named


def rows_file(folder: Path, quantity: str, segment: int = 0) -> Path:
    """Where the rows of a quantity lie: bits, one parameter after another, one step after another."""
    return folder / (f"{quantity}.{segment}.bits" if segment else f"{quantity}.bits")


@dataclass(frozen=True, slots=True)
class RecordedParameter:
    """A tensor as it was recorded.

    shape: of the whole tensor. kept: how many of its elements stand in a row. dtypes: names of formats, of
    the gradient and of every quantity that was recorded of it. group: which of the optimizer's groups it is in.
    """

    name: str
    shape: tuple[int, ...]
    kept: int
    dtypes: Mapping[str, str]
    group: int = 0

    @property
    def whole(self) -> bool:
        """Whether every element was kept."""
        return self.kept == math.prod(self.shape)

    @property
    def shape_kept(self) -> tuple[int, ...]:
        """The shape of what was kept: the tensor's own, or a flat sample."""
        return self.shape if self.whole else (self.kept,)

    def bytes_of(self, quantity: str) -> int:
        """Bytes of its part of a row."""
        return self.kept * format_named(self.dtypes[quantity]).dtype.itemsize


def spans_of(parameters: Sequence[RecordedParameter], quantities: Sequence[str], every: int) -> dict[str, slice]:
    """Where gradients and states stand in the bytes of a step; a state twice where not every step is kept."""
    spans, begin = {}, 0
    for quantity in (GRADIENTS, *quantities):
        size = sum(one.bytes_of(quantity) for one in parameters) * (2 if quantity != GRADIENTS and every > 1 else 1)
        spans[quantity] = slice(begin, begin + size)
        begin += size
    return spans


@dataclass(frozen=True)
class Recording:
    """A folder with `recording.json`, a journal of the steps and, per quantity, rows of integer bits.

    Row 0 of a state is what the first recorded step began with; the gradients begin with that step. Where only every
    n-th step was kept, a row of a state has it twice, before its step and after it. What rolls lies in segments, each
    with a row 0 of its own, the older before the newer; it becomes one when it is closed. folder: where it lies;
    steps: those that are whole, in order; quantities: w, and m, v, vmax where they were recorded; elements, seed: the
    sample of every tensor, None for all of it; segments: number and steps in the files of each; pending: rows of
    later steps, which a process that was killed had not yet put there; told: all else that stands in recording.json.
    """

    folder: Path
    parameters: tuple[RecordedParameter, ...]
    journal: tuple[RecordedStep, ...]
    quantities: tuple[str, ...]
    elements: int | None
    seed: int
    segments: tuple[tuple[int, int], ...]
    pending: tuple[np.ndarray, ...]
    told: Mapping[str, Any]

    @property
    def every(self) -> int:
        """Steps from one that was kept to the next; 1 where it is an orbit."""
        return int(self.told.get("every", 1))

    @property
    def steps(self) -> int:
        """Whole steps."""
        return len(self.journal)

    @property
    def layout(self) -> Layout:
        """Names and shapes of what was kept."""
        return Layout(tuple(Parameter(one.name, one.shape_kept) for one in self.parameters))

    @property
    def dtype(self) -> str:
        """The format of all weights; ParityError where they have several."""
        found = sorted({one.dtypes["w"] for one in self.parameters})
        if len(found) > 1:
            raise ParityError(f"recording {self.folder.name!r} has weights of several dtypes: {', '.join(found)}")
        return found[0]

    def parameter(self, name: str) -> RecordedParameter:
        """The recorded parameter of that name; ParityError with the nearest name where there is none."""
        names = [one.name for one in self.parameters]
        if name not in names:
            raise ParityError(f"no parameter {name!r} in recording {self.folder.name!r}; {nearest(name, names)}")
        return self.parameters[names.index(name)]

    def weights(self, name: str) -> np.ndarray:
        """What a parameter began with, (kept,), memory-mapped, in its own dtype."""
        return self.values("w", name, 0)

    def gradients(self, name: str, step: int) -> np.ndarray:
        """The gradient of a parameter at a 1-based step, (kept,), memory-mapped; zero bits where it had none."""
        if not 1 <= step <= self.steps:
            raise ParityError(f"{self.folder.name}: step {step} was not recorded; allowed: 1 to {self.steps}")
        return self._values(GRADIENTS, name, step, before=False)

    def values(self, quantity: str, name: str, row: int) -> np.ndarray:
        """A state of a parameter after a 1-based step, 0 before the first, (kept,), memory-mapped, in its own dtype."""
        return self.before(quantity, name, 1) if row == 0 else self._values(quantity, name, row, before=False)

    def before(self, quantity: str, name: str, step: int) -> np.ndarray:
        """A state of a parameter as a 1-based step found it; after the step before, unless only every n-th was kept."""
        return self._values(quantity, name, step, before=True)

    def _values(self, quantity: str, name: str, step: int, *, before: bool) -> np.ndarray:
        self.parameter(name)
        place, format = self._places[quantity][name]
        part: np.ndarray = self.row(quantity, step, before=before)[place].view(format.dtype)
        return part

    def step(self, number: int) -> RecordedStep:
        """The journal of a 1-based step."""
        return self.journal[number - 1]

    @cached_property
    def _places(self) -> dict[str, dict[str, tuple[slice, Format]]]:
        places: dict[str, dict[str, tuple[slice, Format]]] = {}
        for quantity in (GRADIENTS, *self.quantities):
            offset = 0
            for one in self.parameters:
                size = one.bytes_of(quantity)
                place = slice(offset, offset + size)
                places.setdefault(quantity, {})[one.name] = place, format_named(one.dtypes[quantity])
                offset += size
        return places

    def row(self, quantity: str, step: int, *, before: bool = False) -> np.ndarray:
        """The bytes of the gradients of a step, or of a state before or after it."""
        if quantity == GRADIENTS:
            return self._row(quantity, step)
        if self.every > 1:
            half: np.ndarray = self._row(quantity, step).reshape(2, -1)[0 if before else 1]
            return half
        if before and step == 1:
            zeroth: np.ndarray = self._written(quantity, *self.segments[0])[0]
            return zeroth
        return self._row(quantity, step - before)

    def rows(self, quantity: str) -> list[np.ndarray]:
        """What was written of a quantity with every step."""
        filed = [self._written(quantity, *one) for one in self.segments]
        rows = [row for one, (_, steps) in zip(filed, self.segments, strict=True) for row in one[len(one) - steps :]]
        return rows + [one[self._spans[quantity]] for one in self.pending]

    def _row(self, quantity: str, step: int) -> np.ndarray:
        """What was written of a quantity with a step."""
        waiting = step - (self.steps - len(self.pending))
        if waiting > 0:
            return self.pending[waiting - 1][self._spans[quantity]]
        place = 0
        while step > self.segments[place][1]:
            step -= self.segments[place][1]
            place += 1
        segment, steps = self.segments[place]
        row: np.ndarray = self._written(quantity, segment, steps)[step - 1 - steps]
        return row

    def _written(self, quantity: str, segment: int, steps: int) -> np.ndarray:
        """The rows of a segment, a state's row 0 before the others."""
        if (quantity, segment) not in self._files:
            size = self._spans[quantity].stop - self._spans[quantity].start
            rows = steps + (quantity != GRADIENTS and self.every == 1)
            self._files[quantity, segment] = _mapped(self.folder, quantity, segment, size, rows)
        return self._files[quantity, segment]

    @cached_property
    def _files(self) -> dict[tuple[str, int], np.ndarray]:
        """What is mapped already: to map a file takes longer than to read a row of it."""
        return {}

    @cached_property
    def _spans(self) -> dict[str, slice]:
        """Where a quantity stands in what is written with a step."""
        return spans_of(self.parameters, self.quantities, self.every)

    def digest_before(self, quantity: str = "w") -> str:
        """SHA-256 of the bits of a state before the first step."""
        return hashlib.sha256(self.row(quantity, 1, before=True).data).hexdigest()

    @cached_property
    def gradients_digest(self) -> str:
        """SHA-256 of the bits of all gradients, and of which are None."""
        found = hashlib.sha256()
        for row in self.rows(GRADIENTS):
            found.update(row.data)
        for step in self.journal:
            if step.none:
                found.update(f"{step.number}:{','.join(step.none)}".encode())
        return found.hexdigest()

    @cached_property
    def magnitudes(self) -> tuple[float, float]:
        """Smallest magnitude but zero and greatest one of the finite gradients; inf and 0 where there is none."""
        smallest, largest = math.inf, 0.0
        for name in [one.name for one in self.parameters]:
            for step in range(1, self.steps + 1):
                found = np.abs(self.gradients(name, step).astype(np.float64))
                found = found[np.isfinite(found) & (found > 0)]
                if found.size:
                    smallest, largest = min(smallest, float(found.min())), max(largest, float(found.max()))
        return smallest, largest


def read_recording(folder: Path) -> Recording:
    """What a recording says of itself, the arrays unread; ParityError where it cannot be understood, or is cut."""
    told, file = read_header(folder), folder / HEADER
    try:
        sealed = told["schema_version"] == SCHEMA_VERSION
        parameters = tuple(
            RecordedParameter(
                one["name"], tuple(one["shape"]), int(one["kept"]), dict(one["dtypes"]), int(one["group"])
            )
            for one in told["parameters"]
        )
        quantities = tuple(str(one) for one in told["quantities"])
        for one in parameters:
            for quantity in (GRADIENTS, *quantities):
                format_named(one.dtypes[quantity])
        names = [one.name for one in parameters]
        journal: list[RecordedStep] = []
        segments: list[tuple[int, int]] = []
        for segment in map(int, told.get("segments", [0])):
            lines = lines_of(journal_file(folder, segment))
            segments.append((segment, len(lines)))
            journal += steps_of(lines, journal_file(folder, segment), names, len(journal), sealed=sealed)
        size = max(span.stop for span in spans_of(parameters, quantities, int(told.get("every", 1))).values())
        waiting = waiting_after(folder, *segments[-1], size)
        groups = journal[-1].groups if journal else ()
        lines = [line.removesuffix(b"\n") for line, _ in waiting]
        journal += steps_of(lines, folder / PENDING, names, len(journal), groups, sealed=sealed)
        recording = Recording(
            folder,
            parameters,
            tuple(journal),
            quantities,
            told["elements"],
            int(told["seed"]),
            tuple(segments),
            tuple(row for _, row in waiting),
            told,
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise ParityError(f"{file}: not a readable recording ({type(error).__name__}: {error})") from None
    if told.get("steps") not in (None, recording.steps):
        raise ParityError(f"{folder / JOURNAL}: cut: {recording.steps} steps, {HEADER} says {told['steps']}")
    if not recording.steps:
        raise ParityError(f"recording {folder.name!r} holds no whole step")
    return recording


def recording_in(folder: Path) -> Recording:
    """As `read_recording`, which a folder that has not changed is read by once."""
    marks = []
    try:
        for file in (folder / HEADER, *sorted(folder.glob("steps*.jsonl"))):
            stat = file.stat()
            marks.append((stat.st_mtime_ns, stat.st_size))
        if (folder / PENDING).exists():
            # Memory that is mapped to a file leaves no mark on it.
            marks.append((zlib.crc32((folder / PENDING).read_bytes()), 0))
    except OSError:
        return read_recording(folder)
    return _read_once(folder.absolute(), tuple(marks))


@lru_cache(maxsize=16)
def _read_once(folder: Path, _: tuple[tuple[int, int], ...]) -> Recording:
    return read_recording(folder)


def check_recording(recording: Recording) -> None:
    """Holds every step against its digest; ParityError where a bit is not as recorded."""
    if recording.told["schema_version"] == UNSEALED_VERSION:
        _tell_unsealed(recording.folder)
    begun = digest_of_step([recording.row(quantity, 1, before=True) for quantity in recording.quantities])
    if begun != recording.told["digest"]:
        raise ParityError(f"{recording.folder}: the initial state was altered since it was recorded; record it again")
    rows = [recording.rows(quantity) for quantity in (GRADIENTS, *recording.quantities)]
    for step, *written in zip(recording.journal, *rows, strict=True):
        found = digest_of_step(written, step.text)
        if found != step.digest:
            raise ParityError(
                f"{recording.folder}: step {step.number} was altered since it was recorded; record it again"
            )


@lru_cache
def _tell_unsealed(folder: Path) -> None:
    print(
        f"parity: {folder}: recorded before journals had a seal: another lr, beta or name in it would go unnoticed; "
        "record it again for one",
        file=sys.stderr,
    )


def _mapped(folder: Path, quantity: str, segment: int, size: int, rows: int) -> np.ndarray:
    """The rows of a quantity as bytes, (rows, size); more may have been begun."""
    file = rows_file(folder, quantity, segment)
    if not rows:
        return np.zeros((0, size), np.uint8)
    try:
        if not size:
            raise ValueError("no elements")
        bits: np.ndarray = np.memmap(file, np.uint8, mode="r")
    except FileNotFoundError:
        raise ParityError(f"{file}: recorded data is missing; restore it, or record it again") from None
    except (OSError, ValueError) as error:
        raise ParityError(f"{file}: not readable ({error})") from None
    if bits.size < rows * size:
        name = journal_file(folder, segment).name
        raise ParityError(f"{file}: cut: {bits.size // size} rows, {name} says {rows}")
    return bits[: rows * size].reshape(rows, size)


def sampled_places(shape: tuple[int, ...], elements: int | None, seed: int) -> np.ndarray | None:
    """Flat places, ascending, of the sample of a tensor; None for all of it.

    The same elements for the same shape and seed, however a framework lays its axes out: they are drawn in the axes'
    order by length, and closed under exchange of axes of one length. At most `elements`, at least one.
    """
    if elements is None or math.prod(shape) <= elements:
        return None
    order = sorted(range(len(shape)), key=lambda axis: shape[axis])
    lengths = [shape[axis] for axis in order]
    exchanges = [
        turn for turn in permutations(range(len(shape))) if [lengths[axis] for axis in turn] == lengths
    ]  # fmt: skip
    random = np.random.default_rng([seed, *lengths])
    count = max(1, elements // len(exchanges))
    flat = random.choice(math.prod(shape), count, replace=False, shuffle=False)
    drawn = np.stack(np.unravel_index(flat, lengths), axis=1)
    closed = np.concatenate([drawn[:, list(turn)] for turn in exchanges])
    own = np.empty_like(closed)
    own[:, order] = closed
    return np.unique(np.ravel_multi_index(tuple(own.T), shape))
