"""Adams that move at every so manyth step only: the gradients of the steps between, summed or averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from parity.identify.answer import Answer, Finding
from parity.identify.probes import Observation, Probe

MOST = 8
"""Steps between two updates that are looked for."""


def accumulation(observations: Sequence[Observation]) -> int:
    """At every how manyth step something changes, of all observations; 1 where it is no regular number."""
    moving = [_moving_steps(one) for one in observations]
    for every in range(MOST, 1, -1):
        if all((steps % every == 0).all() for steps in moving) and any(len(steps) for steps in moving):
            return every
    return 1


def _moving_steps(observed: Observation) -> np.ndarray:
    """1-based steps at which anything changes."""
    changes = np.zeros(observed.probe.steps, bool)
    for rows in (observed.w, observed.m, observed.v):
        if rows is not None:
            changes |= ((rows[1:] != rows[:-1]) & ~(np.isnan(rows[1:]) & np.isnan(rows[:-1]))).any(axis=1)
    return np.flatnonzero(changes) + 1


def of_updates(
    observations: Sequence[Observation], every: int, read: Callable[[Sequence[Observation]], Answer]
) -> Answer:
    """What `read` says of the updates alone, each being given the mean or the sum of its gradients."""
    found = {
        "mean": read([_updates(one, every, mean=True) for one in observations]),
        "sum": read([_updates(one, every, mean=False) for one in observations]),
    }
    what = min(found, key=lambda one: (found[one].verdict != "explained", len(found[one].causes)))
    detail = f"weights move at every {every} steps only, on the {what} of their gradients"
    finding = Finding("accumulation", detail, {"every": every, "of": what})
    return replace(found[what], causes=(finding, *found[what].causes))


def _updates(observed: Observation, every: int, *, mean: bool) -> Observation:
    """The states after every update, and the gradients that went into it."""
    probe, steps = observed.probe, observed.probe.steps // every

    def rows(quantity: np.ndarray | None) -> np.ndarray | None:
        return None if quantity is None else quantity[::every][: steps + 1]

    given = probe.gradients[: steps * every].reshape(steps, every, -1)
    # One after the other in the dtype, as a buffer sums them.
    total = given[:, 0].copy()
    for later in range(1, every):
        total = total + given[:, later]
    none = {}
    for step in range(1, steps + 1):
        absent = [probe.none.get(one, frozenset()) for one in range(every * (step - 1) + 1, every * step + 1)]
        if common := frozenset.intersection(*absent):
            none[step] = common
    asked = probe.hyper
    lr = tuple(asked.lr_at(every * step) for step in range(1, steps + 1)) if asked.lr_changes else asked.lr
    taken = Probe(
        probe.name, probe.layout, probe.format, probe.weights,
        total / total.dtype.type(every) if mean else total, replace(asked, lr=lr),
        MappingProxyType(none),
    )  # fmt: skip
    w = observed.w[::every][: steps + 1]
    return replace(observed, probe=taken, w=w, m=rows(observed.m), v=rows(observed.v), vmax=rows(observed.vmax))
