"""Folders that matrix, bisect and upgrade keep, as one page: implementations by releases, and since when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parity.api.baselines import the_baseline
from parity.api.release import RELEASES
from parity.api.upgrade import SIDES
from parity.baseline.document import FILES, Document
from parity.baseline.lineage import Lineage, Station, lineage_of
from parity.baseline.side import SIDE, kept_side
from parity.case.case import Case
from parity.case.catalogue import select_cases
from parity.core.errors import NothingCompared, ParityError, UsageError
from parity.core.files import json_in, write_atomically
from parity.report.atlas import render_atlas
from parity.report.html.documents import render_atlas_page
from parity.report.html.templates import missing
from parity.report.panels.atlas import Atlas, atlas_of

STEM = "atlas"

UNFINISHED = "it was not recorded yet"


def atlas(folders: Sequence[Path | str], output: Path | str | None = None) -> Atlas:
    """What releases changed, from folders of `parity matrix`, `bisect` and `upgrade`; nothing is recorded.

    A folder of a matrix that did not come to its end has those releases that it recorded. output: gets atlas.md, and
    atlas.html where a page can be made. UsageError where two folders have one name, ParityError where one is none of
    theirs or damaged, NothingCompared where no two releases were recorded.
    """
    paths = [Path(folder) for folder in folders]
    names = [path.resolve().name for path in paths]
    if len({*names}) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"two folders are called {twice!r}, which names a line of the atlas; give each another name")
    found = atlas_of([read_lineage(path) for path in paths])
    if not any(one.lineage.steps for one in found.lines):
        raise NothingCompared(f"nothing was compared: no two releases are recorded in {', '.join(map(str, paths))}")
    if output is not None:
        folder = Path(output)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"-o {folder}: is a file, not a folder")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{STEM}.md", render_atlas(found))
        if not missing():
            write_atomically(folder / f"{STEM}.html", render_atlas_page(found))
    return found


def read_lineage(folder: Path) -> Lineage:
    """A folder as a line of releases; ParityError, one line, where it is none, or damaged."""
    kind, told = _document(folder)
    try:
        command = tuple(map(str, told["command"]))
        stations, title = _stations(folder, kind, told, command)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ParityError(f"{folder / FILES[kind]}: truncated or altered, or of an older parity") from None
    return lineage_of(folder.resolve().name, title, command, stations, _cases(command))


def _document(folder: Path) -> tuple[Document, dict[str, Any]]:
    there = [kind for kind, name in FILES.items() if (folder / name).is_file()]
    if len(there) != 1:
        what = f"holds {' and '.join(FILES[kind] for kind in there)}" if there else "nothing of them is here"
        raise ParityError(f"{folder}: {what}; allowed: a folder of parity {', '.join(FILES)}")
    path = folder / FILES[there[0]]
    try:
        told = json_in(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ParityError(f"{path}: truncated or altered ({error})") from None
    if not isinstance(told, dict):
        raise ParityError(f"{path}: truncated or altered (it is no object)")
    return there[0], told


def _stations(
    folder: Path, kind: Document, told: dict[str, Any], command: tuple[str, ...]
) -> tuple[tuple[Station, ...], str]:
    """The stations of a folder, oldest first, and what they are releases of."""
    if kind is Document.UPGRADE:
        sides = [_station(name, folder / name, {}) for name in SIDES]
        named = [Station(one.side.name, one.side) if one.side is not None else one for one in sides]
        return tuple(named), folder.resolve().name
    package = str(told["package"] if "package" in told else told["asked"]["package"])
    if kind is Document.BISECT:
        decided = {str(one["release"]): str(one["why"]) for one in told["decisions"]}
        names = [str(one) for one in told["releases"]]
        looked = [one for one in names if (folder / RELEASES / one / SIDE).is_file() or one in decided]
        return tuple(_station(one, folder / RELEASES / one, decided) for one in looked), package
    whys = {str(one): str(release["why"]) for one, release in told.get("releases", {}).items()}
    versions = command[command.index("--versions") + 1].split(",")
    return tuple(_station(one, folder / RELEASES / one, whys) for one in versions), package


def _station(name: str, root: Path, whys: dict[str, str]) -> Station:
    if not (root / SIDE).is_file():
        return Station(name, None, whys.get(name) or UNFINISHED)
    return Station(name, kept_side(the_baseline(root), root))


_ALONE = ("--pre",)
"""Options of the three commands that take no value, in the words that lead to them again."""


def _cases(command: tuple[str, ...]) -> tuple[Case, ...]:
    """The cases that a command names, as they stand today; those of the catalogue where it names none."""
    words, files = list(command[2:]), []
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            files.append(word)
        elif word not in _ALONE and words:
            words.pop(0)
    there = [one for one in files if Path(one).exists()]
    return select_cases(there) if there or not files else ()
