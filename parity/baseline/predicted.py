"""What a from-scratch Adam says a trace holds, so that a baseline keeps only what differs from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from parity.adam.arithmetic import Arithmetic, Exceptional, Rounding, SquareRoot, Subnormals
from parity.adam.convention import Convention, Epsilon, Maximum, StepCount
from parity.adam.forms import DecayGradient, DecayWeights, Factors, FirstMoment, Largest, SecondMoment, Update
from parity.adam.twins import Twin
from parity.explain.inputs import Inputs
from parity.explain.running import Adam, free_run
from parity.hyper import Hyper
from parity.numerics.formats import to_bits

_PLACES = ("tail", "only", "alone", "zero_dimensional")


def predict(twin: Twin, hyper: Hyper, inputs: Inputs, steps: Sequence[int]) -> dict[str, np.ndarray]:
    """The bits of w, m, v (vmax) after those steps, (len(steps), size), where a twin runs freely on the inputs.

    A square root of a framework's own library is taken as the IEEE one: it needs no framework, and any prediction
    serves, as what differs from it is kept.
    """
    plain = replace(twin, arithmetic=replace(twin.arithmetic, square_root=SquareRoot.IEEE))
    adam = Adam(plain.in_force(hyper), plain)
    kept: dict[str, list[np.ndarray]] = {}
    wanted = set(steps)
    for block, rows in free_run(adam, inputs.weights(), inputs.layout, inputs.blocks()):
        places = [place for place, step in enumerate(block.steps) if step in wanted]
        for name, states in rows.items():
            kept.setdefault(name, []).append(to_bits(np.ascontiguousarray(states[places])))
    return {name: np.concatenate(parts) for name, parts in kept.items()}


def twin_to_json(twin: Twin) -> dict[str, Any]:
    """All choices of a twin, forms as the programs that they are."""
    return asdict(twin)


def twin_from_json(told: dict[str, Any]) -> Twin:
    """The inverse; ValueError, KeyError or TypeError where a choice is none that this parity knows."""
    convention, arithmetic = told["convention"], told["arithmetic"]
    return Twin(
        Convention(
            Epsilon(convention["epsilon"]),
            bool(convention["bias_correction"]),
            StepCount(convention["step_count"]),
            Maximum(convention["maximum"]),
        ),
        Arithmetic(
            Factors(arithmetic["factors"]),
            FirstMoment(arithmetic["first_moment"]),
            SecondMoment(arithmetic["second_moment"]),
            Update(arithmetic["update"]),
            DecayGradient(arithmetic["decay_gradient"]),
            DecayWeights(arithmetic["decay_weights"]),
            Largest(arithmetic["maximum"]),
            Rounding(arithmetic["rounding"]),
            SquareRoot(arithmetic["square_root"]),
            Subnormals(arithmetic["subnormals"]),
            int(arithmetic["lanes"]),
            *(_exceptional(arithmetic[name]) for name in _PLACES),
        ),
        float(told["eps_for_zero"]),
        str(told["open_without_eps"]),
    )


def _exceptional(told: dict[str, Any]) -> Exceptional:
    first, second, update = told["first_moment"], told["second_moment"], told["update"]
    gradient, weights = told["decay_gradient"], told["decay_weights"]
    return Exceptional(
        None if first is None else FirstMoment(first),
        None if second is None else SecondMoment(second),
        None if update is None else Update(update),
        None if gradient is None else DecayGradient(gradient),
        None if weights is None else DecayWeights(weights),
    )
