"""A running average of the weights, which overwrites them or stands beside them."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.adam.convention import AverageStart
from parity.adam.forms import Averaging
from parity.core.layout import Layout
from parity.core.stages import Average
from parity.numerics.double_double import DoubleDouble, add, divide, from_double, multiply
from parity.numerics.jit import compiled, fma


class Averaged:
    """The average after the steps so far, each operation rounded to the dtype of the weights.

    layout: how tensors stand in the row that is averaged, where it is one; a single tensor is multiplied by the inverse
    of what several are divided by, as XLA does it. initial: the weights before the first step, with which
    INITIAL_WEIGHTS begins.
    Source: keras/src/optimizers/base_optimizer.py, _update_model_variables_moving_average, Keras 3.15.1;
    torch/optim/swa_utils.py, get_ema_multi_avg_fn, torch 2.13; optax/transforms/_accumulation.py, ema, optax 0.2.8.
    """

    def __init__(
        self,
        asked: Average,
        start: AverageStart = AverageStart.FIRST_WEIGHTS,
        averaging: Averaging = Averaging.PRODUCTS,
        layout: Layout | None = None,
        initial: np.ndarray | None = None,
    ) -> None:
        self._asked, self._start, self._averaging, self._initial = asked, start, averaging, initial
        sizes = [] if layout is None else [one.size for one in layout.parameters]
        if len(sizes) == 1 and averaging is Averaging.PRODUCTS:
            self._averaging = Averaging.INVERSE
        self._alone = np.repeat([one == 1 for one in sizes], sizes)
        self._average: np.ndarray | None = None

    def after(self, step: int, w: np.ndarray) -> np.ndarray:
        """The average with the weights after a 1-based step, which it overwrites where it is their turn."""
        with np.errstate(all="ignore"):
            self._average = self._next(w)
            shown = self._average
            if self._start is AverageStart.ZERO_CORRECTED:
                shown = _corrected(shown, self._asked.momentum, step, self._averaging, self._alone)
        if self._asked.overwrite and step % self._asked.overwrite == 0:
            w[...] = shown
        return shown

    def _next(self, w: np.ndarray) -> np.ndarray:
        number: Any = w.dtype.type
        momentum, old = self._asked.momentum, self._average
        if self._start is AverageStart.ZERO_CORRECTED:
            old = np.zeros_like(w) if old is None else old
            mixed = number(1 - momentum) * w + number(momentum) * old
        elif self._start is AverageStart.INITIAL_WEIGHTS:
            old = self._initial if old is None else old
            mixed = number(momentum) * old + number(1 - momentum) * w
        elif old is None:
            return np.array(w)
        elif self._averaging is Averaging.LERP:
            working = np.float64 if w.dtype.itemsize == 8 else np.float32
            flat = old.astype(working).ravel(), w.astype(working).ravel()
            mixed = _lerp(*flat, working(1 - momentum)).reshape(w.shape)
        else:
            mixed = number(momentum) * old + (number(1) - number(momentum)) * w
        rounded: np.ndarray = np.asarray(mixed).astype(w.dtype)
        return rounded


def _corrected(average: np.ndarray, momentum: float, step: int, averaging: Averaging, alone: np.ndarray) -> np.ndarray:
    """Divided by ``1 - momentum**step``, which is formed in float32 where the dtype is no float64.

    alone: the only elements of their tensors, which are divided in any case.
    """
    number: Any = average.dtype.type
    working: Any = np.float64 if average.dtype.itemsize == 8 else np.float32
    share = number(working(1) - working(float(working(momentum)) ** step))
    found: np.ndarray = average / share
    if averaging is Averaging.WIDE_INVERSE:
        inverse = (average.astype(np.float32) * (np.float32(1) / np.float32(share))).astype(average.dtype)
    else:
        inverse = average * (number(1) / share) if averaging is Averaging.INVERSE else found
    return np.where(alone, found, inverse) if alone.size else inverse


@compiled
def _lerp(old: np.ndarray, new: np.ndarray, share: Any) -> np.ndarray:
    """From old to new by a share of the way, as torch's kernel: one difference and one fma."""
    mixed = np.empty_like(old)
    for i in range(old.size):
        gap = new[i] - old[i]
        mixed[i] = fma(share, gap, old[i]) if share < 0.5 else fma(share - old.dtype.type(1), gap, new[i])
    return mixed


class AveragedExactly:
    """The same in (nearly) exact arithmetic."""

    def __init__(
        self,
        asked: Average,
        start: AverageStart = AverageStart.FIRST_WEIGHTS,
        initial: np.ndarray | None = None,
    ) -> None:
        self._asked, self._start = asked, start
        self._average: DoubleDouble | None = None
        if start is AverageStart.INITIAL_WEIGHTS and initial is not None:
            self._average = from_double(initial.astype(np.float64))

    def after(self, step: int, w: DoubleDouble) -> DoubleDouble:
        """The average with the weights after a 1-based step, which it overwrites where it is their turn."""
        corrected = self._start is AverageStart.ZERO_CORRECTED
        if self._average is None:
            self._average = DoubleDouble(w.high.copy(), w.low.copy())
            if corrected:
                _mix(*_zeroed(self._average), *w, self._asked.momentum)
        else:
            _mix(*self._average, *w, self._asked.momentum)
        shown = DoubleDouble(self._average.high.copy(), self._average.low.copy())
        if corrected:
            _divide(*shown, self._asked.momentum, step)
        if self._asked.overwrite and step % self._asked.overwrite == 0:
            w.high[...], w.low[...] = shown
        return shown


def _zeroed(rows: DoubleDouble) -> DoubleDouble:
    rows.high[...], rows.low[...] = 0.0, 0.0
    return rows


@compiled
def _mix(high: np.ndarray, low: np.ndarray, w_high: np.ndarray, w_low: np.ndarray, momentum: float) -> None:
    rest_high, rest_low = add(1.0, 0.0, -momentum, 0.0)
    for i in range(high.size):
        old_high, old_low = multiply(high[i], low[i], momentum, 0.0)
        new_high, new_low = multiply(w_high[i], w_low[i], rest_high, rest_low)
        high[i], low[i] = add(old_high, old_low, new_high, new_low)


@compiled
def _divide(high: np.ndarray, low: np.ndarray, momentum: float, step: int) -> None:
    power_high, power_low = 1.0, 0.0
    for _ in range(step):
        power_high, power_low = multiply(power_high, power_low, momentum, 0.0)
    share_high, share_low = add(1.0, 0.0, -power_high, -power_low)
    for i in range(high.size):
        high[i], low[i] = divide(high[i], low[i], share_high, share_low)
