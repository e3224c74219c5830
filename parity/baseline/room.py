"""The folder in which a command keeps what it made: never in place of anything that is not its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from parity.core.errors import UsageError


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
