"""The from-scratch Adam as rows of the list of implementations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from parity.adam.arithmetic import Rounding, plain
from parity.adam.convention import Convention, Epsilon, StepCount
from parity.core.hyper import Hyper
from parity.core.stages import NO_STAGES, Stages, WideState
from parity.core.state import State
from parity.implementations.implementation import Gradients, Implementation
from parity.numerics.formats import FORMATS


def run(
    weights: Mapping[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
    stages: Stages = NO_STAGES,
    *,
    epsilon: Epsilon = Epsilon.OUTSIDE,
    rounding: Rounding = Rounding.EACH_OPERATION,
) -> Iterator[State]:
    """The orbit of the from-scratch Adam; every State shows the same live arrays.

    t is counted as the framework of that epsilon does: OUTSIDE per parameter (torch), HAT and INSIDE
    globally (Keras, optax). vmax is shown under AMSGrad. start: moments and counts to begin with. stages: as
    `parity.core.stages` has them, norms in double, everything else rounded operation by operation; beside a wide state
    in its dtype, and to the dtype in which a quantity is kept after the step.
    """
    averaged, counted, initial_state, step_in_place, taken_one_by_one = _load()

    count = StepCount.PER_PARAMETER if epsilon is Epsilon.OUTSIDE else StepCount.GLOBAL
    convention = Convention(epsilon, step_count=count)
    arithmetic = plain(epsilon, rounding)
    wide = stages.state
    dtypes = {name: array.dtype for name, array in weights.items()}
    if wide is not None:
        weights = {name: array.astype(wide.dtype) for name, array in weights.items()}
    state = initial_state(weights, hyper)
    counts = dict.fromkeys(weights, 0)
    if start is not None:
        m, v, vmax = ({name: np.array(one) for name, one in (arrays or {}).items()} for arrays in start[1:4])
        state, counts = state._replace(m=m, v=v, vmax=vmax if hyper.amsgrad else None), dict(start.steps or counts)
    averages = {} if stages.average is None else {name: averaged(stages.average) for name in weights}
    given = taken_one_by_one(gradients, weights, stages, arithmetic) if stages.change_gradients else gradients
    for t, gradient in enumerate(given, start=1):
        if gradient is not None and wide is not None:
            gradient = {name: None if g is None else g.astype(wide.dtype) for name, g in gradient.items()}
        if gradient is not None:
            counts = counted(counts, gradient, convention)
            step_in_place(state, gradient, hyper, convention, arithmetic, t, counts)
        shown = {name: one.after(t, state.w[name]) for name, one in averages.items()}
        kept = state if wide is None else _in_kept(state, dtypes, wide)
        yield kept._replace(steps=counts, average=shown if stages.shows_average else None)


def _in_kept(state: State, dtypes: Mapping[str, np.dtype[Any]], wide: WideState) -> State:
    """Every quantity in the dtype in which it is kept, where it is also what the next step takes, but for masters."""
    shown: dict[str, dict[str, np.ndarray]] = {}
    for quantity in ("w", "m", "v", "vmax"):
        if (arrays := getattr(state, quantity)) is None:
            continue
        shown[quantity] = {name: array.astype(wide.of(quantity) or dtypes[name]) for name, array in arrays.items()}
        for name, array in arrays.items():
            if not wide.master:
                array[...] = shown[quantity][name]
    return State(shown["w"], shown["m"], shown["v"], shown.get("vmax"))


def _load() -> tuple[Any, Any, Any, Any, Any]:
    # The compiler takes a second to load, and the list of implementations needs none.
    from parity.adam.average import Averaged
    from parity.adam.gradients import taken_one_by_one
    from parity.adam.step import counted, initial_state, step_in_place

    return Averaged, counted, initial_state, step_in_place, taken_one_by_one


def _row(epsilon: Epsilon, rounding: Rounding, suffix: str, dtypes: tuple[str, ...]) -> Implementation:
    return Implementation(
        name=f"numpy.adam.{epsilon}{suffix}",
        run=run,
        framework="numpy",
        needs=("numpy", "numba"),
        dtypes=dtypes,
        options=MappingProxyType({"epsilon": epsilon, "rounding": rounding}),
        convention=epsilon.value,
        representative=rounding is Rounding.EACH_OPERATION,
        load=_load,
    )


IMPLEMENTATIONS: tuple[Implementation, ...] = (
    *(_row(epsilon, Rounding.EACH_OPERATION, "", tuple(FORMATS)) for epsilon in Epsilon),
    *(_row(epsilon, Rounding.AT_STORE, ".store", ("float16", "bfloat16")) for epsilon in Epsilon),
)
