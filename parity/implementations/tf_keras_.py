"""tf_keras (Keras 2) on TensorFlow: its legacy Adam, which calls TensorFlow's kernel, and its new one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.stages import NO_STAGES, Stages
from parity.core.state import State
from parity.implementations.implementation import (
    WHOLE,
    Gradients,
    Implementation,
    Leg,
    constant_betas,
    exclude_from_decay,
    one_count,
    shared_decay,
)
from parity.implementations.keras_around import arguments
from parity.implementations.tensorflow_memory import (
    aligned,
    array_of,
    check_formats,
    slices_of,
    tensor_on,
    tensorflow_module,
)

CHECKPOINT = "checkpoint"


def run(
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
    leg: Leg = WHOLE,
    stages: Stages = NO_STAGES,
    *,
    variant: str = "new",
) -> Iterator[State]:
    """The orbit of tf_keras.optimizers.Adam ("new", eager) or tf_keras.optimizers.legacy.Adam ("legacy").

    Where there is no tf_keras, they are those of tf.keras in TensorFlow up to 2.15, which is Keras 2 too.

    Per parameter w with gradient g, and t counting all steps of the optimizer (`iterations`)::

        w = w - w * weight_decay * lr                       decoupled, first; "new" only
        alpha = lr * sqrt(1 - beta2**t) / (1 - beta1**t)
        m = m + (g - m) * (1 - beta1)                       m
        v = v + (g * g - v) * (1 - beta2)                   v
        vmax = max(vmax, v)                                 vhat, AMSGrad, before the correction
        w = w - m * alpha / (sqrt(v) + eps)

    Both round lr, and the betas of the powers, to float32 first, for float64 weights too, and take
    powers in the dtype of w. "new" takes 1 - beta of the moments in double, as Keras 3 does; "legacy"
    keeps the betas themselves in float32 variables and hands all scalars to TensorFlow's kernel,
    which forms 1 - beta in the dtype. "legacy" takes an eps of 0 for "not given": 1e-7.
    Gradients that are rows are `tf.IndexedSlices`; moments decay, and weights move, in all rows all the same, by other
    operations: "new" has ``m = m - m * (1 - beta1)``, "legacy" ``m = m * beta1``, and then both add g * (1 - beta1) to
    the rows that have a gradient, and for v likewise; "legacy" goes without the kernel there.
    "new" is called with jit_compile=False; its default, True, compiles on GPUs.
    weights, states: float64, float32, float16 or bfloat16, any shape; states are read-only and keep
    their values. lr is assigned to `optimizer.learning_rate` before every step. A parameter whose
    gradient is None keeps w (no decay), m and v while t goes on. start: is assigned to the optimizer's variables; its t
    has to be one for all. stages: clipnorm, clipvalue, global_clipnorm, the schedules of Keras, use_ema ("new" alone),
    whose average begins as the weights before the first step, and `LossScaleOptimizer`, under which t counts the steps
    that are left out. leg: `tf.train.Checkpoint` of variables and optimizer.
    Raises Unsupported: before the first state for L2 decay, for legacy decay of either kind, and for
    bfloat16 in releases of TensorFlow whose bfloat16 is not that of ml_dtypes; at a step in which every
    gradient is None, which tf_keras refuses with a ValueError.
    Source: tf_keras/src/optimizers/adam.py and optimizer.py, tf_keras/src/optimizers/legacy/adam.py and
    optimizer_v2.py, tf_keras 2.21.
    Differs from: keras.adam.eager, in nothing but the framework around it ("new"); the kernel row
    (tensorflow_.py), in powers by `tf.pow` and in hyperparameters rounded to float32 ("legacy").
    """
    legacy = variant == "legacy"
    decay, decays = shared_decay(hyper, weights, "tf_keras")
    if decay and (legacy or not hyper.decoupled):
        has = "no weight decay" if legacy else "no L2 weight decay, only decoupled; set decoupled = true"
        raise Unsupported(f"tf_keras: {'legacy.' if legacy else ''}Adam has {has}")
    check_formats(weights)
    tensorflow = tensorflow_module()
    variables = [tensorflow.Variable(array) for array in weights.values()]
    given = _arguments(hyper, stages, legacy=legacy)
    if legacy:
        optimizer = _legacy(hyper, variables, given)
    else:
        optimizer = _new(replace(hyper, weight_decay=decay), variables, decays, given)
    outer = _scaled(optimizer, stages)
    staging: dict[str, np.ndarray] = {}

    def show(shown: list[Any]) -> dict[str, np.ndarray]:
        return {name: array_of(variable) for name, variable in zip(weights, shown, strict=True)}

    def moments(key: str) -> dict[str, np.ndarray]:
        if legacy:
            return show([optimizer.get_slot(variable, key) for variable in variables])
        return show(getattr(optimizer, {"m": "_momentums", "v": "_velocities", "vhat": "_velocity_hats"}[key]))

    if start is not None:
        _begin(optimizer, variables, list(weights), start, legacy=legacy)
    kept = tensorflow.train.Checkpoint(variables=variables, optimizer=outer)
    if leg.load is not None:
        kept.read(str(leg.load / CHECKPOINT)).assert_consumed()
    for step, gradient in enumerate(gradients, start=leg.first):
        arrays = {name: gradient[name] for name in weights}
        if arrays and all(array is None for array in arrays.values()):
            raise Unsupported(
                f"tf_keras: no parameter has a gradient at step {step}, which tf_keras refuses (a ValueError)"
            )
        if stages.schedule is None:
            optimizer.learning_rate = hyper.lr_at(step)
        tensors = [
            None
            if array is None
            else slices_of(array)
            if name in stages.rows
            else tensor_on(aligned(name, array, staging))
            for name, array in arrays.items()
        ]
        if stages.loss_scale is not None:
            tensors = outer.get_unscaled_gradients([_times(one, outer.loss_scale) for one in tensors])
        outer.apply_gradients(zip(tensors, variables, strict=True))
        yield State(
            w=show(variables),
            m=moments("m"),
            v=moments("v"),
            vmax=moments("vhat") if hyper.amsgrad else None,
            average=show(optimizer._model_variables_moving_average) if stages.shows_average else None,
        )
    if leg.save is not None:
        kept.write(str(leg.save / CHECKPOINT))


def _begin(optimizer: Any, variables: list[Any], names: list[str], start: State, *, legacy: bool) -> None:
    optimizer.iterations.assign(one_count(start, "tf_keras"))
    slots = {"m": (start.m, "_momentums"), "v": (start.v, "_velocities"), "vhat": (start.vmax, "_velocity_hats")}
    for key, (arrays, attribute) in slots.items():
        if arrays is not None:
            held = [optimizer.get_slot(one, key) for one in variables] if legacy else getattr(optimizer, attribute)
            for slot, name in zip(held, names, strict=True):
                slot.assign(arrays[name])


def _arguments(hyper: Hyper, stages: Stages, *, legacy: bool) -> dict[str, Any]:
    """As Keras 3 has them, but for what tf_keras has not."""
    if stages.state is not None:
        raise Unsupported("tf_keras: master weights and wider moments are asked of Keras 3 alone")
    if stages.accumulate > 1:
        raise Unsupported("tf_keras: its optimizers accumulate no gradients")
    if stages.average is not None and legacy:
        raise Unsupported("tf_keras: legacy optimizers keep no average of the weights")
    lr = 0.0 if isinstance(hyper.lr, tuple) else hyper.lr
    return arguments(SimpleNamespace(optimizers=_optimizers()), "tf_keras", stages, lr)


def _scaled(optimizer: Any, stages: Stages) -> Any:
    """An optimizer inside `mixed_precision.LossScaleOptimizer`; itself without a scale."""
    scale = stages.loss_scale
    if scale is None:
        return optimizer
    if (scale.growth, scale.backoff) != (2.0, 0.5):
        raise Unsupported("tf_keras: LossScaleOptimizer doubles and halves its scale")
    try:
        from tf_keras import mixed_precision
    except ModuleNotFoundError:
        mixed_precision = tensorflow_module().keras.mixed_precision
    return mixed_precision.LossScaleOptimizer(
        optimizer, initial_scale=scale.initial, dynamic_growth_steps=scale.interval
    )


def _times(tensor: Any, scale: Any) -> Any:
    """The gradient of a loss that is multiplied by a scale."""
    tensorflow = tensorflow_module()
    if isinstance(tensor, tensorflow.IndexedSlices):
        return tensorflow.IndexedSlices(_times(tensor.values, scale), tensor.indices, tensor.dense_shape)
    return None if tensor is None else tensor * tensorflow.cast(scale, tensor.dtype)


def _legacy(hyper: Hyper, variables: list[Any], given: dict[str, Any]) -> Any:
    beta1, beta2 = constant_betas(hyper, "tf_keras")
    optimizer = _optimizers().legacy.Adam(beta_1=beta1, beta_2=beta2, epsilon=hyper.eps, amsgrad=hyper.amsgrad, **given)
    # Else a parameter without a gradient at the first step would have no m and v to show.
    optimizer._create_all_weights(variables)
    return optimizer


def _new(hyper: Hyper, variables: list[Any], decays: tuple[bool, ...], given: dict[str, Any]) -> Any:
    beta1, beta2 = constant_betas(hyper, "tf_keras")
    optimizer = _optimizers().Adam(
        beta_1=beta1,
        beta_2=beta2,
        epsilon=hyper.eps,
        amsgrad=hyper.amsgrad,
        weight_decay=hyper.weight_decay or None,
        jit_compile=False,
        **given,
    )
    exclude_from_decay(optimizer, variables, decays)
    optimizer.build(variables)
    return optimizer


def _optimizers() -> Any:
    """The module tf_keras.optimizers, or where there is none the Keras 2 inside TensorFlow up to 2.15."""
    try:
        import tf_keras
    except ModuleNotFoundError:
        return tensorflow_module().keras.optimizers
    return tf_keras.optimizers


def _load() -> None:
    tensorflow_module()
    _optimizers()


def _variant(name: str) -> Implementation:
    return Implementation(
        name=f"tf_keras.adam.{name}",
        run=run,
        framework="tf_keras",
        needs=("tensorflow", "tf_keras|keras<3"),
        options=MappingProxyType({"variant": name}),
        convention="hat",
        defaults=Hyper(eps=1e-7),
        representative=name == "new",
        load=_load,
    )


IMPLEMENTATIONS: tuple[Implementation, ...] = (_variant("legacy"), _variant("new"))
