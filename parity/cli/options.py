"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any

import click

from parity.cli.console import COLORS, show_traceback
from parity.core.errors import TargetError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def color() -> Decorator:
    """``--color``."""
    return click.option(
        "--color", type=click.Choice(COLORS), default="auto", help="Colours; NO_COLOR is respected.  [auto]"
    )


def cluster() -> Decorator:
    """``--cluster``, of a command that records releases."""
    return click.option(
        "--cluster",
        default="",
        metavar="ADDRESS",
        help="Record releases on workers of the Dask scheduler there, or on so many here: local:4.",
    )


def json_file() -> Decorator:
    """``--json``."""
    return click.option("--json", "json_file", type=click.Path(dir_okay=False), callback=_with_folder, metavar="FILE",
                        help="Write the answer as JSON; '-' is standard output.")  # fmt: skip


def markdown_file() -> Decorator:
    """``--markdown``."""
    return click.option("--markdown", "markdown", type=click.Path(dir_okay=False, path_type=Path),
                        callback=_with_folder, metavar="FILE",
                        help="Append a summary in Markdown, as for $GITHUB_STEP_SUMMARY.")  # fmt: skip


def discard() -> Decorator:
    """``--discard``."""
    return click.option("--discard", is_flag=True,
                        help="Remove each environment that is built for this once it is recorded; nothing of it is "
                             "cached.")  # fmt: skip


def junit_file() -> Decorator:
    """``--junitxml``."""
    return click.option("--junitxml", "junit", type=click.Path(dir_okay=False, path_type=Path),
                        callback=_with_folder, metavar="FILE",
                        help="Write every pair as a test in JUnit's XML.")  # fmt: skip


def html_file() -> Decorator:
    """``--html``."""
    return click.option("--html", "html", type=click.Path(dir_okay=False, path_type=Path), callback=_page,
                        metavar="FILE", help="Write a page of it.")  # fmt: skip


def _page(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Say now, and not after a long run, that a page cannot be made."""
    if value is not None:
        from parity.api.changes import check_page

        check_page()
        _with_folder(ctx, parameter, value)
    return value


def _with_folder(ctx: click.Context, parameter: click.Parameter, value: str | Path | None) -> str | Path | None:
    """Make the folder of a file now: what is found out after a long run is found out too late."""
    if value is not None and value != "-":
        Path(value).parent.mkdir(parents=True, exist_ok=True)
    return value


def traceback() -> Decorator:
    """``--traceback``: of an error in a user's own code all lines, before the one that tells it."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @click.option("--traceback", is_flag=True, help="Show all lines of an error in your own code.")
        @wraps(function)
        def told(traceback: bool, **given: Any) -> Any:
            try:
                return function(traceback=traceback, **given)
            except TargetError as error:
                if traceback:
                    show_traceback(error.traceback)
                raise

        return told

    return decorate


def verbosity() -> Decorator:
    """``-v`` and ``-q``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        function = click.option("-q", "--quiet", is_flag=True, help="Only errors and the last line.")(function)
        return click.option("-v", "--verbose", is_flag=True, help="Every pair, not only those to look at.")(function)

    return decorate


@dataclass(frozen=True, slots=True)
class Asked:
    """Cases, implementations and dtypes as a command line names them; timeout: seconds for one answer."""

    cases: tuple[Path, ...]
    implementations: tuple[str, ...]
    dtypes: tuple[str, ...]
    keyword: str
    timeout: float

    @property
    def words(self) -> dict[str, Any]:
        """As the functions of the library take them."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


def selection() -> Decorator:
    """``[CASE]...``, ``-i``, ``-d``, ``-k`` and ``--timeout``, as one value `asked`."""
    added = (
        click.argument("cases", nargs=-1, metavar="[CASE]...", type=click.Path(path_type=Path)),
        click.option("-i", "--implementation", "implementations", multiple=True, metavar="NAME",
                     help="A name, a pattern, or your own: 'file.py:run?clip=1.0', 'torch.optim:Adam'. Repeatable."),
        click.option("-d", "--dtype", "dtypes", multiple=True, metavar="DTYPE",
                     help="float64, float32, float16 or bfloat16. Repeatable.  [all]"),
        click.option("-k", "keyword", default="", metavar="EXPR",
                     help="Only cases whose names match, e.g. 'epsilon and not long'."),
        click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=300.0, show_default=True,
                     metavar="S", help="Seconds a worker may take for one answer."),
    )  # fmt: skip

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def gathered(**given: Any) -> Any:
            return function(asked=Asked(**{one.name: given.pop(one.name) for one in fields(Asked)}), **given)

        for option in reversed(added):
            gathered = option(gathered)
        return gathered

    return decorate
