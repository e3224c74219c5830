"""Short names for bits."""

from __future__ import annotations

import hashlib
from typing import Any

DIGEST_CHARACTERS = 32


def digest_of(content: Any) -> str:
    """The first 128 bits of SHA-256 over bytes or a C-contiguous array, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:DIGEST_CHARACTERS]
