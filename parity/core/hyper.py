"""What is asked of every Adam: its hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from parity.core.stages import NO_STAGES, Stages

Numbers = float | tuple[float, ...]
"""One for all steps, or one for each."""


@dataclass(frozen=True, slots=True)
class Hyper:
    """Hyperparameters of one run, as Python doubles; each implementation rounds them as it does.

    lr: step size alpha; beta1, beta2: decay rates of the two moments; each one float or one float per step. Where a
    beta changes, the bias correction of a step takes that of the step, to the power of t. eps: added to the
    denominator where the implementation's convention puts it.
    weight_decay: lambda; decoupled (``w *= 1 - lr * lambda`` before the update) or L2
    (``g += lambda * w``). amsgrad: keep the maximum of the second moment.
    Source: Kingma & Ba 2015, Algorithm 1; Loshchilov & Hutter 2019, Algorithm 2; Reddi et al. 2018,
    Algorithm 2. groups: parameters that have their own, by name. stages: what is done to gradients and weights around
    the step.
    """

    lr: Numbers = 1e-3
    beta1: Numbers = 0.9
    beta2: Numbers = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False
    amsgrad: bool = False
    groups: tuple[tuple[str, Hyper], ...] = ()
    stages: Stages = NO_STAGES

    def of(self, parameter: str) -> Hyper:
        """Those in force for one parameter; they have no groups."""
        if not self.groups:
            return self
        return dict(self.groups).get(parameter) or replace(self, groups=())

    def lr_at(self, step: int) -> float:
        """Step size of a 1-based step; IndexError where there are fewer of them than steps.

        Under a schedule, in double: what a framework makes of it is its own.
        """
        schedule = self.stages.schedule
        if schedule is None:
            return _at(self.lr, step)
        return _at(self.lr, step) * schedule.factor((step - 1) // self.stages.accumulate)

    @property
    def lr_changes(self) -> bool:
        """Whether steps have different step sizes."""
        return isinstance(self.lr, tuple) or self.stages.schedule is not None

    def betas_at(self, step: int) -> tuple[float, float]:
        """Both betas of a 1-based step; IndexError where they are fewer than the steps. As lr_at under a schedule."""
        schedule = self.stages.schedule
        if schedule is not None and schedule.beta1 is not None:
            return schedule.beta1_after((step - 1) // self.stages.accumulate), _at(self.beta2, step)
        return _at(self.beta1, step), _at(self.beta2, step)

    @property
    def betas_change(self) -> bool:
        """Whether either is another at other steps."""
        schedule = self.stages.schedule
        by_step = isinstance(self.beta1, tuple) or isinstance(self.beta2, tuple)
        return by_step or (schedule is not None and schedule.beta1 is not None)

    def over(self, steps: Sequence[int]) -> Hyper:
        """Of one parameter, with the betas of those 1-based steps, one for each; itself where none changes."""
        if not self.betas_change:
            return self
        both = [self.betas_at(step) for step in steps]
        beta2 = tuple(beta2 for _, beta2 in both) if isinstance(self.beta2, tuple) else self.beta2
        changes = isinstance(self.beta1, tuple) or not isinstance(self.beta2, tuple)
        return replace(self, beta1=tuple(beta1 for beta1, _ in both) if changes else self.beta1, beta2=beta2)

    def since(self, step: int) -> Hyper:
        """As a run of its own has them that begins with this 1-based step."""

        def rest(value: Numbers) -> Numbers:
            return value[step - 1 :] if isinstance(value, tuple) else value

        groups = tuple((name, own.since(step)) for name, own in self.groups)
        return replace(self, lr=rest(self.lr), beta1=rest(self.beta1), beta2=rest(self.beta2), groups=groups)


def _at(value: Numbers, step: int) -> float:
    if not isinstance(value, tuple):
        return value
    if step < 1:
        raise IndexError(f"step {step}: steps count from 1")
    return value[step - 1]
