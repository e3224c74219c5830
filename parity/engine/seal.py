"""A digest that a JSON file carries of its own content, by which a change by hand is found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from parity.core.digest import digest_of

SEAL = "seal"


def seal_of(content: Mapping[str, Any]) -> str:
    """Of everything but the seal; white space and the order of keys do not matter."""
    sealed = {key: value for key, value in content.items() if key != SEAL}
    return digest_of(json.dumps(sealed, sort_keys=True, separators=(",", ":")).encode())
