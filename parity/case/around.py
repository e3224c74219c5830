"""The tables of a case file that say what stands around the step."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from parity.core.stages import Average, Clip, ClipBy, Decay, LossScale, Schedule, Stages, WideState

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ClipTable(_Table):
    """by: "value", every element; "norm", the norm of each tensor; "global_norm", that of all together."""

    by: Literal["value", "norm", "global_norm"]
    limit: Positive


class ScheduleTable(_Table):
    """decay: which formula of `parity.core.stages.Decay`; steps: N; rate, floor, beta1: of those that have one.

    beta1: the smallest and the largest, which begins.
    """

    decay: Literal["cosine", "exponential", "inverse_time", "one_cycle"]
    steps: Count
    rate: Positive | None = None
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    beta1: tuple[Rate, Rate] | None = None

    @model_validator(mode="after")
    def _what_belongs(self) -> ScheduleTable:
        if (self.rate is None) == (self.decay in ("exponential", "inverse_time")):
            raise ValueError(f"'rate' belongs to exponential and inverse_time, which need it, not to {self.decay}")
        if self.floor and self.decay != "cosine":
            raise ValueError(f"'floor' belongs to cosine, not to {self.decay}")
        if self.beta1 is not None and self.decay != "one_cycle":
            raise ValueError(f"'beta1' belongs to one_cycle, not to {self.decay}")
        if self.beta1 is not None and self.beta1[0] >= self.beta1[1]:
            raise ValueError("'beta1' is the smallest and the largest, in this order")
        return self


class LossScaleTable(_Table):
    """initial: the scale of the first step; growth, backoff, interval: how it changes."""

    initial: Positive = 65536.0
    growth: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 2.0
    backoff: Annotated[float, Field(gt=0, lt=1)] = 0.5
    interval: Count = 2000


class AverageTable(_Table):
    """momentum: share of the old average that stays; overwrite: after so many steps weights become it, if ever."""

    momentum: Annotated[float, Field(gt=0, lt=1)]
    overwrite: Count | None = None


class StateTable(_Table):
    """The dtype of the first and the second moment, and of master weights, of which those of the model are copies."""

    m: Literal["float32"] | None = None
    v: Literal["float32"] | None = None
    master: Literal["float32"] | None = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> StateTable:
        if (self.master is None) == (self.m is None and self.v is None):
            raise ValueError("allowed: m, v or both; or master, beside which moments are float32 as well")
        return self


class StagesTable(_Table):
    """What is done to gradients, lr and weights around the step; formulas: `parity.core.stages`.

    loss_scale: gradients times a scale and divided by it again, steps that are not finite are left out. accumulate: so
    many gradients make one update, of their mean. clip: what gradients are held against. maximize: up the gradient.
    schedule: of lr. average: of the weights. state: in a wider dtype than the weights, which are float16 or bfloat16.
    """

    loss_scale: LossScaleTable | None = None
    accumulate: Count = 1
    clip: ClipTable | None = None
    maximize: bool = False
    schedule: ScheduleTable | None = None
    average: AverageTable | None = None
    state: StateTable | None = None

    @model_validator(mode="after")
    def _one_counter(self) -> StagesTable:
        if self.loss_scale and (self.schedule or self.accumulate > 1):
            raise ValueError("loss_scale goes with neither schedule nor accumulate: who counts a step left out differs")
        if self.average and (self.loss_scale or self.accumulate > 1):
            raise ValueError("average goes with neither loss_scale nor accumulate: who counts its steps differs")
        others = self.loss_scale, self.clip, self.schedule, self.average, self.accumulate > 1, self.maximize
        if self.state and any(others):
            raise ValueError("state goes with no other stage")
        return self

    def stages(self) -> Stages:
        """The same as a value."""
        clip, schedule = self.clip, self.schedule
        return Stages(
            loss_scale=None if self.loss_scale is None else LossScale(**dict(self.loss_scale)),
            accumulate=self.accumulate,
            clip=None if clip is None else Clip(ClipBy(clip.by), clip.limit),
            maximize=self.maximize,
            schedule=None
            if schedule is None
            else Schedule(Decay(schedule.decay), schedule.steps, schedule.rate or 0.0, schedule.floor, schedule.beta1),
            average=None if self.average is None else Average(self.average.momentum, self.average.overwrite or 0),
            state=None if self.state is None else WideState(**{key: one or "" for key, one in self.state}),
        )


class ParameterHyper(_Table):
    """Hyperparameters that one tensor has for itself, each a number; what is left out is that of the case."""

    lr: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    beta1: Annotated[float, Field(ge=0, lt=1)] | None = None
    beta2: Annotated[float, Field(ge=0, lt=1)] | None = None
    eps: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    def told(self) -> dict[str, Any]:
        """Those that are given."""
        return {name: float(value) for name, value in self if value is not None}
