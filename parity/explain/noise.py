"""The noise floor: what the smallest change of the inputs does to the weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from parity.adam.oracle import Block
from parity.explain.inputs import Inputs
from parity.explain.running import Adam, free_run
from parity.numerics.formats import Format, format_of, to_bits
from parity.numerics.ulp import NO_DISTANCE, ulp_distance


@dataclass(frozen=True, slots=True)
class Noise:
    """Largest change of w at every step, arrays (steps,): in units of lr, and in ULP.

    weights: every initial weight moved by 1 ULP, away from zero. gradient: every gradient of the first step likewise.
    """

    weights_steps: np.ndarray
    weights_ulp: np.ndarray
    gradient_steps: np.ndarray
    gradient_ulp: np.ndarray


def noise(adam: Adam, inputs: Inputs) -> Noise:
    """Three free runs of one Adam: as it is, and with either change."""
    weights = inputs.weights()
    plain, moved, changed = itertools.tee(inputs.blocks(), 3)
    runs = zip(
        free_run(adam, weights, inputs.layout, plain),
        free_run(adam, next_ulp(weights), inputs.layout, moved),
        free_run(adam, weights, inputs.layout, _first_changed(changed)),
        strict=True,
    )
    found: list[list[np.ndarray]] = [[], [], [], []]
    with np.errstate(all="ignore"):
        for (block, base), (_, by_weights), (_, by_gradient) in runs:
            lr = np.array([adam.hyper.lr_at(step) for step in block.steps])
            for place, rows in ((0, by_weights["w"]), (2, by_gradient["w"])):
                gaps = np.abs(rows.astype(np.float64) - base["w"].astype(np.float64))
                largest = np.where(np.isfinite(gaps), gaps, 0.0).max(axis=1)
                found[place].append(np.where(lr > 0, largest / np.where(lr > 0, lr, 1.0), 0.0))
                distance = ulp_distance(rows, base["w"])
                found[place + 1].append(np.where(distance == NO_DISTANCE, 0, distance).max(axis=1))
    return Noise(*(np.concatenate(one) for one in found))


def next_ulp(values: np.ndarray) -> np.ndarray:
    """The neighbours away from zero; zeros, inf and NaN stay as they are: they are not the result of rounding."""
    format: Format = format_of(values)
    bits = to_bits(values)
    magnitude = bits & format.unsigned.type(format.sign_bit - 1)
    moves = (magnitude > 0) & (magnitude < format.infinity_bits - 1)
    moved: np.ndarray = (bits + moves.astype(format.unsigned)).view(format.dtype)
    return moved


def _first_changed(blocks: Iterable[Block]) -> Iterator[Block]:
    for block in blocks:
        if block.steps[0] == 1:
            gradients = block.gradients.copy()
            gradients[0] = next_ulp(gradients[0])
            block = block._replace(gradients=gradients)
        yield block
