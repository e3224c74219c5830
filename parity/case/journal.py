"""The journal of a recording: a line for every step, in its file, or beside its row where it waits for that."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from parity.core.errors import ParityError
from parity.core.files import json_in

JOURNAL = "steps.jsonl"

PENDING = "pending.bits"
PENDING_HEAD, PENDING_MARK = struct.Struct("<8sIIqI16s"), b"parity 3"
"""Before the row of every step that waits there: the mark, its segment, its number in it, t, the bytes of its text,
and its digest.

The text follows the row: its line of the journal without the digest, or nothing where there is nothing but t in it.
"""

_UNSEALED_HEAD, _UNSEALED_MARK = struct.Struct("<8sIIqI"), b"parity 2"


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """One step: `t` of every parameter after it, hyperparameters of every group, parameters without a gradient.

    moved: parameters whose weights were changed by somebody else since the step before. digest: of its rows, and of
    `text`, its line before the digest, which is empty where the journal has no seal.
    """

    number: int
    t: tuple[int, ...]
    groups: tuple[Mapping[str, Any], ...]
    none: tuple[str, ...]
    moved: tuple[str, ...]
    digest: str
    text: bytes


def journal_file(folder: Path, segment: int = 0) -> Path:
    """Where a line for every step lies."""
    return folder / (f"steps.{segment}.jsonl" if segment else JOURNAL)


def lines_of(file: Path) -> list[bytes]:
    """Those that were written to their end; the line on which a process was killed is none."""
    try:
        return file.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise ParityError(f"{file}: cannot be read ({error.strerror})") from None


def steps_of(
    lines: Sequence[bytes],
    file: Path,
    names: Sequence[str],
    earlier: int,
    groups: tuple[Mapping[str, Any], ...] = (),
    *,
    sealed: bool,
) -> list[RecordedStep]:
    """What lines of a journal say, after earlier steps and with the groups that were in force.

    sealed: whether their digests are of their text too.
    """
    steps = []
    for number, line in enumerate(lines, start=1):
        try:
            told = json_in(line)
            groups = tuple(told["groups"]) if "groups" in told else groups
            if not all(isinstance(one, dict) for one in groups):
                raise TypeError("a group is no table")
            t = told["t"] if isinstance(told["t"], list) else [told["t"]] * len(names)
            if len(t) != len(names) or not all(type(one) is int for one in t):
                raise ValueError("t is no whole number for every parameter")
            none, moved = ([names[place] for place in told.get(key, ())] for key in ("none", "moved"))
            text, digest = line.rpartition(_DIGEST.encode())[0] if sealed else b"", told["digest"]
            if sealed and line_of(text, digest) != line + b"\n":
                raise ValueError("its digest does not end it")
            steps.append(RecordedStep(earlier + number, tuple(t), groups, tuple(none), tuple(moved), digest, text))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ParityError(f"{file}: line {number} cannot be understood ({error})") from None
    return steps


def waiting_after(folder: Path, segment: int, filed: int, size: int) -> list[tuple[bytes, np.ndarray]]:
    """Lines and rows of whole steps that were not yet in the files of the newest segment when a process was killed."""
    try:
        content = (folder / PENDING).read_bytes()
    except OSError:
        return []
    found: list[tuple[bytes, np.ndarray]] = []
    for number, row, line in waiting_steps(content, segment, size):
        # What precedes the first, and what follows the newest one of an earlier round, is in the files.
        if number == filed + len(found) + 1:
            found.append((line, np.frombuffer(row, np.uint8)))
    return found


def waiting_steps(content: bytes | memoryview, segment: int, size: int) -> Iterator[tuple[int, memoryview, bytes]]:
    """Number in its segment, row and line of every step that waits; size: bytes of a row."""
    view, offset = memoryview(content), 0
    begun = bytes(view[: len(PENDING_MARK)])
    head = {PENDING_MARK: PENDING_HEAD, _UNSEALED_MARK: _UNSEALED_HEAD}.get(begun)
    if head is None:
        return
    while offset + head.size + size <= len(view):
        mark, of, number, t, length, *digests = head.unpack_from(view, offset)
        if mark != begun or of != segment:
            return
        begin = offset + head.size
        offset = begin + size + length
        row, text = view[begin : begin + size], bytes(view[begin + size : offset])
        digest = digests[0].hex() if digests else xxhash.xxh3_128_hexdigest(row)
        yield number, row, line_of(text or text_of(t), digest)


_DIGEST = ', "digest": "'


def text_of(t: int) -> bytes:
    """A line of the journal before the digest, where there is nothing but t in it."""
    return b'{"t": %d' % t


def line_of(text: bytes, digest: str) -> bytes:
    """A line of the journal; text: all of it before the digest."""
    return text + f'{_DIGEST}{digest}"}}\n'.encode()


def digest_of_step(rows: Sequence[np.ndarray], text: bytes = b"") -> str:
    """XXH3-128 of the bits of one step, its gradients, then every quantity, and of its line before the digest."""
    digest = xxhash.xxh3_128()
    for row in rows:
        digest.update(np.ascontiguousarray(row).view(np.uint8).data)
    digest.update(text)
    return digest.hexdigest()
