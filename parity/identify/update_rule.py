"""A rule for the update of the weights: form, bias correction, lr, eps, weight decay, the maximum of AMSGrad."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from parity.identify.answer import Finding
from parity.identify.bias_correction import PAPER, Correction
from parity.identify.points import Points, Reading, cast, intersection, lossy_formats, roundoff, smaller_formats
from parity.identify.update_forms import Change, Form, Moves, Scale, change, epsilon, factor, wrong
from parity.numerics.formats import Format

SILENT_EPSILON = 1e-7
"""What Keras's legacy Adam takes for an eps of 0, and the default of TensorFlow and Keras."""


DECOUPLED = "w = w - lr * weight_decay * w"
"""The decay of Loshchilov & Hutter 2019, Algorithm 2, as torch and Keras have it."""


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

    @property
    def cost(self) -> float:
        """Number of departures; a number that is read out counts half a one more."""
        return bool(self.family) + 0.5 * self.free


def counted(moves: Moves, base: str) -> np.ndarray:
    """How many steps, gradients of the parameter, or gradients of the row ("step", "seen", "rows") there were."""
    return np.asarray({"step": moves.step, "seen": moves.seen, "rows": moves.rows}[base])


ASKED_LR = Choice("asked", lambda moves: moves.lr)
ASKED_EPS = Choice("asked", lambda moves: moves.eps)


@dataclass(frozen=True, slots=True)
class Rule:
    """A complete update of the weights without decay. count: "seen" (per parameter), "step" (global) or "rows"."""

    form: Form = Form.OUTSIDE
    correction: Correction = PAPER
    count: str = "seen"
    lr: Choice = ASKED_LR
    eps: Choice = ASKED_EPS

    def scale(self, moves: Moves) -> Scale:
        """The numbers of the update at points."""
        t = counted(moves, self.count)
        with np.errstate(all="ignore"):
            c1, c2 = self.correction.divisors(moves, t)
            return Scale(c1, c2, self.lr.number * self.lr.values(moves), self.eps.number * self.eps.values(moves), t)

    def change(self, moves: Moves, format: Format) -> Change:
        """What the rule subtracts from the weights."""
        made, slack = change(moves, self.form, self.scale(moves), format), self.correction.power.slack
        if not slack:
            return made
        return made._replace(low=made.low - slack * np.abs(made.low), high=made.high + slack * np.abs(made.high))

    def wrong(self, moves: Moves, format: Format) -> np.ndarray:
        """Mask of points that do not follow the rule, no decay being asked for."""
        # A lr that nobody knows, that of the step after the last, excludes nothing.
        known = ~np.isnan(self.lr.values(moves))
        return np.asarray(wrong(moves, self.change(moves, format), moves.w0, format) & known)

    def read(self, moves: Moves, format: Format) -> Rule | None:
        """The rule with its free number as the points show it; None where no number fits them all."""
        rule = self
        if self.lr.free:
            # The number that was read without eps stands where eps is still to be read.
            known = replace(rule, lr=replace(rule.lr, number=1.0))
            found = factor(moves, known.change(moves, format), format) if not self.eps.free else None
            if found is not None and (found.empty or found.holds(0)):
                return None
            rule = replace(rule, lr=_settled(rule.lr, found, ASKED_LR))
        if self.eps.free:
            known = replace(rule, eps=replace(rule.eps, number=1.0))
            found = epsilon(moves, self.form, known.scale(moves), format)
            if found.empty:
                return None
            rule = replace(rule, eps=_settled(rule.eps, found, ASKED_EPS))
        return rule

    @property
    def free(self) -> bool:
        """Whether a number has to be read out."""
        return self.lr.free or self.eps.free


def _settled(choice: Choice, found: Reading | None, asked: Choice) -> Choice:
    if choice.name == "factor" and found is not None and found.holds(1.0):
        return asked
    return replace(choice, number=choice.number if found is None else found.named(), free=False)


def step_sizes(format: Format) -> Iterator[Choice]:
    """What may be in force as lr; what was asked comes first."""
    yield ASKED_LR
    for kept in smaller_formats(format):
        yield Choice(
            f"in {kept.name}", lambda p, kept=kept: cast(p.lr, kept), "hyperparameter-rounding",  # type: ignore[misc]
            f"lr is kept in {kept.name}",
        )  # fmt: skip
    yield Choice("first", lambda p: p.first_lr, "hyperparameter-value", "lr is that of the first step at every step")
    for name, of, detail in (
        ("behind", lambda p: p.last_lr, "lr is one step behind: its first value is used twice"),
        ("ahead", lambda p: p.next_lr, "lr is one step ahead"),
        ("from 0 on", lambda p: p.lr * (p.step - 1), "lr is multiplied by t - 1: the first step moves nothing"),
        ("over t", lambda p: p.lr / p.step, "lr is divided by t"),
        ("over the root of t", lambda p: p.lr / np.sqrt(p.step), "lr is divided by sqrt(t)"),
    ):
        yield Choice(name, of, "schedule", detail)
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
    found += rule.correction.findings
    if rule.count != count:
        detail = {
            "step": "t counts all steps, also those in which a parameter has no gradient",
            "seen": "t counts the gradients of each parameter, not the steps",
            "rows": "t counts the gradients of each row that are not zero",
        }[rule.count]
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


@dataclass(frozen=True, slots=True)
class Decay:
    """How weights decay outside the gradient. name: of the choice; text: formula; share: lambda of points, (points,).

    after: the updated weights decay, not those before.
    """

    name: str
    text: str
    share: np.ndarray
    after: bool = False

    def wrong(self, moves: Moves, rule: Rule, format: Format) -> np.ndarray:
        """Mask of points that do not follow the rule with this decay."""
        changed = rule.change(moves, format)
        with np.errstate(all="ignore"):
            # Undone from w1: the share goes off the updated weight.
            if self.after:
                w1 = moves.w1 / (1 - self.share)
                # The difference, the factor and their product are rounded each.
                moves = replace(moves, w1=w1, w_error=moves.w_error + 2 * roundoff(format) * np.abs(w1))
                return wrong(moves, changed, moves.w0, format)
            return wrong(moves, changed, moves.w0 * (1 - self.share), format)


def decays(moves: Moves, rule: Rule, format: Format) -> Iterator[Decay]:
    """All kinds; the one of Loshchilov & Hutter (as torch and Keras have it) first, then none."""
    scale = rule.scale(moves)
    lr, decay, none = moves.lr, moves.decay, np.zeros(len(moves))
    with np.errstate(all="ignore"):
        by_m = scale.lr / scale.c1
        corrected = by_m * np.sqrt(scale.c2)
    yield Decay("before", DECOUPLED, lr * decay)
    yield Decay("before", DECOUPLED, scale.lr * decay)
    yield Decay("none", "", none)
    yield Decay("after", "w = w - lr * weight_decay * w, after the update", lr * decay, after=True)
    yield Decay("not scaled", "w = w - weight_decay * w", decay)
    yield Decay("corrected", "w = w - lr * sqrt(c2) / c1 * weight_decay * w", corrected * decay)
    for kept in smaller_formats(format):
        for by in (scale.lr, lr):
            yield Decay(f"in {kept.name}", DECOUPLED, by * cast(decay, kept))
        complement = cast(1 - cast(cast(lr, kept) * cast(decay, kept), kept), kept)
        yield Decay(f"factor in {kept.name}", "w = w * (1 - lr * weight_decay)", 1 - complement)
    yield Decay("complement", "w = lr * weight_decay * w", 1 - lr * decay)
    yield Decay("first corrected", "w = w - lr / c1 * weight_decay * w", by_m * decay)


def decay_share(moves: Moves, rule: Rule, format: Format) -> Reading:
    """The one share of w that goes at every step, whatever else moves w; empty where there is none."""
    changed = rule.change(moves, format)
    with np.errstate(all="ignore"):
        slack = moves.w_error + 2.0**-format.precision * (2 * np.abs(moves.w1) + np.abs(moves.w0))
        low = moves.w0 - moves.w1 - np.where(changed.direction > 0, changed.high, -changed.low)
        high = moves.w0 - moves.w1 - np.where(changed.direction > 0, changed.low, -changed.high)
        low, high = (low - slack) / np.abs(moves.w0), (high + slack) / np.abs(moves.w0)
        low, high = np.where(moves.w0 > 0, low, -high), np.where(moves.w0 > 0, high, -low)
        usable = (moves.w0 != 0) & np.isfinite(low) & np.isfinite(high)
        return intersection(np.where(usable, low, np.nan), np.where(usable, high, np.nan))


def unseen_decay() -> Finding:
    """L2 is asked for and is not done; what else may decay the weights is lost in their rounding."""
    detail = "decay is not in the gradient where L2 is asked for, and of the weights none is seen"
    return Finding("weight-decay", detail, {"coupled": 0.0, "of_weights": "unseen"})


def decay_departure(decoupled: bool, coupling: tuple[float, str], decay: Decay) -> Finding | None:
    """What the decay that was found departs in from what was asked.

    coupling: k of ``g + k * w`` and what it is.
    """
    k, what = coupling
    evidence = {"coupled": k, "of_weights": decay.text or "none"}
    inside, outside = k != 0, decay.name != "none"
    if (decoupled and not inside and decay.name == "before") or (
        not decoupled and what == "weight_decay" and not outside
    ):
        return None
    if decoupled and not inside and decay.name.startswith("in "):
        return Finding("hyperparameter-rounding", f"weight_decay is kept {decay.name}", evidence)
    if decoupled and not inside and decay.name.startswith("factor "):
        told = f"1 - lr * weight_decay is kept {decay.name.removeprefix('factor ')}"
        return Finding("hyperparameter-rounding", told, evidence)
    if not inside and not outside:
        detail = "there is no decay, or its factor rounds to 1"
    elif decoupled and inside:
        detail = "decay is L2 (in the gradient) where decoupled is asked for"
    elif not decoupled and not inside:
        detail = "decay is decoupled where L2 is asked for"
        if decay.name != "before":
            detail += f": {decay.text}"
    elif inside and outside:
        detail = f"weights decay both in the gradient, by {what}, and outside: {decay.text}"
    elif inside:
        detail = {
            "-weight_decay": "weight_decay * w is subtracted from the gradient, not added",
            "lr * weight_decay": "lr * weight_decay * w is added to the gradient, not weight_decay * w",
        }.get(what, f"{what} * w is added to the gradient")
    else:
        detail = {
            "after": "the updated weights are decayed, not those before",
            "not scaled": "decay is not scaled by lr",
            "corrected": "decay is scaled by the bias-corrected lr",
            "first corrected": "decay is scaled by lr / (1 - beta1^t)",
            "complement": "w is multiplied by lr * weight_decay itself, not by its complement",
        }.get(decay.name, f"decay takes another share: {decay.text}")
    return Finding("weight-decay", detail, evidence)


def amsgrad_departure(points: Points, moves: Moves, rule: Rule, format: Format) -> tuple[Finding | None, bool]:
    """The departure of a probe under AMSGrad, and whether its points are explained.

    points, moves: of that probe, those with a gradient, by step.
    """
    shown = not np.isnan(points.x1).all()
    c2 = rule.scale(moves).c2
    for finding, v, error in _kinds(points, moves, c2, shown):
        if not rule.wrong(replace(moves, v=v, v_error=error), format).any():
            return finding, True
    return None, False


def _kinds(
    points: Points, moves: Moves, c2: np.ndarray, shown: bool
) -> Iterator[tuple[Finding | None, np.ndarray, np.ndarray]]:
    kept = points.x1 if shown else running_maximum(points, moves.v)
    with np.errstate(all="ignore"):
        # max before the bias correction (torch, Keras); Reddi et al. 2018, Algorithm 2, has no correction.
        expected = np.maximum(points.x0, moves.v) if shown else kept
        agrees = (np.abs(kept - expected) <= moves.v_error) | (kept == expected) | ~np.isfinite(expected)
    if agrees.all():
        yield None, kept, moves.v_error
    with np.errstate(all="ignore"):
        corrected = running_maximum(points, moves.v / c2)
        yield (
            Finding("amsgrad", "the maximum is that of v after its bias correction", {"vmax": "max(vmax, v / c2)"}),
            # The update divides by c2 once more: multiplied here, so that max(v / c2) stands there.
            corrected * c2,
            moves.v_error + 2.0**-50 * corrected * c2,
        )
    if not shown:
        detail = "AMSGrad is asked for and not done"
    elif (kept == 0).all():
        detail = "the maximum is taken and not stored"
    else:
        detail = "the update takes v, not its maximum"
    yield Finding("amsgrad", detail, {"vmax": "not used"}), moves.v, moves.v_error
    if shown:
        detail = "the maximum that is stored is not that of v"
        yield Finding("amsgrad", detail, {"vmax": "stored"}), kept, moves.v_error


def running_maximum(points: Points, values: np.ndarray) -> np.ndarray:
    """Maximum of the values of an element so far, (points,), from 0 on."""
    most = np.zeros(int(points.element.max()) + 1)
    made = np.empty_like(values)
    for step in np.unique(points.step):
        there = np.flatnonzero(points.step == step)
        elements = points.element[there]
        most[elements] = np.maximum(most[elements], values[there])
        made[there] = most[elements]
    return made
