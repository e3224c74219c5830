"""Why pairs differ, as sections of report.md: every implementation against its twin, and the families of causes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from parity.engine.record import Run
from parity.engine.result import CellResult, Held, Why
from parity.numerics.formats import FORMATS

FAMILIES_SHOWN = 4

LEAST_SHARE = 0.005

TWINS = """\
A **twin** is the from-scratch Adam with the formula and the arithmetic that an implementation is known to have: the
order of its operations, where it fuses products and sums, how it rounds lr, betas and their powers, which square root
it takes, what it flushes to zero. Every step is made from the recorded one before, so that *0 differ* means: every bit
of m, v and w of every step is that of a formula that can be read. The error is that of the weights after the last step
against the exact Adam (double-double) of the same convention: median of the cases, in ULP, root of the mean square."""


def counts(run: Run) -> Counter[str]:
    """Pairs by answer: identical, explained, unexplained."""
    return Counter(why.answer for cell in run.cells for why in cell.account.pairs)


def answer_line(run: Run) -> str:
    """How many pairs are accounted for, as a sentence; empty where nothing was explained."""
    found = counts(run)
    if not found:
        return ""
    return (
        f"Bit by bit: {found['identical']:,} pairs are identical, {found['explained']:,} differ and every differing "
        f"bit is accounted for by named causes, {found['unexplained']:,} are not fully explained."
    )


def twin_rows(run: Run) -> list[list[str]]:
    """Implementation, then for every dtype of the run what its twin leaves and how far it is from the truth."""
    dtypes = [dtype for dtype in FORMATS if any(cell.dtype == dtype for cell in run.cells)]
    names = list(dict.fromkeys(held.implementation for cell in run.cells for held in cell.account.held))
    rows = []
    for name in names:
        cells = [[(cell, one) for cell, one in _held(run, name) if cell.dtype == dtype] for dtype in dtypes]
        rows.append([name, *(_told(found) for found in cells)])
    return [["implementation", *dtypes], *rows] if rows else []


def _held(run: Run, name: str) -> Iterator[tuple[CellResult, Held]]:
    for cell in run.cells:
        for one in cell.account.held:
            if one.implementation == name:
                yield cell, one


def _told(found: Sequence[tuple[CellResult, Held]]) -> str:
    if not found:
        return ""
    compared = sum(one.compared for _, one in found)
    left = [(cell, one) for cell, one in found if one.differing]
    errors = sorted(one.error_ulp for _, one in found)
    error = f"error {errors[len(errors) // 2]:.2g} ULP"
    sources = {one.source for _, one in found}
    twin = "" if sources <= {"claimed"} else f" ({', '.join(sorted(sources))})"
    if not left:
        return f"0 of {compared:,} differ{twin}; {error}"
    cell, worst = max(left, key=lambda one: one[1].differing / one[1].compared)
    differing = sum(one.differing for _, one in left)
    where = f"{len(left)} of {len(found)} cases, most in {cell.case} ({worst.max_ulp:,} ULP)"
    return f"{differing:,} of {compared:,} differ in {where}{twin}; {error}"


def open_lines(run: Run) -> Iterator[str]:
    """Cells that their twins leave open, each implementation and dtype once."""
    grouped: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for cell in run.cells:
        if cell.account.reason and cell.account.reason != "not asked for":
            yield f"{cell.case} {cell.dtype} was not explained: {cell.account.reason}."
        for one in cell.account.held:
            if one.differing and one.source == "claimed":
                grouped[one.implementation, cell.dtype, one.covered or "no explanation yet"].append(
                    f"{cell.case}: {one.differing:,} of {one.compared:,} elements, up to {one.max_ulp:,} ULP"
                )
    for (name, dtype, why), cells in grouped.items():
        yield f"{name} in {dtype} is left open: {why} ({'; '.join(cells)})."


def families(whys: Sequence[Why]) -> str:
    """The families of causes of a pair over several cases: those with a share, then those that are only named."""
    measured: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for why in whys:
        shares = dict(why.families)
        measured.update(family for family, share in shares.items() if share is not None and share >= LEAST_SHARE)
        named.update(family for family, share in shares.items() if share is None)
    ordered = [family for family, _ in (*measured.most_common(), *named.most_common())]
    return ", ".join(list(dict.fromkeys(ordered))[:FAMILIES_SHOWN])


def why_rows(run: Run) -> list[list[str]]:
    """Pair, then for every dtype how many cases are identical, explained or not, and by which families."""
    dtypes = [dtype for dtype in FORMATS if any(cell.dtype == dtype for cell in run.cells)]
    pairs = list(dict.fromkeys((why.actual, why.expected) for cell in run.cells for why in cell.account.pairs))
    rows = []
    for actual, expected in pairs:
        row = [f"{actual} / {expected}"]
        for dtype in dtypes:
            whys = [
                why
                for cell in run.cells
                if cell.dtype == dtype
                for why in cell.account.pairs
                if (why.actual, why.expected) == (actual, expected)
            ]
            row.append(_answers(whys))
        rows.append(row)
    return [["pair", *dtypes], *rows] if rows else []


def _answers(whys: Sequence[Why]) -> str:
    if not whys:
        return ""
    tally = Counter(why.answer for why in whys)
    told = ", ".join(f"{tally[one]} {one}" for one in ("unexplained", "explained", "identical") if tally[one])
    named = families([why for why in whys if why.answer != "identical"])
    return f"{told}: {named}" if named else told
