"""The largest part of what was asked for that can be certified."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from parity.core.errors import UsageError
from parity.core.selection import matcher
from parity.numerics.formats import FORMATS
from parity.report.panels.clause import Clause


@dataclass(frozen=True, slots=True)
class Narrowing:
    """A narrower selection. dtypes: empty for all of the run; keyword: an expression over names of cases.

    cells: how many it has; of: how many were asked for.
    """

    dtypes: tuple[str, ...]
    keyword: str
    cells: int
    of: int


def narrowing(every: Sequence[Clause], asked: Sequence[Clause], keyword: str) -> Narrowing | None:
    """Of whole cases in some of the dtypes; None where nothing, or nothing that moved a weight, has a ground.

    every: all clauses of the run, in which an expression over names has to find its way; asked: those selected.
    """
    held = [dtype for dtype in FORMATS if any(one.dtype == dtype for one in every)]
    dtypes = [dtype for dtype in FORMATS if any(one.dtype == dtype for one in asked)]
    choices = [choice for size in range(len(dtypes), 0, -1) for choice in combinations(dtypes, size)]
    best = max(choices, key=lambda choice: len(_granted(asked, choice)), default=())
    granted = _granted(asked, best)
    if not any(one.moved for one in granted):
        return None
    names = list(dict.fromkeys(one.case for one in every if one.dtype in best))
    wanted = {one.case for one in granted}
    rest = [one for one in dict.fromkeys(one.case for one in asked if one.dtype in best) if one not in wanted]
    fitting = [text for text in _expressions(keyword, sorted(wanted), rest) if _selects(text, names) == wanted]
    if not fitting:
        return None
    return Narrowing(() if list(best) == held else tuple(best), min(fitting, key=len), len(granted), len(asked))


def _granted(asked: Sequence[Clause], dtypes: Sequence[str]) -> list[Clause]:
    """Clauses of the cases that have a ground in every one of the dtypes."""
    inside = [one for one in asked if one.dtype in dtypes]
    refused = {one.case for one in inside if one.ground is None}
    return [one for one in inside if one.case not in refused]


def _expressions(keyword: str, wanted: Sequence[str], rest: Sequence[str]) -> Iterator[str]:
    if not rest:
        yield keyword
    else:
        without = f"not {rest[0]}" if len(rest) == 1 else f"not ({' or '.join(rest)})"
        yield f"({keyword}) and {without}" if keyword else without
    yield " or ".join(wanted)


def _selects(expression: str, names: Sequence[str]) -> set[str]:
    """Names that an expression chooses; none where it cannot be read, as names may hold any character."""
    try:
        chosen = matcher(expression)
    except UsageError:
        return set()
    return {name for name in names if chosen(name)}
