"""The noun: a from-scratch Adam that is to be an implementation to the last bit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from parity.adam.arithmetic import Arithmetic
from parity.adam.convention import Convention
from parity.adam.forms import Rates, Reduction
from parity.adam.schedule import scheduled
from parity.core.hyper import Hyper
from parity.core.layout import Layout
from parity.core.stages import LossScale, Stages
from parity.numerics.formats import Format

UP_TO_31 = (Reduction.HALVES, Reduction.IN_ORDER, Reduction.CONTRACTED)
"""Orders of a sum that are other ones in longer tensors."""


@dataclass(frozen=True, slots=True)
class Twin:
    """A from-scratch Adam that is to equal an implementation bit for bit: its formula and its arithmetic.

    eps_for_zero: what an eps of 0 silently means. rates: how lr is formed under a schedule. open_around: stages, or
    what is clipped and decays, or a scale that is no power of two ("odd_scale"), or two dtypes in one model
    ("two_dtypes"), or one of these under rows ("rows and norm"), under which nothing is claimed, and why. open_scalars:
    why nothing is claimed where a tensor has shape ().
    scalars_of_first: those that come of t are formed for all tensors as they are for the first that has a gradient, in
    its dtype.
    """

    convention: Convention
    arithmetic: Arithmetic
    eps_for_zero: float = 0.0
    rates: Rates = Rates.DOUBLE
    open_around: tuple[tuple[str, str], ...] = ()
    open_scalars: str = ""
    scalars_of_first: bool = False

    def in_force(self, asked: Hyper, steps: int, format: Format) -> Hyper:
        """The hyperparameters that this Adam takes on weights of a format where others are asked for."""
        return scheduled(replace(asked, eps=asked.eps or self.eps_for_zero), self.rates, steps, format)

    def leaves_open(self, asked: Hyper, layout: Layout) -> str:
        """Why nothing is claimed for these hyperparameters on these tensors; empty where the claim holds."""
        if self.open_scalars and any(not one.shape for one in layout.parameters):
            return self.open_scalars
        stages = asked.stages
        kinds = (stages.clip and stages.clip.by, stages.schedule and stages.schedule.decay)
        named = {
            *stages.names,
            *(str(one) for one in kinds if one),
            *(("odd_scale",) if _odd(stages.loss_scale) else ()),
            *(("moments",) if stages.state and not stages.state.master else ()),
            *(("two_dtypes",) if layout.mixed else ()),
        }
        if layout.mixed and stages.names:
            return "of two dtypes in one model only the bare step is known"
        named |= {f"rows and {one}" for one in named if stages.rows}
        return next((why for stage, why in self.open_around if stage in named), "") or self._long_norm(stages, layout)

    def _long_norm(self, stages: Stages, layout: Layout) -> str:
        """Why nothing is claimed where the norm of a long tensor is held against a limit; empty where none is."""
        if stages.clip is None or not stages.clip.by_norm or self.arithmetic.reduction not in UP_TO_31:
            return ""
        long = next((one.name for one in layout.parameters if one.size > 31), "")
        return f"the order in which the squares of {long} are summed up is known up to 31 elements" if long else ""


def _odd(scale: LossScale | None) -> bool:
    """Whether a loss scale is, or comes to, anything but a power of two."""
    return scale is not None and any(math.frexp(one)[0] != 0.5 for one in (scale.initial, scale.growth, scale.backoff))
