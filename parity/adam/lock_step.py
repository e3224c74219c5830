"""Many steps at once: each from the recorded state before it, so that one step's error never reaches the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from parity.adam.arithmetic import Arithmetic, Setting, parts
from parity.adam.convention import Convention
from parity.adam.evaluation import ArraySquareRoot, Evaluator, evaluator
from parity.adam.scalars import Scalars, scalars
from parity.adam.stages import scratch_rows, step_block
from parity.core.hyper import Hyper
from parity.numerics.formats import format_of

BLOCK = 1 << 16
"""Elements of one block, of all steps together."""


class Rows(NamedTuple):
    """One tensor at several steps: w, m, v (and vmax under AMSGrad), each of shape (steps, size)."""

    w: np.ndarray
    m: np.ndarray
    v: np.ndarray
    vmax: np.ndarray | None = None


def lock_step(
    before: Rows,
    gradients: np.ndarray,
    hyper: Hyper,
    convention: Convention,
    arithmetic: Arithmetic,
    lr: Sequence[float],
    counts: Sequence[int],
    library: ArraySquareRoot | None = None,
    setting: Setting | None = None,
) -> Rows:
    """The states that an Adam makes of recorded ones: row i from row i of `before` and of `gradients`.

    before, gradients: (steps, size), one dtype; lr, counts: step size and t of the bias correction, (steps,). The
    orbit of an implementation whose every row equals this one, bit for bit, is the orbit of this Adam: by induction,
    as both begin at the same state. library: see `parity.adam.evaluation`. setting: of the tensor, where
    omitted (size,) beside others.
    """
    after = Rows(*(None if rows is None else np.empty_like(rows) for rows in before))  # type: ignore[arg-type]
    stored = format_of(before.w)
    factors = scalars(hyper, convention, arithmetic.factors, lr, counts, stored)
    compute = evaluator(arithmetic, stored, library)
    with np.errstate(all="ignore"):
        for columns, stages in parts(arithmetic, setting or Setting(before.w.shape[1:], 2)):
            for place in _blocks(before.w.shape[0], columns):
                _fill(after, before, gradients, place, factors, hyper, stages, compute)
    return after


def _blocks(steps: int, columns: slice) -> Iterator[tuple[slice, slice]]:
    width = min(columns.stop - columns.start, BLOCK)
    height = max(1, BLOCK // max(width, 1))
    for left in range(columns.start, columns.stop, max(width, 1)):
        for top in range(0, steps, height):
            yield slice(top, min(top + height, steps)), slice(left, min(left + width, columns.stop))


def _fill(
    after: Rows,
    before: Rows,
    gradients: np.ndarray,
    place: tuple[slice, slice],
    factors: Scalars,
    hyper: Hyper,
    arithmetic: Arithmetic,
    compute: Evaluator,
) -> None:
    working = compute.working.dtype
    rows = {name: rows for name, rows in before._asdict().items() if rows is not None}
    arrays = {name: np.array(row[place], working) for name, row in (*rows.items(), ("g", gradients))}
    columns = {name: value[place[0], None] for name, value in factors.items()}
    scratch = np.empty((scratch_rows(arithmetic, hyper), *arrays["w"].shape), working)
    step_block(arrays, columns, hyper, arithmetic, compute, scratch)
    for name in rows:
        np.copyto(getattr(after, name)[place], arrays[name], casting="unsafe")
