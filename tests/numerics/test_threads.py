"""Tasks on all processors: every one is carried out, the first error comes out, and a forked process has its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from parity.numerics.threads import at_once

FORKED = """
import os, signal, time
from parity.numerics.threads import at_once
done = []

def slowly(number):
    time.sleep(0.1)
    done.append(number)

at_once([lambda: slowly(1)] * 2)
# The thread that has helped waits for more by now, and is not there in a forked process.
time.sleep(0.3)
child = os.fork()
if not child:
    signal.alarm(10)
    at_once([lambda: slowly(2)] * 2)
    os._exit(0 if done == [1, 1, 2, 2] else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0)
"""


def test_every_task_is_carried_out_once_by_whoever_is_free():
    owners = []

    def task():
        time.sleep(0.01)
        owners.append(threading.get_ident())

    at_once([task] * 9)
    assert len(owners) == 9
    assert threading.get_ident() in owners
    assert len(set(owners)) <= (os.cpu_count() or 1)


def test_the_first_error_is_raised_once_all_have_ended():
    done = []

    def task(number):
        done.append(number)
        if number in (1, 3):
            raise ValueError(f"task {number}")

    with pytest.raises(ValueError, match="task 1"):
        at_once([partial(task, number) for number in range(6)])
    assert sorted(done) == list(range(6))


def test_a_process_that_was_forked_off_waits_for_nobody_elses_threads():
    assert subprocess.run([sys.executable, "-c", FORKED], timeout=60, check=False).returncode == 0
