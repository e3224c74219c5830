"""The templates of this folder, with the words that they use and what stands beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from parity.report import around, figures, kinds, reproduction
from parity.report.html import changing, explained, wording

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FOLDER = Path(__file__).parent

NEEDED = ("jinja2",)
"""Of a page without charts."""


def missing() -> tuple[str, ...]:
    """Packages that a page without charts needs and that are not installed."""
    return lacking(NEEDED)


def lacking(packages: Iterable[str]) -> tuple[str, ...]:
    """Those that are not installed."""
    return tuple(name for name in packages if find_spec(name) is None)


def lacking_line(what: str, packages: Iterable[str]) -> str:
    """Why something was not made, and what to do about it."""
    return f"no {what}: {' and '.join(packages)} missing; pip install 'parity[report]'"


def asset(*names: str) -> str:
    """Styles and scripts of this folder as one text."""
    return "".join((FOLDER / name).read_text(encoding="utf-8") for name in names)


def templates() -> Environment:
    """The templates of this folder, with the words that they use."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(wording=wording, explained=explained, reproduction=reproduction)
    environment.globals.update(changing=changing, around=around, kinds=kinds)
    environment.filters.update(
        breakable=_breakable,
        coded=_coded,
        ulp=figures.ulp_text,
        lr=figures.steps_text,
        number=figures.number_text,
        value=figures.value_text,
    )
    return environment


def _breakable(name: str) -> Markup:
    """A dotted name that may go on in another line after a dot, not within a number."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[.])(?=[^\W\d])", name))


def _coded(text: str) -> Markup:
    """Text with code between backticks."""
    from markupsafe import Markup, escape

    parts = (Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
             for place, part in enumerate(text.split("`")))  # fmt: skip
    return Markup("").join(parts)
