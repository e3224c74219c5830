"""How a command shows that environments are built and cells recorded, by turns: a terminal has one live line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from parity.cli.progress import PLAIN_SECONDS, OnDone, progress

if TYPE_CHECKING:
    from rich.console import Console

OnBuild = Callable[[str, str], None]
"""Called with what is built and a line of the installer."""

_WIDTH = 100


class Watcher(NamedTuple):
    """What is called while environments are built, and while cells are recorded."""

    on_build: OnBuild
    on_done: OnDone


@contextmanager
def watching(screen: Console, quiet: bool) -> Iterator[Watcher]:
    """Callbacks for both; what the one shows ends where the other begins."""
    with ExitStack() as shown:
        built: OnBuild | None = None
        done: OnDone | None = None

        def on_build(what: str, line: str) -> None:
            nonlocal built, done
            if built is None:
                shown.close()
                built, done = shown.enter_context(_building(screen, quiet)), None
            built(what, line)

        def on_done(name: str, count: int, total: int) -> None:
            nonlocal built, done
            if done is None:
                shown.close()
                built, done = None, shown.enter_context(progress(screen, quiet))
            done(name, count, total)

        yield Watcher(on_build, on_done)


@contextmanager
def _building(screen: Console, quiet: bool) -> Iterator[OnBuild]:
    if quiet:
        yield lambda what, line: None
    elif screen.is_terminal:
        from parity.report.markup import on_screen

        with screen.status("") as status:
            yield lambda what, line: status.update(f"building {on_screen(what)}: {on_screen(line[:_WIDTH])}")
    else:
        yield _plain_lines(screen)


def _plain_lines(screen: Console) -> OnBuild:
    """The first line of every environment, then one every few seconds."""
    from parity.report.markup import printable

    building = ""
    last = 0.0

    def on_build(what: str, line: str) -> None:
        nonlocal building, last
        now = time.monotonic()
        if what != building or now - last >= PLAIN_SECONDS:
            building, last = what, now
            screen.print(f"building {what}: {printable(line)}", markup=False)

    return on_build
