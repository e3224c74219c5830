"""What a certificate says of a pair in one case and dtype: on which ground it holds, or what stands against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Any

from pydantic import TypeAdapter

from parity.comparison.distance import Number
from parity.core.errors import UsageError
from parity.core.hyper import Hyper
from parity.core.selection import matcher
from parity.core.shown import Shown
from parity.engine.power import Power
from parity.numerics.formats import FORMATS


class Ground(StrEnum):
    """Why two Adams may be called equivalent, the strongest first.

    IDENTICAL: every element of every step is equal. SAME_FORMULA: they differ, and named causes that are arithmetic
    account for every differing bit. WITHIN: inside the budget that the case has for rounding, which catches some of
    the wrong Adams.
    """

    IDENTICAL = "identical"
    SAME_FORMULA = "same formula"
    WITHIN = "within the budget"


class Obstacle(StrEnum):
    """Why they may not be called equivalent; the first that holds is told. Those of the run as a whole come first."""

    INCOMPLETE = "incomplete"
    STALE = "stale"
    NO_SUCH_DTYPE = "no such dtype"
    NOTHING_MOVED = "nothing moved"
    NOT_RUN = "not run"
    NOT_COMPARED = "not compared"
    CRASHED = "crashed"
    NOT_COMPARABLE = "not comparable"
    NOT_AS_EXPECTED = "not as expected"
    OTHER_HYPERPARAMETERS = "other hyperparameters"
    OTHER_FORMULA = "other formula"
    NONFINITE = "NaN or inf on one side"
    STANDS_STILL = "one side stands still"
    CONTRADICTION = "contradiction"
    TOO_FAR = "too far apart"
    UNEXPLAINED = "unexplained"
    BLIND = "blind budget"
    NO_POWER = "powerless budget"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Apart:
    """One quantity at its worst: distances with the first step that has them; lr: of w, in units of lr."""

    quantity: str
    compared: int
    differing: int
    ulp: int
    ulp_step: int
    lr: Number | None
    lr_step: int


@dataclass(frozen=True, slots=True)
class Clause:
    """A pair in one case and dtype: either a ground, or an obstacle with its detail.

    families: of the causes, the largest first. apart: quantities that both sides show; hidden: those that only one
    does. moved: whether a weight left its initial value for a finite one. nonfinite, zeros: elements of both
    sides that are NaN or inf, or zeros of another sign. reach: how far the weights came from their initial values, in
    units of lr, on the side that came less far. hyper: of both sides, None where they are not the same or not recorded.
    digests: quantity, and the bits of both last states. power: of the budget that the pair was held to.
    """

    case: str
    dtype: str
    ground: Ground | None
    obstacle: Obstacle | None
    detail: str
    steps: int
    input_digest: str
    families: tuple[str, ...] = ()
    apart: tuple[Apart, ...] = ()
    hidden: tuple[str, ...] = ()
    moved: bool = False
    nonfinite: int = 0
    zeros: int = 0
    reach: Number = 0.0
    hyper: Hyper | None = None
    digests: tuple[tuple[str, str, str], ...] = ()
    power: Power | None = None

    @property
    def compared(self) -> int:
        """Elements compared, over all quantities and steps."""
        return sum(one.compared for one in self.apart)

    @property
    def differing(self) -> int:
        """How many of them differ."""
        return sum(one.differing for one in self.apart)

    @property
    def lr(self) -> float:
        """The largest difference of w in units of lr."""
        return max((float(one.lr) for one in self.apart if one.lr is not None), default=0.0)


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


NOTHING_COMPARED = 5


@dataclass(frozen=True, slots=True)
class Side:
    """An implementation as it ran: the packages that it needs, all of its process for a plug-in."""

    name: str
    python: str
    packages: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Largest:
    """The greatest distance of all cases, and where it is."""

    value: Number
    case: str
    step: int


@dataclass(frozen=True, slots=True)
class Bound:
    """How far apart the two are in one dtype, over every case that has a ground.

    grounds: how many cases have each. lr: of w in units of lr; ulp: by quantity. unmoved: cases in which no weight left
    its initial value for a finite one; partial: in which m, v or vmax is hidden. nonfinite, zeros: elements that
    are NaN or inf on both sides alike, or zeros of another sign. weakest: of the budgets that are a ground, that which
    catches the smallest share of the wrong Adams.
    """

    dtype: str
    cases: int
    grounds: tuple[tuple[Ground, int], ...]
    compared: int
    differing: int
    lr: Largest
    ulp: tuple[tuple[str, Largest], ...]
    unmoved: int
    partial: int
    nonfinite: int
    zeros: int
    weakest: Power | None


@dataclass(frozen=True, slots=True)
class Setting:
    """Hyperparameters, None where they were not recorded, and the cases that ask for them."""

    hyper: Hyper | None
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why there is no certificate. details: of the run, or of the clauses, each with how often it is given."""

    obstacle: Obstacle
    details: tuple[tuple[str, int], ...]
    clauses: tuple[Clause, ...] = ()


@dataclass(frozen=True, slots=True)
class Certificate(Shown):
    """A pair, what is certified of it, or why nothing is.

    dtypes, keyword: the selection; cases, cells: how much of the run it takes, of how much. turned: the run holds the
    pair the other way round. reasons: empty where it is issued. clauses: of the selection; left_out: of the rest of
    the run, with what stands against those. digest: of everything that is certified, empty where nothing is.
    narrowing: what could be certified.
    """

    actual: Side
    expected: Side
    dtypes: tuple[str, ...]
    keyword: str
    cases: tuple[int, int]
    cells: tuple[int, int]
    turned: bool
    reasons: tuple[Reason, ...]
    bounds: tuple[Bound, ...]
    settings: tuple[Setting, ...]
    clauses: tuple[Clause, ...]
    left_out: tuple[Clause, ...]
    left_out_reasons: tuple[Reason, ...]
    environment: dict[str, Any]
    version: str
    digest: str
    narrowing: Narrowing | None

    @property
    def issued(self) -> bool:
        """Whether nothing stands against it."""
        return not self.reasons

    @property
    def compared(self) -> int:
        """Elements of the pair that were compared, over all clauses."""
        return sum(one.compared for one in self.clauses)

    @property
    def exit_code(self) -> int:
        """0 issued, 1 cannot be issued, 5 nothing of the pair was compared."""
        return 0 if self.issued else 1 if self.compared else NOTHING_COMPARED

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` has it; reasons name their clauses by case and dtype."""
        told: dict[str, Any] = _CERTIFICATE.dump_python(self, mode="json")
        for reason in (*told["reasons"], *told["left_out_reasons"]):
            reason["clauses"] = [[clause["case"], clause["dtype"]] for clause in reason["clauses"]]
        return {"issued": self.issued, **told}


_CERTIFICATE = TypeAdapter(Certificate)
