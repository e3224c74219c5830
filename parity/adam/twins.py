"""Twins: what each implementation claims to be, by dtype, as choices of the from-scratch Adam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from parity.adam.arithmetic import Arithmetic, Exceptional, Rounding, SquareRoot, Subnormals, plain
from parity.adam.around import with_around
from parity.adam.convention import Convention, Epsilon, Maximum, StepCount
from parity.adam.forms import (
    DecayGradient,
    DecayWeights,
    Factors,
    FirstMoment,
    Largest,
    Reduction,
    SecondMoment,
    Update,
)
from parity.adam.twin import Twin
from parity.numerics.formats import FORMATS

_HALVES = ("float16", "bfloat16")


def _torch_kernels() -> dict[str, Arithmetic]:
    """torch/optim/adam.py, _single_tensor_adam: lerp_, mul_, addcmul_, sqrt, div, add_, addcdiv_, each one kernel."""
    each = Arithmetic(
        factors=Factors.TORCH_KERNELS,
        first_moment=FirstMoment.LERP,
        second_moment=SecondMoment.TWO_KERNELS_FMA_LEFT,
        update=Update.OUTSIDE_TORCH,
        decay_gradient=DecayGradient.FMA,
        rounding=Rounding.EACH_KERNEL,
        square_root=SquareRoot.LIBRARY,
    )
    # In the halves the vector library's error vanishes in the rounding, and add's scalar loop rounds the product.
    half = replace(
        each,
        square_root=SquareRoot.IEEE,
        lanes=32,
        tail=Exceptional(decay_gradient=DecayGradient.TWO_KERNELS),
        grain=1 << 15,
    )
    return {name: half if name in _HALVES else each for name in FORMATS}


def _torch_kernels_before_2_1() -> dict[str, Arithmetic]:
    """torch/optim/adam.py, torch 1.13 and 2.0: mul_ and add_ of exp_avg, where lerp_ is today.

    In bfloat16 mul_, div and add_ round their scalar to it, and add_'s scalar loop, which ends a tensor, the product.
    """
    kernels = _torch_kernels()
    single = {name: replace(kernels[name], first_moment=FirstMoment.TWO_KERNELS_FMA) for name in ("float64", "float32")}
    half = replace(
        kernels["bfloat16"],
        factors=Factors.TORCH_HALF_SUM,
        first_moment=FirstMoment.TWO_KERNELS_FMA,
        tail=replace(kernels["bfloat16"].tail, first_moment=FirstMoment.TWO_KERNELS),
    )
    return {**single, "bfloat16": half}


def _torch_foreach() -> dict[str, Arithmetic]:
    """_multi_tensor_adam: the same kernels; _foreach_mul_ rounds its factor to the dtype."""
    return _with_factors(_torch_kernels(), Factors.TORCH_FOREACH)


def _torch_fused() -> dict[str, Arithmetic]:
    """aten/src/ATen/native/cpu/FusedAdamKernel.cpp: one kernel of 32 byte vectors, then a scalar loop."""
    each = Arithmetic(
        factors=Factors.IN_WORKING_FORMAT,
        first_moment=FirstMoment.LERP,
        second_moment=SecondMoment.AVERAGE_FMA_LEFT,
        update=Update.OUTSIDE_TORCH,
        decay_gradient=DecayGradient.FMA,
        rounding=Rounding.AT_STORE,
    )
    return {
        name: replace(
            each,
            lanes=32 // format.dtype.itemsize,
            tail=Exceptional(second_moment=SecondMoment.AVERAGE_FMA_OLD_LEFT),
        )
        for name, format in FORMATS.items()
    }


def _torch_differentiable() -> dict[str, Arithmetic]:
    """_single_tensor_adam with differentiable: the same kernels, beta**t and lr / (1 - beta1**t) in float32 tensors.

    A 0-d tensor takes the dtype of its 0-d divisor, so that a half is divided in float32.
    """
    return {
        name: replace(
            arithmetic,
            factors=Factors.TORCH_TENSORS,
            update=Update.OUTSIDE_TORCH_TENSORS,
            zero_dimensional=Exceptional(update=Update.OUTSIDE_TORCH_TENSORS_WIDE),
        )
        for name, arithmetic in _torch_kernels().items()
    }


def _torch_fully_sharded() -> dict[str, Arithmetic]:
    """torch/distributed/fsdp/_fully_shard: the same kernels on halves of the first axis, each with its tail."""
    return {
        name: replace(arithmetic, shards=2) if arithmetic.lanes > 1 else arithmetic
        for name, arithmetic in _torch_kernels().items()
    }


def _torch_compiled() -> dict[str, Arithmetic]:
    """What TorchInductor makes of the differentiable step: one loop, float32 inside for halves, no library's root."""
    each = Arithmetic(
        factors=Factors.TORCH_COMPILED,
        first_moment=FirstMoment.BLEND_FOLDED,
        second_moment=SecondMoment.AVERAGE_FMA_NEW,
        update=Update.OUTSIDE_TORCH_TENSORS_WIDE,
        rounding=Rounding.AT_STORE,
    )
    return dict.fromkeys(FORMATS, each)


def _torch_sparse() -> dict[str, Arithmetic]:
    """torch/optim/_functional.py, sparse_adam: every operation on the values of the rows is a kernel."""
    return {
        name: Arithmetic(
            factors=Factors.TORCH_KERNELS,
            first_moment=FirstMoment.DIFFERENCE,
            second_moment=SecondMoment.DIFFERENCE,
            update=Update.HAT_QUOTIENT_FIRST,
            square_root=arithmetic.square_root,
        )
        for name, arithmetic in _torch_kernels().items()
    }


def _with_factors(arithmetics: Mapping[str, Arithmetic], factors: Factors) -> dict[str, Arithmetic]:
    return {name: replace(arithmetic, factors=factors) for name, arithmetic in arithmetics.items()}


def _keras_eager() -> dict[str, Arithmetic]:
    """keras/src/optimizers/adam.py and its TensorFlow backend: every operation is a kernel."""
    each = Arithmetic(
        factors=Factors.KERAS,
        first_moment=FirstMoment.DIFFERENCE,
        second_moment=SecondMoment.DIFFERENCE,
        update=Update.HAT,
        decay_weights=DecayWeights.SUBTRACTED,
        subnormals=Subnormals.FLUSHED,
    )
    return dict.fromkeys(FORMATS, each)


def _keras_function() -> dict[str, Arithmetic]:
    """The same in a graph, whose optimizer folds (w * wd) * lr to w * (wd * lr), and whose constants are NumPy's.

    NumPy rounds a double to float16 at once; everybody else, and everybody to bfloat16, by way of float32.
    """
    folded = Exceptional(decay_weights=DecayWeights.SUBTRACTED)
    graph = {
        name: replace(arithmetic, decay_weights=DecayWeights.SUBTRACTED_FOLDED, zero_dimensional=folded)
        for name, arithmetic in _keras_eager().items()
    }
    return {**graph, "float16": replace(graph["float16"], factors=Factors.KERAS_GRAPH)}


def _keras_xla() -> dict[str, Arithmetic]:
    """Compiled: float32 and float64 contract to fma; the halves keep every rounding."""
    each = replace(_keras_eager()["float32"], maximum=Largest.NAN_IS_PASSED_OVER)
    contracted = replace(
        each,
        first_moment=FirstMoment.DIFFERENCE_FMA,
        second_moment=SecondMoment.DIFFERENCE_TWO_FMA,
        update=Update.HAT_XLA,
        decay_weights=DecayWeights.SUBTRACTED_FOLDED_FMA,
        square_root=SquareRoot.REFINED,
        # What is scattered into a tensor of zeros was squared before.
        rows=Exceptional(second_moment=SecondMoment.DIFFERENCE_FMA),
        alone=Exceptional(decay_weights=DecayWeights.SUBTRACTED_FMA),
    )
    folded = replace(
        each,
        factors=Factors.KERAS_GRAPH,
        update=Update.HAT_XLA_HALF,
        decay_weights=DecayWeights.SUBTRACTED_FOLDED,
        alone=Exceptional(decay_weights=DecayWeights.SUBTRACTED),
    )
    return {"float64": contracted, "float32": contracted, "float16": folded, "bfloat16": each}


def _keras_xla_before_2_18() -> dict[str, Arithmetic]:
    """XLA computed bfloat16 in float32, contracted to fma, and dropped all roundings in between."""
    wide = replace(
        _keras_xla()["bfloat16"],
        factors=Factors.KERAS_WIDE,
        first_moment=FirstMoment.DIFFERENCE_FMA,
        second_moment=SecondMoment.DIFFERENCE_TWO_FMA,
        rounding=Rounding.AT_STORE,
    )
    return {"bfloat16": wide}


def _by_zero(arithmetics: Mapping[str, Arithmetic]) -> dict[str, Arithmetic]:
    """keras/src/optimizers/adamw.py: an Adam that decays always."""
    return {name: replace(arithmetic, decays_by_zero=True) for name, arithmetic in arithmetics.items()}


def _keras_torch() -> dict[str, Arithmetic]:
    """keras/src/backend/torch/optimizers/torch_adam.py: operations on lists, each of which is a kernel a tensor."""
    each = Arithmetic(
        factors=Factors.KERAS_TORCH,
        first_moment=FirstMoment.TWO_KERNELS_FMA,
        second_moment=SecondMoment.SQUARE_TWO_KERNELS_FMA,
        update=Update.HAT_KERNELS,
        rounding=Rounding.EACH_KERNEL,
        square_root=SquareRoot.LIBRARY,
    )
    # As in torch's own: the library's error vanishes in the rounding, and add's scalar loop rounds the product.
    by_product = Exceptional(first_moment=FirstMoment.TWO_KERNELS, second_moment=SecondMoment.SQUARE_TWO_KERNELS)
    half = replace(each, factors=Factors.KERAS_TORCH_HALF, square_root=SquareRoot.IEEE, lanes=32, tail=by_product,
                   grain=1 << 15)  # fmt: skip
    return {name: half if name in _HALVES else each for name in FORMATS}


def _keras_jax_eager() -> dict[str, Arithmetic]:
    """keras/src/backend/jax/core.py: the operations of Keras on TensorFlow, with betas and decay from doubles."""
    own = {name: replace(one, factors=Factors.KERAS_JAX) for name, one in _keras_eager().items()}
    return {**own, "bfloat16": _keras_eager()["bfloat16"]}


def _keras_jax_jit() -> dict[str, Arithmetic]:
    """What XLA makes of those, as on TensorFlow but for its reciprocal root in float16."""
    compiled = _keras_xla()
    own = {name: replace(one, factors=Factors.KERAS_JAX) for name, one in compiled.items()}
    half = replace(compiled["float16"], factors=Factors.KERAS_JAX_GRAPH, update=Update.HAT_JAX_HALF)
    return {**own, "float16": half, "bfloat16": compiled["bfloat16"]}


def _tensorflow_kernel() -> dict[str, Arithmetic]:
    """ResourceApplyAdam, tensorflow/core/kernels/training_ops.cc: Keras's forms, factors formed in the dtype."""
    return {name: replace(arithmetic, factors=Factors.TENSORFLOW_KERNEL) for name, arithmetic in _keras_eager().items()}


def _tf_keras_legacy() -> dict[str, Arithmetic]:
    """tf_keras/src/optimizers/legacy/adam.py: the kernel, with lr, betas and their powers from float32 variables.

    Rows go without the kernel, by operations on the whole tensor.
    """
    rows = Exceptional(FirstMoment.AVERAGE, SecondMoment.AVERAGE, Update.HAT_FACTOR_FIRST)
    return {
        name: replace(arithmetic, factors=Factors.TF_KERAS_LEGACY, rows=rows)
        for name, arithmetic in _tensorflow_kernel().items()
    }


def _tf_keras_new() -> dict[str, Arithmetic]:
    """tf_keras/src/optimizers/adam.py: Keras 3's, but for rows, which are added to moments that have decayed."""
    rows = Exceptional(first_moment=FirstMoment.DECAYED_THEN_ADDED, second_moment=SecondMoment.DECAYED_THEN_ADDED)
    return {name: replace(arithmetic, rows=rows) for name, arithmetic in _keras_eager().items()}


def _optax_plain() -> dict[str, Arithmetic]:
    """optax/_src/transform.py, scale_by_adam: every operation is a kernel, bias correction a compiled function.

    Compiled, a division of many elements by one scalar becomes a product with its reciprocal, unless several tensors
    share the scalar.
    """
    quotients = Exceptional(update=Update.OUTSIDE_QUOTIENTS)
    half = Arithmetic(
        factors=Factors.OPTAX,
        first_moment=FirstMoment.AVERAGE,
        second_moment=SecondMoment.AVERAGE,
        update=Update.OUTSIDE_RECIPROCALS,
        decay_weights=DecayWeights.IN_UPDATE,
        subnormals=Subnormals.FLUSHED,
        alone=quotients,
    )
    native = replace(half, update=Update.OUTSIDE_QUOTIENTS, only=Exceptional(update=Update.OUTSIDE_RECIPROCALS))
    bfloat16 = replace(half, factors=Factors.OPTAX_WIDE_INVERSE)
    return {"float64": native, "float32": native, "float16": half, "bfloat16": bfloat16}


def _optax_jit() -> dict[str, Arithmetic]:
    """The whole step compiled by XLA: float32 and float64 contract to fma."""
    plain_ones = _optax_plain()
    contracted = replace(
        plain_ones["float32"],
        first_moment=FirstMoment.AVERAGE_FMA_FORMED,
        second_moment=SecondMoment.AVERAGE_FMA_CLIPPED,
        update=Update.OUTSIDE_QUOTIENTS_FMA,
        decay_gradient=DecayGradient.FMA,
        square_root=SquareRoot.REFINED,
        only=Exceptional(update=Update.OUTSIDE_RECIPROCALS_FMA),
        alone=Exceptional(first_moment=FirstMoment.AVERAGE_FMA_L2_FORMED, update=Update.OUTSIDE_QUOTIENTS_FMA),
    )
    half = replace(
        plain_ones["float16"],
        update=Update.OUTSIDE_XLA_HALF,
        alone=Exceptional(update=Update.OUTSIDE_XLA_HALF_ALONE),
    )
    return {"float64": contracted, "float32": contracted, "float16": half, "bfloat16": plain_ones["bfloat16"]}


def _optax_before_0_1_4() -> dict[str, Arithmetic]:
    """optax/_src/transform.py, bias_correction, not yet compiled: ``decay**count`` of a concrete count.

    jax.numpy.power, JAX 0.4.13, raises to whole numbers that it can see by squaring. Every quotient is its own kernel.
    """
    eager = replace(_optax_plain()["float32"], factors=Factors.OPTAX_SQUARING, only=Exceptional(), alone=Exceptional())
    return dict.fromkeys(FORMATS, eager)


_OPTAX_ALL = Convention(Epsilon.OUTSIDE, maximum=Maximum.AFTER_CORRECTION)
_HAT_ALL = Convention(Epsilon.HAT)
_OUTSIDE_EACH = Convention(Epsilon.OUTSIDE, step_count=StepCount.PER_PARAMETER)
_HAT_LAZY = Convention(Epsilon.HAT, step_count=StepCount.PER_PARAMETER, lazy_rows=True)


def _claims(
    convention: Convention, arithmetics: Mapping[str, Arithmetic], eps_for_zero: float = 0.0, **known: bool
) -> Mapping[str, Twin]:
    return MappingProxyType(
        {name: Twin(convention, arithmetic, eps_for_zero, **known) for name, arithmetic in arithmetics.items()}  # type: ignore[arg-type]
    )


_LOST = "torch.compile drops what is done in place to a float64 tensor of shape ()"


def _plain(epsilon: Epsilon, rounding: Rounding) -> Mapping[str, Twin]:
    count = StepCount.PER_PARAMETER if epsilon is Epsilon.OUTSIDE else StepCount.GLOBAL
    return _claims(Convention(epsilon, step_count=count), dict.fromkeys(FORMATS, plain(epsilon, rounding)))


_ALONE: Mapping[str, Mapping[str, Twin]] = MappingProxyType(
    {
        **{f"numpy.adam.{epsilon}": _plain(epsilon, Rounding.EACH_OPERATION) for epsilon in Epsilon},
        **{f"numpy.adam.{epsilon}.store": _plain(epsilon, Rounding.AT_STORE) for epsilon in Epsilon},
        "torch.adam.forloop": _claims(_OUTSIDE_EACH, _torch_kernels()),
        "torch.adam.foreach": _claims(_OUTSIDE_EACH, _torch_foreach()),
        "torch.adam.fused": _claims(_OUTSIDE_EACH, _torch_fused()),
        "torch.adam.differentiable": _claims(_OUTSIDE_EACH, _torch_differentiable()),
        "torch.adam.tensor_lr": _claims(_OUTSIDE_EACH, _with_factors(_torch_kernels(), Factors.TORCH_TENSOR_LR)),
        "torch.adam.tensor_lr.fused": _claims(
            _OUTSIDE_EACH, _with_factors(_torch_fused(), Factors.TORCH_FUSED_TENSOR_LR)
        ),
        "torch.adam.compiled": MappingProxyType(
            {
                name: replace(twin, open_scalars=_LOST if name == "float64" else "")
                for name, twin in _claims(_OUTSIDE_EACH, _torch_compiled()).items()
            }
        ),
        "torch.adam.zero2": _claims(_OUTSIDE_EACH, _torch_kernels()),
        "torch.adam.fsdp2": _claims(_OUTSIDE_EACH, _torch_fully_sharded()),
        "torch.adam.sparse": _claims(_HAT_LAZY, _torch_sparse()),
        "torch.adamw.forloop": _claims(_OUTSIDE_EACH, _torch_kernels()),
        "torch.adamw.foreach": _claims(_OUTSIDE_EACH, _torch_foreach()),
        "torch.adamw.fused": _claims(_OUTSIDE_EACH, _torch_fused()),
        "keras.adam.eager": _claims(_HAT_ALL, _keras_eager()),
        "keras.adam.function": _claims(_HAT_ALL, _keras_function()),
        "keras.adam.xla": _claims(_HAT_ALL, _keras_xla()),
        "keras.adamw.eager": _claims(_HAT_ALL, _by_zero(_keras_eager())),
        "keras.adamw.function": _claims(_HAT_ALL, _by_zero(_keras_function())),
        "keras.adamw.xla": _claims(_HAT_ALL, _by_zero(_keras_xla())),
        "keras_torch.adam.eager": _claims(_HAT_ALL, _keras_torch(), scalars_of_first=True),
        "keras_jax.adam.eager": _claims(_HAT_ALL, _keras_jax_eager()),
        "keras_jax.adam.jit": _claims(_HAT_ALL, _keras_jax_jit()),
        "tensorflow.adam.kernel": _claims(_HAT_ALL, _tensorflow_kernel()),
        "tf_keras.adam.legacy": _claims(_HAT_ALL, _tf_keras_legacy(), eps_for_zero=1e-7),
        "tf_keras.adam.new": _claims(_HAT_ALL, _tf_keras_new()),
        "optax.adam.plain": _claims(_OPTAX_ALL, _optax_plain()),
        "optax.adam.jit": _claims(_OPTAX_ALL, _optax_jit()),
        "optax.adamw.plain": _claims(_OPTAX_ALL, _optax_plain()),
        "optax.adamw.jit": _claims(_OPTAX_ALL, _optax_jit()),
    }
)

TWINS: Mapping[str, Mapping[str, Twin]] = MappingProxyType(
    {name: with_around(name, twins) for name, twins in _ALONE.items()}
)
"""By implementation and dtype, on x86-64 with AVX-512: torch 2.13, Keras 3.15.1 and TensorFlow 2.21, tf_keras 2.21,
optax 0.2.8 on JAX 0.10.2."""

_TORCH_BEFORE_2_1 = _claims(_OUTSIDE_EACH, _torch_kernels_before_2_1())

EARLIER: Mapping[str, Mapping[str, Twin]] = MappingProxyType(
    {
        "torch.adam before 2.1": with_around("torch.adam.forloop", _TORCH_BEFORE_2_1, Reduction.FUSED_VECTORS),
        "torch.adam before 2.0": with_around("torch.adam.forloop", _TORCH_BEFORE_2_1, Reduction.FUSED),
        "optax.adam.plain before 0.1.4": with_around("optax.adam.plain", _claims(_OPTAX_ALL, _optax_before_0_1_4())),
        "keras.adam.xla before TensorFlow 2.18": with_around(
            "keras.adam.xla", _claims(_HAT_ALL, _keras_xla_before_2_18())
        ),
    }
)
"""What earlier releases were in those dtypes in which they were something else than today, found and confirmed bit by
bit on them: torch 1.13.1 and 2.0.1, for-loop and foreach; optax 0.1.2 and 0.1.3 on JAX 0.4.13; Keras on TensorFlow
2.16.2 and 2.17.1, but for 8 elements where beta2 is 0.95."""
