"""The newest steps of a recording, in a file of one size that is written in place: many rows go to their files at once.

A call of the system costs a small training more than all that is recorded of it. What is in the file is the system's,
and outlives this process however it ends.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from parity.case.journal import PENDING, PENDING_HEAD, PENDING_MARK, waiting_steps

CAPACITY = 1 << 20
"""Bytes; a row of more than a quarter of it goes to its files at once."""

MOST = 1000
"""Steps; the system takes no more pieces in one call."""

IN_PLACE = frozenset({"ext2", "ext3", "ext4", "tmpfs", "xfs"})
"""File systems on which what was written once can be written again on a full disk, so that memory may be mapped to it.

Elsewhere it is written by a call: a full disk is an error of a call, and the end of a process with mapped memory.
"""


class Pending:
    """Steps one after another; once they are in their files it begins anew.

    size: bytes of a row; capacity: of the file. OSError where it cannot be made.
    """

    def __init__(self, folder: Path, size: int, capacity: int) -> None:
        self._path, self.capacity = folder / PENDING, capacity
        self._size, self._segment, self._steps, self._end = size, 0, 0, 0
        self._file: BinaryIO = self._path.open("wb+", 0)
        self._memory: mmap.mmap | bytearray = bytearray(capacity)
        self._mapped = False
        try:
            self._write(0, capacity)
            if _is_in_place(folder):
                with suppress(OSError, ValueError):
                    self._memory, self._mapped = mmap.mmap(self._file.fileno(), capacity), True
        except OSError:
            self.remove()
            raise

    def put(self, segment: int, number: int, t: int, row: memoryview, text: bytes, digest: bytes) -> bool:
        """Append a step, as `PENDING_HEAD` has it; whether there is room for it."""
        begin = self._end
        middle = begin + PENDING_HEAD.size
        end = middle + self._size + len(text)
        if end > self.capacity or self._steps == MOST:
            return False
        self._memory[middle : middle + self._size] = row
        if text:
            self._memory[middle + self._size : end] = text
        # It is a step only with its head.
        PENDING_HEAD.pack_into(self._memory, begin, PENDING_MARK, segment, number, t, len(text), digest)
        if not self._mapped:
            self._write(begin, end)
        self._segment, self._end = segment, end
        self._steps += 1
        return True

    def steps(self) -> Iterator[tuple[memoryview, bytes]]:
        """Row and line of every step; nothing is kept of them once it begins anew."""
        with memoryview(self._memory)[: self._end] as view:
            for _, row, line in waiting_steps(view, self._segment, self._size):
                yield row, line

    def begin_anew(self) -> None:
        """All steps are in their files."""
        self._steps = self._end = 0

    def _write(self, begin: int, end: int) -> None:
        if write_at(self._file, [memoryview(self._memory)[begin:end]], begin) != end - begin:
            # A disk that fills takes what still fits.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Leave the file as it is."""
        if isinstance(self._memory, mmap.mmap):
            with suppress(BufferError):
                self._memory.close()
        self._file.close()

    def remove(self) -> None:
        """Close it, and delete the file."""
        self.close()
        with suppress(OSError):
            self._path.unlink()


def write_at(file: BinaryIO, pieces: Sequence[bytes | memoryview], offset: int) -> int:
    """Write pieces one after another, in one call of the system where there is one; how many bytes it took."""
    if hasattr(os, "pwritev"):
        return os.pwritev(file.fileno(), pieces, offset)
    file.seek(offset)
    return file.write(b"".join(pieces))


def _is_in_place(folder: Path) -> bool:
    device = folder.stat().st_dev
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = {line.partition(" - ")[2].split(" ", 1)[0] for line in mounts if line.split(" ")[2] == number}
    return bool(kinds) and kinds <= IN_PLACE
