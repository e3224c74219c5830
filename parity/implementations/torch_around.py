"""What stands around a step of torch.optim, by torch's own means: as a training loop writes it."""

from __future__ import annotations

from typing import Any

from parity.core.errors import Unsupported
from parity.core.stages import END, RISE, START, Clip, ClipBy, Decay, Schedule, Stages

_NOT_THERE = " not implemented for "
"""In torch's words for an operation that the release has not in a dtype."""


class Around:
    """A step of an optimizer with what a case asks for around it; without anything, `optimizer.step()`.

    loss scale: `torch.amp.GradScaler("cpu")`. accumulate: gradients of a loss that is divided by their number are added
    up in `grad`. clip: `torch.nn.utils.clip_grad_value_`, `clip_grad_norm_` of all parameters, or of each alone, after
    `unscale_`. schedule: `CosineAnnealingLR`, `OneCycleLR` (with `cycle_momentum` where it has beta1), `LambdaLR`,
    stepped after every update. average: `swa_utils.AveragedModel` with `get_ema_multi_avg_fn`, updated after every
    update.
    Raises Unsupported for weights overwritten by their average, which torch leaves to the user.
    Source: torch/amp/grad_scaler.py, torch/nn/utils/clip_grad.py, torch/optim/lr_scheduler.py,
    torch/optim/swa_utils.py, torch 2.13.
    """

    def __init__(self, optimizer: Any, parameters: list[Any], stages: Stages) -> None:
        import torch

        self._optimizer, self._parameters, self._stages = optimizer, parameters, stages
        self._writes = stages.clip is not None or stages.loss_scale is not None or stages.accumulate > 1
        self._scaler: Any = None
        self._scheduler: Any = None
        scale = stages.loss_scale
        if scale is not None:
            if any(parameter.dtype == torch.float16 for parameter in parameters):
                raise Unsupported("torch: GradScaler unscales no gradients in float16 (a ValueError)")
            if not hasattr(torch.amp, "GradScaler"):
                raise Unsupported(f"torch {torch.__version__}: there is no GradScaler for the CPU")
            self._scaler = torch.amp.GradScaler("cpu", scale.initial, scale.growth, scale.backoff, scale.interval)
        if stages.schedule is not None:
            self._scheduler = _scheduler(optimizer, stages.schedule)
        self._model: Any = None
        self._averaged: Any = None
        if stages.average is not None:
            if stages.average.overwrite:
                raise Unsupported("torch: AveragedModel never overwrites the weights that it averages")
            from torch.optim import swa_utils

            if not hasattr(swa_utils, "get_ema_multi_avg_fn"):
                raise Unsupported(f"torch {torch.__version__}: its AveragedModel knows no moving average")
            # Its parameters stand on the memory of those that are stepped.
            self._model = torch.nn.ParameterList(parameters)
            mixed = swa_utils.get_ema_multi_avg_fn(stages.average.momentum)
            self._averaged = swa_utils.AveragedModel(self._model, multi_avg_fn=mixed)

    def give(self, step: int, gradients: list[Any]) -> None:
        """Put the gradients of a step under `grad`, as backward would."""
        if self._scaler is not None:
            import torch

            scale = self._scaler.scale(torch.ones(()))
            gradients = [one if one is None else one * scale.to(one.dtype) for one in gradients]
        many, first = self._stages.accumulate, (step - 1) % self._stages.accumulate == 0
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            given = gradient / many if many > 1 and gradient is not None else gradient
            if first or parameter.grad is None:
                owned = self._writes and many == 1 and self._scaler is None and given is not None
                parameter.grad = given.clone() if owned else given
            elif given is not None:
                parameter.grad += given

    def step(self, step: int) -> None:
        """The step, where it is an update; Unsupported, with torch's own words, for what takes no gradient as rows, or
        has no such dtype."""
        if step % self._stages.accumulate:
            return
        try:
            self._update()
        except RuntimeError as error:
            first = str(error).splitlines()[0]
            if any(one.grad is not None and one.grad.is_sparse for one in self._parameters):
                raise Unsupported(f"torch: with gradients as rows: {first}") from error
            # Releases before 2.1 have no half precision on the CPU for some operations.
            if _NOT_THERE in first:
                import torch

                raise Unsupported(f"torch {torch.__version__}: {first}") from error
            raise

    def _update(self) -> None:
        if self._scaler is None:
            _clip(self._parameters, self._stages.clip)
            self._optimizer.step()
        else:
            if self._stages.clip is not None:
                self._scaler.unscale_(self._optimizer)
                _clip(self._parameters, self._stages.clip)
            self._scaler.step(self._optimizer)
            self._scaler.update()
        if self._scheduler is not None:
            self._scheduler.step()
        if self._averaged is not None:
            self._averaged.update_parameters(self._model)

    @property
    def average(self) -> list[Any] | None:
        """The average of each parameter, where one is asked for."""
        return None if self._averaged is None else list(self._averaged.module.parameters())

    def kept(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        found = {"scaler": self._scaler, "scheduler": self._scheduler, "averaged": self._averaged}
        return {name: one.state_dict() for name, one in found.items() if one is not None}

    def load(self, kept: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        for name, one in (("scaler", self._scaler), ("scheduler", self._scheduler), ("averaged", self._averaged)):
            if one is not None:
                one.load_state_dict(kept[name])


def _clip(parameters: list[Any], clip: Clip | None) -> None:
    from torch.nn import utils

    if clip is None:
        return
    if clip.by is ClipBy.VALUE:
        utils.clip_grad_value_(parameters, clip.limit)
    elif clip.by is ClipBy.GLOBAL_NORM:
        utils.clip_grad_norm_(parameters, clip.limit)
    else:
        for parameter in parameters:
            utils.clip_grad_norm_([parameter], clip.limit)


def _scheduler(optimizer: Any, schedule: Schedule) -> Any:
    from torch.optim import lr_scheduler

    rates = [group["lr"] for group in optimizer.param_groups]
    if schedule.decay is Decay.COSINE:
        if len(set(rates)) > 1 and schedule.floor:
            raise Unsupported("torch: CosineAnnealingLR has one eta_min for all groups")
        return lr_scheduler.CosineAnnealingLR(optimizer, schedule.steps, schedule.floor * rates[0])
    if schedule.decay is Decay.ONE_CYCLE:
        low, high = schedule.beta1 or (0.0, 0.0)
        return lr_scheduler.OneCycleLR(optimizer, rates, schedule.steps, pct_start=RISE, div_factor=START,
                                       final_div_factor=END, cycle_momentum=schedule.beta1 is not None,
                                       base_momentum=low, max_momentum=high)  # fmt: skip
    return lr_scheduler.LambdaLR(optimizer, schedule.factor)
