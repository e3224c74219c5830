"""TensorFlow's tensors on NumPy's memory, for every adapter that runs on TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

from parity.core.errors import Unsupported
from parity.implementations.implementation import rows_of

_ALIGNMENT = 64
"""Bytes to which TensorFlow aligns tensors; a kernel given less aborts the process."""


def tensorflow_module() -> Any:
    """The module tensorflow, without its messages about the processor it finds."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow

    return tensorflow


def check_formats(weights: Mapping[str, np.ndarray]) -> None:
    """Unsupported where weights are in the bfloat16 of ml_dtypes, and TensorFlow, up to 2.13, has one of its own."""
    tensorflow = tensorflow_module()
    if tensorflow.bfloat16.as_numpy_dtype is not ml_dtypes.bfloat16:
        if any(array.dtype == ml_dtypes.bfloat16 for array in weights.values()):
            raise Unsupported(f"tensorflow {tensorflow.__version__} does not know the bfloat16 of ml_dtypes")


def aligned(name: str, array: np.ndarray, staging: dict[str, np.ndarray]) -> np.ndarray:
    """The array itself where TensorFlow can stand on its memory, else its copy in a staging buffer."""
    if array.flags.c_contiguous and array.ctypes.data % _ALIGNMENT == 0:
        return array
    if name not in staging:
        memory = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
        offset = -memory.ctypes.data % _ALIGNMENT
        staging[name] = memory[offset : offset + array.nbytes].view(array.dtype).reshape(array.shape)
    np.copyto(staging[name], array)
    return staging[name]


def tensor_on(array: np.ndarray) -> Any:
    """A tensor on the memory of an aligned array, read-only ones too; TensorFlow never writes to a tensor.

    `tf.convert_to_tensor` copies twice: once always, and again as NumPy's memory is not aligned.
    """
    tensorflow = tensorflow_module()
    if array.dtype == ml_dtypes.bfloat16:  # which NumPy does not put into a DLPack capsule
        return tensorflow.bitcast(tensor_on(array.view(np.int16)), tensorflow.bfloat16)
    interface = {**array.__array_interface__, "data": (array.ctypes.data, False)}
    # Without the read-only flag, which an unversioned capsule cannot carry; `owner` keeps the memory alive.
    writable = np.asarray(SimpleNamespace(__array_interface__=interface, owner=array))
    return tensorflow.experimental.dlpack.from_dlpack(writable.__dlpack__())


def reciprocal_root(values: np.ndarray) -> np.ndarray:
    """1 / sqrt(x) as XLA compiles it for the CPU: any shape, float64 or float32, which the result has too.

    Differs from: IEEE 754, by two ULP at most: refined from the processor's approximation.
    """
    return np.asarray(_compiled_root()(tensorflow_module().constant(values)))


@cache
def _compiled_root() -> Any:
    tensorflow = tensorflow_module()
    return tensorflow.function(tensorflow.math.rsqrt, jit_compile=True, reduce_retracing=True)


def slices_of(array: np.ndarray) -> Any:
    """The rows of a gradient that are not 0 throughout, as `tf.IndexedSlices`: what `tf.gather` has for a gradient."""
    tensorflow, rows = tensorflow_module(), rows_of(array)
    values, shape = tensorflow.constant(array[rows]), tensorflow.constant(array.shape, tensorflow.int64)
    return tensorflow.IndexedSlices(values, tensorflow.constant(rows), shape)


def array_of(variable: Any) -> np.ndarray:
    """The value of a tf.Variable as an array, read-only and on the same memory but for 0-d ones.

    The variable's own `numpy()` copies; a tensor that was read out does not. TensorFlow updates a
    variable in place only while no such array is alive, so the array keeps its values.
    """
    value = variable.read_value()
    # The array protocol of a 0-d bfloat16 tensor gives a scalar, which NumPy refuses.
    array = np.asarray(value if value.shape.rank else value.numpy())
    array.flags.writeable = False  # which TensorFlow forgets for bfloat16
    return array
