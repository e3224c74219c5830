"""The bytes of one recorded step, and the files that rows are appended to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash

from parity.case.journal import journal_file, line_of, text_of
from parity.case.recording import rows_file
from parity.case.recording_header import GRADIENTS
from parity.core.errors import ParityError
from parity.live.pending import Pending, write_at
from parity.numerics.formats import FORMATS

FORMAT_OF = {format.dtype: name for name, format in FORMATS.items()}


class Row:
    """One step in one piece of memory, which is hashed whole: gradients, then every state.

    dtypes: by quantity and parameter; sizes: elements kept of every parameter. paired: every state stands in it
    twice, as it was before the step and as it is after it.
    """

    def __init__(self, dtypes: Mapping[str, Sequence[np.dtype]], sizes: Sequence[int], paired: bool) -> None:
        for dtype in [dtype for one in dtypes.values() for dtype in one]:
            if dtype not in FORMAT_OF:
                raise ParityError(f"dtype {dtype} cannot be recorded; allowed: {', '.join(FORMATS)}")
        self.dtypes, self.sizes, self.paired = dtypes, sizes, paired
        self.states = tuple(one for one in dtypes if one != GRADIENTS)
        widths = {
            name: [n * dtype.itemsize for n, dtype in zip(sizes, one, strict=True)] for name, one in dtypes.items()
        }
        times = {name: 1 + (paired and name != GRADIENTS) for name in dtypes}
        self.bytes = np.zeros(sum(times[name] * sum(one) for name, one in widths.items()), np.uint8)
        self.memory = self.bytes.data
        self.after: dict[str, list[np.ndarray]] = {}
        self.before: dict[str, list[np.ndarray]] = {}
        self.spans: dict[str, slice] = {}
        offset = 0
        for name, one in widths.items():
            begun = offset
            for places in [self.before] * (times[name] - 1) + [self.after]:
                ends = offset + np.cumsum([0, *one])
                places[name] = [self.bytes[start:end] for start, end in pairwise(ends)]
                offset = int(ends[-1])
            self.spans[name] = slice(begun, offset)

    @property
    def size(self) -> int:
        """Bytes of a step."""
        return self.bytes.size

    def fill(self, quantity: str, arrays: Sequence[np.ndarray | None], *, before: bool = False) -> None:
        """Put arrays of what is kept, flat, into their places; zeros where there is none."""
        for place, array in enumerate(arrays):
            self.put(quantity, place, array, before=before)

    def put(self, quantity: str, place: int, array: np.ndarray | None, *, before: bool = False) -> None:
        """That of one parameter; ParityError where it is of another dtype or size than it was."""
        part = (self.before if before else self.after)[quantity][place]
        dtype, size = self.dtypes[quantity][place], self.sizes[place]
        if array is None:
            part[:] = 0
        elif array.dtype != dtype or array.size != size:
            raise ParityError(f"{quantity} became {array.dtype} ({array.size}), and was {dtype} ({size})")
        else:
            part[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def begun_digest(self) -> str:
        """Of the states alone; where they are paired, of those before the step."""
        digest = xxhash.xxh3_128()
        for quantity in self.states:
            for part in (self.before if self.paired else self.after)[quantity]:
                digest.update(part.data)
        told: str = digest.hexdigest()
        return told

    def digest(self, text: bytes) -> bytes:
        """Of the step and its line before the digest, as `digest_of_step` has it."""
        digest = xxhash.xxh3_128(self.memory)
        digest.update(text)
        told: bytes = digest.digest()
        return told


class Segment:
    """Files of rows and of the journal, open to be appended to; what is written is the system's at once.

    number: that of its files, 0 for the plain ones; begun: what the header says of its beginning; pending: where steps
    wait until many of them go to the files together, None where each goes at once. steps, bytes: that were appended.
    OSError where they cannot be made or written.
    """

    def __init__(
        self, folder: Path, row: Row, number: int, begun: Mapping[str, Any], pending: Pending | None = None
    ) -> None:
        self.number, self.begun = number, begun
        self.steps = self.bytes = 0
        self._row, self._pending = row, pending
        self._paths = [*(rows_file(folder, quantity, number) for quantity in row.spans), journal_file(folder, number)]
        self._files: list[BinaryIO] = []
        try:
            for path in self._paths:
                self._files.append(path.open("wb", 0))
            self._ends = [0] * len(self._files)
            if not row.paired:
                # Row 0 is the state that the row holds now.
                states = [row.bytes[span].tobytes() for quantity, span in row.spans.items() if quantity != GRADIENTS]
                self._write([[], *([state] for state in states), []])
                self.bytes = sum(map(len, states))
        except OSError:
            self.remove()
            raise

    def append(self, t: int, text: str) -> None:
        """The step that the row holds now; text: its line before the digest, where there is more than t in it."""
        row, number, told = self._row.memory, self.steps + 1, text.encode()
        digest = self._row.digest(told or text_of(t))
        if self._pending is None or not self._pending.put(self.number, number, t, row, told, digest):
            self.flush()
            if self._pending is None or not self._pending.put(self.number, number, t, row, told, digest):
                line = line_of(told or text_of(t), digest.hex())
                self._write([*([row[span]] for span in self._row.spans.values()), [line]])
        self.steps = number
        self.bytes += len(row)

    def flush(self) -> None:
        """Put what is pending into the files; where that fails, it stays pending."""
        if self._pending is not None and (steps := list(self._pending.steps())):
            spans = self._row.spans.values()
            self._write([*([row[span] for row, _ in steps] for span in spans), [line for _, line in steps]])
            self._pending.begin_anew()

    def close(self) -> None:
        """Nothing is appended any more."""
        while self._files:
            self._files.pop().close()

    def remove(self) -> None:
        """Close it, and delete its files."""
        self.close()
        for path in self._paths:
            with suppress(OSError):
                path.unlink()

    def _write(self, contents: Sequence[Sequence[bytes | memoryview]]) -> None:
        """Pieces to the end of each file, the journal's last; none counts before all are there."""
        sizes = [sum(map(len, pieces)) for pieces in contents]
        for file, end, pieces, size in zip(self._files, self._ends, contents, sizes, strict=True):
            written = write_at(file, pieces, end) if size else 0
            if written < size:
                # The system may take less at once, as of more than 2 GiB or where a disk is all but full.
                rest = memoryview(b"".join(pieces))
                while written < size:
                    written += write_at(file, [rest[written:]], end + written)
        self._ends = [end + size for end, size in zip(self._ends, sizes, strict=True)]
