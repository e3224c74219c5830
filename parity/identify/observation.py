"""What is asked of a target that is to be identified, and what it showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from parity.adam.lock_step import Rows
from parity.core.hyper import Hyper
from parity.core.layout import Layout
from parity.numerics.formats import Format


@dataclass(frozen=True, slots=True)
class Probe:
    """A question whose answer tells Adams apart: initial weights, a gradient sequence, hyperparameters.

    name: what it is for. weights: (size,) and gradients: (steps, size), rows packed by `layout`, of the format's
    dtype, read-only. none: parameters whose gradient is None, by 1-based step.
    """

    name: str
    layout: Layout
    format: Format
    weights: np.ndarray
    gradients: np.ndarray
    hyper: Hyper
    none: Mapping[int, frozenset[str]]

    @property
    def steps(self) -> int:
        """Number of gradients."""
        return len(self.gradients)


@dataclass(frozen=True, slots=True)
class Observation:
    """The orbit of a target on a probe.

    w, m, v, vmax: (steps + 1, size) of the probe's dtype, row 0 the state before the first step; None where the
    target hides the quantity.
    """

    probe: Probe
    w: np.ndarray
    m: np.ndarray | None = None
    v: np.ndarray | None = None
    vmax: np.ndarray | None = None

    def states(self, place: slice) -> Rows:
        """All states of one parameter, (steps + 1, its size); ValueError where a moment is hidden."""
        if self.m is None or self.v is None:
            raise ValueError(f"{self.probe.name}: m or v is hidden")
        vmax = None if self.vmax is None else self.vmax[:, place]
        return Rows(self.w[:, place], self.m[:, place], self.v[:, place], vmax)
