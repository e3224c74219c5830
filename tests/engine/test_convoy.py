"""How many processes of a lane are at work at a time, and what becomes of an answer that nobody waits for."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from parity.case.catalogue import load_case_file
from parity.core.environment import processors
from parity.engine.candidates import select_candidates
from parity.engine.cell import run_cell
from parity.engine.lane import Lane
from parity.engine.plan import plan_cells
from parity.engine.room import scratch_folder
from parity.engine.run import Options
from parity.engine.workers import Workers

STEPS = 4

BUSY = """\
with open({log!r}, 'a') as told:
    told.write(f'{number} begins\\n')
time.sleep({seconds})
with open({log!r}, 'a') as told:
    told.write(f'{number} ends\\n')"""


@pytest.fixture
def asked(tmp_path, write_adam, write_case):
    """The cell of three plug-ins, which tell in a file when a step begins and ends; that file."""

    def ask(seconds):
        log = tmp_path / "steps"
        texts = [BUSY.format(log=str(log), number=number, seconds=seconds) for number in range(3)]
        adams = [write_adam(f"adam{number}", before=text) for number, text in enumerate(texts)]
        candidates = [one for one in select_candidates(adams, tmp_path / "logs") if one.plugin]
        case = write_case(steps=STEPS, expect=[])
        (cell,) = plan_cells(load_case_file(case), candidates, ["float32"], [one.name for one in candidates]).cells
        return cell, log

    return ask


def test_lanes_that_share_the_processors_ask_as_many_processes_at_a_time(tmp_path, asked):
    """Where there is a lane for each processor, one process of a lane works at a time: their steps never overlap."""
    cell, log = asked(0.05)
    lane = Lane(tmp_path / "run", Options(jobs=processors()))
    try:
        result = lane.result(cell)
    finally:
        lane.close()
    assert [one.failure for one in result.outcomes] == [None] * 3
    lines = [f"{number} {what}" for number in range(3) for _ in range(STEPS) for what in ("begins", "ends")]
    assert log.read_text().splitlines() == lines


def workers():
    """Those that were forked for this process."""
    return {worker.pid for origin in psutil.Process().children() for worker in origin.children()}


class Broken(Exception):
    """What goes wrong in the engine."""


def test_who_owes_an_answer_that_nobody_waits_for_is_ended(tmp_path, asked):
    """What goes wrong in the engine while processes work leaves none of them, and does not wait for them."""
    cell, log = asked(3600)

    def fail(number, frame):
        raise Broken

    def fail_once_they_work():
        while not log.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    own, before = signal.signal(signal.SIGUSR1, fail), workers()
    threading.Thread(target=fail_once_they_work, daemon=True).start()
    try:
        with scratch_folder(tmp_path, 0, shared=True) as scratch, ThreadPoolExecutor() as threads:
            lane = Workers(tmp_path / "logs", 0)
            with pytest.raises(Broken):
                run_cell(cell, "", lane, tmp_path / "table", scratch, traces=None, timeout=None, threads=threads)
            assert workers() == before
            again = [lane.get(one.worker, one.framework) for one in cell.candidates]
            assert [one.ask({"op": "hello"}, 60)["ok"] for one in again] == [True] * 3
    finally:
        signal.signal(signal.SIGUSR1, own)
        lane.close()
