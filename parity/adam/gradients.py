"""Gradients on their way to the step of an Adam: what is given, and what is taken of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from parity.adam.arithmetic import Arithmetic
from parity.adam.clipping import clip, clip_exactly
from parity.adam.convention import ClipFactor, Convention, ScaleRange, StepCount
from parity.adam.forms import Clipping, Reduction
from parity.core.layout import Layout, Parameter
from parity.core.stages import LossScale, Stages
from parity.numerics.double_double import add, divide, from_double
from parity.numerics.jit import compiled


class Block(NamedTuple):
    """Gradients of consecutive steps: their 1-based numbers, rows (steps, size), and who has one.

    present: (steps, parameters), False where a parameter's gradient is None, and for all where no update is made.
    updates: (steps,), False where none is, and nobody counts; None for one at every step. low: what is to be added to
    the gradients in double-double; None for nothing.
    """

    steps: range
    gradients: np.ndarray
    present: np.ndarray
    updates: np.ndarray | None = None
    low: np.ndarray | None = None


def idle_elements(gradients: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Mask (steps, size) of the elements in rows along the first axis whose gradient is 0 throughout.

    gradients: (steps, size) of a tensor of that shape.
    """
    rows = gradients.reshape(len(gradients), shape[0] if shape else 1, -1) if gradients.size else gradients[..., None]
    idle: np.ndarray = np.broadcast_to((rows == 0).all(axis=2, keepdims=True), rows.shape).reshape(gradients.shape)
    return idle


def counts_in(block: Block, before: np.ndarray, convention: Convention) -> np.ndarray:
    """The t of every parameter's bias correction, (steps, parameters); `before`: (parameters,) at the step before."""
    counted = block.present
    if convention.step_count is StepCount.GLOBAL:
        updates = block.updates
        if updates is None or convention.counts_left_out:
            updates = np.ones(len(block.steps), bool)
        counted = np.broadcast_to(updates[:, None], counted.shape)
    counts: np.ndarray = before + np.cumsum(counted, axis=0, dtype=np.int64)
    return counts


def taken(
    blocks: Iterable[Block],
    layout: Layout,
    stages: Stages,
    clipping: Clipping,
    reduction: Reduction,
    scale_range: ScaleRange = ScaleRange.FINITE,
) -> Iterator[Block]:
    """What an Adam takes of the gradients that it is given, every operation rounded to their dtype.

    In order: the loss scale (times it and divided by it, and no update where anything is not finite), accumulation
    (no update but every k-th, of the mean), clipping, the sign. Formulas: `parity.core.stages`; how the mean is formed,
    the scale divided by, the limit held and a norm summed up: `clipping`, `reduction`. scale_range: where the scale
    stays.
    """
    if not stages.change_gradients:
        yield from blocks
        return
    scaling = None if stages.loss_scale is None else _Scaling(stages.loss_scale, clipping, scale_range)
    sums: np.ndarray | None = None
    given = np.zeros(len(layout.parameters), bool)
    for block in blocks:
        rows, present = block.gradients.copy(), block.present.copy()
        updates = np.ones(len(block.steps), bool)
        with np.errstate(all="ignore"):
            for place, step in enumerate(block.steps):
                row = rows[place]
                if scaling is not None:
                    row, updates[place] = scaling.unscaled(row)
                if stages.accumulate > 1:
                    number = (step - 1) % stages.accumulate + 1
                    sums = _added(sums if number > 1 else None, row, number, stages.accumulate, clipping)
                    updates[place], row = number == stages.accumulate, sums
                    given = present[place] | (given & (number > 1))
                    present[place] = given
                if stages.clip is not None and updates[place]:
                    row = clip(row, present[place], layout, stages.clip, clipping, reduction)
                rows[place] = -row if stages.maximize else row
        present &= updates[:, None]
        yield block._replace(gradients=rows, present=present, updates=updates)


def taken_one_by_one(
    gradients: Iterable[Mapping[str, np.ndarray | None]],
    weights: Mapping[str, np.ndarray],
    stages: Stages,
    arithmetic: Arithmetic,
) -> Iterator[dict[str, np.ndarray | None] | None]:
    """As `taken`, of gradients by name; None for a step that is no update."""
    layout = Layout(tuple(Parameter(name, array.shape) for name, array in weights.items()))
    dtype = next(iter(weights.values())).dtype

    def blocks() -> Iterator[Block]:
        for step, gradient in enumerate(gradients, start=1):
            row, present = np.zeros((1, layout.size), dtype), np.ones((1, len(weights)), bool)
            for number, (parameter, place) in enumerate(layout.slices()):
                array = gradient[parameter.name]
                present[0, number] = array is not None
                row[0, place] = 0 if array is None else array.ravel()
            yield Block(range(step, step + 1), row, present)

    for block in taken(blocks(), layout, stages, arithmetic.clipping, arithmetic.reduction):
        if block.updates is not None and not block.updates[0]:
            yield None
            continue
        views = layout.views(block.gradients[0])
        here = zip(views.items(), block.present[0], strict=True)
        yield {name: np.array(view) if one else None for (name, view), one in here}


def taken_exactly(
    blocks: Iterable[Block],
    layout: Layout,
    stages: Stages,
    factor: ClipFactor,
    scale_range: ScaleRange = ScaleRange.FINITE,
) -> Iterator[Block]:
    """The same in (nearly) exact arithmetic; which steps are no updates is decided in the dtype of the blocks."""
    if not stages.change_gradients:
        yield from blocks
        return
    scaling = None if stages.loss_scale is None else _Scaling(stages.loss_scale, Clipping.PLAIN, scale_range)
    mean, given = from_double(np.zeros(layout.size)), np.zeros(len(layout.parameters), bool)
    for block in blocks:
        high, low = np.zeros((2, *block.gradients.shape))
        present = block.present.copy()
        updates = np.ones(len(block.steps), bool)
        for place, step in enumerate(block.steps):
            row = block.gradients[place]
            if scaling is not None:
                with np.errstate(all="ignore"):
                    updates[place] = scaling.unscaled(row)[1]
            number = (step - 1) % stages.accumulate + 1
            updates[place] &= number == stages.accumulate
            given = present[place] | (given & (number > 1))
            present[place] = given
            _into_mean(*mean, row.astype(np.float64), float(number))
            high[place], low[place] = mean
            if stages.clip is not None and updates[place]:
                high[place], low[place] = clip_exactly(mean, given, layout, stages.clip, factor)
        if stages.maximize:
            high, low = -high, -low
        yield block._replace(gradients=high, present=present & updates[:, None], updates=updates, low=low)


@compiled
def _into_mean(high: np.ndarray, low: np.ndarray, row: np.ndarray, number: float) -> None:
    """From the mean of all gradients but the last, in double-doubles, to that of so many."""
    for i in range(row.size):
        if number == 1:
            high[i], low[i] = row[i], 0.0
            continue
        gap_high, gap_low = add(row[i], 0.0, -high[i], -low[i])
        part_high, part_low = divide(gap_high, gap_low, number, 0.0)
        high[i], low[i] = add(high[i], low[i], part_high, part_low)


def _added(sums: np.ndarray | None, row: np.ndarray, number: int, of: int, clipping: Clipping) -> np.ndarray:
    """The accumulated gradient after so many of a mean, as each framework forms it."""
    match clipping:
        case Clipping.KERAS | Clipping.KERAS_COMPILED:
            # Not the row itself, which is written to.
            total = row.copy() if sums is None else row + sums
            one = row.dtype.type
            folded = clipping is Clipping.KERAS_COMPILED
            mean: np.ndarray = (total * one(1 / of) if folded else total / one(of)).astype(row.dtype)
            return mean if number == of else total
        case Clipping.OPTAX | Clipping.OPTAX_COMPILED:
            # The mean is kept in float32, whatever the dtype of the gradients; only the last is used as it is formed.
            before: np.ndarray = np.zeros(row.shape, np.float32) if sums is None else sums
            wide = row.astype(np.float64 if row.dtype.itemsize == 8 else np.float32)
            moved: np.ndarray = before + (wide - before) / wide.dtype.type(number)
            return moved.astype(row.dtype if number == of else np.float32)
        case _:
            # As the gradient of a loss that is divided by their number.
            part: np.ndarray = (row / row.dtype.type(of)).astype(row.dtype)
            return part if sums is None else sums + part


class _Scaling:
    """A loss scale on its way."""

    def __init__(self, table: LossScale, clipping: Clipping, scale_range: ScaleRange) -> None:
        self._table, self._clipping, self._range, self._good = table, clipping, scale_range, 0
        self._scale = self._kept(1.0 if scale_range is ScaleRange.FIXED else table.initial)

    def unscaled(self, row: np.ndarray) -> tuple[np.ndarray, bool]:
        """Gradients as they are after the scale, and whether all are finite; then the scale of the next step."""
        scaled = (row * row.dtype.type(self._scale)).astype(row.dtype)
        back, looked_at = self._divided(scaled)
        finite = bool(np.isfinite(looked_at).all())
        self._adapt(finite)
        return back, finite

    def _divided(self, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By the scale, and what of it is asked whether it is finite: gradients before, or after."""
        scale, own, single = np.float64(self._scale), scaled.dtype.type, np.float32
        match self._clipping:
            case Clipping.KERAS | Clipping.KERAS_COMPILED if self._range is not ScaleRange.FROM_ONE:
                # A half divided by a float32 variable is a float32, which the step rounds.
                return (scaled / np.asarray(single(scale))).astype(scaled.dtype), scaled
            case Clipping.KERAS | Clipping.KERAS_COMPILED:
                inverse = single(1) / single(scale)
                # TensorFlow flushes: of a scale of 2**127 the inverse is 0, and with it every gradient.
                back = scaled * own(inverse if inverse >= np.finfo(single).tiny else 0)
                return back, back
            case Clipping.TORCH:
                return (scaled * np.asarray(single(1 / scale))).astype(scaled.dtype), scaled
            case _:
                back = (scaled * own(1 / scale)).astype(scaled.dtype)
                return back, back

    def _adapt(self, finite: bool) -> None:
        """The scale of the next step."""
        if self._range is ScaleRange.FIXED:
            return
        self._good = self._good + 1 if finite else 0
        if not finite:
            fallen = self._kept(self._scale * self._table.backoff)
            self._scale = max(fallen, 1.0) if self._range is ScaleRange.FROM_ONE else fallen
        elif self._good == self._table.interval:
            grown = self._kept(self._scale * self._table.growth)
            bounded = self._range is not ScaleRange.UNBOUNDED and not np.isfinite(np.float32(grown))
            self._scale, self._good = self._scale if bounded else grown, 0

    def _kept(self, scale: float) -> float:
        """As frameworks keep it, in float32."""
        return scale if self._clipping is Clipping.PLAIN else float(np.float32(scale))
