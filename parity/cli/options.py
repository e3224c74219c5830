"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from parity.cli.console import COLORS

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def color() -> Decorator:
    """``--color``."""
    return click.option(
        "--color", type=click.Choice(COLORS), default="auto", help="Colours; NO_COLOR is respected.  [auto]"
    )


def json_file() -> Decorator:
    """``--json``."""
    return click.option("--json", "json_file", metavar="FILE", help="Write the answer as JSON; '-' is standard output.")


def verbosity() -> Decorator:
    """``-v`` and ``-q``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        function = click.option("-q", "--quiet", is_flag=True, help="Only errors and the last line.")(function)
        return click.option("-v", "--verbose", is_flag=True, help="Every pair, not only those to look at.")(function)

    return decorate
