"""Choices of an Adam that matter only because numbers are rounded: the full statement of how it computes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import NamedTuple

from parity.adam.convention import Epsilon
from parity.adam.forms import (
    Averaging,
    Clipping,
    DecayGradient,
    DecayWeights,
    Factors,
    FirstMoment,
    Largest,
    Reduction,
    SecondMoment,
    Update,
)
from parity.core.hyper import Hyper
from parity.numerics.formats import FORMATS, Format


class Rounding(StrEnum):
    """When a number is rounded to the dtype of the weights, to nearest, ties to even.

    In float32 and float64 all three are the same: every operation rounds. float16 and bfloat16 are computed in
    float32, and then

    EACH_OPERATION: every result is rounded to the dtype, which makes it the correctly rounded one, as float32
    carries 24 >= 2 * p + 2 bits (p = 11 and 8; Figueroa 1995).
    EACH_KERNEL: the value of every line of a form is rounded.
    AT_STORE: m, v, vmax and w are rounded at the end of the step; w is updated from the unrounded moments.
    """

    EACH_OPERATION = "each_operation"
    EACH_KERNEL = "each_kernel"
    AT_STORE = "at_store"


class SquareRoot(StrEnum):
    """IEEE: correctly rounded. LIBRARY: the framework's own vector library, which has to be asked for it.

    REFINED: IEEE, but for a reciprocal root, which the framework's compiler refines from the processor's approximation:
    where it can be asked for it, it is.
    """

    IEEE = "ieee"
    LIBRARY = "library"
    REFINED = "refined"


class Subnormals(StrEnum):
    """KEPT: gradual underflow. FLUSHED: subnormal operands and results become zeros of their sign."""

    KEPT = "kept"
    FLUSHED = "flushed"


@dataclass(frozen=True, slots=True)
class Exceptional:
    """Forms that some elements of a tensor are computed by instead; None: the same form as all others.

    Which elements: see the fields of `Arithmetic`.
    """

    first_moment: FirstMoment | None = None
    second_moment: SecondMoment | None = None
    update: Update | None = None
    decay_gradient: DecayGradient | None = None
    decay_weights: DecayWeights | None = None


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How one Adam computes: a form for every stage, and when results are rounded.

    factors: how lr, the betas, their powers and whatever follows from them are formed. decay_gradient,
    decay_weights: the two kinds of weight decay. maximum: AMSGrad's. first_moment, second_moment, update: order of
    operations and contraction to fma. rounding, square_root, subnormals: as their types say. tail: the last
    ``size % lanes`` elements of a tensor, which a vectorised loop leaves to a scalar one; where `threads` share a
    tensor, one for every `grain` elements that it has or has begun, those of every thread's part. shards: processes
    that share the first axis of a tensor, each with a part that is stepped as a tensor of its own. only: a tensor that
    is the only one of its optimizer. rows: one whose gradients are handed over as rows. alone: the only element of a
    tensor; zero_dimensional: that of a tensor of shape (). The later wins. clipping, reduction: of what is done to
    gradients before the step. averaging: of the weights after it.
    decays_by_zero: where no decay is asked for, the decoupled one is computed all the same, which makes 0 of -0 and NaN
    of inf.
    """

    factors: Factors
    first_moment: FirstMoment
    second_moment: SecondMoment
    update: Update
    decay_gradient: DecayGradient = DecayGradient.PRODUCT_THEN_SUM
    decay_weights: DecayWeights = DecayWeights.ONE_FACTOR
    maximum: Largest = Largest.NAN_WINS
    rounding: Rounding = Rounding.EACH_OPERATION
    square_root: SquareRoot = SquareRoot.IEEE
    subnormals: Subnormals = Subnormals.KEPT
    lanes: int = 1
    tail: Exceptional = Exceptional()
    only: Exceptional = Exceptional()
    rows: Exceptional = Exceptional()
    alone: Exceptional = Exceptional()
    zero_dimensional: Exceptional = Exceptional()
    clipping: Clipping = Clipping.PLAIN
    reduction: Reduction = Reduction.EXACT
    averaging: Averaging = Averaging.PRODUCTS
    threads: int = 1
    grain: int = 0
    shards: int = 1
    decays_by_zero: bool = False

    @property
    def asks_library(self) -> bool:
        """Whether it takes square roots by a framework's library, of elements or of scalars."""
        return self.square_root is SquareRoot.LIBRARY or "root(" in self.factors

    @property
    def refines(self) -> bool:
        """Whether it takes reciprocal roots by a framework's compiler, where there are any."""
        return self.square_root is SquareRoot.REFINED


def plain(epsilon: Epsilon, rounding: Rounding = Rounding.EACH_OPERATION) -> Arithmetic:
    """The from-scratch Adam as the paper writes it: factors formed in double and rounded once, to the
    dtype or, under AT_STORE, to the format in which the step computes; no fma."""
    return Arithmetic(
        factors=Factors.IN_WORKING_FORMAT if rounding is Rounding.AT_STORE else Factors.ROUNDED_ONCE,
        first_moment=FirstMoment.AVERAGE,
        second_moment=SecondMoment.AVERAGE,
        update=_PLAIN_UPDATE[epsilon],
        rounding=rounding,
    )


_PLAIN_UPDATE = {
    Epsilon.OUTSIDE: Update.OUTSIDE,
    Epsilon.HAT: Update.HAT,
    Epsilon.INSIDE: Update.INSIDE,
}


def working_format(stored: Format) -> Format:
    """The format in which a step computes on tensors that are stored in `stored`."""
    return FORMATS["float32"] if stored.dtype.itemsize < 4 else stored


class Forming(NamedTuple):
    """How scalars of a step are formed: in which format for that of the weights, and by which lines."""

    format: Format
    factors: Factors


class Setting(NamedTuple):
    """Where a tensor stands: its shape, how many tensors its optimizer, or its group of them, has, and whether its
    gradients are handed over as rows.

    forming: of the scalars that come of t, None for its own.
    """

    shape: tuple[int, ...]
    tensors: int
    rows: bool = False
    forming: Forming | None = None


def setting_of(name: str, shapes: Mapping[str, tuple[int, ...]], hyper: Hyper) -> Setting:
    """A tensor among those that have the same hyperparameters; shapes: of all."""
    own, rows = hyper.of(name), name in hyper.stages.rows
    return Setting(shapes[name], sum(hyper.of(one) == own for one in shapes) if hyper.groups else len(shapes), rows)


def parts(arithmetic: Arithmetic, setting: Setting) -> Iterator[tuple[slice, Arithmetic]]:
    """The pieces of a tensor, flat, each with the arithmetic of its elements."""
    size = math.prod(setting.shape)
    common = replace(
        arithmetic,
        lanes=1,
        threads=1,
        grain=0,
        shards=1,
        tail=_ALIKE,
        only=_ALIKE,
        rows=_ALIKE,
        alone=_ALIKE,
        zero_dimensional=_ALIKE,
    )
    for holds, forms in (
        (setting.tensors == 1, arithmetic.only),
        (setting.rows, arithmetic.rows),
        (size == 1, arithmetic.alone),
        (not setting.shape, arithmetic.zero_dimensional),
    ):
        common = _except(common, forms) if holds else common
    for start, stop in _shares(setting.shape, arithmetic):
        whole = stop - (stop - start) % arithmetic.lanes
        if start < whole:
            yield slice(start, whole), common
        if whole < stop:
            yield slice(whole, stop), _except(common, arithmetic.tail)


def _shares(shape: tuple[int, ...], arithmetic: Arithmetic) -> Iterator[tuple[int, int]]:
    """Where the parts of a tensor begin and end that are one thread's each, of one process."""
    size, rows = math.prod(shape), shape[0] if shape else 1
    shard = max(1, -(-rows // arithmetic.shards) * (size // max(1, rows)))
    for first in range(0, size, shard):
        last = min(first + shard, size)
        takes_part = min(arithmetic.threads, -(-(last - first) // arithmetic.grain)) if arithmetic.grain else 1
        length = -(-(last - first) // max(1, takes_part))
        for start in range(first, last, max(1, length)):
            yield start, min(start + length, last)


_ALIKE = Exceptional()


def _except(arithmetic: Arithmetic, forms: Exceptional) -> Arithmetic:
    given = {field.name: getattr(forms, field.name) for field in fields(forms)}
    return replace(arithmetic, **{name: form for name, form in given.items() if form is not None})
