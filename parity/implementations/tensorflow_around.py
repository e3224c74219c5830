"""What stands around a step of TensorFlow's kernels, by TensorFlow's own means: as a loop of TensorFlow 1 writes it."""

from __future__ import annotations

from typing import Any

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.stages import ClipBy, Decay, Stages
from parity.implementations.tensorflow_memory import tensorflow_module


class Around:
    """Gradients and lr on their way to the kernel.

    clip: `tf.clip_by_value`, `tf.clip_by_norm` of each tensor, `tf.clip_by_global_norm`. schedule:
    `tf.compat.v1.train.cosine_decay`, `exponential_decay`, `inverse_time_decay`, in float32, of the steps so far.
    Raises Unsupported, each with its reason, for what stands around AdamOptimizer alone, or nowhere.
    Source: tensorflow/python/ops/clip_ops.py, TensorFlow 2.21.
    """

    def __init__(self, hyper: Hyper, stages: Stages) -> None:
        self._hyper, self._stages = hyper, stages
        reasons = {
            "maximize": "the Adam kernels only minimize",
            "accumulate": "nothing in it accumulates gradients over steps",
            "loss_scale": "its loss scale wraps an optimizer, and no kernel",
            "average": "ExponentialMovingAverage overwrites no weights, and keeps them as an optimizer's slots",
        }
        for name, why in reasons.items():
            if name in stages.names:
                raise Unsupported(f"tensorflow: {why}")
        schedule = stages.schedule
        if schedule is not None and schedule.decay is Decay.ONE_CYCLE:
            raise Unsupported("tensorflow: it has no schedule of one cycle")

    def lr(self, step: int) -> float:
        """The step size of a 1-based step."""
        schedule = self._stages.schedule
        if schedule is None or isinstance(self._hyper.lr, tuple):
            return self._hyper.lr_at(step)
        train = tensorflow_module().compat.v1.train
        lr, n, steps = self._hyper.lr, step - 1, schedule.steps
        match schedule.decay:
            case Decay.COSINE:
                found = train.cosine_decay(lr, n, steps, alpha=schedule.floor)
            case Decay.EXPONENTIAL:
                found = train.exponential_decay(lr, n, steps, schedule.rate)
            case _:
                found = train.inverse_time_decay(lr, n, steps, schedule.rate)
        return float(found())

    def clipped(self, gradients: list[Any]) -> list[Any]:
        """Gradients held against the limit; None stays."""
        clip, tensorflow = self._stages.clip, tensorflow_module()
        if clip is None:
            return gradients
        if clip.by is ClipBy.GLOBAL_NORM:
            return list(tensorflow.clip_by_global_norm(gradients, clip.limit)[0])
        if clip.by is ClipBy.NORM:
            return [one if one is None else tensorflow.clip_by_norm(one, clip.limit) for one in gradients]
        return [one if one is None else tensorflow.clip_by_value(one, -clip.limit, clip.limit) for one in gradients]
