"""Errors a user can cause, each one line, each with its exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ParityError(Exception):
    """A user's mistake, told in one line; the command line exits with `exit_code`."""

    exit_code = 4


class UsageError(ParityError):
    """A command line that cannot be understood."""

    exit_code = 2


class NothingCompared(ParityError):
    """A run in which no two implementations were compared."""

    exit_code = 5


class TargetError(ParityError):
    """What went wrong in a user's own code; traceback: all of it, empty where there is none."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class Unsupported(ParityError):
    """Raised by an implementation, before its first state, for what its framework cannot do."""


def nearest(word: str, allowed: Iterable[str], otherwise: str = "there is nothing to choose from") -> str:
    """The tail of an error line: the allowed words, and the nearest of them where one is near; else what helps."""
    words = sorted(allowed)
    if not words:
        return otherwise
    match = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    listed = ", ".join(words) if len(words) <= 20 else ", ".join(words[:20]) + ", ..."
    hint = f"; did you mean {match[0]!r}?" if match else ""
    return f"allowed: {listed}{hint}"
