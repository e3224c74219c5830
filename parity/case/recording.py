"""A training that happened: what its optimizer was given and what it made of it, read and checked to the last bit."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from parity.core.errors import ParityError, nearest
from parity.core.layout import Layout, Parameter
from parity.numerics.formats import Format, format_named

SCHEMA_VERSION = 2
"""Of `recording.json`; a newer one is refused, an older one has to be recorded again."""

HEADER, JOURNAL = "recording.json", "steps.jsonl"
GRADIENTS = "gradients"
STATES = ("w", "m", "v", "vmax")


def rows_file(folder: Path, quantity: str) -> Path:
    """Where the rows of a quantity lie: bits, one parameter after another, one step after another."""
    return folder / f"{quantity}.bits"


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


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """One step: `t` of every parameter after it, hyperparameters of every group, parameters without a gradient.

    moved: parameters whose weights were changed by somebody else since the step before.
    """

    number: int
    t: tuple[int, ...]
    groups: tuple[Mapping[str, Any], ...]
    none: tuple[str, ...]
    moved: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Recording:
    """A folder with `recording.json`, a journal of the steps and, per quantity, rows of integer bits.

    Row 0 of a state is what the first recorded step began with; the gradients begin with that step. folder: where it
    lies; steps: those that are whole, in order; quantities: w, and m, v, vmax where they were recorded; elements,
    seed: the sample of every tensor, None for all of it; told: all else that stands in recording.json.
    """

    folder: Path
    parameters: tuple[RecordedParameter, ...]
    journal: tuple[RecordedStep, ...]
    quantities: tuple[str, ...]
    elements: int | None
    seed: int
    told: Mapping[str, Any]

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
        return self.values(GRADIENTS, name, step - 1)

    def values(self, quantity: str, name: str, row: int) -> np.ndarray:
        """A parameter's part of a row of a quantity, (kept,), memory-mapped, in its own dtype."""
        self.parameter(name)
        place, format = self._places[quantity][name]
        part: np.ndarray = self._rows(quantity)[row, place].view(format.dtype)
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

    def _rows(self, quantity: str) -> np.ndarray:
        return _mapped(self.folder, quantity, self.parameters, self.steps + (quantity != GRADIENTS))

    def digest_before(self, quantity: str = "w") -> str:
        """SHA-256 of the bits of a state before the first step."""
        return hashlib.sha256(self._rows(quantity)[0].data).hexdigest()

    @cached_property
    def gradients_digest(self) -> str:
        """SHA-256 of the bits of all gradients, and of which are None."""
        found = hashlib.sha256(np.ascontiguousarray(self._rows(GRADIENTS)).data)
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
    file = folder / HEADER
    try:
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParityError(f"recording {folder.name!r} has no {HEADER} (looked in {folder})") from None
    except (OSError, ValueError) as error:
        raise ParityError(f"{file}: not a readable recording ({error})") from None
    try:
        version = told["schema_version"]
        if version != SCHEMA_VERSION:
            hint = "; record it again" if isinstance(version, int) and version < SCHEMA_VERSION else ""
            raise ParityError(f"{file}: schema version {version} cannot be read; allowed: {SCHEMA_VERSION}{hint}")
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
        recording = Recording(
            folder, parameters, _journal(folder, parameters), quantities, told["elements"], int(told["seed"]), told
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ParityError(f"{file}: not a readable recording ({type(error).__name__}: {error})") from None
    if told.get("steps") not in (None, recording.steps):
        raise ParityError(f"{folder / JOURNAL}: cut: {recording.steps} steps, {HEADER} says {told['steps']}")
    if not recording.steps:
        raise ParityError(f"recording {folder.name!r} holds no whole step")
    return recording


def recording_in(folder: Path) -> Recording:
    """As `read_recording`, which a folder that has not changed is read by once."""
    marks = []
    for name in (HEADER, JOURNAL):
        try:
            stat = (folder / name).stat()
            marks.append((stat.st_mtime_ns, stat.st_size))
        except OSError:
            return read_recording(folder)
    return _read_once(folder.absolute(), tuple(marks))


@lru_cache(maxsize=16)
def _read_once(folder: Path, _: tuple[tuple[int, int], ...]) -> Recording:
    return read_recording(folder)


def _journal(folder: Path, parameters: Sequence[RecordedParameter]) -> tuple[RecordedStep, ...]:
    """The steps that were written to their end; the line on which a process was killed is none."""
    file, steps = folder / JOURNAL, []
    groups: tuple[Mapping[str, Any], ...] = ()
    try:
        lines = file.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise ParityError(f"{file}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(lines, start=1):
        try:
            told = json.loads(line)
            groups = tuple(told["groups"]) if "groups" in told else groups
            t = told["t"] if isinstance(told["t"], list) else [told["t"]] * len(parameters)
            none, moved = ([parameters[place].name for place in told.get(key, ())] for key in ("none", "moved"))
            steps.append(RecordedStep(number, tuple(t), groups, tuple(none), tuple(moved), told["digest"]))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ParityError(f"{file}: line {number} cannot be understood ({error})") from None
    return tuple(steps)


def check_recording(recording: Recording) -> None:
    """Holds every row against its digest; ParityError where a bit is not as recorded."""
    rows = {quantity: recording._rows(quantity) for quantity in (GRADIENTS, *recording.quantities)}
    begun = digest_of_rows([rows[quantity][0] for quantity in recording.quantities])
    if begun != recording.told["digest"]:
        raise ParityError(f"{recording.folder}: the initial state was altered since it was recorded; record it again")
    for step in recording.journal:
        found = digest_of_rows(
            [rows[GRADIENTS][step.number - 1], *(rows[quantity][step.number] for quantity in recording.quantities)]
        )
        if found != step.digest:
            raise ParityError(
                f"{recording.folder}: step {step.number} was altered since it was recorded; record it again"
            )


def digest_of_rows(rows: Sequence[np.ndarray]) -> str:
    """XXH3-128 of the bits of one step: its gradients, then every quantity."""
    digest = xxhash.xxh3_128()
    for row in rows:
        digest.update(np.ascontiguousarray(row).view(np.uint8).data)
    return digest.hexdigest()


def _mapped(folder: Path, quantity: str, parameters: Sequence[RecordedParameter], rows: int) -> np.ndarray:
    """The rows of a quantity as bytes, (rows, bytes of a row); more may have been begun."""
    file, size = rows_file(folder, quantity), sum(one.bytes_of(quantity) for one in parameters)
    try:
        if not size:
            raise ValueError("no elements")
        bits: np.ndarray = np.memmap(file, np.uint8, mode="r")
    except FileNotFoundError:
        raise ParityError(f"{file}: recorded data is missing; restore it, or record it again") from None
    except (OSError, ValueError) as error:
        raise ParityError(f"{file}: not readable ({error})") from None
    if bits.size < rows * size:
        raise ParityError(f"{file}: cut: {bits.size // size} rows, {JOURNAL} says {rows}")
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
