"""Families of causes: the words in which a difference is explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Family(StrEnum):
    """Why two Adams differ; `SENTENCES` says each in plain words."""

    EPSILON_PLACEMENT = "epsilon-placement"
    EPSILON_VALUE = "epsilon-value"
    EPSILON_UNDERFLOW = "epsilon-underflow"
    BIAS_CORRECTION = "bias-correction"
    STEP_COUNT = "step-count"
    HYPERPARAMETER_VALUE = "hyperparameter-value"
    HYPERPARAMETER_ROUNDING = "hyperparameter-rounding"
    BETA_POWER = "beta-power"
    WEIGHT_DECAY = "weight-decay"
    GRADIENT_SCALE = "gradient-scale"
    GRADIENT_CLIP = "gradient-clip"
    SCHEDULE = "schedule"
    AMSGRAD = "amsgrad"
    SPARSE_ROWS = "sparse-rows"
    WEIGHT_AVERAGE = "weight-average"
    NONE_GRADIENT = "none-gradient"
    STATE_STORAGE = "state-storage"
    PARTIAL_UPDATE = "partial-update"
    RESTART = "restart"
    NON_FINITE = "non-finite"
    OPERATION_ORDER = "operation-order"
    FMA = "fma"
    SQRT = "sqrt"
    DIVISION = "division"
    SUBNORMAL_FLUSH = "subnormal-flush"
    NONDETERMINISM = "nondeterminism"
    ROUNDING = "rounding"
    UNEXPLAINED = "unexplained"


SENTENCES: Mapping[Family, str] = MappingProxyType(
    {
        Family.EPSILON_PLACEMENT: "epsilon stands in another place of the formula",
        Family.EPSILON_VALUE: "epsilon is another number",
        Family.EPSILON_UNDERFLOW: "epsilon becomes zero in the dtype, so that a zero gradient divides zero by zero",
        Family.BIAS_CORRECTION: "the first steps are corrected for the empty moments on one side, or in another way",
        Family.STEP_COUNT: "the t of the bias correction counts something else",
        Family.HYPERPARAMETER_VALUE: "lr or a beta is another number",
        Family.HYPERPARAMETER_ROUNDING: "lr, a beta or 1 - beta is rounded in another format",
        Family.BETA_POWER: "the powers of beta, and what follows from them, are formed in another way",
        Family.WEIGHT_DECAY: "weight decay enters in another way",
        Family.GRADIENT_SCALE: "the gradient is scaled before it is used",
        Family.GRADIENT_CLIP: "gradients are held against another limit, or in another way",
        Family.SCHEDULE: "lr goes another way from step to step",
        Family.AMSGRAD: "the maximum of v is taken or kept in another way",
        Family.SPARSE_ROWS: "rows without a gradient are treated differently",
        Family.WEIGHT_AVERAGE: "the running average of the weights begins elsewhere",
        Family.NONE_GRADIENT: "a missing gradient is treated differently",
        Family.STATE_STORAGE: "a moment is kept in another precision",
        Family.PARTIAL_UPDATE: "some elements of a tensor are computed apart from the others",
        Family.RESTART: "something of the state did not come back from the checkpoint",
        Family.NON_FINITE: "a gradient that is NaN or infinite is treated differently",
        Family.OPERATION_ORDER: "the same formula is computed in another order",
        Family.FMA: "a product and a sum are rounded once on one side and twice on the other",
        Family.SQRT: "the square root comes from a library that is not correctly rounded",
        Family.DIVISION: "a quotient is formed in another way",
        Family.SUBNORMAL_FLUSH: "numbers below the normal range become zero on one side",
        Family.NONDETERMINISM: "the same run gives other bits the next time",
        Family.ROUNDING: "results are rounded at other places",
        Family.UNEXPLAINED: "no named choice accounts for it",
    }
)

BENIGN = frozenset(
    {
        Family.HYPERPARAMETER_ROUNDING,
        Family.BETA_POWER,
        Family.OPERATION_ORDER,
        Family.FMA,
        Family.SQRT,
        Family.DIVISION,
        Family.SUBNORMAL_FLUSH,
        Family.PARTIAL_UPDATE,
        Family.ROUNDING,
    }
)
"""Arithmetic: the formula is the same."""

FORMULA = frozenset(Family) - BENIGN - {Family.UNEXPLAINED}
"""More than arithmetic."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A named reason: what exactly, which part of the difference of w is its own (0 to 1, None where not measured),
    and the figures that show it."""

    family: Family
    detail: str
    share: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {"family": str(self.family), "detail": self.detail, "share": self.share, "evidence": dict(self.evidence)}
