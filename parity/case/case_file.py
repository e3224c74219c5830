"""Which TOML files are parity cases, told from their text alone: nothing is imported for it."""

from __future__ import annotations

import re
from pathlib import Path

SCHEMA = "schema.json"
TITLE = '"title": "parity case file"'
FEW = 2

_SCHEMA_LINE = re.compile(r"\A#:schema\s+(\S+)")
_KEY = re.compile(r"^\s*\[*\s*(expect|extends|gradients|summary|sweep|why)\s*[=\]]", re.MULTILINE)


def is_case_file(path: Path) -> bool:
    """Whether a file says that it is a case, or has keys that only a case has; true of a faulty one, too.

    A base file (with an underscore) is none: nothing of it is run but by cases that extend it.
    """
    if path.suffix != ".toml" or path.name.startswith("_"):
        return False
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return _names_the_schema(path, text) or len(set(_KEY.findall(text))) >= FEW


def _names_the_schema(path: Path, text: str) -> bool:
    named = _SCHEMA_LINE.match(text)
    if named is None:
        return False
    schema = path.parent / named[1]
    return schema.is_file() and TITLE in schema.read_text(encoding="utf-8", errors="replace")
