"""The account of a cell: `parity run` explains every pair while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from parity.case.case import RESTARTED, Case
from parity.comparison.trace import Trace, read_trace
from parity.core.errors import ParityError
from parity.engine.account import Explained
from parity.engine.explanations import Document
from parity.engine.plan import Cell
from parity.engine.result import Account, CellResult, Held, Why
from parity.explain.causes import FORMULA, Family
from parity.explain.explain import explain_cell
from parity.explain.explanation import Answer, ErrorRow, Explanation, Told
from parity.explain.inputs import Inputs
from parity.explain.libraries import Libraries
from parity.explain.restart import explain_restart
from parity.explain.standing import standing_of

LARGEST_LADDER = 1 << 24
"""Elements times steps up to which headline pairs get their ladders and noise floors while a cell runs.

Each takes a free run for every rung: 1 to 2 s a pair at a quarter of this bound.
"""


def account(cell: Cell, result: CellResult, folder: Path, libraries: Libraries) -> Explained:
    """Explains all pairs of a cell whose sides came to their end; folder: holds a trace for each of them."""
    ended = {outcome.name for outcome in result.outcomes if outcome.failure is None}
    pairs = [(one.actual, one.expected) for one in result.pairs if {one.actual, one.expected} <= ended]
    restarts = [pair for pair in pairs if pair[0].endswith(RESTARTED)]
    pairs = [pair for pair in pairs if pair not in restarts]
    traces = {name: read_trace(folder / name) for name in {name for pair in (*pairs, *restarts) for name in pair}}
    for one in cell.candidates:
        if one.roots:
            libraries.admit(one.name, one.target)
    claims = {candidate.name: candidate.convention for candidate in cell.candidates}
    headlines = [pair for pair in pairs if pair in cell.headlines]
    reason = _too_large(cell.case)
    try:
        found = explain_cell(
            cell.case,
            traces,
            pairs,
            claims,
            libraries,
            thorough=() if reason else headlines,
            brief=[pair for pair in pairs if pair not in headlines],
        )
        returned = tuple(_restart(cell, traces, pair, claims, libraries) for pair in restarts)
    except ParityError as error:
        return Explained(Account(reason=str(error)))
    held = _held(found)
    kept = tuple(one.to_json() for pair, one in zip(pairs, found, strict=True) if pair in headlines)
    return Explained(Account(held, (*_why(found), *returned), ""), Document(reason, kept) if kept else None)


def _restart(
    cell: Cell,
    traces: Mapping[str, Trace],
    pair: tuple[str, str],
    claims: Mapping[str, str | None],
    libraries: Libraries,
) -> Why:
    """What a restart came to, and what was lost in it."""
    went, would = (traces[name] for name in pair)
    if went.digests == would.digests:
        return Why(*pair, str(Answer.IDENTICAL), f"{pair[0]} and {pair[1]} are identical to the last bit.", (), ())
    inputs = Inputs(cell.case, would.format)
    standing = standing_of(would, claims[pair[1]], inputs, libraries)
    defaults = next(one.defaults for one in cell.candidates if one.name == pair[1])
    told = explain_restart(went, would, inputs, standing.adam, cell.case.restart, defaults)
    assert told is not None
    answer = Answer.UNEXPLAINED if told.left or not told.causes else Answer.EXPLAINED
    family = str(Family.RESTART if told.causes else Family.UNEXPLAINED)
    return Why(*pair, str(answer), f"{pair[1]}: {told.sentence}.", ((family, 1.0),), (family,) if told.causes else ())


def _too_large(case: Case) -> str:
    """Why a cell gets no ladders; empty where it does."""
    elements = case.layout().size
    if elements * case.steps <= LARGEST_LADDER:
        return ""
    return (
        f"{elements:,} elements x {case.steps:,} steps are more than {LARGEST_LADDER:,}, "
        "so ladders and noise floors were left out; 'parity explain' makes them"
    )


def _held(found: tuple[Explanation, ...]) -> tuple[Held, ...]:
    told: dict[str, Held] = {}
    for one in found:
        last = next((row for row in reversed(one.errors) if row.quantity == "w"), None)
        for side, error in ((one.actual, _error(last, "actual")), (one.expected, _error(last, "expected"))):
            name = side.implementation
            told.setdefault(name, _holding(side, error))
    return tuple(told[name] for name in sorted(told))


def _error(row: ErrorRow | None, side: str) -> float:
    return 0.0 if row is None else float(getattr(row, f"{side}_rms_ulp"))


def _holding(side: Told, error: float) -> Held:
    differences = side.residual.differences
    return Held(
        side.implementation,
        # A twin is claimed, but another fits: the claim is broken.
        "replaced" if side.broken else side.source,
        side.left_open,
        sum(one.compared for one in differences),
        side.residual.differing,
        max((one.max_ulp for one in differences), default=0),
        error,
        side.broken,
        side.machine,
        side.unconfirmed,
        side.updates,
        side.lost,
    )


def _why(found: tuple[Explanation, ...]) -> tuple[Why, ...]:
    return tuple(
        Why(
            one.actual.implementation,
            one.expected.implementation,
            str(one.answer),
            one.sentence,
            tuple((str(cause.family), cause.share) for cause in one.causes),
            tuple(dict.fromkeys(str(cause.family) for cause in one.causes if cause.family in FORMULA)),
        )
        for one in found
    )
