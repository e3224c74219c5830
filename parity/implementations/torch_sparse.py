"""torch.optim.SparseAdam on the CPU: rows that have a gradient, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.stages import NO_STAGES, Stages
from parity.core.state import State
from parity.implementations import torch_
from parity.implementations.implementation import WHOLE, Gradients, Implementation, Leg
from parity.implementations.torch_memory import square_root


def run(
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
    leg: Leg = WHOLE,
    stages: Stages = NO_STAGES,
) -> Iterator[State]:
    """The orbit of torch.optim.SparseAdam, as torch.nn.Embedding(sparse=True) uses it.

    Its gradients are sparse tensors of the rows (along the first axis) of which any element is not 0; a vector's rows
    are its elements. For these alone, t counting the steps in which the parameter has a gradient, if an empty one::

        m = m + (g - m) * (1 - beta1)                       exp_avg
        v = v + (g * g - v) * (1 - beta2)                   exp_avg_sq
        w = w - lr * sqrt(1 - beta2**t) / (1 - beta1**t) * (m / (sqrt(v) + eps))

    All other rows keep w, m and v. weights, states, start, leg, stages: as in `parity.implementations.torch_.run`; all
    gradients are rows, whatever the case says.
    Raises Unsupported for weight decay and AMSGrad, which it has not, and with torch's own words for what it rejects,
    an eps of 0 for one, and clipping, which torch has for no sparse tensor.
    Source: torch/optim/sparse_adam.py, torch/optim/_functional.py, torch 2.13.
    Differs from: torch.optim.Adam, in the place of eps (that of Keras), and for rows without a gradient, where moments
    do not decay and weights do not move.
    """
    import torch

    parameters = {name: torch_.leaf(array, stages).requires_grad_() for name, array in weights.items()}
    groups = torch_.grouped(parameters, hyper, leg.first)
    decays = any(group.pop("weight_decay") for group in groups)
    if decays or hyper.amsgrad:
        raise Unsupported(f"torch.optim.SparseAdam has no {'weight decay' if decays else 'AMSGrad'}")
    if stages.accumulate > 1:
        _check_sums(next(iter(parameters.values())).dtype)
    try:
        # What stands in groups is not looked at.
        optimizer = torch.optim.SparseAdam(
            groups, hyper.lr_at(1), hyper.betas_at(leg.first), hyper.eps, maximize=stages.maximize
        )
    except (ValueError, RuntimeError) as error:
        raise Unsupported(f"torch {torch.__version__}: {error}") from error
    keys = {"m": "exp_avg", "v": "exp_avg_sq"}
    yield from torch_.orbit(optimizer, parameters, gradients, hyper, start, leg, keys, stages, rows=True, like=weights)


def _check_sums(dtype: Any) -> None:
    """Unsupported, with torch's own words, where sparse gradients of a dtype cannot be added up."""
    import torch

    one = torch.ones(1, 1, dtype=dtype).to_sparse(1)
    try:
        one += one
    except RuntimeError as error:
        raise Unsupported(f"torch: with gradients as rows: {error}") from error


IMPLEMENTATIONS: tuple[Implementation, ...] = (
    Implementation(
        name="torch.adam.sparse",
        run=run,
        framework="torch",
        needs=("torch",),
        convention="hat",
        defaults=Hyper(eps=1e-8),
        square_root=square_root,
        load=torch_.load,
    ),
)
