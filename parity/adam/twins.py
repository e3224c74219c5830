"""Twins: what each implementation claims to be, by dtype, as choices of the from-scratch Adam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from parity.adam.arithmetic import Arithmetic, Rounding, SquareRoot, Tail, plain
from parity.adam.convention import Convention, Epsilon, StepCount
from parity.adam.forms import DecayGradient, Factors, FirstMoment, SecondMoment, Update
from parity.numerics.formats import FORMATS


@dataclass(frozen=True, slots=True)
class Twin:
    """A from-scratch Adam that is to equal an implementation bit for bit: its formula and its arithmetic."""

    convention: Convention
    arithmetic: Arithmetic


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
    half = replace(each, square_root=SquareRoot.IEEE, tail=Tail(lanes=32, decay_gradient=DecayGradient.TWO_KERNELS))
    return {name: half if name in _HALVES else each for name in FORMATS}


def _torch_foreach() -> dict[str, Arithmetic]:
    """_multi_tensor_adam: the same kernels; _foreach_mul_ rounds its factor to the dtype."""
    return {name: replace(arithmetic, factors=Factors.TORCH_FOREACH) for name, arithmetic in _torch_kernels().items()}


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
        name: replace(each, tail=Tail(32 // format.dtype.itemsize, second_moment=SecondMoment.AVERAGE_FMA_OLD_LEFT))
        for name, format in FORMATS.items()
    }


_OUTSIDE_EACH = Convention(Epsilon.OUTSIDE, step_count=StepCount.PER_PARAMETER)


def _claims(convention: Convention, arithmetics: Mapping[str, Arithmetic]) -> Mapping[str, Twin]:
    return MappingProxyType({name: Twin(convention, arithmetic) for name, arithmetic in arithmetics.items()})


def _plain(epsilon: Epsilon, rounding: Rounding) -> Mapping[str, Twin]:
    count = StepCount.PER_PARAMETER if epsilon is Epsilon.OUTSIDE else StepCount.GLOBAL
    return _claims(Convention(epsilon, step_count=count), dict.fromkeys(FORMATS, plain(epsilon, rounding)))


TWINS: Mapping[str, Mapping[str, Twin]] = MappingProxyType(
    {
        **{f"numpy.adam.{epsilon}": _plain(epsilon, Rounding.EACH_OPERATION) for epsilon in Epsilon},
        **{f"numpy.adam.{epsilon}.store": _plain(epsilon, Rounding.AT_STORE) for epsilon in Epsilon},
        "torch.adam.forloop": _claims(_OUTSIDE_EACH, _torch_kernels()),
        "torch.adam.foreach": _claims(_OUTSIDE_EACH, _torch_foreach()),
        "torch.adam.fused": _claims(_OUTSIDE_EACH, _torch_fused()),
    }
)
"""By implementation and dtype; torch 2.13, x86-64 with AVX-512."""
