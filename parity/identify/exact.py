"""The bit-exact search: is there a from-scratch Adam that equals the target, bit for bit?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from parity.adam.arithmetic import Arithmetic, Rounding, Setting, SquareRoot, Subnormals, plain
from parity.adam.convention import Convention, Epsilon, StepCount
from parity.adam.evaluation import ArraySquareRoot
from parity.adam.forms import DecayGradient, DecayWeights, Factors, FirstMoment, SecondMoment, Update
from parity.adam.lock_step import Rows, lock_step
from parity.adam.twins import TWINS, Twin
from parity.identify.observation import Observation
from parity.numerics.formats import Format

FIRST_PROBES = ("main", "other")
"""What every candidate of a stage is held against; who passes is held against all."""


@dataclass(frozen=True, slots=True)
class Match:
    """A from-scratch Adam that equals a target bit for bit. elements: how many numbers were compared."""

    twin: Twin
    elements: int


def search(observations: Mapping[str, Observation], library: ArraySquareRoot | None = None) -> Match | None:
    """The first Adam that reproduces every observation with 0 differing bits, or None.

    The twins that are claimed come first, then every combination of forms that `parity.adam.forms` knows, stage by
    stage: m from (m, g), v from (v, g), w from (w, m, v), so that the search is a sum and not a product. library: the
    square root of the target's framework, where it can be asked. Needs m and v.
    """
    shown = {name: one for name, one in observations.items() if one.m is not None and one.v is not None}
    if not shown:
        return None
    few = [shown[name] for name in FIRST_PROBES if name in shown] or list(shown.values())[:1]
    every = [*few, *(one for one in shown.values() if all(one is not other for other in few))]
    for twin in _candidates(few, library):
        elements = 0
        for observation in every:
            found = differing(observation, twin, library)
            if any(found.values()):
                break
            elements += observation.w[1:].size * (3 + (observation.vmax is not None))
        else:
            return Match(twin, elements)
    return None


def differing(observation: Observation, twin: Twin, library: ArraySquareRoot | None) -> dict[str, int]:
    """Elements of m, v, vmax and w of all steps that differ from the twin's, each from the recorded step before."""
    probe = observation.probe
    counts = {quantity: 0 for quantity in ("m", "v", "vmax", "w") if getattr(observation, quantity) is not None}
    for parameter, place in probe.layout.slices():
        steps = np.arange(1, probe.steps + 1)
        given = np.array([parameter.name not in probe.none.get(int(step), ()) for step in steps], bool)
        own = np.cumsum(given) if twin.convention.step_count is StepCount.PER_PARAMETER else steps
        states = observation.states(place)
        if probe.hyper.amsgrad and states.vmax is None:
            return dict.fromkeys(counts, observation.w.size)
        before = _rows(states, np.flatnonzero(given))
        after = lock_step(
            before,
            probe.gradients[given][:, place],
            twin.in_force(probe.hyper),
            twin.convention,
            twin.arithmetic,
            [probe.hyper.lr_at(int(step)) for step in steps[given]],
            own[given].tolist(),
            library,
            Setting(parameter.shape, len(probe.layout.parameters)),
        )
        recorded = _rows(states, np.flatnonzero(given) + 1)
        for quantity in counts:
            rows = getattr(states, quantity)
            counts[quantity] += _unequal(getattr(after, quantity), getattr(recorded, quantity))
            # Without a gradient nothing may change.
            counts[quantity] += _unequal(rows[1:][~given], rows[:-1][~given])
    return counts


def _rows(states: Rows, places: np.ndarray) -> Rows:
    return Rows(*(None if rows is None else rows[places] for rows in states))  # type: ignore[arg-type]


def _unequal(actual: np.ndarray | None, expected: np.ndarray | None) -> int:
    """Elements that differ; both zeros are one number, and NaN is NaN whatever its payload."""
    if actual is None or expected is None:
        return 0
    return int(np.count_nonzero((actual != expected) & ~((actual != actual) & (expected != expected))))


def _candidates(few: list[Observation], library: ArraySquareRoot | None) -> Iterator[Twin]:
    format = few[0].probe.format
    tried: list[Twin] = []
    for claims in TWINS.values():
        twin = claims[format.name]
        if twin not in tried and (library is not None or twin.arithmetic.square_root is SquareRoot.IEEE):
            tried.append(twin)
            yield twin
    yield from _combined(few, library, format)


def _combined(few: list[Observation], library: ArraySquareRoot | None, format: Format) -> Iterator[Twin]:
    """Twins out of forms that fit m, v and w each on their own."""
    for factors, rounding, subnormals in _manners(format):
        base = replace(plain(Epsilon.OUTSIDE, rounding), factors=factors, subnormals=subnormals)
        firsts = list(_fitting("m", few, library, (replace(base, first_moment=form) for form in FirstMoment)))
        if not firsts:
            continue
        seconds = list(_fitting("v", few, library, (replace(firsts[0], second_moment=form) for form in SecondMoment)))
        for found in seconds[:1]:
            for update in Update:
                for root in SquareRoot if library is not None else (SquareRoot.IEEE,):
                    for count in StepCount:
                        yield from _with_decays(
                            Convention(update.epsilon, step_count=count),
                            replace(found, update=update, square_root=root),
                        )


def _with_decays(convention: Convention, arithmetic: Arithmetic) -> Iterator[Twin]:
    for gradient in DecayGradient:
        for weights in DecayWeights:
            if (weights is DecayWeights.IN_UPDATE) == ("decoupled:" in arithmetic.update):
                yield Twin(convention, replace(arithmetic, decay_gradient=gradient, decay_weights=weights))


def _manners(format: Format) -> Iterator[tuple[Factors, Rounding, Subnormals]]:
    roundings = tuple(Rounding) if format.dtype.itemsize < 4 else (Rounding.EACH_OPERATION,)
    for subnormals in Subnormals:
        for rounding in roundings:
            for factors in Factors:
                yield factors, rounding, subnormals


def _fitting(
    quantity: str, few: list[Observation], library: ArraySquareRoot | None, candidates: Iterable[Arithmetic]
) -> Iterator[Arithmetic]:
    for candidate in candidates:
        twin = Twin(Convention(candidate.update.epsilon), candidate)
        if all(differing(one, twin, library)[quantity] == 0 for one in few):
            yield candidate
