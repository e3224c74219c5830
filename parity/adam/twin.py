"""The noun: a from-scratch Adam that is to be an implementation to the last bit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from parity.adam.arithmetic import Arithmetic
from parity.adam.convention import Convention
from parity.adam.forms import Rates
from parity.adam.schedule import scheduled
from parity.core.hyper import Hyper
from parity.core.stages import LossScale
from parity.numerics.formats import Format


@dataclass(frozen=True, slots=True)
class Twin:
    """A from-scratch Adam that is to equal an implementation bit for bit: its formula and its arithmetic.

    eps_for_zero: what an eps of 0 silently means. open_without_eps: why nothing is claimed where eps is 0. rates: how
    lr is formed under a schedule. open_around: stages, or what is clipped and decays, or a scale that is no power of
    two ("odd_scale"), under which nothing is claimed, and why.
    """

    convention: Convention
    arithmetic: Arithmetic
    eps_for_zero: float = 0.0
    open_without_eps: str = ""
    rates: Rates = Rates.DOUBLE
    open_around: tuple[tuple[str, str], ...] = ()

    def in_force(self, asked: Hyper, steps: int, format: Format) -> Hyper:
        """The hyperparameters that this Adam takes on weights of a format where others are asked for."""
        return scheduled(replace(asked, eps=asked.eps or self.eps_for_zero), self.rates, steps, format)

    def leaves_open(self, asked: Hyper) -> str:
        """Why nothing is claimed for these hyperparameters; empty where the claim holds."""
        if not (asked.eps or self.eps_for_zero) and self.open_without_eps:
            return self.open_without_eps
        stages = asked.stages
        kinds = (stages.clip and stages.clip.by, stages.schedule and stages.schedule.decay)
        named = {
            *stages.names,
            *(str(one) for one in kinds if one),
            *(("odd_scale",) if _odd(stages.loss_scale) else ()),
        }
        return next((why for stage, why in self.open_around if stage in named), "")


def _odd(scale: LossScale | None) -> bool:
    """Whether a loss scale is, or comes to, anything but a power of two."""
    return scale is not None and any(math.frexp(one)[0] != 0.5 for one in (scale.initial, scale.growth, scale.backoff))
