"""The noun: an Adam that can be run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from parity.core.hyper import Hyper
from parity.core.state import State
from parity.numerics.formats import FORMATS

Gradients = Iterable[Mapping[str, np.ndarray | None]]
Run = Callable[..., Iterator[State]]


@dataclass(frozen=True, slots=True)
class Implementation:
    """An Adam under a dotted name, and one generator of its states.

    run: ``run(weights, gradients, hyper, **options)``, yields a State after every step, raises
    Unsupported before the first for what its framework cannot do. framework: the worker process
    that serves it. needs: what has to be installed, each as `parity.implementations.need.unmet`
    takes it. dtypes: names of formats it runs in.
    options: what makes this variant, passed to `run`. convention: the epsilon placement it claims
    (outside, hat, inside), None where unknown. defaults: its own default hyperparameters. square_root: its
    framework's, an array of one of the four formats to another of its shape and dtype; None where nobody asks.
    representative: stands for its framework where one has to; pairs of two that do are explained at length. load:
    imports the framework and does nothing else, so that workers can be forked from a process that has called it.
    """

    name: str
    run: Run
    framework: str = "user"
    needs: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = tuple(FORMATS)
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    convention: str | None = None
    defaults: Hyper = field(default_factory=Hyper)
    square_root: Callable[[np.ndarray], np.ndarray] | None = None
    representative: bool = False
    load: Callable[[], object] | None = None

    def states(self, weights: dict[str, np.ndarray], gradients: Gradients, hyper: Hyper) -> Iterator[State]:
        """The orbit: one State after every gradient."""
        return self.run(weights, gradients, hyper, **self.options)
