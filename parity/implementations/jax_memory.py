"""JAX on the CPU, in both widths, for every adapter that runs on JAX."""

from __future__ import annotations

import importlib
import os
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np


def jax_module() -> Any:
    """The module jax, on the CPU."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    return jax


def reciprocal_root(values: np.ndarray) -> np.ndarray:
    """1 / sqrt(x) as XLA compiles it for the CPU: any shape, float64 or float32, which the result has too.

    Differs from: IEEE 754, by two ULP at most: refined from the processor's approximation; JAX 0.10.2.
    """
    with double_enabled(values.dtype == np.float64):
        return np.asarray(_compiled_root()(values))


@cache
def _compiled_root() -> Any:
    jax = jax_module()
    return jax.jit(jax.lax.rsqrt)


def double_enabled(double: bool) -> AbstractContextManager[Any]:
    """JAX's context in which float64 is, or is not, what it says; old releases have it in another place."""
    jax = jax_module()
    home = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
    context: AbstractContextManager[Any] = home.enable_x64(double)
    return context
