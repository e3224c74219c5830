"""Values that show themselves in a notebook; what they look like is said by who knows how, above them."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

LONGEST = 60
"""Characters of a field in plain text."""


@singledispatch
def html_of(value: object) -> str | None:
    """A value as HTML; None where nobody has said what it looks like, so that its plain text is shown."""
    return None


class Shown:
    """A value that a notebook shows as HTML, and in plain text without the thousands of values inside it."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        # IPython takes what stands in a class itself: the __repr__ of a dataclass before a method that it inherits.
        cls._repr_pretty_ = Shown._repr_pretty_  # type: ignore[method-assign]

    def _repr_html_(self) -> str | None:
        return html_of(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(short_text(self))


def short_text(value: object) -> str:
    """A value on a line, every field of it shortened."""
    from dataclasses import fields, is_dataclass
    from reprlib import Repr

    if not is_dataclass(value):
        return repr(value)
    short = Repr()
    short.maxother = short.maxstring = LONGEST
    short.maxtuple = short.maxdict = 2
    told = (f"{one.name}={short.repr(getattr(value, one.name))}" for one in fields(value) if one.repr)
    return " ".join(f"{type(value).__name__}({', '.join(told)})".split())
