"""Every block once, whichever thread."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from parity.adam.workspace import Scratch, Workspace


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 1000])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_element_once(size, threads):
    seen = np.zeros(size, int)

    def work(place, scratch):
        seen[place] += 1

    with Workspace(threads, block=8) as workspace:
        for _ in range(3):
            workspace.each_block(size, work)
    assert np.all(seen == 3)


def test_threads_share_a_long_row_with_scratch_of_their_own():
    meeting = threading.Barrier(2, timeout=30)
    owners = set()

    def work(place, scratch):
        meeting.wait()
        owners.add((threading.get_ident(), id(scratch)))

    with Workspace(threads=2, block=1) as workspace:
        workspace.each_block(2, work)
    assert len({thread for thread, _ in owners}) == len({scratch for _, scratch in owners}) == 2


@pytest.mark.parametrize("fails", [0, 1])
def test_an_error_in_any_thread_is_raised(fails):
    def work(place, scratch):
        if place.start == fails:
            raise ValueError("block")

    with Workspace(threads=2, block=1) as workspace, pytest.raises(ValueError, match="block"):
        workspace.each_block(2, work)


def test_short_rows_start_no_thread():
    before = threading.active_count()
    with Workspace(threads=4, block=10) as workspace:
        workspace.each_block(10, lambda place, scratch: None)
        assert threading.active_count() == before


def test_scratch_is_kept():
    scratch = Scratch()
    first = scratch.rows(2, 10, np.dtype(np.float32))
    second = scratch.rows(3, 3, np.dtype(np.float64))
    assert first.shape == (2, 10)
    assert second.shape == (3, 3)
    assert np.shares_memory(first, second)
    assert not np.shares_memory(first, scratch.rows(9, 9, np.dtype(np.float64)))
