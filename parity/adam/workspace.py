"""Blocks, scratch memory and threads for work on long rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np

BLOCK = 1 << 18
"""Elements of one block: what was fastest in `benchmarks/adam.py` on two threads; shorter blocks fit a
2nd level cache but make the threads wait for each other's interpreter lock."""


class Scratch:
    """Memory of one thread, kept from block to block."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def rows(self, count: int, size: int, dtype: np.dtype) -> np.ndarray:
        """Uninitialised rows (count, size) of a dtype; they replace those of the last call."""
        needed = count * size * dtype.itemsize
        if self._bytes.size < needed:
            self._bytes = np.empty(needed, np.uint8)
        return self._bytes[:needed].view(dtype).reshape(count, size)


Work = Callable[[slice, Scratch], None]


class Workspace:
    """Threads and their scratch; a context manager, threads start with the first long row."""

    def __init__(self, threads: int | None = None, block: int = BLOCK) -> None:
        self._block = block
        self._scratch = [Scratch() for _ in range(threads or os.cpu_count() or 1)]
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def each_block(self, size: int, work: Work) -> None:
        """Calls `work` once for every block of a row of `size` elements, in any order, on any thread."""
        places = [slice(start, min(start + self._block, size)) for start in range(0, size, self._block)]
        threads = min(len(self._scratch), len(places))
        # A list's iterator hands out every place once, whichever thread asks; a generator would raise.
        queue = iter(places)
        if threads < 2:
            return _drain(queue, work, self._scratch[0])
        if self._pool is None:
            self._pool = ThreadPoolExecutor(len(self._scratch) - 1)
        others = [self._pool.submit(_drain, queue, work, scratch) for scratch in self._scratch[1:threads]]
        try:
            _drain(queue, work, self._scratch[0])
        finally:
            for other in others:
                other.result()


def _drain(queue: Iterator[slice], work: Work, scratch: Scratch) -> None:
    # NumPy's error state belongs to a thread: set where the work is done. inf and NaN are results.
    with np.errstate(all="ignore"):
        for place in queue:
            work(place, scratch)
