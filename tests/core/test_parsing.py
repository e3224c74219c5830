"""Threads that build trees of Python's syntax at once, as those of a run with several jobs do."""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from parity.adam.kernels import compiled
from parity.comparison.trace import open_rows


@pytest.fixture
def switching():
    """Threads take turns at every breath, also where the collector of garbage runs within a C function."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()

    def breathe(phase, info):
        for _ in range(20):
            pass

    gc.callbacks.append(breathe)
    gc.set_threshold(5)
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)
    gc.callbacks.remove(breathe)


def test_arrays_are_opened_and_forms_are_read_in_many_threads(tmp_path, switching):
    np.save(tmp_path / "w.npy", np.arange(6, dtype=np.uint32).reshape(2, 3))

    def work(number):
        for place in range(200):
            rows = open_rows(tmp_path, "w", "r")
            (operation,) = compiled(f"m = {number * 1000 + place} * g", ("m", "g")).operations
            assert (rows.shape, operation.ends_line) == ((2, 3), True)
        return number

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, range(4))) == [0, 1, 2, 3]
