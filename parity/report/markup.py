"""Text that stays text, in Markdown and in a terminal; tables of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MARKUP = "\\[]`*_!$|#~"
"""Characters that may begin something in Markdown; a backslash before one of them makes it text."""

ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table without padding: a wide one would be mostly spaces."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """Text of a case or a plug-in, so that it stays text inside Markdown and its tables."""
    escaped = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
    return " ".join(escaped.replace("*", "\\*").replace("`", "'").replace("[", "\\[").split())


def image(alternative: str, path: str) -> str:
    """An image with what it shows, whose text cannot end the image. path: of a file beside, made of no user's text."""
    told = " ".join(printable(alternative).split())
    escaped = "".join(f"\\{one}" if one in MARKUP else ENTITIES.get(one, one) for one in told)
    return f"![{escaped}]({path})"


def on_screen(text: str) -> str:
    """Text of a case or a plug-in, so that it stays text in a terminal: no markup of Rich, no control sequence."""
    from rich.markup import escape as plain

    return plain(printable(text))


def printable(text: str) -> str:
    """Text with question marks for what no terminal should be sent and no XML can hold; line breaks and tabs stay."""
    return "".join(one if one.isprintable() or one in "\t\n" else "?" for one in text)
