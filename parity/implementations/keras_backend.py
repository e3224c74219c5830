"""What Keras runs on: TensorFlow, torch or JAX, of which a process holds one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from parity.core.errors import Unsupported
from parity.implementations import tensorflow_memory, torch_memory
from parity.implementations.implementation import rows_of
from parity.implementations.jax_memory import double_enabled, jax_module, reciprocal_root

Apply = Callable[[list[Any]], Any]
"""A step of an optimizer on the variables it was built on: a tensor for each, or None."""


@dataclass(frozen=True, slots=True)
class Backend:
    """How numbers get into a framework under Keras and out of it, and in which ways a step is called there.

    name: as KERAS_BACKEND has it. framework: the worker process that holds it. needs: as `Implementation` has them.
    tensor: of a gradient, by its name and array; the last argument keeps copies from step to step. rows: the same, of
    the rows that are not 0 throughout, as the backend has sparse tensors. array: what a variable holds, read-only where
    the framework keeps it as it is. steps: by variant, what calls `optimizer.apply` (optimizer, variables). device:
    variables of the environment without which it would not run on the CPU. double: the context in which float64 is what
    it says, or is not. reciprocal_root: as `Implementation` has it.
    """

    name: str
    framework: str
    needs: tuple[str, ...]
    tensor: Callable[[str, np.ndarray, dict[str, np.ndarray]], Any]
    rows: Callable[[np.ndarray], Any]
    array: Callable[[Any], np.ndarray]
    steps: Mapping[str, Callable[[Any, list[Any]], Apply]]
    device: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    double: Callable[[bool], AbstractContextManager[Any]] = nullcontext
    reciprocal_root: Callable[[np.ndarray], np.ndarray] | None = None

    def keras(self) -> Any:
        """The module keras; Unsupported where it came first with another backend."""
        if "keras" not in sys.modules:
            os.environ["KERAS_BACKEND"] = self.name
        for name, value in self.device.items():
            os.environ.setdefault(name, value)
        import keras

        if keras.backend.backend() != self.name:
            raise Unsupported(
                f"{self.framework}: keras is imported with the {keras.backend.backend()} backend, needs {self.name}"
            )
        return keras


def _eager(optimizer: Any, variables: list[Any]) -> Apply:
    def apply(tensors: list[Any]) -> None:
        optimizer.apply(tensors)

    return apply


def _function(optimizer: Any, variables: list[Any]) -> Apply:
    apply: Apply = tensorflow_memory.tensorflow_module().function(_eager(optimizer, variables))
    return apply


def _xla(optimizer: Any, variables: list[Any]) -> Apply:
    apply: Apply = tensorflow_memory.tensorflow_module().function(_eager(optimizer, variables), jit_compile=True)
    return apply


def _stateless(optimizer: Any, variables: list[Any]) -> Apply:
    """As `fit` does on JAX: a compiled function of values, which are put back into the variables."""

    def step(weights: list[Any], kept: list[Any], tensors: list[Any]) -> Any:
        return optimizer.stateless_apply(kept, tensors, weights)

    compiled = jax_module().jit(step)

    def apply(tensors: list[Any]) -> None:
        held = variables, optimizer.variables
        for some, values in zip(held, compiled(*([one.value for one in some] for some in held), tensors), strict=True):
            for variable, value in zip(some, values, strict=True):
                variable.assign(value)

    return apply


def _jax_tensor(name: str, array: np.ndarray, staging: dict[str, np.ndarray]) -> Any:
    # It stands on aligned memory and copies from other; whoever reads the step's results waits for its readers.
    return jax_module().device_put(np.asarray(array, order="C"))


def _jax_rows(array: np.ndarray) -> Any:
    jax, rows = jax_module(), rows_of(array)
    from jax.experimental import sparse

    values, indices = jax.device_put(array[rows]), jax.device_put(rows[:, None].astype(np.int32))
    return sparse.BCOO((values, indices), shape=array.shape, indices_sorted=True, unique_indices=True)


def _tensorflow_tensor(name: str, array: np.ndarray, staging: dict[str, np.ndarray]) -> Any:
    return tensorflow_memory.tensor_on(tensorflow_memory.aligned(name, array, staging))


TENSORFLOW = Backend(
    name="tensorflow",
    framework="keras",
    needs=("tensorflow", "keras>=3"),
    tensor=_tensorflow_tensor,
    rows=tensorflow_memory.slices_of,
    array=lambda variable: tensorflow_memory.array_of(variable.value),
    reciprocal_root=tensorflow_memory.reciprocal_root,
    steps=MappingProxyType({"eager": _eager, "function": _function, "xla": _xla}),
    device=MappingProxyType({"TF_CPP_MIN_LOG_LEVEL": "3"}),
)
TORCH = Backend(
    name="torch",
    framework="keras_torch",
    needs=("torch", "keras>=3"),
    tensor=lambda name, array, staging: torch_memory.tensor_on(array),
    rows=torch_memory.rows_on,
    array=lambda variable: torch_memory.array_of(variable.value),
    # Keras compiles nothing on torch unless it is asked to.
    steps=MappingProxyType({"eager": _eager}),
    device=MappingProxyType({"KERAS_TORCH_DEVICE": "cpu"}),
)
JAX = Backend(
    name="jax",
    framework="keras_jax",
    needs=("jax", "keras>=3"),
    tensor=_jax_tensor,
    rows=_jax_rows,
    array=lambda variable: np.asarray(variable.value),
    reciprocal_root=reciprocal_root,
    steps=MappingProxyType({"eager": _eager, "jit": _stateless}),
    device=MappingProxyType({"JAX_PLATFORMS": "cpu"}),
    double=double_enabled,
)

BACKENDS: Mapping[str, Backend] = MappingProxyType({one.name: one for one in (TENSORFLOW, TORCH, JAX)})


def present() -> Backend:
    """That of the keras which this process has imported, TensorFlow where it has none; Unsupported for another."""
    name = sys.modules["keras"].backend.backend() if "keras" in sys.modules else TENSORFLOW.name
    if name not in BACKENDS:
        raise Unsupported(f"keras: is imported with the {name} backend; allowed: {', '.join(BACKENDS)}")
    return BACKENDS[name]
