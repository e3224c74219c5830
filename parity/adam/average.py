"""A running average of the weights, by which they are overwritten."""

from __future__ import annotations

import numpy as np

from parity.core.stages import Average
from parity.numerics.double_double import DoubleDouble, add, multiply
from parity.numerics.jit import compiled


class Averaged:
    """The average after the steps so far, each operation rounded to the dtype of the weights.

    Source: keras/src/optimizers/base_optimizer.py, _update_model_variables_moving_average, Keras 3.15.1.
    """

    def __init__(self, asked: Average) -> None:
        self._asked = asked
        self._average: np.ndarray | None = None

    def overwrite(self, step: int, w: np.ndarray) -> None:
        """Take in the weights after a 1-based step, which are overwritten where it is their turn."""
        number = w.dtype.type
        momentum = number(self._asked.momentum)
        if self._average is None:
            self._average = w.copy()
        else:
            self._average = (momentum * self._average + (number(1) - momentum) * w).astype(w.dtype)
        if step % self._asked.overwrite == 0:
            w[...] = self._average


class AveragedExactly:
    """The same in (nearly) exact arithmetic."""

    def __init__(self, asked: Average) -> None:
        self._asked = asked
        self._average: DoubleDouble | None = None

    def overwrite(self, step: int, w: DoubleDouble) -> None:
        """Take in the weights after a 1-based step, which are overwritten where it is their turn."""
        if self._average is None:
            self._average = DoubleDouble(w.high.copy(), w.low.copy())
        else:
            _mix(*self._average, *w, self._asked.momentum)
        if step % self._asked.overwrite == 0:
            w.high[...], w.low[...] = self._average


@compiled
def _mix(high: np.ndarray, low: np.ndarray, w_high: np.ndarray, w_low: np.ndarray, momentum: float) -> None:
    rest_high, rest_low = add(1.0, 0.0, -momentum, 0.0)
    for i in range(high.size):
        old_high, old_low = multiply(high[i], low[i], momentum, 0.0)
        new_high, new_low = multiply(w_high[i], w_low[i], rest_high, rest_low)
        high[i], low[i] = add(old_high, old_low, new_high, new_low)
