"""Writes a recording step by step; whatever goes wrong ends the recording, and never the training."""

from __future__ import annotations

import json
import platform
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from parity.case.journal import journal_file
from parity.case.recording import read_recording, sampled_places
from parity.case.recording_header import GRADIENTS, STATES, write_header
from parity.core.environment import MACHINE, describe_environment
from parity.core.errors import ParityError, UsageError
from parity.implementations.machine import machine_facts
from parity.live.pending import CAPACITY, Pending
from parity.live.row import FORMAT_OF, Row, Segment

UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be kept of a training.

    first: 1-based step of the optimizer with which it begins; every: of those from there the first of so many; steps:
    how many are kept, None for all; last: of them the last so many, None for all. parameters: shell patterns of names,
    parted by ``|``. elements: of every tensor at most so many, None for all; seed: of the sample. moments: m, v and
    vmax too. limit: bytes on the disk, None for no limit.
    """

    first: int = 1
    steps: int | None = None
    every: int = 1
    last: int | None = None
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
    lock: held by who writes.
    """

    folder: Path
    wanted: Wanted
    about: Mapping[str, Any]
    names: Sequence[str]
    shapes: Sequence[tuple[int, ...]]
    groups_of: Sequence[int]
    steps: int = 0
    ended: str = ""
    seen: int = 0
    row: Row | None = None
    places: list[np.ndarray | None] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    takes_next: bool = True
    _segments: list[Segment] = field(default_factory=list)
    _pending: Pending | None = None
    _groups: list[dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        self.places = [sampled_places(shape, self.wanted.elements, self.wanted.seed) for shape in self.shapes]
        self._count(0)

    def pass_over(self) -> None:
        """A step that is not recorded."""
        self._count()

    def _count(self, seen: int = 1) -> None:
        """A step has been taken: whether the next one is to be recorded."""
        self.seen += seen
        wanted = self.wanted
        if wanted.steps is wanted.last is None and wanted.every == wanted.first == 1:
            return
        later = self.seen + 1 - wanted.first
        self.takes_next = (
            not self.ended
            and later >= 0
            and later % wanted.every == 0
            and (wanted.steps is None or self.steps < wanted.steps)
        )

    def write(
        self,
        gradients: Sequence[np.ndarray | None],
        before: Moment | None,
        after: Moment,
        groups: Sequence[Mapping[str, Any]],
        moved: Sequence[int] | None = None,
    ) -> None:
        """A step: the gradients that were given, what was held before and after it, and the hyperparameters in force.

        before: needed for the first step, and for every step where not all are kept; else its weights alone tell which
        of them somebody else has moved since the step before, where `moved` does not.
        """
        with self.lock:
            if self.ended:
                return
            try:
                if self.row is None:
                    assert before is not None
                    self._open(gradients, before, after)
                row = self.row
                assert row is not None
                if before is not None and self.steps:
                    if row.paired:
                        self._fill(before, before=True)
                        if self._segments[-1].steps == self.wanted.last:
                            self._roll(before.t)
                    elif moved is None:
                        moved = self.moved(before.states["w"])
                row.fill(GRADIENTS, gradients)
                self._fill(after)
                none = [place for place, one in enumerate(gradients) if one is None]
                told = [dict(one) for one in groups]
                begun = before.t if row.paired and before is not None else None
                self.commit(after.t, told, none, moved or (), begun)
            except OSError as error:
                self.end(f"{self.folder}: {error.strerror}")

    def moved(self, weights: Sequence[np.ndarray]) -> list[int]:
        """Whose weights before a step are not those that the row holds, of the step before: somebody changed them."""
        assert self.row is not None
        pairs = zip(weights, self.row.after["w"], strict=True)
        return [place for place, (now, then) in enumerate(pairs) if now.tobytes() != then.tobytes()]

    def commit(
        self,
        t: int | Sequence[int],
        groups: list[dict[str, Any]] | None,
        none: Sequence[int] = (),
        moved: Sequence[int] = (),
        t_before: Sequence[int] | None = None,
    ) -> None:
        """The step that the row holds; t: after it, of all or of each; groups: None where they are as they were."""
        row, segment = self.row, self._segments[-1]
        if self.ended:
            return
        assert row is not None
        if self.wanted.limit is not None and self._bytes() + row.size > self.wanted.limit:
            self.end(f"its limit of {self.wanted.limit:,} bytes is reached")
            return
        text = ""
        if groups is not None or none or moved or t_before or not isinstance(t, int) or not segment.steps:
            text = self._text(t, groups, {"none": none, "moved": moved, "t_before": t_before}, not segment.steps)
        try:
            segment.append(t if isinstance(t, int) else -1, text)
            self.steps += 1
            self._count()
            if segment.steps == self.wanted.last and not row.paired:
                self._roll([t] * len(self.names) if isinstance(t, int) else t)
        except OSError as error:
            self.end(f"{self.folder}: {error.strerror}")

    def _text(
        self,
        t: int | Sequence[int],
        groups: list[dict[str, Any]] | None,
        lists: Mapping[str, Sequence[int] | None],
        first: bool,
    ) -> str:
        """A line of the journal before its digest; first: of a segment, whose groups are always told."""
        told: dict[str, Any] = {"t": t if isinstance(t, int) else t[0] if len(set(t)) == 1 else list(t)}
        if groups is not None and groups != self._groups:
            self._groups, first = groups, True
        if first:
            told["groups"] = self._groups
        told |= {key: list(places) for key, places in lists.items() if places}
        return json.dumps(told)[:-1]

    def end(self, why: str) -> None:
        """Record no more; the training goes on."""
        if not self.ended:
            self.ended, self.takes_next = why, False
            print(f"parity: recording ends after {self.steps} steps: {why}", file=sys.stderr)

    def close(self) -> None:
        """Nothing comes any more; a recording without a step leaves no folder."""
        with self.lock:
            self.ended, self.takes_next = self.ended or "closed", False
            try:
                self._close()
            except (OSError, ParityError) as error:
                if self.ended == "closed":
                    why = f"{self.folder}: {error.strerror}" if isinstance(error, OSError) else str(error)
                    print(f"parity: {why}", file=sys.stderr)
            finally:
                for one in (*self._segments, self._pending):
                    if one is not None:
                        one.close()

    def _close(self) -> None:
        if not self.steps:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        self._segments[-1].flush()
        rolled = self._segments if self.wanted.last is not None else []
        if rolled:
            self._segments = [self._joined(rolled)]
            self.steps = self._segments[0].steps
        self._write_header({"steps": self.steps, "ended": self.ended})
        for done in (*rolled, self._pending):
            if done is not None:
                done.remove()

    def _open(self, gradients: Sequence[np.ndarray | None], before: Moment, after: Moment) -> None:
        states = {one: after.states[one] for one in STATES if one in after.states}
        dtypes = {quantity: [array.dtype for array in arrays] for quantity, arrays in states.items()}
        given = [weight if array is None else array.dtype for array, weight in zip(gradients, dtypes["w"], strict=True)]
        sizes = [array.size for array in states["w"]]
        self.row = Row({GRADIENTS: given, **dtypes}, sizes, self.wanted.every > 1)
        self._fill(before, before=self.row.paired)
        self._pending = self._made_pending(self.row.size)
        self._segments = [self._segment(before.t, int(self.wanted.last is not None))]
        self._write_header({})

    def _fill(self, moment: Moment, *, before: bool = False) -> None:
        """Put states into the row; a moment that is made by the next step is zero before it."""
        assert self.row is not None
        for quantity in self.row.states:
            arrays = moment.states.get(quantity, [None] * len(self.names))
            self.row.fill(quantity, arrays, before=before)

    def _segment(self, t: Sequence[int], number: int) -> Segment:
        """New files, which begin with the state that the row holds; t: of that state."""
        assert self.row is not None
        begun = {"first": self.seen + 1, "t": list(t), "digest": self.row.begun_digest()}
        return Segment(self.folder, self.row, number, begun, self._pending)

    def _made_pending(self, size: int) -> Pending | None:
        """Where steps of so many bytes may wait; none where they are too many, or it can't be made."""
        room = CAPACITY if self.wanted.limit is None else min(CAPACITY, self.wanted.limit // 8)
        with suppress(OSError):
            return Pending(self.folder, size, room) if size <= room // 4 else None
        return None

    def _bytes(self) -> int:
        """On the disk."""
        return sum(one.bytes for one in self._segments) + (self._pending.capacity if self._pending is not None else 0)

    def _roll(self, t: Sequence[int]) -> None:
        """The newest segment is full: the oldest but one goes, once the header says so."""
        *older, full = self._segments
        full.flush()
        self._segments = [full, self._segment(t, full.number + 1)]
        self._write_header({})
        full.close()
        for segment in older:
            segment.remove()

    def _joined(self, segments: Sequence[Segment]) -> Segment:
        """A segment with plain names that holds the last of all steps of these."""
        row, wanted = self.row, self.wanted
        assert row is not None
        assert wanted.last is not None
        recording = read_recording(self.folder)
        written = {quantity: recording.rows(quantity) for quantity in row.spans}
        files = [journal_file(self.folder, segment.number) for segment in segments]
        lines = [json.loads(line) for file in files for line in file.read_bytes().split(b"\n")[:-1]]
        begins = max(0, recording.steps - wanted.last)
        begun = dict(segments[0].begun)
        if begins:
            t = lines[begins]["t_before"] if row.paired else lines[begins - 1]["t"]
            begun["t"] = t if isinstance(t, list) else [t] * len(self.names)
            begun["first"] += begins * wanted.every
        for quantity in row.states:
            zeroth = written[quantity][begins] if row.paired else recording.row(quantity, begins + 1, before=True)
            row.bytes[row.spans[quantity]] = zeroth
        begun["digest"] = row.begun_digest()
        joined = Segment(self.folder, row, 0, begun, None)
        lines[begins] = {"t": 0, "groups": recording.step(begins + 1).groups} | lines[begins]
        try:
            for place in range(begins, recording.steps):
                for quantity, span in row.spans.items():
                    row.bytes[span] = written[quantity][place]
                del lines[place]["digest"]
                joined.append(0, json.dumps(lines[place])[:-1])
        except OSError:
            joined.remove()
            raise
        joined.close()
        return joined

    def _write_header(self, more: Mapping[str, Any]) -> None:
        row = self.row
        assert row is not None
        parameters = [
            {
                "name": name,
                "shape": list(shape),
                "kept": row.sizes[place],
                "group": self.groups_of[place],
                "dtypes": {quantity: FORMAT_OF[dtypes[place]] for quantity, dtypes in row.dtypes.items()},
            }
            for place, (name, shape) in enumerate(zip(self.names, self.shapes, strict=True))
        ]
        header = {
            **self.about,
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "environment": {**describe_environment(), MACHINE: machine_facts()},
            "elements": self.wanted.elements,
            "seed": self.wanted.seed,
            "quantities": list(row.states),
            "parameters": parameters,
            **self._segments[0].begun,
            **({"every": self.wanted.every} if row.paired else {}),
            **({"segments": [one.number for one in self._segments]} if self._segments[0].number else {}),
            **more,
        }
        write_header(self.folder, header)


def bytes_in(limit: int | str | None) -> int | None:
    """A number of bytes, or a text such as "2GB"; UsageError for any other."""
    if limit is None or (isinstance(limit, int) and not isinstance(limit, bool) and limit > 0):
        return limit
    if isinstance(limit, str):
        number, unit = limit.strip().rstrip("BGMTk"), limit.strip().lstrip("0123456789. ")
        if unit in UNITS and number.replace(".", "", 1).strip().isdigit():
            return int(float(number) * UNITS[unit])
    raise UsageError(f"limit={limit!r}: allowed: a number of bytes, or one with a unit of {', '.join(UNITS)}")
