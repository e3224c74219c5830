"""The answer: which Adam a target is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from parity.adam.twin import Twin
from parity.core.shown import Shown

Verdict = Literal["identified", "explained", "unexplained"]

NEVER_ASKED = (
    "a loss scale that grows, and what else may stand around a step",
    "more than 2,200 steps",
    "tensors of more than 70,001 elements",
)
"""What no probe asks, so that no answer says anything of it."""

LEFT_OUT = "left_out"
"""Entry of a residual: the probes that a target refused, with its reasons."""

IGNORED = "ignored"
"""Entry of a residual: the probes that ask for what the target takes no notice of, in words."""

FAILED = "failed"
"""Entry of a residual: the probes at which a target failed, with what happened."""

LEFT_OPEN = "left_open"
"""Entry of a residual: the probes for which the arithmetic that was found claims nothing, with what differs and why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One departure from the Adam that was expected, or one choice of rounding.

    family: of the causes by which Adams differ. detail: a plain sentence with the numbers that were read out.
    evidence: numbers behind it, JSON values. benign: a matter of rounding only, no other formula.
    """

    family: str
    detail: str
    evidence: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    benign: bool = False


@dataclass(frozen=True, slots=True)
class Answer(Shown):
    """Which Adam a target is, in one dtype.

    verdict: identified (a from-scratch Adam equals it bit for bit), explained (the formula reproduces it within
    rounding; with an arithmetic: bit for bit but for what is left open), unexplained (it does not). convention:
    choices of the formula by name, with the hyperparameters in force; empty where it is no Adam. arithmetic: choices
    of rounding by name, None where not bit-exact; one of which nothing was asked is None. formula: the update rule in
    plain text, lines parted by a line break. residual: what is left, JSON values. failure: why it could not be asked
    in this dtype, empty where it could. tracebacks: where it raised, each once. optimizer: of what is no Adam and has a
    name: name, variant, hyperparameters, weight_decay, step_count. asked: the probes that were answered. laws: what
    came of each exact law. not_finite: what becomes of a gradient that is NaN or inf. twin: the from-scratch Adam of
    that arithmetic.
    """

    verdict: Verdict
    convention: Mapping[str, Any]
    arithmetic: Mapping[str, Any] | None
    formula: str
    causes: tuple[Finding, ...]
    residual: Mapping[str, Any]
    failure: str = ""
    tracebacks: tuple[str, ...] = ()
    optimizer: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    asked: tuple[str, ...] = ()
    laws: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    not_finite: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    twin: Twin | None = field(default=None, repr=False)

    @property
    def departures(self) -> tuple[Finding, ...]:
        """What differs from what it claims or was asked, choices of rounding left out."""
        return tuple(one for one in self.causes if not one.benign)

    @property
    def sound(self) -> bool:
        """Whether it is identified or explained, nothing unexplained is left, and no probe failed."""
        beside = bool(self.convention) and any(one.family == "unexplained" for one in self.causes)
        left = self.verdict == "unexplained" or beside
        return not left and FAILED not in self.residual

    def to_json(self) -> dict[str, Any]:
        """As `parity identify --json` writes it."""
        return {
            "verdict": self.verdict,
            "convention": dict(self.convention),
            "arithmetic": None if self.arithmetic is None else dict(self.arithmetic),
            "formula": self.formula,
            "causes": [
                {
                    "family": one.family,
                    "detail": one.detail,
                    "evidence": dict(one.evidence),
                    "benign": one.benign,
                }
                for one in self.causes
            ],
            "residual": dict(self.residual),
            "asked": list(self.asked),
            "never_asked": list(NEVER_ASKED),
            "laws": dict(self.laws),
            "not_finite": dict(self.not_finite),
            "optimizer": {"name": "Adam"}
            if self.convention and self.verdict != "unexplained"
            else dict(self.optimizer),
        }
