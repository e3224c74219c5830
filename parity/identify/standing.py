"""Weights that stand where they should move: which they are."""

from __future__ import annotations

import numpy as np

from parity.identify.answer import Finding
from parity.identify.points import Points


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Mask of numbers that are others than before; NaN stays NaN."""
    return np.asarray((before != after) & ~(np.isnan(before) & np.isnan(after)))


def standing(points: Points, stuck: np.ndarray) -> Finding:
    """Describes weights that stand. stuck: mask of points whose weight stays where the rule moves it visibly."""
    some = points.at(stuck)
    evidence = {"points": int(stuck.sum()), "elements": len(np.unique(some.element))}
    moving = changed(points.w0, points.w1)
    if not moving.any():
        return Finding("partial-update", "no weight ever moves, whatever the moments are", evidence)
    elements = {(probe, element) for probe, element in zip(some.probe.tolist(), some.element.tolist(), strict=True)}
    moved = points.at(moving)
    also = elements & set(zip(moved.probe.tolist(), moved.element.tolist(), strict=True))
    if some.empty.all() and not (moving & points.empty).any():
        return Finding("sparse-rows", "weights of rows whose gradient is zero wait", evidence)
    if also:
        return Finding("partial-update", "some weights stand at some steps", evidence | {"also_moving": len(also)})
    return Finding("partial-update", f"{_which(points, some, moved)} never move", evidence)


def _which(points: Points, stuck: Points, moved: Points) -> str:
    # Tensors: those of which nothing moves in any probe.
    still = set(zip(stuck.probe.tolist(), stuck.place.tolist(), strict=True))
    going = set(zip(moved.probe.tolist(), moved.place.tolist(), strict=True))
    if not still & going:
        if (stuck.axes == 2).all() and not (moved.axes == 2).any():
            return "tensors of two axes"
        if (stuck.place == stuck.of - 1).all():
            return "the weights of the last tensor"
        return "the weights of some tensors"
    starts: dict[tuple[int, float], tuple[int, int]] = {}
    for key in still:
        row = points.element[(points.probe == key[0]) & (points.place == key[1])]
        starts[key] = int(row.min()), int(row.max())
    keys = list(zip(stuck.probe.tolist(), stuck.place.tolist(), strict=True))
    within = np.array([element - starts[key][0] for key, element in zip(keys, stuck.element.tolist(), strict=True)])
    last = np.array([element == starts[key][1] for key, element in zip(keys, stuck.element.tolist(), strict=True)])
    if last.all():
        return "the last elements of tensors"
    if within.min() >= 256:
        return f"elements from number {within.min()} on"
    return "some elements"
