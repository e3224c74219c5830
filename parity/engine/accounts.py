"""What the accounts of a run come to: every implementation beside its twin, every pair by answers and causes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from parity.engine.findings import Finding, Topic
from parity.engine.record import Run
from parity.engine.result import EXPLAINED, SAMPLED, CellResult, Held, Why
from parity.numerics.formats import FORMATS

LEAST_SHARE = 0.005
"""Share of a difference below which a family does not count as one of its causes."""

ANSWERS = ("unexplained", SAMPLED, EXPLAINED, "identical")


@dataclass(frozen=True, slots=True)
class Twins:
    """An implementation held against its twins in one dtype, over its cases.

    compared, differing: elements; open: cases in which some differ; worst_case: that with the greatest part of them,
    worst_ulp: the largest difference in it. sources: where the twins come from. error_ulp: median of the errors.
    """

    cases: int
    compared: int
    differing: int
    open: int
    worst_case: str
    worst_ulp: int
    sources: tuple[str, ...]
    error_ulp: float


@dataclass(frozen=True, slots=True)
class TwinRow:
    """An implementation and what its twins leave, by dtype."""

    implementation: str
    by_dtype: Mapping[str, Twins]


@dataclass(frozen=True, slots=True)
class LeftOpen:
    """What a claimed twin leaves open in one dtype, and why; cases: name, differing, compared, largest difference."""

    implementation: str
    dtype: str
    why: str
    cases: tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """A pair in one dtype over its cases: how many have which answer, those that occur, the worst first.

    families: of causes, those with a share first, each kind from the most frequent to the rarest.
    """

    counts: tuple[tuple[str, int], ...]
    families: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PairRow:
    """A pair and its answers, by dtype."""

    actual: str
    expected: str
    by_dtype: Mapping[str, Answers]


def count_answers(run: Run) -> Counter[str]:
    """Pairs by answer, as ANSWERS has them; empty where nothing was explained."""
    return Counter(why.answer for cell in run.cells for why in cell.account.pairs)


def claims_broken(run: Run) -> tuple[Finding, ...]:
    """Findings of implementations that are not the Adam they are known to be, bit by bit: each in one dtype."""
    return tuple(one for one in run.findings if one.topic is Topic.CLAIM)


@dataclass(frozen=True, slots=True)
class ClaimHere:
    """What is known of an implementation, and what a run found of it on this machine.

    machine: what of it decides the bits; unconfirmed: why nobody has confirmed the claim there, empty where it was.
    compared, broken: elements, those that are not what it says.
    """

    implementation: str
    machine: str
    unconfirmed: str
    compared: int
    broken: int


def claims_here(run: Run) -> tuple[ClaimHere, ...]:
    """Every implementation that claims to be an Adam bit for bit."""
    found: dict[str, list[Held]] = defaultdict(list)
    for cell in run.cells:
        for one in cell.account.held:
            if one.source in ("claimed", "replaced"):
                found[one.implementation].append(one)
    return tuple(
        ClaimHere(
            name,
            held[0].machine,
            held[0].unconfirmed,
            sum(one.compared for one in held),
            sum(one.broken for one in held),
        )
        for name, held in sorted(found.items())
    )


def dtypes_of(run: Run) -> tuple[str, ...]:
    """Those of its cells, in the order of their precision."""
    return tuple(dtype for dtype in FORMATS if any(cell.dtype == dtype for cell in run.cells))


def twin_rows(run: Run) -> tuple[TwinRow, ...]:
    """Every implementation that was held against a twin."""
    found: dict[str, dict[str, list[tuple[CellResult, Held]]]] = defaultdict(lambda: defaultdict(list))
    for cell in run.cells:
        for one in cell.account.held:
            found[one.implementation][cell.dtype].append((cell, one))
    return tuple(
        TwinRow(name, {dtype: _twins(held) for dtype, held in by_dtype.items()}) for name, by_dtype in found.items()
    )


def _twins(held: Sequence[tuple[CellResult, Held]]) -> Twins:
    left = [(cell, one) for cell, one in held if one.differing]
    errors = sorted(one.error_ulp for _, one in held)
    worst_case, worst_ulp = "", 0
    if left:
        cell, worst = max(left, key=lambda one: one[1].differing / one[1].compared)
        worst_case, worst_ulp = cell.case, worst.max_ulp
    return Twins(
        cases=len(held),
        compared=sum(one.compared for _, one in held),
        differing=sum(one.differing for _, one in left),
        open=len(left),
        worst_case=worst_case,
        worst_ulp=worst_ulp,
        sources=tuple(sorted({one.source for _, one in held})),
        error_ulp=errors[len(errors) // 2],
    )


def not_explained(run: Run) -> Iterator[tuple[str, str, str]]:
    """Case, dtype and reason of every cell that should have been explained and was not."""
    for cell in run.cells:
        if cell.account.reason and cell.account.reason != "not asked for":
            yield cell.case, cell.dtype, cell.account.reason


def sampled(run: Run) -> Iterator[tuple[str, str, int, int]]:
    """Case, dtype, elements that were explained, and all, of every cell that was explained on a sample."""
    for cell in run.cells:
        if cell.account.sampled:
            yield cell.case, cell.dtype, cell.account.sampled, cell.elements


def sampled_elements(run: Run) -> tuple[int, int]:
    """Elements that were explained of those cells, and all that they have."""
    found = [(looked_at, elements) for _, _, looked_at, elements in sampled(run)]
    return sum(one for one, _ in found), sum(other for _, other in found)


def left_open(run: Run) -> tuple[LeftOpen, ...]:
    """Cells that claimed twins leave open, each implementation, dtype and reason once."""
    grouped: dict[tuple[str, str, str], list[tuple[str, int, int, int]]] = defaultdict(list)
    for cell in run.cells:
        for one in cell.account.held:
            if one.differing and one.source == "claimed":
                grouped[one.implementation, cell.dtype, one.covered or "no explanation yet"].append(
                    (cell.case, one.differing, one.compared, one.max_ulp)
                )
    return tuple(LeftOpen(*key, tuple(cases)) for key, cases in grouped.items())


def pair_rows(run: Run) -> tuple[PairRow, ...]:
    """Every pair that was explained."""
    found: dict[tuple[str, str], dict[str, list[Why]]] = defaultdict(lambda: defaultdict(list))
    for cell in run.cells:
        for why in cell.account.pairs:
            found[why.actual, why.expected][cell.dtype].append(why)
    return tuple(
        PairRow(*pair, {dtype: _answers(whys) for dtype, whys in by_dtype.items()}) for pair, by_dtype in found.items()
    )


def _answers(whys: Sequence[Why]) -> Answers:
    tally = Counter(why.answer for why in whys)
    return Answers(
        tuple((answer, tally[answer]) for answer in ANSWERS if tally[answer]),
        families_of(whys),
    )


def families_of(whys: Sequence[Why]) -> tuple[str, ...]:
    """The families of causes of a pair over several cases: those with a share, then those that are only named."""
    measured: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for why in whys:
        shares = dict(why.families)
        measured.update(family for family, share in shares.items() if share is not None and share >= LEAST_SHARE)
        named.update(family for family, share in shares.items() if share is None)
    return tuple(dict.fromkeys(family for family, _ in (*measured.most_common(), *named.most_common())))
