"""Ctrl-C while workers start, once and twice in quick succession: the run ends, leaves nobody, and can be resumed."""

from __future__ import annotations

import signal
import subprocess
import time

import psutil
import pytest

pytestmark = [pytest.mark.frameworks, pytest.mark.thorough]

ARGUMENTS = ["run", "-k", "same", "-d", "float32", "-q", "-i", "numpy.adam.*", "-i", "keras.adam.eager", "-j", "2"]


@pytest.fixture
def started(interruptible):
    def start(folder, *more):
        command = [*interruptible, *ARGUMENTS, "-o", folder, *more]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


PRESSED = {(1, 0), (2, 0.05), (2, 0.3), (8, 0.05)}
QUICK = {(0.9, 2, 0.05), (1.5, 1, 0), (3.0, 8, 0.05)}


@pytest.mark.parametrize(
    ("delay", "times", "gap"),
    [
        pytest.param(delay, *one, marks=() if (delay, *one) in QUICK else pytest.mark.exhaustive)
        for delay in (0.9, 1.5, 3.0)
        for one in sorted(PRESSED)
    ],
)
def test_a_run_ends_and_leaves_nobody(started, tmp_path, delay, times, gap, record_property):
    """Keras takes longer than that to be imported, so that workers are being started; the last presses find the end."""
    with started(tmp_path / "run") as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "run" / "parts").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delay)
        family = psutil.Process(process.pid).children(recursive=True)
        begun = time.monotonic()
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(gap)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
        record_property("seconds", time.monotonic() - begun)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    # 2 s is what is promised; a machine on which all cores are busy may take a little longer.
    assert time.monotonic() - begun < 8


def test_what_was_interrupted_twice_is_completed(started, tmp_path):
    with started(tmp_path / "run") as process:
        while not (tmp_path / "run" / "parts").exists():
            time.sleep(0.01)
        time.sleep(0.9)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    with started(tmp_path / "run", "--resume") as process:
        _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
