"""Entries of one case and dtype as one compressed file, and back."""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.baseline.entry import STEP_CHARACTERS, Entry, kept_steps
from parity.baseline.predicted import twin_from_json, twin_to_json
from parity.comparison.trace import hyper_from_json, hyper_to_json
from parity.core.digest import DIGEST_CHARACTERS
from parity.numerics.formats import format_named

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 3, "dict_size": 1 << 24}]
"""Implementations of one case share most of their bytes, however far apart."""


def pack(entries: Sequence[Entry], environments: Sequence[dict[str, Any]]) -> bytes:
    """One line of JSON, then digests and gaps of all entries in its order; xz. environments: those of the baseline."""
    header = {"entries": [_header(entry, environments) for entry in entries]}
    parts = [json.dumps(header, sort_keys=True, separators=(",", ":")).encode(), b"\n"]
    for entry in entries:
        for name in sorted(entry.digests):
            parts.append(bytes.fromhex("".join(entry.digests[name])))
    for entry in entries:
        for name in sorted(entry.gaps):
            parts.append(np.ascontiguousarray(entry.gaps[name]).tobytes())
    return lzma.compress(b"".join(parts), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, filters=_FILTERS)


def unpack(content: bytes, case: str, dtype: str, environments: Sequence[dict[str, Any]]) -> tuple[Entry, ...]:
    """The inverse; LZMAError, ValueError, KeyError, IndexError or TypeError where it is not what was packed."""
    told, _, rest = lzma.decompress(content, format=lzma.FORMAT_XZ).partition(b"\n")
    headers = json.loads(told)["entries"]
    unsigned = format_named(dtype).unsigned
    place = 0
    digests: list[dict[str, tuple[str, ...]]] = []
    for header in headers:
        found = {}
        for name in header["quantities"]:
            length = DIGEST_CHARACTERS // 2 + (header["steps"] + 1) * STEP_CHARACTERS // 2
            found[name] = _digests(_cut(rest, place, length).hex())
            place += length
        digests.append(found)
    entries = []
    for header, found in zip(headers, digests, strict=True):
        gaps = {}
        shape = (len(kept_steps(header["steps"])), header["size"])
        for name in header["quantities"]:
            length = shape[0] * shape[1] * unsigned.itemsize
            gaps[name] = np.frombuffer(_cut(rest, place, length), unsigned).reshape(shape)
            place += length
        entries.append(_entry(header, case, dtype, found, gaps, environments))
    if place != len(rest):
        raise ValueError(f"{len(rest) - place} bytes too many")
    return tuple(entries)


def _header(entry: Entry, environments: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "implementation": entry.implementation,
        "case_digest": entry.case_digest,
        "input_digest": entry.input_digest,
        "steps": entry.steps,
        "size": next(iter(entry.gaps.values())).shape[1],
        "hyper": hyper_to_json(entry.hyper),
        "quantities": sorted(entry.digests),
        "twin": twin_to_json(entry.twin),
        "known": entry.known,
        "kept_digest": entry.kept_digest,
        "environment": environments.index(dict(entry.environment)),
    }


def _entry(
    header: dict[str, Any],
    case: str,
    dtype: str,
    digests: dict[str, tuple[str, ...]],
    gaps: dict[str, np.ndarray],
    environments: Sequence[dict[str, Any]],
) -> Entry:
    return Entry(
        case=case,
        dtype=dtype,
        implementation=str(header["implementation"]),
        case_digest=str(header["case_digest"]),
        input_digest=str(header["input_digest"]),
        steps=int(header["steps"]),
        hyper=hyper_from_json(header["hyper"]),
        digests=digests,
        twin=twin_from_json(header["twin"]),
        known=bool(header["known"]),
        gaps=gaps,
        kept_digest=str(header["kept_digest"]),
        environment=environments[header["environment"]],
    )


def _cut(content: bytes, place: int, length: int) -> bytes:
    if place + length > len(content):
        raise ValueError(f"{place + length - len(content)} bytes are missing")
    return content[place : place + length]


def _digests(characters: str) -> tuple[str, ...]:
    rows = characters[DIGEST_CHARACTERS:]
    steps = (rows[place : place + STEP_CHARACTERS] for place in range(0, len(rows), STEP_CHARACTERS))
    return characters[:DIGEST_CHARACTERS], *steps
