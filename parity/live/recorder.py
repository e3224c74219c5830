"""Writes a recording step by step; whatever goes wrong ends the recording, and never the training."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from parity.case.recording import (
    GRADIENTS,
    HEADER,
    JOURNAL,
    SCHEMA_VERSION,
    STATES,
    digest_of_rows,
    rows_file,
    sampled_places,
)
from parity.core.errors import ParityError, UsageError
from parity.core.files import write_atomically
from parity.numerics.formats import FORMATS

UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

FORMAT_OF = {format.dtype: name for name, format in FORMATS.items()}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be kept of a training.

    first: 1-based step of the optimizer with which it begins; steps: how many from there, None for all. parameters:
    shell patterns of names, parted by ``|``. elements: of every tensor at most so many, None for all; seed: of the
    sample. moments: m, v and vmax too. limit: bytes on the disk, None for no limit.
    """

    first: int = 1
    steps: int | None = None
    parameters: str = "*"
    elements: int | None = None
    seed: int = 0
    moments: bool = True
    limit: int | None = None

    def takes(self, name: str) -> bool:
        """Whether a parameter of that name is kept."""
        return any(fnmatchcase(name, pattern.strip()) for pattern in self.parameters.split("|"))


@dataclass(frozen=True, slots=True)
class Moment:
    """What an optimizer holds at one moment, by parameter in the order of the recording.

    states: w, and m, v, vmax where there are any, arrays of what is kept; t: steps counted so far, by parameter.
    """

    states: Mapping[str, Sequence[np.ndarray]]
    t: Sequence[int]


class Progress(Protocol):
    """What a recording says of itself while it is made: steps so far, and why there will be no more."""

    @property
    def steps(self) -> int:
        """Whole steps."""

    @property
    def ended(self) -> str:
        """Empty while it is recorded."""


@dataclass
class Recorder:
    """One recording on its way.

    The folder is made at once, so that two recorders can never share it; the header is written with the first step,
    when the optimizer has shown which moments it keeps. A step counts once its line stands in the journal.
    """

    folder: Path
    wanted: Wanted
    about: Mapping[str, Any]
    names: Sequence[str]
    shapes: Sequence[tuple[int, ...]]
    groups_of: Sequence[int]
    steps: int = 0
    ended: str = ""
    places: list[np.ndarray | None] = field(default_factory=list)
    _begun: Moment | None = None
    _files: dict[str, BinaryIO] = field(default_factory=dict)
    _groups: list[dict[str, Any]] | None = None
    _bytes: int = 0
    _seen: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.places = [sampled_places(shape, self.wanted.elements, self.wanted.seed) for shape in self.shapes]

    @property
    def takes_next(self) -> bool:
        """Whether the step that comes next is to be recorded."""
        wanted = self.wanted
        return not self.ended and self._seen + 1 >= wanted.first and (wanted.steps is None or self.steps < wanted.steps)

    @property
    def has_begun(self) -> bool:
        """Whether it knows what the first step begins with."""
        return self._begun is not None

    def pass_over(self) -> None:
        """A step that is not recorded."""
        self._seen += 1

    def begin(self, moment: Moment) -> None:
        """What the first recorded step begins with."""
        self._begun = moment

    def write(
        self,
        gradients: Sequence[np.ndarray | None],
        moment: Moment,
        groups: Sequence[Mapping[str, Any]],
        moved: Sequence[int] = (),
    ) -> None:
        """A step: the gradients the optimizer was given, what it holds after it, and the hyperparameters in force."""
        with self._lock:
            self._seen += 1
            if self.ended or self._begun is None:
                return
            try:
                self._write(gradients, moment, [dict(one) for one in groups], moved)
            except OSError as error:
                self.end(f"{self.folder}: {error.strerror}")

    def end(self, why: str) -> None:
        """Record no more; the training goes on."""
        if not self.ended:
            self.ended = why
            print(f"parity: recording ends after {self.steps} steps: {why}", file=sys.stderr)

    def close(self) -> None:
        """Nothing comes any more; a recording without a step leaves no folder."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self.ended = self.ended or "closed"
            try:
                if self.steps:
                    self._write_header({"steps": self.steps, "ended": self.ended})
                else:
                    shutil.rmtree(self.folder, ignore_errors=True)
            except OSError as error:
                print(f"parity: {self.folder}: {error.strerror}", file=sys.stderr)

    def _write(
        self,
        gradients: Sequence[np.ndarray | None],
        moment: Moment,
        groups: list[dict[str, Any]],
        moved: Sequence[int],
    ) -> None:
        if not self._files:
            self._open(gradients, moment)
        rows = {GRADIENTS: self._row(GRADIENTS, gradients)}
        rows |= {quantity: self._row(quantity, moment.states[quantity]) for quantity in self._quantities}
        size = sum(row.size for row in rows.values())
        if self.wanted.limit is not None and self._bytes + size > self.wanted.limit:
            self.end(f"its limit of {self.wanted.limit:,} bytes is reached")
            return
        told: dict[str, Any] = {"t": moment.t[0] if len(set(moment.t)) == 1 else list(moment.t)}
        if groups != self._groups:
            told["groups"] = groups
        for key, places in (("none", [place for place, one in enumerate(gradients) if one is None]), ("moved", moved)):
            if places:
                told[key] = list(places)
        told["digest"] = digest_of_rows(list(rows.values()))
        for quantity, row in rows.items():
            if self._files[quantity].write(row.data) != row.size:
                # A disk that fills takes what still fits, and complains the next time.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._files[JOURNAL].write(json.dumps(told).encode() + b"\n")
        self._groups, self._bytes, self.steps = groups, self._bytes + size, self.steps + 1

    def _open(self, gradients: Sequence[np.ndarray | None], moment: Moment) -> None:
        assert self._begun is not None
        begun = {quantity: list(arrays) for quantity, arrays in self._begun.states.items()}
        self._quantities = [one for one in STATES if one in moment.states]
        for quantity in self._quantities:
            # A moment that is made by the first step was zero before it.
            begun.setdefault(quantity, [np.zeros_like(one) for one in moment.states[quantity]])
        self._dtypes = {quantity: [array.dtype for array in moment.states[quantity]] for quantity in self._quantities}
        self._dtypes[GRADIENTS] = [
            weight if array is None else array.dtype for array, weight in zip(gradients, self._dtypes["w"], strict=True)
        ]
        for dtypes in self._dtypes.values():
            for dtype in dtypes:
                if dtype not in FORMAT_OF:
                    raise ParityError(f"dtype {dtype} cannot be recorded; allowed: {', '.join(FORMATS)}")
        self._sizes = {
            quantity: [array.size for array in moment.states["w"]] for quantity in (GRADIENTS, *self._quantities)
        }
        first = [self._row(quantity, begun[quantity]) for quantity in self._quantities]
        self._begun_digest = digest_of_rows(first)
        for quantity in (GRADIENTS, *self._quantities):
            self._files[quantity] = rows_file(self.folder, quantity).open("wb", 0)
        for quantity, row in zip(self._quantities, first, strict=True):
            self._files[quantity].write(row.data)
            self._bytes += row.size
        self._files[JOURNAL] = (self.folder / JOURNAL).open("wb", 0)
        self._begun_t = list(self._begun.t)
        self._write_header({})

    def _row(self, quantity: str, arrays: Sequence[np.ndarray | None]) -> np.ndarray:
        """The bytes of a row; zero where there is no array."""
        dtypes, sizes = self._dtypes[quantity], self._sizes[quantity]
        parts = []
        for array, dtype, size in zip(arrays, dtypes, sizes, strict=True):
            if array is None:
                parts.append(np.zeros(size * dtype.itemsize, np.uint8))
                continue
            if array.dtype != dtype or array.size != size:
                raise ParityError(f"{quantity} became {array.dtype} ({array.size}), and was {dtype} ({size})")
            parts.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        return np.concatenate(parts) if len(parts) != 1 else parts[0]

    def _write_header(self, more: Mapping[str, Any]) -> None:
        parameters = [
            {
                "name": name,
                "shape": list(shape),
                "kept": self._sizes["w"][place],
                "group": self.groups_of[place],
                "dtypes": {quantity: FORMAT_OF[dtypes[place]] for quantity, dtypes in self._dtypes.items()},
            }
            for place, (name, shape) in enumerate(zip(self.names, self.shapes, strict=True))
        ]
        header = {
            "schema_version": SCHEMA_VERSION,
            **self.about,
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "first": self._seen if not self.steps else self.wanted.first,
            "elements": self.wanted.elements,
            "seed": self.wanted.seed,
            "quantities": self._quantities,
            "parameters": parameters,
            "t": self._begun_t,
            "digest": self._begun_digest,
            **more,
        }
        write_atomically(self.folder / HEADER, json.dumps(header, indent=1, sort_keys=True) + "\n")


def bytes_in(limit: int | str | None) -> int | None:
    """A number of bytes, or a text such as "2GB"; UsageError for any other."""
    if limit is None or (isinstance(limit, int) and not isinstance(limit, bool) and limit > 0):
        return limit
    if isinstance(limit, str):
        number, unit = limit.strip().rstrip("BGMTk"), limit.strip().lstrip("0123456789. ")
        if unit in UNITS and number.replace(".", "", 1).strip().isdigit():
            return int(float(number) * UNITS[unit])
    raise UsageError(f"limit={limit!r}: allowed: a number of bytes, or one with a unit of {', '.join(UNITS)}")


def make_folder(path: Path, overwrite: bool) -> None:
    """Make the folder of a recording; UsageError where there is something already, unless it may be overwritten."""
    if overwrite and (path / HEADER).is_file():
        shutil.rmtree(path)
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        what = "is no recording" if overwrite else "exists; overwrite=True replaces a recording"
        raise UsageError(f"recording {os.fspath(path)!r} {what}") from None
    except OSError as error:
        raise UsageError(f"recording {os.fspath(path)!r} cannot be made ({error.strerror})") from None
