"""Multiply and add with one rounding, without an instruction for it: the reference of the compiled one."""

from __future__ import annotations

from typing import Final

import numpy as np
from error_free import round_to_odd, two_product, two_sum

from parity.core.errors import ParityError
from parity.numerics.formats import Format, format_of
from parity.numerics.rounding import round_block

_EACH: Final = "overlap_assume_elementwise"
_LEAST = np.iinfo(np.int64).min
_NARROW_BLOCK = 1 << 15
_DOUBLE_BLOCK = 1 << 14
_SMALLEST_EXACT_PRODUCT = 2.0**-960
_TAIL_SHIFT = 24
_FAR = 120


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """``a * b + c``, rounded once, to nearest with ties to even, as IEEE 754 defines fusedMultiplyAdd.

    a, b, c: arrays or scalars of one of the four formats, of shapes that broadcast; out: of that format and the
    common shape, returned; may be one of the operands. Right for every operand: ties, subnormal numbers, products
    that under- or overflow, signed zeros, inf and NaN (of no particular sign or payload). Scratch memory does not
    grow with the arrays. Raises ParityError where dtypes differ.
    Source: Boldo and Melquiond 2008, "Emulation of FMA and Correctly Rounded Sums".
    """
    operands = [np.asarray(operand) for operand in (a, b, c)]
    format = format_of(operands[0])
    if out is None:
        out = np.empty(np.broadcast_shapes(*(operand.shape for operand in operands)), format.dtype)
    if any(operand.dtype != format.dtype for operand in (*operands, out)):
        raise ParityError(f"fma of {', '.join(operand.dtype.name for operand in (*operands, out))}: dtypes differ")
    block = _DOUBLE_BLOCK if format.name == "float64" else _NARROW_BLOCK
    scratch = np.empty((6 if format.name == "float64" else 4, min(block, out.size)))
    with (
        np.errstate(all="ignore"),
        np.nditer(
            [*operands, out],
            ["external_loop", "zerosize_ok", "copy_if_overlap"],
            [["readonly", _EACH], ["readonly", _EACH], ["readonly", _EACH], ["writeonly", _EACH]],
        ) as runs,
    ):
        for *inputs, output in runs:
            constant = [run.strides == (0,) for run in inputs]
            for start in range(0, output.size, block):
                place = slice(start, start + block)
                x, y, z = (run[:1] if same else run[place] for run, same in zip(inputs, constant, strict=True))
                if format.name == "float64":
                    _double(x, y, z, output[place], scratch[:, : output.size - start])
                else:
                    _narrow(x, y, z, output[place], format, scratch)
    return out


def _narrow(a: np.ndarray, b: np.ndarray, c: np.ndarray, out: np.ndarray, format: Format, scratch: np.ndarray) -> None:
    """`fma` of a format of at most 24 bits: its products are doubles."""
    product, addend, total, below = scratch[:, : out.size]
    factor = _widened(b, total)
    np.multiply(_widened(a, product), factor, out=product)
    wide = _widened(c, addend)
    np.add(product, wide, out=total)
    round_block(total, format, out)
    # The double total is rounded wrongly only if it lies half way between two numbers of the format and is itself
    # rounded: among normal numbers, where the bits below the format's are 100...0.
    below = np.left_shift(total.view(np.int64), 11 + format.precision, out=below.view(np.int64))
    smallest = 1 << (format.precision - 1)
    magnitude = np.left_shift(out.view(format.unsigned), 1)
    is_tiny = np.minimum.reduce(magnitude) <= 2 * smallest
    if np.minimum.reduce(below) != _LEAST and not is_tiny:
        return
    suspect = below == _LEAST
    if is_tiny:
        suspect |= (np.abs(total) < 2.0 ** (2 - (1 << (format.exponent_bits - 1)))) & (total != 0)
    at = np.flatnonzero(suspect)
    if at.size:
        product, wide = (np.broadcast_to(part, out.shape)[at] for part in (product, wide))
        rounded = np.empty(at.shape, format.dtype)
        round_block(round_to_odd(*two_sum(product, wide)), format, rounded)
        out[at] = rounded


def _widened(values: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    if values.size != scratch.size:
        return values.astype(np.float64)
    np.copyto(scratch, values)
    return scratch


def _double(a: np.ndarray, b: np.ndarray, c: np.ndarray, out: np.ndarray, scratch: np.ndarray) -> None:
    """`fma` of doubles: ``a * b + c`` is ``total + error + rest`` exactly, unless something under- or overflows."""
    product, rest = two_product(a, b, scratch)
    total, error = two_sum(product, c, scratch[:3])
    tail = np.add(error, rest, out=scratch[1])
    # The sum of total and tail is wrong only where the tail is itself rounded and ends exactly half way between two
    # doubles: then it has but few bits. So have inf and NaN, which show an overflow on the way.
    below = np.left_shift(tail.view(np.uint64), _TAIL_SHIFT, out=scratch[3].view(np.uint64))
    is_short = np.minimum.reduce(below) == 0
    magnitude = np.abs(product, out=scratch[3])
    if not is_short and np.minimum.reduce(magnitude) >= _SMALLEST_EXACT_PRODUCT:
        np.add(total, tail, out=out)
        return
    suspect = ~(magnitude >= _SMALLEST_EXACT_PRODUCT) & (a != 0) & (b != 0)
    suspect |= (tail.view(np.uint64) << _TAIL_SHIFT == 0) & (two_sum(error, rest)[1] != 0)
    # Adding a tail of +0 would take the sign from a total of -0.
    result = np.where(tail == 0, total, total + tail)
    at = np.flatnonzero(suspect)
    if at.size:
        result[at] = _scaled(*(np.broadcast_to(operand, out.shape)[at] for operand in (a, b, c)))
    out[...] = result


def _scaled(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """`fma` of any doubles (n,): the factors are scaled to [1/2, 1), and the sum is rounded where the result will be.

    An addend more than 120 places above or below the product is brought nearer: the smaller of the two then still
    lies below the last bit of the greater one and of any rounding boundary, so that only its sign matters.
    """
    finite = np.isfinite(a) & np.isfinite(b)
    # The product of finite factors may overflow: it must not meet an infinite addend of the other sign.
    plain = np.where(finite & ~np.isfinite(c), c, a * b + c)
    scalable = finite & np.isfinite(c) & (a != 0) & (b != 0)
    a, b, c = (np.where(scalable, operand, 1.0) for operand in (a, b, c))
    (a, a_exponent), (b, b_exponent), (c, c_exponent) = np.frexp(a), np.frexp(b), np.frexp(c)
    product_exponent = a_exponent + b_exponent
    distance = np.clip(c_exponent - product_exponent, -_FAR, _FAR)
    exponent = np.where((distance == _FAR) & (c != 0), c_exponent - _FAR, product_exponent)
    product, rest = two_product(a, b)
    addend, tail = two_sum(np.ldexp(c, distance), rest)
    total, error = two_sum(product, addend)
    tail = round_to_odd(*two_sum(tail, error))
    result = total + tail
    # From 2**52 to 2**53 spacings, numbers have just this spacing: that of subnormal numbers, or one so great that the
    # result is zero either way.
    spacing = np.minimum(-1074 - exponent, 2 * _FAR)
    subnormal = np.abs(result) < np.ldexp(1.0, spacing + 52)
    offset = np.copysign(np.ldexp(1.0, spacing + 52), result)
    moved, error = two_sum(offset, total)
    moved += round_to_odd(*two_sum(error, tail))
    result = np.where(subnormal, np.copysign(moved - offset, result), result)
    return np.where(scalable, np.ldexp(result, exponent), plain)
