"""Work on all processors; for machine code, which lets go of the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache


def at_once(tasks: Sequence[Callable[[], object]]) -> None:
    """Carry out tasks, none of which may call this, on as many threads as there are processors; this is one of them.

    The error of the first one that raises is raised once all have ended.
    """
    # Whoever is free takes the next: taking one is a single operation of the interpreter.
    left = iter(enumerate(tasks))
    errors: dict[int, BaseException] = {}

    def work() -> None:
        for number, task in left:
            try:
                task()
            except BaseException as error:
                errors[number] = error

    others = [_threads(os.getpid()).submit(work) for _ in range(min(len(tasks), os.cpu_count() or 1) - 1)]
    work()
    for one in others:
        one.result()
    if errors:
        raise errors[min(errors)]


@cache
def _threads(process: int) -> ThreadPoolExecutor:
    """Those of this process, which has none that another one had when it was forked off."""
    return ThreadPoolExecutor(os.cpu_count(), "parity")
