"""The folder of a recording, which belongs to one recorder until that is done."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from parity.case.recording_header import HEADER
from parity.core.errors import UsageError

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # pragma: no cover
    flock = None  # type: ignore[assignment]


class Folder:
    """A folder that is made, and held so that nobody replaces it; UsageError where something lies there already.

    overwrite: replace a recording that lies there, unless somebody is at work on it, in whatever process.
    """

    def __init__(self, path: Path, overwrite: bool) -> None:
        self._held: int | None = None
        if overwrite and (path / HEADER).is_file():
            self._hold(path)
            shutil.rmtree(path)
            self.release()
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            what = "is no recording" if overwrite else "exists; overwrite=True replaces a recording"
            raise UsageError(f"recording {os.fspath(path)!r} {what}") from None
        except OSError as error:
            raise UsageError(f"recording {os.fspath(path)!r} cannot be made ({error.strerror})") from None
        self._hold(path)

    def release(self) -> None:
        """It is done."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _hold(self, path: Path) -> None:
        if flock is None:
            return
        with suppress(OSError):
            self._held = os.open(path, os.O_RDONLY)
        try:
            if self._held is not None:
                flock(self._held, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            self.release()
            raise UsageError(f"recording {os.fspath(path)!r} is being made just now") from None
        except OSError:
            # A file system that knows no locks.
            self.release()
