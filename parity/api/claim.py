"""What a test claims of an Adam, as cells that put it to the test."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from parity.case.case import Case
from parity.case.catalogue import select_cases
from parity.case.expectation import Expectation, Kind, Rounding
from parity.case.problems import problems
from parity.core.digest import digest_of
from parity.core.errors import NothingCompared, ParityError, nearest
from parity.engine.candidates import REFERENCE, shipped_candidates
from parity.engine.plan import Candidate, Cell, pairs_of, parties_of
from parity.engine.result import CellResult, judge_pair
from parity.numerics.formats import FORMATS, format_named

Within = str | Mapping[str, Any] | None

IDENTICAL = "identical"
DEFAULT: Rounding = "operations"
LONGEST_PLACE = 120
USUAL = ("float64", "float32")
"""Where a budget for rounding tells a right Adam from a wrong one."""


def claim_cells(
    cases: Sequence[Case],
    actual: Candidate,
    expected: Candidate,
    *,
    dtypes: Sequence[str] = (),
    within: Within = None,
    nonfinite: bool = False,
    place: str = "",
) -> tuple[Cell, ...]:
    """One cell for each case and dtype, whose only expectation is the claim.

    dtypes: none for float64 and float32, as far as a case has them. within: "identical"; what may be rounded otherwise
    ("operations", the default, or another of `parity.case.expectation.Rounding`); or budgets by quantity, as
    {"w": {"max_steps": 1e-6}}, or for all of them, {"max_ulp": 4}. nonfinite: NaN or inf may occur. place: where it is
    claimed, which makes the names of its cells its own. ParityError for a dtype or a budget that cannot be.
    """
    wanted = [format_named(dtype).name for dtype in dtypes]
    cells = []
    for case in cases:
        missing = [dtype for dtype in wanted if dtype not in case.dtypes]
        held = wanted or [dtype for dtype in USUAL if dtype in case.dtypes]
        if missing or not held:
            asked = missing[0] if missing else " or ".join(USUAL)
            raise ParityError(f"case {case.name} does not run in {asked}; allowed: {', '.join(case.dtypes)}")
        claim = _expectation(actual.name, expected.name, within, nonfinite)
        changed = {"name": f"{case.name}@{place}" if place else case.name, "expect": (claim,), "inherited": 0}
        claimed = case.model_copy(update=changed)
        pair = (actual.name, expected.name)
        cells += [Cell(claimed, dtype, (actual, expected), (pair,)) for dtype in held]
    return tuple(cells)


def catalogue_cells(
    candidate: Candidate,
    against: Sequence[str] = (),
    paths: Sequence[Path | str] = (),
    keyword: str = "",
    dtypes: Sequence[str] = (),
) -> tuple[Cell, ...]:
    """Every case and dtype that pairs a candidate with one of the others, with the expectations of the cases.

    against: names or patterns of shipped implementations, none for Algorithm 1 of the paper. paths, keyword: as
    `parity.case.catalogue.select_cases` takes them. dtypes: none for all. NothingCompared where no pair is left.
    """
    shipped = shipped_candidates()
    patterns = against or (REFERENCE,)
    for pattern in patterns:
        if not any(fnmatchcase(one.name, pattern) for one in shipped):
            raise ParityError(f"against: {pattern!r} is unknown; {nearest(pattern, [one.name for one in shipped])}")
    others = [one for one in shipped if any(fnmatchcase(one.name, each) for each in patterns)]
    names = [one.name for one in others if one.name != candidate.name]
    wanted = [format_named(dtype).name for dtype in dtypes] or list(FORMATS)
    cells = []
    for case in select_cases(paths, keyword):
        for dtype in (dtype for dtype in FORMATS if dtype in wanted and dtype in case.dtypes):
            parties = parties_of(case, [*(one for one in others if one.name != candidate.name), candidate], dtype)
            named = [one.name for one in parties]
            pairs = tuple(pair for pair in pairs_of(case, named, dtype) if candidate.name in pair)
            taking_part = {candidate.name, *(name for pair in pairs for name in pair)}
            if pairs:
                chosen = tuple(one for one in parties if one.name in taking_part)
                cells.append(Cell(case, dtype, chosen, pairs))
    if not cells:
        raise NothingCompared(
            f"nothing to compare {candidate.name} with: no expectation pairs it with {', '.join(names)}"
        )
    return tuple(cells)


def excused(cell: Cell, result: CellResult, reason: str) -> Cell:
    """The cell with what came out of it as what is expected, wherever it was not; reason: why that is so."""
    expectations = []
    for pair in result.pairs:
        verdict = judge_pair(result, pair, cell.case.expectation_for(pair.actual, pair.expected, cell.dtype))
        moved = all(result.outcome(name).moved for name in (pair.actual, pair.expected))
        if not verdict.as_expected and verdict.kind is not Kind.WITHIN:
            expectations.append(
                Expectation(
                    actual=glob.escape(pair.actual),
                    expected=glob.escape(pair.expected),
                    verdict=str(verdict.kind),  # type: ignore[arg-type]
                    nonfinite=True,
                    moves=moved,
                    because=f"Expected failure: {reason}",
                )
            )
    return replace(cell, case=cell.case.model_copy(update={"expect": (*expectations, *cell.case.expect)}))


def place_name(node_id: str, call: int = 1) -> str:
    """A test as part of the name of a case, and so of a file."""
    plain = re.sub(r"[^\w.=,-]+", "-", node_id).strip("-")
    if len(plain) > LONGEST_PLACE:
        plain = f"{plain[:LONGEST_PLACE]}-{digest_of(node_id.encode())[:8]}"
    return plain if call == 1 else f"{plain}-{call}"


def _expectation(actual: str, expected: str, within: Within, nonfinite: bool) -> Expectation:
    table: dict[str, Any] = {
        "actual": glob.escape(actual),
        "expected": glob.escape(expected),
        "nonfinite": nonfinite,
        "because": "A test claims that both are the same Adam.",
    }
    roundings = get_args(Rounding)
    match within:
        case None:
            table |= {"verdict": "WITHIN", "rounding": DEFAULT}
        case str() if within == IDENTICAL:
            table |= {"verdict": "IDENTICAL"}
        case str() if within in roundings:
            table |= {"verdict": "WITHIN", "rounding": within}
        case Mapping():
            by_quantity = any(isinstance(value, Mapping) for value in within.values())
            table |= {"verdict": "WITHIN", "within": dict(within) if by_quantity else {"*": dict(within)}}
        case _:
            allowed = nearest(str(within), [IDENTICAL, *roundings])
            raise ParityError(f"within: {within!r} is not allowed; {allowed}; or budgets by quantity")
    try:
        return Expectation.model_validate(table)
    except ValidationError as error:
        raise ParityError("\n".join(problems(error, Expectation))) from None
