"""What the commands about upgrades and baselines leave: a folder, the head of a JSON, a command that asks again."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from parity.baseline.side import Place
from parity.core.errors import UsageError
from parity.core.version import VERSION

SCHEMA = 1


class Document(StrEnum):
    """By the command that leaves it."""

    UPGRADE = "upgrade"
    MATRIX = "matrix"
    BISECT = "bisect"
    BASELINE = "baseline"


FILES = {
    Document.UPGRADE: "upgrade.json",
    Document.MATRIX: "matrix.json",
    Document.BISECT: "bisect.json",
}
"""In the folder of the command; of a baseline there is only what ``--json`` writes."""


def head(document: Document, command: Sequence[str] = ()) -> dict[str, Any]:
    """What every document begins with. command: the words that lead to it again."""
    return {"schema": SCHEMA, "document": str(document), "parity": VERSION, "command": list(command)}


def selecting(
    cases: Sequence[Path | str], implementations: Sequence[str], dtypes: Iterable[str], keyword: str
) -> tuple[str, ...]:
    """What is selected, as every command takes it."""
    chosen = ("-k", keyword) if keyword else ()
    return (*map(str, cases), *repeated("-i", implementations), *repeated("-d", dtypes), *chosen)


def placing(places: Collection[Place]) -> Iterator[str]:
    """Both sides of an upgrade."""
    for place in places:
        yield from repeated(place.flag, place.pins)
        yield from repeated(f"{place.flag}-python", filter(None, [place.python]))
        yield from repeated(f"{place.flag}-baseline", [str(place.baseline)] if place.baseline is not None else [])
        yield from repeated(f"{place.flag}-env", map("=".join, place.variables))
    yield from repeated("--with", dict.fromkeys(pin for place in places for pin in place.beside))


def repeated(flag: str, values: Iterable[str]) -> tuple[str, ...]:
    """An option once for each of its values."""
    return tuple(word for value in values for word in (flag, value))


def make_room(folder: Path, mark: str, own: Iterable[str], spared: Iterable[Path] = ()) -> None:
    """Remove from a folder what an earlier call of the command left there; the folder is there then.

    mark: the file by which a folder is known as the command's. own: what it wrote there. spared: what is
    read yet. UsageError where the folder holds something else, or what is to be spared.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"-o {folder}: is a file, not a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise UsageError(f"-o {folder}: holds files, and no {mark} by which it is known; name an empty or a new folder")
    for path in spared:
        if path.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"-o {folder}: holds {path}, which is to be read; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name in own:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name, ignore_errors=True)
        else:
            (folder / name).unlink(missing_ok=True)
