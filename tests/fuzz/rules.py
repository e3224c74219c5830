"""One input given to the program, and what must hold of the answer whatever the input was."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import signal
from pathlib import Path

import pytest

from parity.cli.main import exit_code

SECONDS = 20
"""One input may take; most take a few milliseconds."""

MEMORY = 6 << 30
"""Of addresses that this process may ask for beside what it has: an array of absurd shape is an error here."""

CODES = {0, 1, 2, 4, 5}


class TookTooLong(BaseException):
    """Nothing in the program may catch it."""


@contextlib.contextmanager
def limited(seconds=SECONDS):
    """Neither time without end nor memory without end."""

    def over(*_):
        raise TookTooLong(f"{seconds} s are over")

    before = signal.signal(signal.SIGALRM, over)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def told(arguments):
    """Exit code, standard output and standard error of a command in this process, the code that a terminal calls."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), limited():
        code = exit_code([str(one) for one in arguments])
    return code, out.getvalue(), err.getvalue()


def check_answer(code, err):
    """No internal error, no traceback; an error is lines that say so."""
    assert code in CODES, (code, err[-2000:])
    assert "Traceback" not in err, err[-2000:]
    assert "internal error" not in err
    if code == 4:
        assert err.strip(), "an error without a line"


def seen(folder, but=()):
    """What stands in a folder: kind, size and time of change of everything, without what is under `but`."""
    found = {}
    waiting = [os.fspath(folder)]
    left_out = {os.fspath(one) for one in but}
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for one in entries:
                if one.path in left_out:
                    continue
                stat = one.stat(follow_symlinks=False)
                if one.is_dir(follow_symlinks=False):
                    waiting.append(one.path)
                    found[one.path] = stat.st_mode
                else:
                    found[one.path] = stat.st_mode, stat.st_size, stat.st_mtime_ns
    return found


def fails(message):
    """As an assertion that does not hold."""
    pytest.fail(message)
