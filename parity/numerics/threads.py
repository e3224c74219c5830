"""Work on all processors; for machine code, which lets go of the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache


def at_once(tasks: Sequence[Callable[[], object]]) -> None:
    """Carry out tasks, none of which may call this, on as many threads as there are processors.

    The error of the first one that raises is raised once all have ended.
    """
    begun = [_threads(os.getpid()).submit(task) for task in tasks]
    errors = [error for one in begun if (error := one.exception()) is not None]
    if errors:
        raise errors[0]


@cache
def _threads(process: int) -> ThreadPoolExecutor:
    """Those of this process, which has none that another one had when it was forked off."""
    return ThreadPoolExecutor(os.cpu_count(), "parity")
