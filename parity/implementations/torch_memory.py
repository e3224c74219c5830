"""torch's tensors on NumPy's memory, for every adapter that runs on torch."""

from __future__ import annotations

import warnings
from typing import Any

import ml_dtypes
import numpy as np

from parity.implementations.implementation import rows_of


def tensor_on(array: np.ndarray) -> Any:
    """A tensor on the memory of a C-contiguous array, read-only ones too; whoever gets it must not write."""
    import torch

    array = np.asarray(array, order="C")
    bfloat16 = array.dtype == ml_dtypes.bfloat16
    with warnings.catch_warnings():
        # Adam never writes to a gradient, and weights are cloned.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(array.view(np.int16) if bfloat16 else array)
    return tensor.view(torch.bfloat16) if bfloat16 else tensor


def rows_on(array: np.ndarray) -> Any:
    """A gradient as a sparse tensor of the rows that are not 0 throughout; of a 0-d one, of itself."""
    import torch

    dense, there = tensor_on(array), torch.from_numpy(rows_of(array))
    # A 0-d tensor is one row, which has no number.
    indices = there.reshape(1, -1)[: dense.dim()]
    values = dense[there] if dense.dim() else dense.reshape(1)[there]
    # Where it can be asked for it has to be, or torch warns; torch 1.13 always checks.
    asked = {"check_invariants": True} if hasattr(torch.sparse, "check_sparse_tensor_invariants") else {}
    return torch.sparse_coo_tensor(indices, values, dense.shape, **asked)


def array_of(tensor: Any) -> np.ndarray:
    """A tensor as a NumPy array on the same memory."""
    import torch

    tensor = tensor.detach()
    array: np.ndarray
    if tensor.dtype == torch.bfloat16:
        array = tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    else:
        array = tensor.numpy()
    return array


def square_root(values: np.ndarray) -> np.ndarray:
    """torch.sqrt on the CPU: any shape, one of the four formats, which the result has too.

    Differs from: IEEE 754, by one ULP at most: float32 and float64 come from a vector library.
    Source: aten/src/ATen/native/cpu/UnaryOpsKernel.cpp, torch 2.13.
    """
    import torch

    return array_of(torch.sqrt(tensor_on(values)))
