"""Processes that are forked with everything imported, killed at a moment nobody chose, and looked after."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

MARK = "PARITY_KILLED_RUN"


def forked(arguments, folder, mark, log):
    """The number of a process that does what the command line does; its workers bear the mark in their environment."""
    pid = os.fork()
    if pid:
        return pid
    code = 3
    try:
        os.setsid()
        os.chdir(folder)
        os.environ[MARK] = mark
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        if callable(arguments):
            code = arguments() or 0
        else:
            from parity.cli.main import exit_code

            code = exit_code([str(one) for one in arguments])
    finally:
        os._exit(code)


def ended(pid, after=None):
    """Kill it after so many seconds, if it still runs; its exit code, or the number of the signal below 0."""
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def bearing(mark):
    """Processes with the mark in their environment."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for one in Path("/proc").iterdir():
        if one.name.isdigit():
            try:
                if wanted in (one / "environ").read_bytes().split(b"\0"):
                    found.append(int(one.name))
            except OSError:
                continue
    return found


def nobody_left(mark, seconds=15):
    """Whether all of them are gone, or go soon."""
    deadline = time.monotonic() + seconds
    while bearing(mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
