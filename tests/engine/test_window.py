"""Which row a step stands in: rows of a batch are consecutive, and nothing readable is overwritten."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.core.errors import ParityError
from parity.engine import window as windows
from parity.engine.window import plan_window

STEPS = st.integers(1, 300)
ROW_BYTES = st.one_of(st.integers(0, 1 << 12), st.integers(1 << 17, 1 << 23))


@given(STEPS, ROW_BYTES, st.booleans())
def test_every_step_is_in_one_batch(steps, row_bytes, keep):
    window = plan_window(steps, row_bytes, keep)
    assert [step for batch in window.batches() for step in batch] == list(range(1, steps + 1))


@given(STEPS, ROW_BYTES, st.booleans())
def test_rows_of_a_batch_are_consecutive_and_exist(steps, row_bytes, keep):
    window = plan_window(steps, row_bytes, keep)
    for batch in window.batches():
        first = window.row(batch[0])
        assert [window.row(step) for step in batch] == list(range(first, first + len(batch)))
        assert first + len(batch) <= window.rows


@given(STEPS, ROW_BYTES, st.booleans())
def test_no_row_is_written_while_it_may_be_read(steps, row_bytes, keep):
    window = plan_window(steps, row_bytes, keep)
    batches = window.batches()
    for before, batch in pairwise(batches):
        shared = {window.row(step) for step in before} & {window.row(step) for step in batch}
        assert not (window.overlaps and shared)


@given(STEPS, ROW_BYTES)
def test_a_kept_trace_has_row_0_for_the_initial_state_and_loses_nothing(steps, row_bytes):
    window = plan_window(steps, row_bytes, True)
    assert window.kept
    assert [window.row(step) for step in range(1, steps + 1)] == list(range(1, steps + 1))


@given(STEPS, ROW_BYTES)
def test_a_ring_is_never_taken_for_a_kept_trace(steps, row_bytes):
    assert not plan_window(steps, row_bytes, False).kept


@given(ROW_BYTES.filter(lambda row_bytes: row_bytes >= 2))
def test_memory_does_not_grow_with_steps(row_bytes):
    rows = [plan_window(steps, row_bytes, False).rows for steps in (10**6, 10**7)]
    assert rows[0] == rows[1]
    assert rows[0] * row_bytes <= 2 * max(windows.BATCH_BYTES, row_bytes)


@pytest.mark.parametrize(("row_bytes", "overlaps"), [(windows.OVERLAP_BYTES, True), (windows.OVERLAP_BYTES + 1, False)])
def test_large_rows_stand_in_memory_once(row_bytes, overlaps):
    window = plan_window(10, row_bytes, False)
    assert window.overlaps is overlaps
    assert window.rows == (2 if overlaps else 1)


def test_what_cannot_fit_is_told_before_anything_runs(run_small, tmp_path):
    """Before all cells, with what they need and where it is not: ``bytes = rows * elements * itemsize * arrays``."""
    with pytest.raises(ParityError) as caught:
        run_small("numpy.adam.hat", "numpy.adam.outside", parameters=[{"name": "kernel", "shape": [10**6, 10**6]}])
    line = str(caught.value)
    needed = 1 * 10**12 * 4 * (1 + 3 * 2) / 2**30
    assert line.startswith("small float32: 1,000,000,000,000 elements in 2 implementations over 5 steps need ")
    assert f"{needed:,.1f} GiB at a time; " in line
    assert f"{tmp_path / 'run'} has " in line
    assert not list((tmp_path / "run").rglob("*.json"))
