"""Gradients on their way to the step of an Adam: what is given, and what is taken of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parity.adam.convention import Convention, StepCount


class Block(NamedTuple):
    """Gradients of consecutive steps: their 1-based numbers, rows (steps, size), and who has one.

    present: (steps, parameters), False where a parameter's gradient is None.
    """

    steps: range
    gradients: np.ndarray
    present: np.ndarray


def counts_in(block: Block, before: np.ndarray, convention: Convention) -> np.ndarray:
    """The t of every parameter's bias correction, (steps, parameters); `before`: (parameters,) at the step before."""
    every = convention.step_count is StepCount.GLOBAL
    counts: np.ndarray = before + np.cumsum(block.present | every, axis=0, dtype=np.int64)
    return counts
