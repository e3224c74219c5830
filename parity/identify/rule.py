"""A rule for the update of the weights: one choice for each thing that may depart from what was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from parity.identify.answer import Finding
from parity.identify.correction import PAPER, Correction
from parity.identify.reading import Reading, cast, lossy_formats, smaller_formats
from parity.identify.update import Change, Form, Moves, Scale, change, epsilon, factor, wrong
from parity.numerics.formats import Format

SILENT_EPSILON = 1e-7
"""What Keras's legacy Adam takes for an eps of 0, and the default of TensorFlow and Keras."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What lr or eps is in force. family: empty where it is what was asked; detail: {} is the value that was read.

    values: of points. number: by which they are multiplied; free: whether it is still to be read out.
    """

    name: str
    values: Callable[[Moves], np.ndarray]
    family: str = ""
    detail: str = ""
    free: bool = False
    number: float = 1.0


ASKED_LR = Choice("asked", lambda moves: moves.lr)
ASKED_EPS = Choice("asked", lambda moves: moves.eps)


@dataclass(frozen=True, slots=True)
class Rule:
    """A complete update of the weights without decay. count: "seen" (per parameter) or "step" (global)."""

    form: Form = Form.OUTSIDE
    correction: Correction = PAPER
    count: str = "seen"
    lr: Choice = ASKED_LR
    eps: Choice = ASKED_EPS

    def scale(self, moves: Moves) -> Scale:
        """The numbers of the update at points."""
        t = moves.seen if self.count == "seen" else moves.step
        with np.errstate(all="ignore"):
            c1, c2 = self.correction.divisors(moves, t)
            return Scale(c1, c2, self.lr.number * self.lr.values(moves), self.eps.number * self.eps.values(moves), t)

    def change(self, moves: Moves, format: Format) -> Change:
        """What the rule subtracts from the weights."""
        return change(moves, self.form, self.scale(moves), format)

    def wrong(self, moves: Moves, format: Format) -> np.ndarray:
        """Mask of points that do not follow the rule, no decay being asked for."""
        return wrong(moves, self.change(moves, format), moves.w0, format)

    def read(self, moves: Moves, format: Format) -> Rule | None:
        """The rule with its free number as the points show it; None where no number fits them all."""
        if self.lr.free:
            found = factor(moves, self.change(moves, format), format)
            return None if found.empty or found.holds(0) else replace(self, lr=_settled(self.lr, found))
        if self.eps.free:
            found = epsilon(moves, self.form, self.scale(moves), format)
            return None if found.empty else replace(self, eps=_settled(self.eps, found))
        return self

    @property
    def free(self) -> bool:
        """Whether a number has to be read out."""
        return self.lr.free or self.eps.free


def _settled(choice: Choice, found: Reading) -> Choice:
    return replace(choice, number=found.named(), free=False)


def step_sizes(format: Format) -> Iterator[Choice]:
    """What may be in force as lr; what was asked comes first."""
    yield ASKED_LR
    for kept in smaller_formats(format):
        yield Choice(
            f"in {kept.name}", lambda p, kept=kept: cast(p.lr, kept), "hyperparameter-rounding",  # type: ignore[misc]
            f"lr is kept in {kept.name}",
        )  # fmt: skip
    yield Choice("first", lambda p: p.first_lr, "hyperparameter-value", "lr is that of the first step at every step")
    yield Choice("negated", lambda p: -p.lr, "unexplained", "the sign is wrong: steps go up the gradient")
    yield Choice("factor", lambda p: p.lr, "hyperparameter-value", "lr in force is {:.10g} times what was asked", True)
    yield Choice(
        "constant", lambda p: np.ones(len(p)), "hyperparameter-value", "lr in force is {:.10g}, whatever is asked", True
    )


def epsilons(format: Format) -> Iterator[Choice]:
    """What may be in force as eps; what was asked comes first."""
    yield ASKED_EPS
    for kept in lossy_formats(format):
        family = "epsilon-underflow" if kept.name == "float16" else "hyperparameter-rounding"
        detail = f"eps goes through {kept.name}" + (", where 1e-8 is 0" if kept.name == "float16" else "")
        yield Choice(f"in {kept.name}", lambda p, kept=kept: cast(p.eps, kept), family, detail)  # type: ignore[misc]
    yield Choice(
        "1e-7 for 0", lambda p: np.where(p.eps == 0, SILENT_EPSILON, p.eps), "epsilon-value",
        f"eps = 0 silently means {SILENT_EPSILON:g}",
    )  # fmt: skip
    for value in (SILENT_EPSILON, 1e-8):
        yield Choice(
            f"always {value:g}", lambda p, value=value: np.full(len(p), value), "epsilon-value",  # type: ignore[misc]
            f"eps in force is {value:g}, whatever is asked",
        )  # fmt: skip
    yield Choice("none", lambda p: np.zeros(len(p)), "epsilon-value", "there is no eps: it is 0, whatever is asked")
    yield Choice("factor", lambda p: p.eps, "epsilon-value", "eps in force is {:.6g} times what was asked", True)
    yield Choice(
        "constant", lambda p: np.ones(len(p)), "epsilon-value", "eps in force is {:.6g}, whatever is asked", True
    )


def departures(rule: Rule, claimed: Form, count: str) -> tuple[Finding, ...]:
    """What a rule departs in from the form and the count that were expected."""
    found = []
    if rule.form is not claimed:
        found.append(_of_form(rule.form, claimed))
    if rule.correction.family:
        found.append(
            Finding(
                rule.correction.family, rule.correction.detail, {"divisors": rule.correction.text},
                rule.correction.benign,
            )
        )  # fmt: skip
    if rule.count != count:
        detail = (
            "t counts all steps, also those in which a parameter has no gradient"
            if rule.count == "step"
            else "t counts the gradients of each parameter, not the steps"
        )
        found.append(Finding("step-count", detail, {"count": rule.count}))
    for name, choice in (("lr", rule.lr), ("eps", rule.eps)):
        if choice.family:
            evidence = {"read": name, "number": choice.number}
            found.append(Finding(choice.family, choice.detail.format(choice.number), evidence))
    return tuple(found)


def _of_form(form: Form, claimed: Form) -> Finding:
    evidence = {"found": form.name.lower(), "expected": claimed.name.lower()}
    match form:
        case Form.NO_ROOT:
            return Finding("unexplained", "the denominator is v_hat + eps: v is used without its root", evidence)
        case Form.NESTEROV | Form.NESTEROV_HAT:
            return Finding("unexplained", "m looks one step ahead, as in NAdam (Nesterov)", evidence)
        case Form.TWICE:
            detail = "eps stands under the square root and beside it"
        case Form.INSIDE:
            detail = "eps stands under the square root of the corrected v (inside)"
        case Form.HAT:
            detail = "eps is added to sqrt(v) before the bias correction of v (hat)"
        case _:
            detail = "eps is added to the root of the corrected v (outside)"
    return Finding("epsilon-placement", detail, evidence)
