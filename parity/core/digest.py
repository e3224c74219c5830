"""Short names for bits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DIGEST_CHARACTERS = 32


def digest_of(content: Any) -> str:
    """The first 128 bits of SHA-256 over bytes or a C-contiguous array, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:DIGEST_CHARACTERS]


def quick_digest_of(content: Any) -> str:
    """XXH3-128 over bytes or a C-contiguous array: tells bits apart that nobody has forged, at the speed of memory.

    Source: xxhash, XXH3, 128 bits, seed 0.
    """
    # A worker of another environment loads this file and has no xxhash.
    import xxhash

    return xxhash.xxh3_128_hexdigest(content)


class InputDigest:
    """What a trace was made from, row by row: SHA-256 over the XXH3-128 of each and who had no gradient there.

    Traces can be compared where theirs are equal. rows: C-contiguous arrays of bits, the weights first.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, row: Any, none: Iterable[str] = ()) -> None:
        """A row, and the names of those whose gradient is None in it, in the order of the layout."""
        self._digest.update(f"{quick_digest_of(row)} {','.join(none)}\n".encode())

    def __str__(self) -> str:
        return self._digest.hexdigest()[:DIGEST_CHARACTERS]


def digest_of_file(path: Path) -> str:
    """The same of a file, without holding it in memory; OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_CHARACTERS]


SEAL = "seal"


def seal_of(content: Mapping[str, Any]) -> str:
    """Of everything but the seal; white space and the order of keys do not matter."""
    sealed = {key: value for key, value in content.items() if key != SEAL}
    return digest_of(json.dumps(sealed, sort_keys=True, separators=(",", ":")).encode())
