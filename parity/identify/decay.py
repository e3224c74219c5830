"""Weight decay: how much of w goes at a step, whether before or after the update, or into the gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from parity.identify.answer import Finding
from parity.identify.reading import Reading, cast, intersection, smaller_formats
from parity.identify.rule import Rule
from parity.identify.update import Moves, wrong
from parity.numerics.formats import Format


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
            if self.after:
                moves = replace(moves, w1=moves.w1 / (1 - self.share))
                return wrong(moves, changed, moves.w0, format)
            return wrong(moves, changed, moves.w0 * (1 - self.share), format)


def decays(moves: Moves, rule: Rule, format: Format) -> Iterator[Decay]:
    """All kinds; the one of Loshchilov & Hutter (as torch and Keras have it) first, then none."""
    scale = rule.scale(moves)
    lr, decay, none = moves.lr, moves.decay, np.zeros(len(moves))
    with np.errstate(all="ignore"):
        by_m = scale.lr / scale.c1
        corrected = by_m * np.sqrt(scale.c2)
    yield Decay("before", "w = w - lr * weight_decay * w", lr * decay)
    yield Decay("before", "w = w - lr * weight_decay * w", scale.lr * decay)
    yield Decay("none", "", none)
    yield Decay("after", "w = w - lr * weight_decay * w, after the update", lr * decay, after=True)
    yield Decay("not scaled", "w = w - weight_decay * w", decay)
    yield Decay("corrected", "w = w - lr * sqrt(c2) / c1 * weight_decay * w", corrected * decay)
    for kept in smaller_formats(format):
        for by in (scale.lr, lr):
            yield Decay(f"in {kept.name}", "w = w - lr * weight_decay * w", by * cast(decay, kept))
    yield Decay("complement", "w = lr * weight_decay * w", 1 - lr * decay)
    yield Decay("first corrected", "w = w - lr / c1 * weight_decay * w", by_m * decay)


def share(moves: Moves, rule: Rule, format: Format) -> Reading:
    """The one share of w that goes at every step, whatever else moves w; empty where there is none."""
    changed = rule.change(moves, format)
    with np.errstate(all="ignore"):
        slack = 2.0**-format.precision * (2 * np.abs(moves.w1) + np.abs(moves.w0))
        low = moves.w0 - moves.w1 - np.where(changed.direction > 0, changed.high, -changed.low)
        high = moves.w0 - moves.w1 - np.where(changed.direction > 0, changed.low, -changed.high)
        low, high = (low - slack) / np.abs(moves.w0), (high + slack) / np.abs(moves.w0)
        low, high = np.where(moves.w0 > 0, low, -high), np.where(moves.w0 > 0, high, -low)
        usable = (moves.w0 != 0) & np.isfinite(low) & np.isfinite(high)
        return intersection(np.where(usable, low, np.nan), np.where(usable, high, np.nan))


def unseen() -> Finding:
    """L2 is asked for and is not done; what else may decay the weights is lost in their rounding."""
    detail = "decay is not in the gradient where L2 is asked for, and of the weights none is seen"
    return Finding("weight-decay", detail, {"coupled": 0.0, "of_weights": "unseen"})


def judged(decoupled: bool, coupling: tuple[float, str], decay: Decay) -> Finding | None:
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
