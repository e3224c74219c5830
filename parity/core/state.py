"""What an implementation shows after every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

Arrays = Mapping[str, np.ndarray]

QUANTITIES = ("m", "v", "vmax", "w", "average")
"""In the order in which a step computes them: the first that differs is nearest to the cause."""


class State(NamedTuple):
    """Weights and moments after a step, by parameter name; None for a quantity that stays hidden.

    w: weights; m, v: first and second moment as the implementation stores them (not bias-corrected);
    vmax: the stored maximum under AMSGrad. steps: how many were counted so far, by parameter; a state that is handed
    over has to say it, None elsewhere. average: that of the weights where a case asks for one that overwrites nothing.
    Arrays may be live views: the engine copies them before the generator goes on.
    Shapes and dtype are those of the initial weights.
    """

    w: Arrays
    m: Arrays | None = None
    v: Arrays | None = None
    vmax: Arrays | None = None
    steps: Mapping[str, int] | None = None
    average: Arrays | None = None


class Rows(NamedTuple):
    """One tensor at several steps: w, m, v (and vmax under AMSGrad), each of shape (steps, size)."""

    w: np.ndarray
    m: np.ndarray
    v: np.ndarray
    vmax: np.ndarray | None = None


class Start(NamedTuple):
    """What an orbit begins with: rows (size,) of all parameters, and how many steps each has counted, (parameters,)."""

    rows: Rows
    counts: np.ndarray
