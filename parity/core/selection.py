"""Selecting by an expression over names, as ``pytest -k`` does."""

from __future__ import annotations

import re
from collections.abc import Callable

from parity.core.errors import UsageError

Matcher = Callable[[str], bool]

_TOKEN = re.compile(r"\s*([()]|[^\s()]+)")


def matcher(expression: str) -> Matcher:
    """A predicate on names for words joined by and, or, not and parentheses.

    A word matches where it occurs in the name, letters of either case. The empty expression matches
    everything. UsageError where the expression cannot be read.
    """
    tokens = [token for token in _TOKEN.findall(expression) if token]
    if not tokens:
        return lambda name: True
    parsed, rest = _either(tokens, expression)
    if rest:
        raise UsageError(f"-k {expression!r}: {rest[0]!r} is not expected here; allowed: words, and, or, not, ( )")
    return parsed


def _either(tokens: list[str], expression: str) -> tuple[Matcher, list[str]]:
    left, rest = _both(tokens, expression)
    if rest and rest[0] == "or":
        right, rest = _either(rest[1:], expression)
        return (lambda name: left(name) or right(name)), rest
    return left, rest


def _both(tokens: list[str], expression: str) -> tuple[Matcher, list[str]]:
    left, rest = _one(tokens, expression)
    if rest and rest[0] == "and":
        right, rest = _both(rest[1:], expression)
        return (lambda name: left(name) and right(name)), rest
    return left, rest


def _one(tokens: list[str], expression: str) -> tuple[Matcher, list[str]]:
    if not tokens or tokens[0] in ("and", "or", ")"):
        found = repr(tokens[0]) if tokens else "its end"
        raise UsageError(f"-k {expression!r}: a word is expected before {found}")
    if tokens[0] == "not":
        inner, rest = _one(tokens[1:], expression)
        return (lambda name: not inner(name)), rest
    if tokens[0] == "(":
        inner, rest = _either(tokens[1:], expression)
        if not rest or rest[0] != ")":
            raise UsageError(f"-k {expression!r}: a closing ')' is missing")
        return inner, rest[1:]
    word = tokens[0].lower()
    return (lambda name: word in name.lower()), tokens[1:]
