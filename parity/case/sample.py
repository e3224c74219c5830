"""A case on some elements of every tensor: Adam is element-wise, so that each goes the way it goes in the whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parity.case.case import Case, Sampled

ALIGNED = 64
"""Spans begin at a multiple of so many elements: what stood in a full vector of a kernel does so in the sample."""

SPANS = 3


def sampled(case: Case, width: int) -> Case | None:
    """The same case on three spans of about `width` elements of every longer tensor: its begin, middle and end.

    width: a multiple of ALIGNED. None where elements do not go their own ways: where something is done around the step,
    rows are handed over, or a new process goes on.
    """
    rows = any(one.gradients.kind == "rows" for one in case.parameters)
    if case.around().names or case.restart or rows:
        return None
    parameters = []
    for one, parameter in zip(case.parameters, case.layout().parameters, strict=True):
        if parameter.size <= (SPANS + 1) * width:
            parameters.append(one)
            continue
        middle, last = (start // ALIGNED * ALIGNED for start in ((parameter.size - width) // 2, parameter.size - width))
        spans = ((0, width), (middle, middle + width), (last, parameter.size))
        size = sum(stop - start for start, stop in spans)
        update = {"shape": (size,), "sampled": Sampled(shape=one.shape, spans=spans)}
        parameters.append(one.model_copy(update=update))
    return case.model_copy(update={"parameters": tuple(parameters)})


def sample_of(rows: np.ndarray, case: Case) -> np.ndarray:
    """What rows (n, all elements) of the whole hold of a case on a sample of it; a copy."""
    return np.concatenate([rows[:, start:stop] for start, stop in _places(case)], axis=1)


def _places(case: Case) -> Iterator[tuple[int, int]]:
    """Where the sample stands in a row of the whole."""
    offset = 0
    for one in case.parameters:
        for start, stop in one.spans:
            yield offset + start, offset + stop
        offset += one.whole_size
