"""From what a command left to its values; whatever is wrong with it is one line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from parity.baseline.document import FILES, SCHEMA, Document
from parity.core.errors import ParityError
from parity.report.panels.agreement import disagreement
from parity.report.panels.documents import CONTENTS, Content, ReadDocument

_FOLDERS = re.compile(r"(?:(?<=file://)|(?<![\w/.)\]}]))/(?:[^\s/'\"<>|:;,()=]+/)+")

ELLIPSIS = "…/"

COMMANDS = "upgrade, matrix, bisect or baseline"

LONGEST = 200
"""Characters of what is wrong with a document."""


@dataclass(frozen=True, slots=True)
class _Head:
    document: Document
    parity: str
    command: tuple[str, ...]
    finished: bool = True


def document_in(folder: Path) -> Path | None:
    """The document of a folder that `parity upgrade`, `matrix` or `bisect` wrote; None where there is none.

    ParityError where there are several.
    """
    found = [folder / name for name in FILES.values() if (folder / name).is_file()]
    if len(found) > 1:
        raise ParityError(f"{folder}: holds {' and '.join(one.name for one in found)}; name one of them")
    return found[0] if found else None


def read_document(path: Path) -> ReadDocument:
    """Read a file, or that of a folder. ParityError, one line, where it is none of ours, altered, or not finished.

    Folders of the machine that it names are left out of every text.
    """
    file = document_in(path) if path.is_dir() else path
    if file is None:
        raise ParityError(f"{path}: nothing of parity upgrade, matrix or bisect here ({', '.join(FILES.values())})")
    return document_of(_loaded(file), str(file))


def document_of(content: Mapping[str, Any], file: str) -> ReadDocument:
    """The same of what is read already. file: how an error calls it."""
    try:
        content = _shortened(content)
    except RecursionError:
        raise ParityError(f"{file}: altered (it is nested too deeply)") from None
    schema = content.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise ParityError(f"{file}: was not written by parity {COMMANDS}, or by an older parity")
    if schema != SCHEMA:
        raise ParityError(f"{file}: schema {schema}; this parity reads schema {SCHEMA}")
    try:
        head = _adapter(_Head).validate_python(content)
        if not head.finished:
            raise ParityError(f"{file}: parity {head.document} did not come to its end; run it again")
        found: Content = _adapter(CONTENTS[head.document]).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
        raise ParityError(f"{file}: altered or truncated ({' '.join(told.split())[:LONGEST]})") from None
    document = ReadDocument(head.document, head.parity, head.command, found)
    contradiction = disagreement(document)
    if contradiction:
        raise ParityError(f"{file}: altered ({contradiction})")
    return document


def _loaded(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise ParityError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise ParityError(f"{file}: altered or truncated (it is no JSON)") from None
    if not isinstance(content, dict):
        raise ParityError(f"{file}: was not written by parity {COMMANDS}")
    return content


def _shortened(value: Any) -> Any:
    """Without folders, and with a question mark for what is no character."""
    match value:
        case str():
            # Half a character, as a crashed process may leave it, could not be written into a page.
            return without_folders(value.encode(errors="replace").decode())
        case list():
            return [_shortened(one) for one in value]
        case dict():
            return {key.encode(errors="replace").decode(): _shortened(one) for key, one in value.items()}
        case _:
            return value


def without_folders(text: str) -> str:
    """A text in which absolute paths have lost all but their names."""
    return _FOLDERS.sub(ELLIPSIS, text)


@cache
def _adapter(noun: Any) -> TypeAdapter[Any]:
    return TypeAdapter(noun)
