"""Whether one Adam is equivalent to another, on which cases, under which hyperparameters and to which bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from parity.comparison.distance import Number
from parity.core.hyper import Hyper
from parity.core.shown import Shown
from parity.engine.power import Power
from parity.report.panels.clause import Clause, Ground, Obstacle
from parity.report.panels.narrowing import Narrowing

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
