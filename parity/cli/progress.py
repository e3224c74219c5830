"""How a run shows where it is: a bar with ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

OnDone = Callable[[str, int, int], None]
"""Called with the name of a cell that is finished, how many are, and of how many."""

PLAIN_SECONDS = 10.0


@contextmanager
def progress(screen: Console, quiet: bool, what: str = "cells") -> Iterator[OnDone]:
    """A callback for finished cells, or whatever is counted."""
    if quiet:
        yield lambda name, done, total: None
    elif screen.is_terminal:
        with _bar(screen, what) as on_done:
            yield on_done
    else:
        yield _plain_lines(screen, what)


@contextmanager
def _bar(screen: Console, what: str) -> Iterator[OnDone]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from parity.report.markup import on_screen

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(what),
        TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("starting workers", total=None)

        def on_done(name: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=on_screen(f"{name[:40]:40}"))

        yield on_done


def _plain_lines(screen: Console, what: str) -> OnDone:
    from parity.report.markup import printable

    started = last = time.monotonic()

    def on_done(name: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last >= PLAIN_SECONDS:
            last = now
            left = (now - started) / done * (total - done)
            screen.print(f"{done}/{total} {what}, {printable(name)}, about {left:.0f} s left", markup=False)

    return on_done
