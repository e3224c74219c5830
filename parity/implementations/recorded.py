"""What happened, as a party: the states of a recording, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from parity.case.recording import Recording, recording_in
from parity.core.hyper import Hyper
from parity.core.state import State
from parity.implementations.implementation import Gradients, Implementation


def recorded(folder: Path) -> Implementation:
    """What happened in a recording; ParityError where it cannot be read."""
    recording = recording_in(folder)
    return Implementation("recorded", partial(run, recording), dtypes=(recording.dtype,))


def run(
    recording: Recording,
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
) -> Iterator[State]:
    """The recorded states of the parameters that are asked for; moments that are of another dtype stay hidden.

    start: is what the recording begins with.
    """

    def states(quantity: str, step: int) -> dict[str, np.ndarray] | None:
        if quantity not in recording.quantities or (quantity == "vmax" and not hyper.amsgrad):
            return None
        found = {name: recording.values(quantity, name, step).reshape(one.shape) for name, one in weights.items()}
        return found if all(found[name].dtype == one.dtype for name, one in weights.items()) else None

    for step, _ in enumerate(gradients, start=1):
        w = states("w", step)
        assert w is not None
        yield State(w, states("m", step), states("v", step), states("vmax", step))
