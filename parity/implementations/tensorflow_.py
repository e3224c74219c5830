"""TensorFlow's own Adam kernels on the CPU, called as raw operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.stages import NO_STAGES, Stages
from parity.core.state import State
from parity.implementations.implementation import WHOLE, Gradients, Implementation, Leg, constant_betas, one_count
from parity.implementations.tensorflow_around import Around
from parity.implementations.tensorflow_memory import aligned, array_of, check_formats, tensor_on, tensorflow_module

CHECKPOINT = "checkpoint"


def run(
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
    leg: Leg = WHOLE,
    stages: Stages = NO_STAGES,
) -> Iterator[State]:
    """The orbit of the kernel under tf.compat.v1.train.AdamOptimizer and tf_keras's legacy Adam.

    Per parameter w with gradient g, every scalar in the dtype of w::

        alpha = lr * sqrt(1 - p2) / (1 - p1)
        m = m + (g - m) * (1 - beta1)
        v = v + (g * g - v) * (1 - beta2)
        vmax = max(vmax, v)                                 AMSGrad, before the correction
        w = w - m * alpha / (sqrt(v) + eps)

    p1 and p2 are variables in the dtype of w that begin as beta1 and beta2; after a step of all
    parameters they are multiplied by them once more, so t is counted for all parameters together.
    1 - beta is formed in the dtype: where beta2 rounds to 1 (0.999 in bfloat16), v stays 0 for ever
    and no weight moves.
    weights, states: float64, float32, float16 or bfloat16, any shape; states are read-only and keep
    their values. A parameter whose gradient is None keeps w, m and v while the powers go on. start: m and v, and the
    powers multiplied as often as its t says, which has to be one for all. leg: `tf.train.Checkpoint` of all variables.
    stages: `parity.implementations.tensorflow_around`.
    Raises Unsupported, before the first state, for weight decay, which the kernels do not have, and for
    bfloat16 in releases whose bfloat16 is not that of ml_dtypes.
    Source: tensorflow/core/kernels/training_ops.cc (ResourceApplyAdam, ResourceApplyAdamWithAmsgrad)
    and tensorflow/python/training/adam.py, TensorFlow 2.21.
    Differs from: Keras 3, in p1 and p2 by repeated multiplication and in 1 - beta; AdamOptimizer
    itself, which keeps lr, betas, eps and powers in float32 for every dtype; torch, in the place of eps.
    """
    if any(hyper.of(name).weight_decay for name in weights):
        raise Unsupported("tensorflow: the Adam kernels have no weight decay, neither L2 nor decoupled")
    if stages.state is not None:
        raise Unsupported("tensorflow: master weights and wider moments are asked of Keras 3 alone")
    if stages.rows:
        raise Unsupported("tensorflow: there is no Adam kernel that takes gradients as rows")
    around = Around(hyper, stages)
    if hyper.groups:
        raise Unsupported("tensorflow: AdamOptimizer has one lr, beta1, beta2 and epsilon for all variables")
    check_formats(weights)
    parameters = {name: _slots(name, array, start, hyper.amsgrad) for name, array in weights.items()}
    powers = {slots.weight.dtype: _powers(hyper, slots.weight.dtype) for slots in parameters.values()}
    staging: dict[str, np.ndarray] = {}
    for _ in range(0 if start is None else one_count(start, "tensorflow")):
        _multiply(powers, hyper)
    held = [variable for slots in parameters.values() for variable in slots if variable is not None]
    held += [variable for power in powers.values() for variable in power.values()]
    kept = tensorflow_module().train.Checkpoint(variables=held)
    if leg.load is not None:
        kept.read(str(leg.load / CHECKPOINT)).assert_consumed()
    for step, gradient in enumerate(gradients, start=leg.first):
        lr = around.lr(step)
        scalars = {dtype: _scalars(hyper, lr, dtype) for dtype in powers}
        given = [
            None if (array := gradient[name]) is None else tensor_on(aligned(name, array, staging))
            for name in parameters
        ]
        for slots, tensor in zip(parameters.values(), around.clipped(given), strict=True):
            if tensor is not None:
                dtype = slots.weight.dtype
                _apply(slots, tensor, {**scalars[dtype], **_read(powers[dtype])})
        _multiply(powers, hyper)
        yield State(
            w={name: array_of(slots.weight) for name, slots in parameters.items()},
            m={name: array_of(slots.m) for name, slots in parameters.items()},
            v={name: array_of(slots.v) for name, slots in parameters.items()},
            vmax={name: array_of(slots.vmax) for name, slots in parameters.items()} if hyper.amsgrad else None,
        )
    if leg.save is not None:
        kept.write(str(leg.save / CHECKPOINT))


class _Slots(NamedTuple):
    """The variables of one parameter, on which the kernel works in place."""

    weight: Any
    m: Any
    v: Any
    vmax: Any | None


def _slots(name: str, array: np.ndarray, start: State | None, amsgrad: bool) -> _Slots:
    variable = tensorflow_module().Variable
    zeros = np.zeros(array.shape, array.dtype)
    begun = (None,) * 3 if start is None else start[1:4]
    m, v, vmax = (zeros if arrays is None else arrays[name] for arrays in begun)
    return _Slots(variable(array), variable(m), variable(v), variable(vmax) if amsgrad else None)


def _powers(hyper: Hyper, dtype: Any) -> dict[str, Any]:
    variable = tensorflow_module().Variable
    beta1, beta2 = constant_betas(hyper, "tensorflow")
    return {"beta1_power": variable(beta1, dtype=dtype), "beta2_power": variable(beta2, dtype=dtype)}


def _multiply(powers: dict[Any, dict[str, Any]], hyper: Hyper) -> None:
    """What a step of all parameters leaves of the powers."""
    constant = tensorflow_module().constant
    beta1, beta2 = constant_betas(hyper, "tensorflow")
    for dtype, power in powers.items():
        power["beta1_power"].assign(power["beta1_power"] * constant(beta1, dtype))
        power["beta2_power"].assign(power["beta2_power"] * constant(beta2, dtype))


def _read(powers: dict[str, Any]) -> dict[str, Any]:
    return {name: variable.read_value() for name, variable in powers.items()}


def _scalars(hyper: Hyper, lr: float, dtype: Any) -> dict[str, Any]:
    beta1, beta2 = constant_betas(hyper, "tensorflow")
    values = {"lr": lr, "beta1": beta1, "beta2": beta2, "epsilon": hyper.eps}
    return {name: tensorflow_module().constant(value, dtype) for name, value in values.items()}


def _apply(slots: _Slots, gradient: Any, scalars: dict[str, Any]) -> None:
    operations = tensorflow_module().raw_ops
    given = {"var": slots.weight.handle, "m": slots.m.handle, "v": slots.v.handle, "grad": gradient, **scalars}
    if slots.vmax is None:
        operations.ResourceApplyAdam(**given)
    else:
        operations.ResourceApplyAdamWithAmsgrad(**given, vhat=slots.vmax.handle)


IMPLEMENTATIONS: tuple[Implementation, ...] = (
    Implementation(
        name="tensorflow.adam.kernel",
        run=run,
        framework="tensorflow",
        needs=("tensorflow",),
        convention="hat",
        defaults=Hyper(eps=1e-8),  # of AdamOptimizer; the operation has none
        representative=True,
        load=tensorflow_module,
    ),
)
