"""The same picture in fewer bytes."""

from __future__ import annotations

import re

FONTS = "'DejaVu Sans', Verdana, sans-serif"

_STYLE = '<style type="text/css">'

_NUMBER = re.compile(r"\d+\.\d{3,}")

_DISPENSABLE = re.compile(
    r' id="(figure|axes|patch|text|line2d|matplotlib\.axis|xtick|ytick|legend)_\d+"'
    r'| transform="rotate\(-0 [^"]*\)"'
    r"|font-family: 'DejaVu Sans', sans-serif(; )?"
)


def slim(svg: str) -> str:
    """SVG as Matplotlib writes it, without what nothing shows: names of groups, metadata, digits, indents.

    Between two tags nothing but indents is touched: text has neither < nor >, so that no tag begins in it.
    """
    svg = re.sub(r"<!DOCTYPE[^>]*>\n?|<metadata>.*?</metadata>\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\n\s*(?=<)", "\n", re.sub(r"<[^<>]+>", lambda tag: _slim_tag(tag[0]), svg))
    svg = svg.replace(_STYLE, f"{_STYLE}text{{font-family: {FONTS}}} ", 1)
    return re.sub(r"\n</", "</", svg)


def _slim_tag(tag: str) -> str:
    tag = re.sub(r"\s+", " ", tag)
    return _NUMBER.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), _DISPENSABLE.sub("", tag))
