"""The noise floor: what the smallest change of the inputs does to the weights."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from parity.adam.gradients import Block
from parity.explain.inputs import Inputs
from parity.explain.running import Adam, free_run, in_steps, units_of
from parity.numerics.formats import Format, format_of, formats_in, in_format, to_bits


class Noise(NamedTuple):
    """Largest change of w after a step, in units of lr.

    weights: where every initial weight was moved by 1 ULP, away from zero. gradient: every gradient of the first step.
    """

    weights: float
    gradient: float


def noise(adam: Adam, inputs: Inputs, steps: Collection[int]) -> dict[int, Noise]:
    """After each of some steps; three free runs of one Adam to the last of them: as it is, and with either change."""
    start = inputs.start()
    elsewhere = start._replace(rows=start.rows._replace(w=_next_of_each(start.rows.w, inputs)))
    plain, moved, changed = itertools.tee(inputs.blocks(max(steps, default=0)), 3)
    runs = zip(
        free_run(adam, start, inputs.layout, plain),
        free_run(adam, elsewhere, inputs.layout, moved),
        free_run(adam, start, inputs.layout, _first_changed(changed, inputs)),
        strict=True,
    )
    found: dict[int, Noise] = {}
    with np.errstate(all="ignore"):
        for (block, base), *others in runs:
            for step in sorted(set(steps) & set(block.steps)):
                place = slice(step - block.steps[0], step - block.steps[0] + 1)
                lr = units_of(adam.hyper, [step])
                row, *changes = (rows["w"][place].astype(np.float64) for rows in (base, *(rows for _, rows in others)))
                found[step] = Noise(*(float(in_steps(one, row, lr)[0]) for one in changes))
    return found


def next_ulp(values: np.ndarray) -> np.ndarray:
    """The neighbours away from zero; zeros, inf and NaN stay as they are: they are not the result of rounding."""
    format: Format = format_of(values)
    bits = to_bits(values)
    magnitude = bits & format.unsigned.type(format.sign_bit - 1)
    moves = (magnitude > 0) & (magnitude < format.infinity_bits - 1)
    moved: np.ndarray = (bits + moves.astype(format.unsigned)).view(format.dtype)
    return moved


def _next_of_each(row: np.ndarray, inputs: Inputs) -> np.ndarray:
    """`next_ulp` of every parameter of a row in its own format."""
    moved = np.empty_like(row)
    for (_, place), format in zip(inputs.layout.slices(), formats_in(inputs.layout, inputs.format), strict=True):
        moved[place] = next_ulp(in_format(row[place], format))
    return moved


def _first_changed(blocks: Iterable[Block], inputs: Inputs) -> Iterator[Block]:
    for block in blocks:
        if block.steps[0] == 1:
            gradients = block.gradients.copy()
            gradients[0] = _next_of_each(gradients[0], inputs)
            block = block._replace(gradients=gradients)
        yield block
