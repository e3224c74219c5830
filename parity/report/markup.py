"""Markdown: tables, and text that stays text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table without padding: a wide one would be mostly spaces."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """Text of a case or a plug-in, so that it stays text inside Markdown and its tables."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
    return " ".join(escaped.replace("*", "\\*").replace("`", "'").replace("[", "\\[").split())
