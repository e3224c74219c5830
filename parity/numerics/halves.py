"""float16 and bfloat16 as the 16 bits they are in memory, computed in float32."""

from __future__ import annotations

import numpy as np

from parity.numerics.jit import bits_of, compiled, from_bits

# The compiler makes 64 bits of every operation on integers: each has to be cut back.


@compiled
def widened_float16(half: int) -> float:
    """The float32 that is the float16 of these bits, exactly; NaN keeps sign and payload."""
    magnitude = np.uint32(half & 0x7FFF)
    sign = np.uint32(np.uint32(half & 0x8000) << 16)
    subnormal = bits_of(np.float32(np.int32(magnitude)) * np.float32(2.0**-24))
    shifted = np.uint32(magnitude << 13)
    special = np.uint32(shifted | 0x7F800000)
    normal = np.uint32(shifted + 0x38000000)
    bits = special if magnitude >= 0x7C00 else normal
    bits = subnormal if magnitude < 0x400 else bits
    return from_bits(np.uint32(bits | sign))  # type: ignore[no-any-return]


@compiled
def narrowed_float16(value: float) -> int:
    """Bits of the float16 nearest to a float32, ties to even; NaN becomes quiet, with the upper bits of its payload."""
    bits = bits_of(value)
    magnitude = np.uint32(bits & 0x7FFFFFFF)
    sign = np.uint32(np.uint32(bits >> 16) & 0x8000)
    # Beside 1/2, float32 has the spacing of subnormal float16.
    subnormal = np.uint32(bits_of(from_bits(magnitude) + np.float32(0.5)) - 0x3F000000)
    normal = np.uint32(np.uint32(magnitude - 0x38000000 + 0xFFF + (np.uint32(magnitude >> 13) & 1)) >> 13)
    nan = np.uint32(0x7E00 | (np.uint32(magnitude >> 13) & 0x3FF))
    half = subnormal if magnitude < 0x38800000 else normal
    half = np.uint32(0x7C00) if magnitude >= 0x477FF000 else half
    half = nan if magnitude > 0x7F800000 else half
    return np.uint16(half | sign)  # type: ignore[return-value]


@compiled
def widened_bfloat16(half: int) -> float:
    """The float32 that is the bfloat16 of these bits, exactly."""
    return from_bits(np.uint32(np.uint32(half) << 16))  # type: ignore[no-any-return]


@compiled
def narrowed_bfloat16(value: float) -> int:
    """Bits of the bfloat16 nearest to a float32, ties to even; NaN becomes the quiet one without payload."""
    bits = bits_of(value)
    nearest = np.uint32(np.uint32(bits + 0x7FFF + (np.uint32(bits >> 16) & 1)) >> 16)
    nan = np.uint32((np.uint32(bits >> 16) & 0x8000) | 0x7FC0)
    half = nan if np.uint32(bits & 0x7FFFFFFF) > 0x7F800000 else nearest
    return np.uint16(half)  # type: ignore[return-value]


@compiled
def rounded_float16(value: float) -> float:
    """A float32 rounded to float16."""
    return widened_float16(narrowed_float16(value))  # type: ignore[no-any-return]


@compiled
def rounded_bfloat16(value: float) -> float:
    """A float32 rounded to bfloat16."""
    return widened_bfloat16(narrowed_bfloat16(value))  # type: ignore[no-any-return]
