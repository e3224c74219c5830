"""A forked worker finds what one that is started cold at that moment would find, and nothing of an earlier moment."""

from __future__ import annotations

import numbers
import os
import resource
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from parity.engine import forking
from parity.engine.candidates import shipped_candidates
from parity.engine.convoy import Convoy, Participant
from parity.engine.forking import end_origins
from parity.engine.process import WorkerProcess
from parity.engine.workers import Workers

TOLD = """\
import json, numbers, os, resource, sys
from pathlib import Path
umask = os.umask(0)
os.umask(umask)
limit = resource.getrlimit(resource.RLIMIT_NOFILE)
found = [umask, sorted(os.sched_getaffinity(0)), limit, os.getcwd(), sys.path, os.environ.get('PLANTED')]
found += [getattr(numbers, 'PLANTED', 'own'), os.getsid(0) == os.getpid()]
Path(__file__).with_suffix('.json').write_text(json.dumps(found))
"""


@pytest.fixture
def told(tmp_path, monkeypatch):
    """What a worker that starts now finds, and why it was not forked."""
    (tmp_path / "plugin.py").write_text(TOLD)

    def ask(cold=False):
        with monkeypatch.context() as patch:
            if cold:
                patch.setenv("PARITY_COLD", "1")
            worker = WorkerProcess("test", tmp_path / "test.log")
        try:
            worker.ask({"op": "describe", "target": f"{tmp_path / 'plugin.py'}:adam"}, 60)
        finally:
            worker.kill()
        answer = (tmp_path / "plugin.json").read_text()
        (tmp_path / "plugin.json").unlink()
        return answer, worker.cold

    assert ask() == (ask(cold=True)[0], "")
    return ask


def _plant(folder):
    folder.mkdir(exist_ok=True)
    (folder / "numbers.py").write_text(f"exec(open({numbers.__file__!r}).read())\nPLANTED = 'planted'\n")
    return folder


def test_the_mask_of_new_files(told):
    before = os.umask(0o027)
    try:
        found, cold = told()
        assert (found, cold) == (told(cold=True)[0], "")
    finally:
        os.umask(before)
    assert f"[{0o027}, " in found


def test_limits(told):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 7, hard))
    try:
        found, cold = told()
        assert (found, cold) == (told(cold=True)[0], "")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert f"[{soft - 7}, " in found


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen on this system")
def test_cores(told):
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("this machine lends one core only")
    os.sched_setaffinity(0, {min(cores)})
    try:
        found, cold = told()
        assert (found, cold) == (told(cold=True)[0], "")
    finally:
        os.sched_setaffinity(0, cores)
    assert f", [{min(cores)}], " in found


def test_a_module_in_the_folder_is_what_a_worker_imports_there(told, tmp_path, monkeypatch):
    monkeypatch.chdir(_plant(tmp_path / "planted"))
    found, cold = told()
    assert found == told(cold=True)[0]
    assert '"planted"' in found
    assert cold == f"there is a numbers in {tmp_path / 'planted'}"


def test_a_module_that_came_into_a_place_of_modules(told, tmp_path, monkeypatch):
    (tmp_path / "places").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "places"))
    assert told()[1] == ""
    _plant(tmp_path / "places")
    found, cold = told()
    assert found == told(cold=True)[0]
    assert '"planted"' in found
    assert "numbers" in cold


def test_the_interpreters_own_modules_are_nobody_elses(told, tmp_path, monkeypatch):
    """pytest's plug-in hands on whole search paths: what was imported from there is what a worker finds there."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(place for place in sys.path if place))
    found, cold = told()
    assert (found, cold) == (told(cold=True)[0], "")


def test_a_module_in_the_first_folder_stays_there(told, tmp_path, monkeypatch):
    """Who is forked from was started beside it; others must not meet it."""
    monkeypatch.setenv("PLANTED", "anew")
    monkeypatch.chdir(_plant(tmp_path / "planted"))
    told()
    monkeypatch.chdir(tmp_path)
    found, cold = told()
    assert (found, cold) == (told(cold=True)[0], "")
    assert '"own"' in found


def test_who_is_idle_for_longest_makes_room(tmp_path, monkeypatch):
    """A process to fork from that has workers stays; where all have, the next one is started cold, and told so."""
    end_origins()
    monkeypatch.setattr("parity.engine.forking.MOST", 2)
    workers = []

    def start(which):
        workers.append(WorkerProcess(which, tmp_path / which, variables={"WHICH": which}))
        return workers[-1]

    try:
        for which in ("first", "second", "third"):
            worker = start(which)
            assert worker.cold == ""
            worker.kill()
        assert len(forking._origins) == 2
        busy = [start("second"), start("fourth")]
        assert [worker.cold for worker in busy] == ["", ""]
        assert start("fifth").cold == "there are 2 processes to fork from, and all have workers"
        assert all(worker.ask({"op": "hello"}, 5)["ok"] for worker in busy)
    finally:
        for worker in workers:
            worker.kill()


FORKS = """\
import os, pathlib, sys
from parity.engine.process import WorkerProcess

def start(name):
    for _ in range(20):
        worker = WorkerProcess(name, pathlib.Path(sys.argv[1]) / name)
        assert not worker.cold, worker.cold
        worker.kill()

start('before')
child = os.fork()
start('parent' if child else 'child')
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


def test_an_engine_that_forks_itself_shares_no_answers(tmp_path):
    done = subprocess.run([sys.executable, "-c", FORKS, tmp_path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_frameworks_are_imported_side_by_side(tmp_path):
    """Who runs several is kept waiting by the slowest one, not by one after another."""
    end_origins()
    before = set(psutil.Process().children())
    candidates = {one.worker: one for one in shipped_candidates() if one.worker in {"torch", "keras", "jax"}}
    participants = [Participant(0, one, tmp_path, {}, np.zeros(1)) for one in candidates.values()]
    Convoy(participants, Workers(tmp_path, 0), 60, 1, {}, traces_kept=False)
    begun = set(psutil.Process().children()) - before
    assert sorted(one.cmdline()[3] for one in begun) == ["jax", "keras", "torch"]


def test_a_framework_that_is_not_there_is_told_at_once(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('not installed')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    end = time.monotonic() + 20
    with open(os.devnull, "wb") as log, pytest.raises(forking.NotForked, match="the import failed"):
        forking.fork_worker("torch", environment, log.fileno(), lambda: time.monotonic() > end)


@pytest.mark.parametrize("cold", ["", "1"])
def test_what_is_registered_for_the_end_of_a_worker_is_done(tmp_path, monkeypatch, cold):
    """As the files of AutoGraph are removed."""
    left = tmp_path / "left.txt"
    left.write_text("")
    (tmp_path / "plugin.py").write_text(
        f"import atexit\nfrom pathlib import Path\natexit.register(Path({str(left)!r}).unlink)\n"
    )
    monkeypatch.setenv("PARITY_COLD", cold)
    worker = WorkerProcess("test", tmp_path / "test.log")
    worker.ask({"op": "describe", "target": f"{tmp_path / 'plugin.py'}:adam"}, 60)
    assert left.exists()
    worker.close()
    assert not left.exists()
    assert bool(worker.cold) == bool(cold)
