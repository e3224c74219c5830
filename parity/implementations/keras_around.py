"""What stands around a step of a Keras optimizer, by Keras's own means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from parity.core.errors import Unsupported
from parity.core.stages import ClipBy, Decay, LossScale, Schedule, Stages

CLIPS = {ClipBy.VALUE: "clipvalue", ClipBy.NORM: "clipnorm", ClipBy.GLOBAL_NORM: "global_clipnorm"}


def arguments(keras: Any, framework: str, stages: Stages, lr: float) -> dict[str, Any]:
    """What an optimizer is made with: clipvalue, clipnorm or global_clipnorm, gradient_accumulation_steps, use_ema,
    and a schedule for learning_rate.

    Raises Unsupported for maximize and for one cycle, which Keras has not.
    Source: keras/src/optimizers/base_optimizer.py, keras/src/optimizers/schedules/learning_rate_schedule.py,
    Keras 3.15.1.
    """
    if stages.maximize:
        raise Unsupported(f"{framework}: its optimizers only minimize")
    found: dict[str, Any] = {}
    if stages.clip is not None:
        found[CLIPS[stages.clip.by]] = stages.clip.limit
    if stages.accumulate > 1:
        found["gradient_accumulation_steps"] = stages.accumulate
    if stages.average is not None:
        found |= {"use_ema": True, "ema_momentum": stages.average.momentum,
                  "ema_overwrite_frequency": stages.average.overwrite or None}  # fmt: skip
    if stages.schedule is not None:
        found["learning_rate"] = _schedule(keras, framework, stages.schedule, lr)
    return found


def _schedule(keras: Any, framework: str, schedule: Schedule, lr: float) -> Any:
    kinds = keras.optimizers.schedules
    match schedule.decay:
        case Decay.COSINE:
            return kinds.CosineDecay(lr, schedule.steps, alpha=schedule.floor)
        case Decay.EXPONENTIAL:
            return kinds.ExponentialDecay(lr, schedule.steps, schedule.rate)
        case Decay.INVERSE_TIME:
            return kinds.InverseTimeDecay(lr, schedule.steps, schedule.rate)
    raise Unsupported(f"{framework}: it has no schedule of {schedule.decay.replace('_', ' ')}")


def scaled(keras: Any, framework: str, optimizer: Any, scale: LossScale | None, *, jitted: bool) -> Any:
    """An optimizer inside `LossScaleOptimizer`, whose growth and backoff are 2 and 1 / 2; itself without a scale."""
    if scale is None:
        return optimizer
    if (scale.growth, scale.backoff) != (2.0, 0.5):
        raise Unsupported(f"{framework}: LossScaleOptimizer doubles and halves its scale")
    if framework == "keras_jax" and not jitted:
        raise Unsupported(f"{framework}: LossScaleOptimizer.apply leaks tracers, `stateless_apply` does not")
    return keras.optimizers.LossScaleOptimizer(optimizer, scale.initial, scale.interval)


@contextmanager
def refusing_rows(framework: str, stages: Stages) -> Iterator[None]:
    """Unsupported, with the framework's own words, where something around a step does not take gradients as rows."""
    try:
        yield
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        if not stages.rows:
            raise
        told = next((line for line in str(error).splitlines() if line), type(error).__name__)
        raise Unsupported(f"{framework}: with gradients as rows: {told}") from error


def begin_scale(outer: Any, scale: LossScale | None) -> None:
    """The scale of the first step, for an optimizer that another run may have left."""
    if scale is not None:
        outer.dynamic_scale.assign(scale.initial)
        outer.step_counter.assign(0)


def times_scale(keras: Any, outer: Any, tensors: list[Any], scale: LossScale | None) -> list[Any]:
    """Gradients of the loss times the scale in force."""
    if scale is None:
        return tensors
    now = outer.dynamic_scale
    return [one if one is None else keras.ops.multiply(one, keras.ops.cast(now, one.dtype)) for one in tensors]
