"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

_LEADS_ELSEWHERE = re.compile(r"[\s/\\%\x00-\x1f\x7f]|^\.+$")


def safe_name(name: str) -> str:
    """A name as one part of a path that cannot lead elsewhere; two names never share one, plain names stay."""
    return _LEADS_ELSEWHERE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), name)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write text or bytes beside the file, then put it in its place; the old content stays until then."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(beside, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with suppress(OSError):
            beside.unlink()


def json_in(content: str | bytes) -> Any:
    """The value of a JSON document; ValueError where it is none, also where it is nested too deeply to be read."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None


def json_text(value: Any) -> str:
    """A value as JSON that diffs well: sorted keys, one item a line."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write a value as `json_text` has it."""
    write_atomically(path, json_text(value))
