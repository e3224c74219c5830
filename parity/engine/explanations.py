"""Whole explanations of a cell's headline pairs on disk: one JSON file a cell, its digest in the cell's account."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.core.digest import digest_of
from parity.core.errors import ParityError
from parity.core.files import write_atomically

SCHEMA = 1
SUFFIX = ".explanations.json"


@dataclass(frozen=True, slots=True)
class Document:
    """What is kept of a cell beside its result.

    reason: why ladders and noise floors were left out, empty where they are there. explanations: one a pair, as
    `parity.explain.explanation.Explanation.to_json` has it; figures that are inf or NaN, for which JSON has no number,
    come back as text.
    """

    reason: str
    explanations: tuple[dict[str, Any], ...]


def write_document(document: Document, path: Path) -> str:
    """Write atomically, an explanation a line; the digest of the file."""
    lines = ",\n".join(map(_line, document.explanations))
    text = f'{{"schema": {SCHEMA}, "reason": {json.dumps(document.reason)}, "explanations": [\n{lines}\n]}}\n'
    write_atomically(path, text)
    return digest_of(text.encode())


def check_document(path: Path, digest: str) -> None:
    """ParityError where the file is missing or is not the one that was written."""
    _content(path, digest)


def read_document(path: Path, digest: str) -> Document:
    """Read what was written; ParityError where it is missing, altered or of another schema."""
    found = json.loads(_content(path, digest))
    if found["schema"] != SCHEMA:
        raise ParityError(f"{path}: schema {found['schema']!r}; this parity reads schema {SCHEMA}")
    return Document(found["reason"], tuple(found["explanations"]))


def _content(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError:
        raise ParityError(f"{path}: missing, though the run says that it was written") from None
    if digest_of(content) != digest:
        raise ParityError(f"{path}: altered or truncated (its digest is not the one the run recorded)")
    return content


def _line(explanation: dict[str, Any]) -> str:
    def told(value: Any) -> str:
        return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))

    try:
        return told(explanation)
    except ValueError:
        # Few have a figure that JSON has not, and to look at every one of all takes longer than to write them.
        return told(_plain(explanation))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
