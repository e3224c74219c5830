"""Subnormal numbers as the zeros they become on hardware that flushes."""

from __future__ import annotations

import numpy as np

from parity.numerics.jit import bits_of, compiled, from_bits


@compiled
def flushed_float32(value: float) -> float:
    """A subnormal float32 as the zero of its sign; every other number as it is."""
    bits = bits_of(value)
    zero = np.uint32(bits & 0x80000000)
    kept = zero if np.uint32(bits & 0x7F800000) == 0 else bits
    return from_bits(kept)  # type: ignore[no-any-return]


@compiled
def flushed_float64(value: float) -> float:
    """A subnormal float64 as the zero of its sign; every other number as it is."""
    bits = bits_of(value)
    zero = bits & np.uint64(0x8000000000000000)
    kept = zero if bits & np.uint64(0x7FF0000000000000) == np.uint64(0) else bits
    return from_bits(kept)  # type: ignore[no-any-return]
