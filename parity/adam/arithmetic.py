"""Choices of an Adam that matter only because numbers are rounded: the full statement of how it computes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from parity.adam.convention import Epsilon
from parity.adam.forms import DecayGradient, DecayWeights, Factors, FirstMoment, SecondMoment, Update
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
    """IEEE: correctly rounded. LIBRARY: the framework's own vector library, which has to be asked for it."""

    IEEE = "ieee"
    LIBRARY = "library"


class Subnormals(StrEnum):
    """KEPT: gradual underflow. FLUSHED: subnormal operands and results become zeros of their sign."""

    KEPT = "kept"
    FLUSHED = "flushed"


@dataclass(frozen=True, slots=True)
class Tail:
    """The last ``size % lanes`` elements of a tensor, which a vectorised loop leaves to a scalar one; None: alike."""

    lanes: int
    second_moment: SecondMoment | None = None
    decay_gradient: DecayGradient | None = None


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How one Adam computes: a form for every stage, and when results are rounded.

    factors: how lr, the betas, their powers and whatever follows from them are formed. decay_gradient,
    decay_weights: the two kinds of weight decay. first_moment, second_moment, update: order of operations and
    contraction to fma. rounding, square_root, subnormals: as their types say. tail: None where all elements of a
    tensor are computed alike.
    """

    factors: Factors
    first_moment: FirstMoment
    second_moment: SecondMoment
    update: Update
    decay_gradient: DecayGradient = DecayGradient.PRODUCT_THEN_SUM
    decay_weights: DecayWeights = DecayWeights.ONE_FACTOR
    rounding: Rounding = Rounding.EACH_OPERATION
    square_root: SquareRoot = SquareRoot.IEEE
    subnormals: Subnormals = Subnormals.KEPT
    tail: Tail | None = None


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


def parts(arithmetic: Arithmetic, size: int) -> Iterator[tuple[slice, Arithmetic]]:
    """The pieces of a tensor of `size` elements, each with the arithmetic of its elements."""
    tail = arithmetic.tail
    if tail is None:
        yield slice(0, size), arithmetic
        return
    whole = size - size % tail.lanes
    if whole:
        yield slice(0, whole), replace(arithmetic, tail=None)
    if whole < size:
        yield (
            slice(whole, size),
            replace(
                arithmetic,
                second_moment=tail.second_moment or arithmetic.second_moment,
                decay_gradient=tail.decay_gradient or arithmetic.decay_gradient,
                tail=None,
            ),
        )
