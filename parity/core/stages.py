"""What stands around the step of an Adam: what happens to its gradients, its step size and its weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any


class ClipBy(StrEnum):
    """What is held against the limit.

    VALUE: every element, ``g = min(max(g, -limit), limit)``. NORM: the Euclidean norm n of each tensor, and
    GLOBAL_NORM: that of all tensors together; ``g = g * min(1, limit / n)``.
    """

    VALUE = "value"
    NORM = "norm"
    GLOBAL_NORM = "global_norm"


class Decay(StrEnum):
    """How lr goes on, f of n updates made before, over N = `steps` of them; each times the lr of the case.

    COSINE: ``floor + (1 - floor) * (1 + cos(pi * min(n, N) / N)) / 2``. EXPONENTIAL: ``rate ** (n / N)``.
    INVERSE_TIME: ``1 / (1 + rate * n / N)``. ONE_CYCLE: up from 1 / 25 to 1 in 0.3 N, then down to 1 / 250,000 at N,
    each as half a cosine.
    """

    COSINE = "cosine"
    EXPONENTIAL = "exponential"
    INVERSE_TIME = "inverse_time"
    ONE_CYCLE = "one_cycle"


RISE, START, END = 0.3, 25.0, 1e4
"""Of ONE_CYCLE: the share of its steps that go up, what lr is divided by at first, and that by at last."""


@dataclass(frozen=True, slots=True)
class Clip:
    """The largest that gradients may be, before L2 decay is added to them."""

    by: ClipBy
    limit: float

    @property
    def by_norm(self) -> bool:
        """Whether it is a norm that is held."""
        return self.by is not ClipBy.VALUE


@dataclass(frozen=True, slots=True)
class Schedule:
    """lr by the number of updates. rate: of EXPONENTIAL and INVERSE_TIME; floor: of COSINE.

    beta1: of ONE_CYCLE, the smallest and the largest: down from that as lr goes up, and up again as lr goes down.
    """

    decay: Decay
    steps: int
    rate: float = 0.0
    floor: float = 0.0
    beta1: tuple[float, float] | None = None

    def beta1_after(self, updates: int) -> float:
        """beta1 after so many updates, in double; ValueError where the schedule has none."""
        if self.beta1 is None:
            raise ValueError("a schedule of lr alone")
        (low, high), n, top = self.beta1, min(updates, self.steps), int(RISE * self.steps)
        if n < top:
            return low + (high - low) * half_cosine(n / top)
        return high - (high - low) * half_cosine((n - top) / (self.steps - top))

    def factor(self, updates: int) -> float:
        """What lr is multiplied by after so many updates, in double."""
        n = float(updates)
        if self.decay is Decay.EXPONENTIAL:
            return float(self.rate ** (n / self.steps))
        if self.decay is Decay.INVERSE_TIME:
            return 1 / (1 + self.rate * n / self.steps)
        n = min(n, self.steps)
        if self.decay is Decay.COSINE:
            return self.floor + (1 - self.floor) * half_cosine(n / self.steps)
        top = int(RISE * self.steps)
        if n < top:
            return 1 - (1 - 1 / START) * half_cosine(n / top)
        last = 1 / (START * END)
        return last + (1 - last) * half_cosine((n - top) / (self.steps - top))


def half_cosine(share: float) -> float:
    """From 1 down to 0 as `share` goes from 0 to 1."""
    return (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True, slots=True)
class LossScale:
    """The loss, and with it every gradient, is multiplied by a scale, and gradients are divided by it before the step.

    A step of which any gradient is inf or NaN then is left out, and not counted, and the scale multiplied by
    `backoff`; after `interval` steps in a row that were taken, it is multiplied by `growth`.
    """

    initial: float = 65536.0
    growth: float = 2.0
    backoff: float = 0.5
    interval: int = 2000


@dataclass(frozen=True, slots=True)
class Average:
    """A running average a of the weights after every step, ``a = momentum * a + (1 - momentum) * w``.

    Where it begins is the framework's: `parity.adam.convention.AverageStart`. overwrite: after every so many steps
    weights are replaced by it; 0 for never, and then it is shown beside them.
    """

    momentum: float
    overwrite: int = 0


@dataclass(frozen=True, slots=True)
class WideState:
    """Dtypes, wider than that of the weights, in which a state is kept; empty for that of the weights. vmax is as v.

    The step is computed in the wider dtype, on weights and gradients widened exactly, and what is kept in a narrower
    one is rounded after it. master: there are weights in it as well, which nobody rounds; those of the model are their
    copies, and moments are in the dtype of the masters.
    """

    m: str = ""
    v: str = ""
    master: str = ""

    @property
    def dtype(self) -> str:
        """In which a step is computed."""
        return self.master or self.m or self.v

    def of(self, quantity: str) -> str:
        """The dtype of w, m, v or vmax, empty for that of the weights."""
        return "" if quantity == "w" else self.master or (self.m if quantity == "m" else self.v)


@dataclass(frozen=True, slots=True)
class Stages:
    """All of it, in the order in which it happens; nothing is asked for by default.

    state: in a wider dtype than the weights. rows: the parameters whose gradients are handed over as the rows (along
    the first axis) that have one, which are those that are not 0 throughout, and their numbers. loss_scale, then
    accumulate: so many gradients make one update, of their mean; then clip, then maximize: the weights go up the
    gradient; schedule: of lr; average: of the weights.
    """

    loss_scale: LossScale | None = None
    accumulate: int = 1
    clip: Clip | None = None
    maximize: bool = False
    schedule: Schedule | None = None
    average: Average | None = None
    rows: tuple[str, ...] = ()
    state: WideState | None = None

    @property
    def change_gradients(self) -> bool:
        """Whether the step takes another gradient than the one that is given, or none."""
        return self.loss_scale is not None or self.accumulate > 1 or self.clip is not None or self.maximize

    @property
    def shows_average(self) -> bool:
        """Whether an average of the weights stands beside them."""
        return self.average is not None and not self.average.overwrite

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are asked for."""
        usual = NO_STAGES
        return tuple(one.name for one in fields(self) if getattr(self, one.name) != getattr(usual, one.name))


NO_STAGES = Stages()


def stages_to_json(stages: Stages) -> dict[str, Any]:
    """What is asked for, by name."""
    # Without what is not asked for, so that a case which does without what came later keeps its digest.
    found = {name: value for name, value in asdict(stages).items() if name in stages.names}
    if stages.schedule is not None and stages.schedule.beta1 is None:
        del found["schedule"]["beta1"]
    return found


def stages_from_json(told: dict[str, Any]) -> Stages:
    """The inverse of stages_to_json."""
    kinds: dict[str, Any] = {"loss_scale": LossScale, "average": Average, "state": WideState}
    found = {name: kinds[name](**value) if name in kinds else value for name, value in told.items()}
    if "clip" in found:
        found["clip"] = Clip(ClipBy(found["clip"]["by"]), found["clip"]["limit"])
    if "schedule" in found:
        told, beta1 = found["schedule"], found["schedule"].get("beta1")
        decay = Decay(told["decay"])
        found["schedule"] = Schedule(**{**told, "decay": decay, "beta1": None if beta1 is None else tuple(beta1)})
    return Stages(**{**found, "rows": tuple(found.get("rows", ()))})
