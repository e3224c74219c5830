"""An Adam on its own way through the inputs, from its own states: any twin, or a mixture of two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from parity.adam.evaluation import ArraySquareRoot
from parity.adam.oracle import Block
from parity.adam.step import step_in_place
from parity.adam.twins import Twin
from parity.adam.workspace import Workspace
from parity.explain.inputs import counts_in
from parity.hyper import Hyper
from parity.layout import Layout
from parity.state import State


@dataclass(frozen=True, slots=True)
class Adam:
    """A from-scratch Adam with everything it needs; library: the square root its arithmetic may ask for."""

    hyper: Hyper
    twin: Twin
    library: ArraySquareRoot | None = None


Rows = dict[str, np.ndarray]
"""States after consecutive steps by quantity, each (steps, size)."""


def free_run(adam: Adam, weights: np.ndarray, layout: Layout, blocks: Iterable[Block]) -> Iterator[tuple[Block, Rows]]:
    """The orbit, block by block; weights: (size,), of the dtype in which the rows come."""
    convention = adam.twin.convention
    now: Rows = {"w": weights.copy(), "m": np.zeros_like(weights), "v": np.zeros_like(weights)}
    if adam.hyper.amsgrad:
        now["vmax"] = np.zeros_like(weights)
    state = State(**{name: layout.views(row) for name, row in now.items()})
    names = [parameter.name for parameter in layout.parameters]
    counts = np.zeros(len(names), np.int64)
    with Workspace(threads=1) as workspace:
        for block in blocks:
            counted = counts_in(block, counts, convention)
            counts = counted[-1]
            rows = {name: np.empty((len(block.steps), weights.size), weights.dtype) for name in now}
            for place, step in enumerate(block.steps):
                gradient = layout.views(block.gradients[place])
                step_in_place(
                    state,
                    {name: gradient[name] if here else None
                     for name, here in zip(names, block.present[place], strict=True)},
                    adam.hyper,
                    convention,
                    adam.twin.arithmetic,
                    step,
                    dict(zip(names, counted[place].tolist(), strict=True)),
                    workspace,
                    adam.library,
                )  # fmt: skip
                for name, row in now.items():
                    rows[name][place] = row
            yield block, rows
