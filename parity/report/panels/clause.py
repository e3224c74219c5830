"""What a certificate says of a pair in one case and dtype: on which ground it holds, or what stands against it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from parity.comparison.distance import Number
from parity.core.hyper import Hyper
from parity.engine.power import Power


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
