"""A worker process that is lost takes nobody with it but the implementation it was busy with."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from parity.case.expectation import Kind
from parity.engine.process import WorkerFailed, WorkerProcess

pytestmark = pytest.mark.thorough


KILL_SIBLINGS = """\
if t == 2 and not Path('{flag}').exists():
    Path('{flag}').touch()
    def parent(pid):
        return int(Path(f'/proc/{{pid}}/stat').read_text().rpartition(')')[2].split()[1])
    cold = b'parity.engine.worker' in Path('/proc/self/cmdline').read_bytes()
    engine = os.getppid() if cold else parent(os.getppid())
    for entry in Path('/proc').glob('[0-9]*'):
        try:
            origin, command = parent(entry.name), (entry / 'cmdline').read_bytes()
            if cold:
                found = b'parity.engine.worker' in command and origin == engine and int(entry.name) != os.getpid()
            else:
                found = b'parity.engine.forking\\0numpy' in command and parent(origin) == engine
        except OSError:
            continue
        if found:
            os.kill({victim}, signal.SIGKILL)"""


def test_implementations_beside_the_lost_one_are_run_again(run_small, write_adam, monkeypatch, tmp_path, verdict_of):
    """All of numpy.* share a process; a plug-in kills it once, while it is on its way."""
    monkeypatch.setenv("PARITY_COLD", "1")
    monkeypatch.setattr("parity.engine.window.BATCH_BYTES", 1)
    expect = [
        {
            "actual": "user.* | numpy.adam.hat",
            "expected": "numpy.adam.outside",
            "verdict": "DIVERGED",
            "because": "Any other.",
        },
        {
            "actual": "user.*",
            "expected": "numpy.adam.inside",
            "verdict": "DIVERGED",
            "because": "Any other formula.",
        },
    ]
    killer = write_adam(before=KILL_SIBLINGS.format(flag=tmp_path / "flag", victim="int(entry.name)"))
    run = run_small(killer, "numpy.adam.outside", "numpy.adam.hat", "numpy.adam.inside", expect=expect)
    (cell,) = run.cells
    lost = [outcome for outcome in cell.outcomes if outcome.failure is not None]
    assert len(lost) == 1
    assert lost[0].name.startswith("numpy.")
    assert lost[0].failure.reason.endswith("the worker process died (signal SIGKILL)")
    for outcome in cell.outcomes:
        if outcome is not lost[0]:
            assert set(outcome.digests) == {"w", "m", "v"}
    for one in run.verdicts:
        assert (one.verdict.kind is Kind.CRASHED) == (lost[0].name in (one.actual, one.expected))
    assert run.exit_code == 1


@pytest.mark.parametrize("victim", ["int(entry.name)", "origin"], ids=["worker", "origin"])
def test_nobody_is_to_blame_where_a_fork_is_lost(run_small, write_adam, monkeypatch, tmp_path, victim):
    """It is run again by a process that is started cold, and the numbers are those of a run in which nothing died."""
    monkeypatch.setattr("parity.engine.window.BATCH_BYTES", 1)
    killer = write_adam(before=KILL_SIBLINGS.format(flag=tmp_path / "flag", victim=victim))
    names = ("numpy.adam.outside", "numpy.adam.hat")
    run = run_small(killer, *names)
    assert (tmp_path / "flag").exists()
    again = run_small(killer, *names)
    for one, other in zip(run.cells[0].outcomes, again.cells[0].outcomes, strict=True):
        assert one.failure is None
        assert one.digests == other.digests
    assert [one.verdict for one in run.verdicts] == [one.verdict for one in again.verdicts]


@pytest.fixture
def worker(tmp_path):
    process = WorkerProcess("test", tmp_path / "test.log")
    yield process
    process.kill()


def test_answers_given_before_a_death_are_still_read(worker):
    worker.send({"op": "hello"})
    worker.send({"op": "quit"})
    worker._process.wait()
    worker.send({"op": "hello"})
    assert worker.receive(5)["ok"]
    with pytest.raises(WorkerFailed, match=r"died \(exit status 0\)"):
        worker.receive(5)


def test_the_last_words_are_those_of_this_process(tmp_path):
    log = tmp_path / "test.log"
    log.write_text("words of one that died before\n")
    worker = WorkerProcess("test", log)
    worker._process.kill()
    with pytest.raises(WorkerFailed) as caught:
        worker.ask({"op": "hello"}, 5)
    assert caught.value.reason == "the worker process died (signal SIGKILL)"


def test_a_worker_ends_with_its_engine_also_while_a_plugin_sleeps(process, write_case, write_adam, tmp_path):
    """The engine is killed and cannot tell anyone; its worker is in a plug-in that never comes back."""
    note = tmp_path / "pid"
    plugin = write_adam(before=f"Path('{note}').write_text(str(os.getpid()))\ntime.sleep(600)")
    engine = process("run", write_case(), "-i", plugin, "-q")
    deadline = time.monotonic() + 30
    while not (note.exists() and note.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    worker = int(note.read_text())
    os.kill(worker, 0)
    engine.kill()
    engine.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}/cmdline").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}/cmdline").exists()
