"""JAX on the CPU, in both widths, for every adapter that runs on JAX."""

from __future__ import annotations

import importlib
import os
from contextlib import AbstractContextManager
from typing import Any


def jax_module() -> Any:
    """The module jax, on the CPU."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    return jax


def double_enabled(double: bool) -> AbstractContextManager[Any]:
    """JAX's context in which float64 is, or is not, what it says; old releases have it in another place."""
    jax = jax_module()
    home = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
    context: AbstractContextManager[Any] = home.enable_x64(double)
    return context
