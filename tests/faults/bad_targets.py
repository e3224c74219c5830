"""Targets that break the contract of a plug-in, or keep it and answer nonsense; none may bring others down.

`tests/engine/test_bad_plugins.py` plants many more of the first kind.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from parity import State

sys.path.append(str(Path(__file__).parent))
from exchangeable_adam import Adam

BAD_STEP = 3


def raises(weights, gradients, hyper) -> Iterator[State]:
    """Raises at step 3."""
    for step, state in enumerate(Adam()(weights, gradients, hyper), start=1):
        if step == BAD_STEP:
            raise RuntimeError("planted")
        yield state


def hangs(weights, gradients, hyper) -> Iterator[State]:
    """Sleeps for ever at step 3."""
    for step, state in enumerate(Adam()(weights, gradients, hyper), start=1):
        while step == BAD_STEP:
            time.sleep(60)
        yield state


def yields_too_few(weights, gradients, hyper) -> Iterator[State]:
    """Ends before step 3."""
    for step, state in enumerate(Adam()(weights, gradients, hyper), start=1):
        if step == BAD_STEP:
            return
        yield state


def mutates_gradients(weights, gradients, hyper) -> Iterator[State]:
    """Makes the gradients it is given writable, and scales them in place."""

    def scaled():
        for gradient in gradients:
            for g in gradient.values():
                g.flags.writeable = True
                g *= g.dtype.type(2)
            yield gradient

    yield from Adam()(weights, scaled(), hyper)


def mutates_weights(weights, gradients, hyper) -> Iterator[State]:
    """Makes the weights it is given writable, and keeps its own in them."""
    for w in weights.values():
        w.flags.writeable = True
    for state in Adam()(weights, gradients, hyper):
        for name, w in weights.items():
            w[...] = state.w[name]
        yield State(weights, state.m, state.v)


def views_of_inputs(weights, gradients, hyper) -> Iterator[State]:
    """Shows the arrays it is given as its state: the weights, and the gradients for both moments."""
    for gradient in gradients:
        yield State(weights, gradient, gradient)


def promoted(weights, gradients, hyper) -> Iterator[State]:
    """Shows weights in float64, as one step size of NumPy's float64 makes them."""
    for state in Adam()(weights, gradients, hyper):
        yield State({name: w.astype(np.float64) for name, w in state.w.items()}, state.m, state.v)


def transposed(weights, gradients, hyper) -> Iterator[State]:
    """Shows every array transposed."""
    for state in Adam()(weights, gradients, hyper):
        yield State(*({name: a.T for name, a in table.items()} for table in state[:3]))


def not_a_number(weights, gradients, hyper) -> Iterator[State]:
    """Every weight is NaN from step 3 on."""
    for step, state in enumerate(Adam()(weights, gradients, hyper), start=1):
        w = {name: np.full_like(a, np.nan) for name, a in state.w.items()} if step >= BAD_STEP else state.w
        yield State(w, state.m, state.v)
