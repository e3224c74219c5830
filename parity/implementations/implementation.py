"""The noun: an Adam that can be run."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.state import State
from parity.numerics.formats import FORMATS

Gradients = Iterable[Mapping[str, np.ndarray | None]]
Run = Callable[..., Iterator[State]]


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of an orbit between two restarts: what was saved is loaded before it, and what it came to saved after it.

    first: 1-based step it begins with; Hyper speaks of all steps. load, save: folders; None before the first leg and
    after the last. In `save`, which is empty, an implementation writes by its framework's own means once its gradients
    end, in the process that ran them; from `load` another process takes it. A leg comes with the weights of step 0.
    """

    first: int = 1
    load: Path | None = None
    save: Path | None = None


WHOLE = Leg()


@dataclass(frozen=True, slots=True)
class Implementation:
    """An Adam under a dotted name, and one generator of its states.

    run: ``run(weights, gradients, hyper, start=None, leg=WHOLE, stages=NO_STAGES, **options)``, yields a State after
    every step, raises Unsupported before the first for what its framework cannot do. `start`, `leg` and `stages` may be
    left out: then cases that begin with a state, restart, or do something around the step are SKIPPED for it; one that
    takes `start` alone is restarted by that. framework:
    the worker process that serves it. needs: what has to be installed, each as `parity.implementations.need.unmet`
    takes it. dtypes: names of formats it runs in.
    options: what makes this variant, passed to `run`. convention: the epsilon placement it claims
    (outside, hat, inside), None where unknown. defaults: its own default hyperparameters. square_root: its
    framework's, an array of one of the four formats to another of its shape and dtype; None where nobody asks.
    reciprocal_root: the same of 1 / sqrt(x), as its compiler makes it.
    representative: stands for its framework where one has to; pairs of two that do are explained at length. load:
    imports the framework and does nothing else, so that workers can be forked from a process that has called it.
    on_request: too dear to be run where nobody names it.
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
    reciprocal_root: Callable[[np.ndarray], np.ndarray] | None = None
    representative: bool = False
    load: Callable[[], object] | None = None
    on_request: bool = False

    def states(
        self,
        weights: dict[str, np.ndarray],
        gradients: Gradients,
        hyper: Hyper,
        start: State | None = None,
        leg: Leg = WHOLE,
    ) -> Iterator[State]:
        """The orbit: one State after every gradient; Unsupported for what it takes no part in and is given."""
        given: dict[str, Any] = dict(self.options)
        asked = hyper.stages.names
        # Whoever asks `hyper` for the lr of every step knows of a schedule what there is to know.
        knows = self.framework == "user" and set(asked) <= {"schedule"} and not _takes(self.run, "stages")
        if asked and not knows:
            given["stages"] = hyper.stages
        state, narrow = hyper.stages.state, {array.dtype.itemsize for array in weights.values()}
        if state is not None and max(narrow, default=0) >= FORMATS[state.dtype].dtype.itemsize:
            raise Unsupported(f"a state in {state.dtype} is not wider than the weights are")
        if start is not None:
            given["start"] = start
        if leg != WHOLE:
            given["leg"] = leg
        stages = f"a case with {', '.join(asked)}"
        for name, what in (("start", "a case that begins with a state"), ("leg", "a restart"), ("stages", stages)):
            if name in given and not _takes(self.run, name):
                raise Unsupported(f"{self.name}: its run takes no {name}, which {what} needs")
        return self.run(weights, gradients, hyper, **given)

    @property
    def takes_leg(self) -> bool:
        """Whether it saves and loads by its own means."""
        return _takes(self.run, "leg")

    @property
    def takes_start(self) -> bool:
        """Whether it can begin with a state."""
        return _takes(self.run, "start")


@cache
def _takes(run: Run, name: str) -> bool:
    try:
        return name in inspect.signature(run).parameters
    except (TypeError, ValueError):
        return False


def one_count(start: State, framework: str) -> int:
    """The t of all parameters of a framework that counts steps for all of them together; Unsupported for several."""
    found = sorted(set((start.steps or {}).values()))
    if len(found) != 1:
        raise Unsupported(f"{framework}: counts steps for all parameters together, and they begin at {found}")
    return found[0]


def shared_decay(hyper: Hyper, names: Iterable[str], framework: str) -> tuple[float, tuple[bool, ...]]:
    """The weight decay of all parameters that decay, and which do; Unsupported for all else of their own."""
    owns = [hyper.of(name) for name in names]
    found = {own.weight_decay for own in owns if own.weight_decay}
    alike = {replace(own, weight_decay=0.0) for own in owns}
    if len(alike) > 1 or len(found) > 1:
        raise Unsupported(f"{framework}: an optimizer has one lr, beta1, beta2, epsilon and decay for all variables; "
                          "some may be left out of the decay, no more")  # fmt: skip
    return max(found, default=0.0), tuple(own.weight_decay != 0 for own in owns)


def rows_of(gradient: np.ndarray) -> np.ndarray:
    """Which rows along the first axis of a gradient are not 0 throughout, in ascending order; a 0-d one is a row."""
    many, *rest = gradient.shape or (1,)
    found: np.ndarray = np.flatnonzero((gradient != 0).reshape(many, math.prod(rest)).any(axis=1))
    return found


def constant_betas(hyper: Hyper, framework: str) -> tuple[float, float]:
    """Both betas, of a framework in which they stay what they are; Unsupported where they change."""
    if isinstance(hyper.beta1, tuple) or isinstance(hyper.beta2, tuple) or hyper.betas_change:
        raise Unsupported(f"{framework}: its Adam has one beta1 and one beta2 for all steps")
    return hyper.beta1, hyper.beta2


def exclude_from_decay(optimizer: Any, variables: list[Any], decays: tuple[bool, ...]) -> None:
    """Leave variables out of the weight decay, where any decays."""
    excluded = [variable for variable, decayed in zip(variables, decays, strict=True) if not decayed]
    if excluded and any(decays):
        optimizer.exclude_from_weight_decay(var_list=excluded)
