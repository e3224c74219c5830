"""Where environments and compiled code are kept from one command to the next."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "PARITY_CACHE"


def cache_folder(given: Path | str | None = None) -> Path:
    """The folder that is given, else that of PARITY_CACHE, else the one this system has for a user's caches."""
    chosen = given or os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "parity"
    # A relative path is to be ignored, says the XDG Base Directory Specification.
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "parity"
