"""What each framework does around a step, and where no twin knows it to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from parity.adam.convention import AverageStart, ClipFactor, ScaleRange
from parity.adam.forms import Averaging, Clipping, Rates, Reduction
from parity.adam.twin import Twin
from parity.numerics.formats import FORMATS

_AROUND: Mapping[str, tuple[ClipFactor, Clipping, Reduction, Rates]] = MappingProxyType(
    {
        "torch": (ClipFactor.WITH_1E_6, Clipping.TORCH, Reduction.VECTORS, Rates.TORCH),
        "keras": (ClipFactor.EXACT, Clipping.KERAS, Reduction.HALVES, Rates.KERAS),
        "keras_torch": (ClipFactor.EXACT, Clipping.KERAS, Reduction.VECTORS, Rates.KERAS),
        "keras_jax": (ClipFactor.EXACT, Clipping.KERAS, Reduction.IN_ORDER, Rates.KERAS),
        "tf_keras": (ClipFactor.EXACT, Clipping.KERAS, Reduction.HALVES, Rates.KERAS),
        "tensorflow": (ClipFactor.EXACT, Clipping.KERAS, Reduction.HALVES, Rates.KERAS),
        "optax": (ClipFactor.EXACT, Clipping.OPTAX, Reduction.IN_ORDER, Rates.OPTAX),
    }
)
"""What each framework does around a step; from the first part of a name."""

_SCALE_RANGES = {"torch": ScaleRange.FINITE, "tf_keras": ScaleRange.FROM_ONE, "optax": ScaleRange.FIXED}
"""Where a loss scale stays, but for Keras."""

_CONTRACTS = "XLA compiles what is done to a gradient together with the step, and contracts other products and sums"
_OWN_COSINE = "cos and pow of XLA, and of a graph of TensorFlow, are off by one ULP at some steps"

_OPEN_AROUND: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], str], ...] = (
    (
        ("torch.fused",),
        ("float64", "float32", "bfloat16"),
        ("odd_scale",),
        "a fused kernel divides by the scale itself, and takes the quotient unrounded",
    ),
    (
        ("torch.adam.tensor_lr", "torch.adam.tensor_lr.fused"),
        ("float64", "float32"),
        ("schedule",),
        "torch's schedules form an lr that is a tensor in float32, where it stands",
    ),
    (("keras.xla", "keras_jax.jit"), (*FORMATS,), ("clip", "accumulate", "loss_scale"), _CONTRACTS),
    (
        ("optax.plain", "optax.jit"),
        ("float64", "float32", "float16"),
        ("accumulate",),
        "MultiSteps chooses by lax.cond, whose branches XLA compiles whole",
    ),
    (
        ("optax.plain",),
        ("float64", "float32"),
        ("loss_scale",),
        "apply_if_finite chooses by lax.cond, whose branches XLA compiles whole",
    ),
    (
        ("optax.plain", "optax.jit"),
        ("float64",),
        ("two_dtypes",),
        "where float64 is switched on, optax forms 1 - beta**t of every tensor in it",
    ),
    (
        ("optax.plain", "optax.jit"),
        (*FORMATS,),
        ("moments",),
        "beside a float32 m, JAX takes every operation in the wider dtype of its operands",
    ),
    (("optax.jit",), ("float32",), ("global_norm",), _CONTRACTS),
    (("optax.plain",), ("float32", "float16", "bfloat16"), ("cosine",), _OWN_COSINE),
    (("optax.jit",), (*FORMATS,), ("cosine",), _OWN_COSINE),
    (("optax.plain", "optax.jit"), (*FORMATS,), ("one_cycle",), _OWN_COSINE),
    (("optax.jit",), ("float64", "float32"), ("exponential",), _OWN_COSINE),
    (("keras.function", "keras.xla", "keras_jax.eager", "keras_jax.jit"), (*FORMATS,), ("schedule",), _OWN_COSINE),
    (
        ("keras.xla", "keras_jax.jit", "keras_torch.eager"),
        (*FORMATS,),
        ("average",),
        "a compiled step takes the average of the weights into its arithmetic; on torch its momentum is a float32",
    ),
    (
        ("keras_torch.eager", "keras_jax.eager"),
        (*FORMATS,),
        ("clip",),
        "Keras's own clipping rounds the limit to float32 on torch, and divides by a scalar as XLA does on JAX",
    ),
    (
        ("keras.eager", "keras.function", "keras.xla"),
        ("float16", "bfloat16"),
        ("clip",),
        "TensorFlow sums up squares of halves in an order of its own",
    ),
    (
        ("tensorflow.kernel", "tf_keras.new", "tf_keras.legacy"),
        ("float16",),
        ("norm", "global_norm"),
        "TensorFlow sums up squares of halves in an order of its own",
    ),
    (
        ("tensorflow.kernel", "tf_keras.new", "tf_keras.legacy"),
        ("bfloat16",),
        ("global_norm",),
        "TensorFlow sums up squares of halves in an order of its own",
    ),
    (
        ("keras.eager", "keras.function", "tf_keras.new", "tf_keras.legacy"),
        ("float64", "float32"),
        ("rows and norm",),
        "the squares of a gradient that is rows are summed up over those alone",
    ),
    (
        ("keras.xla", "keras_jax.jit"),
        ("float64", "float32"),
        ("rows",),
        "XLA takes the square of a row into its arithmetic where it is the only one that has a gradient",
    ),
    (
        ("keras_torch.eager",),
        ("float64", "float32"),
        ("rows",),
        "torch adds sparse tensors in loops of their own, for rows of one element without fma",
    ),
)
"""Which stages of which implementations no twin has, and why: the name or its first part and last, dtypes, stages or
what is clipped and decays, reason."""


def with_around(name: str, twins: Mapping[str, Twin], other: Reduction | None = None) -> Mapping[str, Twin]:
    """The twins of an implementation by dtype, with what it does around a step; other: how another release sums up."""
    first, *_, variant = name.split(".")
    if first not in _AROUND:
        return twins
    factor, clipping, reduction, rates = _AROUND[first]
    compiled = variant in ("function", "xla", "jit") or first == "keras_jax"
    if clipping is Clipping.KERAS and compiled:
        clipping = Clipping.KERAS_COMPILED
    if (first, variant) == ("optax", "jit"):
        clipping = Clipping.OPTAX_COMPILED
    own = [one for one in _OPEN_AROUND if {name, f"{first}.{variant}"} & {*one[0]}]
    return MappingProxyType(
        {
            dtype: replace(
                twin,
                convention=replace(
                    twin.convention,
                    clip_factor=factor,
                    average_start=_average_start(first),
                    counts_left_out=first == "tf_keras",
                    scale_range=_SCALE_RANGES.get(first, ScaleRange.UNBOUNDED),
                ),
                arithmetic=replace(
                    twin.arithmetic,
                    clipping=clipping,
                    reduction=other or _reduction(name, dtype, reduction),
                    averaging=_averaging(first, dtype),
                ),
                rates=rates,
                open_around=tuple(
                    (stage, why) for _, dtypes, stages, why in own if dtype in dtypes for stage in stages
                ),
            )
            for dtype, twin in twins.items()
        }
    )


def _average_start(framework: str) -> AverageStart:
    own = {"optax": AverageStart.ZERO_CORRECTED, "tf_keras": AverageStart.INITIAL_WEIGHTS}
    return own.get(framework, AverageStart.FIRST_WEIGHTS)


def _averaging(framework: str, dtype: str) -> Averaging:
    halves = {"float16": Averaging.INVERSE, "bfloat16": Averaging.WIDE_INVERSE}
    if framework == "optax":
        return halves.get(dtype, Averaging.PRODUCTS)
    return Averaging.LERP if framework == "torch" else Averaging.PRODUCTS


def _reduction(name: str, dtype: str, usual: Reduction) -> Reduction:
    """XLA forms a square where it is added, but in float16 on JAX."""
    if not name.endswith((".jit", ".xla")) or (name.startswith("optax.") and dtype == "float16"):
        return usual
    return Reduction.CONTRACTED
