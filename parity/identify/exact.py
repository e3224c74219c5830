"""The bit-exact search: is there a from-scratch Adam that equals the target, bit for bit?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from parity.adam.arithmetic import Arithmetic, Exceptional, Rounding, SquareRoot, Subnormals, plain, setting_of
from parity.adam.convention import Convention, Epsilon, StepCount
from parity.adam.forms import DecayGradient, DecayWeights, Factors, FirstMoment, SecondMoment, Update
from parity.adam.machine import Machine, known_twins
from parity.adam.scalars import ArraySquareRoot, scalars
from parity.adam.step import lock_step
from parity.adam.twin import Twin
from parity.core.hyper import Hyper
from parity.core.state import Rows
from parity.identify.bias_correction import PAPER, Correction
from parity.identify.probes import Observation
from parity.numerics.formats import Format, format_of, in_format, to_bits
from parity.numerics.rounding import round_to

FIRST_PROBES = ("main", "other")
"""What every candidate of a stage is held against; who passes is held against all."""

GLANCE = 6
"""Steps over which a form of a stage is tried; what passes is then held against every step."""


@dataclass(frozen=True, slots=True)
class Match:
    """A from-scratch Adam that equals a target bit for bit.

    elements: how many numbers were compared. left_open: probes whose weights are not all the same, although nothing
    else differs, with why its claim leaves them open. arithmetic: its choices by name, as JSON values; None where
    nothing that was asked shows which it is.
    """

    twin: Twin
    elements: int
    left_open: Mapping[str, Open]
    arithmetic: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Open:
    """Weights of one probe for which a twin claims nothing. differing: of so many elements."""

    differing: int
    elements: int
    reason: str


def search(
    observations: Mapping[str, Observation], library: ArraySquareRoot | None = None, correction: Correction = PAPER
) -> Match | None:
    """The first Adam that reproduces every observation with 0 differing bits, but for what its claim leaves open.

    The twins that are claimed come first, then every combination of forms that `parity.adam.forms` knows, stage by
    stage: m from (m, g), v from (v, g), w from (w, m, v), so that the search is a sum and not a product. library: the
    square root of the target's framework, where it can be asked. correction: what the bias is corrected by; how a power
    of beta is rounded is searched for. Needs m and v.
    """
    shown = {name: one for name, one in observations.items() if one.m is not None and one.v is not None}
    if not shown:
        return None
    judges = [*(_cut(one, GLANCE) for one in shown.values()), *shown.values()]

    def refuses(one: Observation, twin: Twin) -> bool:
        left_open = twin.leaves_open(one.probe.hyper, one.probe.layout)
        return any(
            number and not (left_open and quantity == "w")
            for counts in _by_parameter(one, twin, library, correction)
            for quantity, number in counts.items()
        )

    found = next(
        (twin for twin in _candidates(shown, library, correction) if not _refused(judges, refuses, twin)), None
    )
    if found is None:
        return None
    elements = 0
    left_open: dict[str, Open] = {}
    for name, one in shown.items():
        counts = differing(one, found, library, correction)
        elements += one.w[1:].size * len(counts)
        if counts["w"]:
            reason = found.leaves_open(one.probe.hyper, one.probe.layout)
            left_open[name] = Open(counts["w"], one.w[1:].size, reason)
    return Match(found, elements, left_open, _decided(found.arithmetic, [one.probe.hyper for one in shown.values()]))


def _decided(arithmetic: Arithmetic, asked: Sequence[Hyper]) -> dict[str, Any]:
    """The choices that show where these are asked for."""
    decays = {one.decoupled for one in asked if one.weight_decay}
    clips = any(one.stages.clip is not None for one in asked)
    shows = {
        "decay_gradient": False in decays,
        "decay_weights": True in decays,
        "maximum": any(one.amsgrad for one in asked),
        "lanes": arithmetic.tail != Exceptional(),
        "rows": any(one.stages.rows for one in asked),
        "clipping": clips,
        "reduction": clips,
        "averaging": any(one.stages.average is not None for one in asked),
        "threads": arithmetic.grain > 0,
        "grain": arithmetic.grain > 0,
        "shards": arithmetic.shards > 1,
    }
    return {name: value if shows.get(name, True) else None for name, value in asdict(arithmetic).items()}


def _refused(judges: list[Observation], refuses: Callable[[Observation, Twin], bool], twin: Twin) -> bool:
    """Whether any observation refuses a twin; who does is asked first from then on, as it likely refuses the next."""
    for place, one in enumerate(judges):
        if refuses(one, twin):
            judges.insert(0, judges.pop(place))
            return True
    return False


def differing(
    observation: Observation, twin: Twin, library: ArraySquareRoot | None, correction: Correction = PAPER
) -> dict[str, int]:
    """Elements of m, v, vmax and w of all steps that differ from the twin's, each from the recorded step before."""
    counts = dict.fromkeys(_shown(observation), 0)
    for found in _by_parameter(observation, twin, library, correction):
        for quantity, differing in found.items():
            counts[quantity] += differing
    return counts


def _shown(observation: Observation) -> list[str]:
    return [quantity for quantity in ("m", "v", "vmax", "w") if getattr(observation, quantity) is not None]


@dataclass(frozen=True, slots=True)
class _Placed:
    """Steps of one parameter: its place among so many, (steps,) each."""

    step: np.ndarray
    place: np.ndarray
    of: np.ndarray


def _by_parameter(
    observation: Observation, twin: Twin, library: ArraySquareRoot | None, correction: Correction
) -> Iterator[Mapping[str, int]]:
    """What differs of one parameter after another: who only asks whether anything does stops at the first."""
    probe = observation.probe
    format = format_of(observation.w)
    shapes = {one.name: one.shape for one in probe.layout.parameters}
    steps = np.arange(1, probe.steps + 1)
    for number, (parameter, place) in enumerate(probe.layout.slices()):
        asked = probe.hyper.of(parameter.name)
        given = np.array([parameter.name not in probe.none.get(int(step), ()) for step in steps], bool)
        own = np.cumsum(given) if twin.convention.step_count is StepCount.PER_PARAMETER else steps
        placed = _Placed(steps, np.full(len(steps), number), np.full(len(steps), len(shapes)))
        exponents = correction.exponents(placed, own.astype(np.float64))
        states = observation.states(place)
        if probe.hyper.amsgrad and states.vmax is None:
            yield dict.fromkeys(_shown(observation), states.w.size)
            continue
        before = _rows(states, np.flatnonzero(given))
        after = lock_step(
            before,
            probe.gradients[given][:, place],
            twin.in_force(asked, probe.steps, format).over(steps[given].tolist()),
            twin.convention,
            twin.arithmetic,
            [asked.lr_at(int(step)) for step in steps[given]],
            exponents[:, given],
            library if twin.arithmetic.square_root in _roots(library) else None,
            setting_of(parameter.name, shapes, probe.hyper),
        )
        if (kept := observation.kept.get("w")) is not None:
            after = after._replace(w=in_format(round_to(after.w.astype(np.float64), kept), format))
        recorded = _rows(states, np.flatnonzero(given) + 1)
        counts = {}
        for quantity in _shown(observation):
            rows = getattr(states, quantity)
            counts[quantity] = _unequal(getattr(after, quantity), getattr(recorded, quantity))
            # Without a gradient nothing may change.
            counts[quantity] += _unequal(rows[1:][~given], rows[:-1][~given])
        yield counts


def _cut(observation: Observation, steps: int) -> Observation:
    """The first steps of an observation."""

    def rows(quantity: np.ndarray | None) -> np.ndarray | None:
        return None if quantity is None else quantity[: steps + 1]

    probe = replace(observation.probe, gradients=observation.probe.gradients[:steps])
    return replace(
        observation,
        probe=probe,
        w=observation.w[: steps + 1],
        m=rows(observation.m),
        v=rows(observation.v),
        vmax=rows(observation.vmax),
    )


def _rows(states: Rows, places: np.ndarray) -> Rows:
    return Rows(*(None if rows is None else rows[places] for rows in states))  # type: ignore[arg-type]


def _unequal(actual: np.ndarray | None, expected: np.ndarray | None) -> int:
    """Elements with other bits; zeros of two signs are not one number, NaN is NaN whatever its payload."""
    if actual is None or expected is None:
        return 0
    left, right = to_bits(np.ascontiguousarray(actual)), to_bits(np.ascontiguousarray(expected))
    return int(np.count_nonzero((left != right) & ~((actual != actual) & (expected != expected))))


def _candidates(
    shown: Mapping[str, Observation], library: ArraySquareRoot | None, correction: Correction
) -> Iterator[Twin]:
    format = next(iter(shown.values())).probe.format
    for _, twin in known_twins(format.name, Machine()):
        if not twin.arithmetic.asks_library or SquareRoot.LIBRARY in _roots(library):
            yield twin
    yield from _combined(shown, library, format, correction)


def _roots(library: ArraySquareRoot | None) -> tuple[SquareRoot, ...]:
    """The kinds of roots that can be taken: a library has one of its own."""
    if library is None:
        return (SquareRoot.IEEE,)
    return SquareRoot.IEEE, SquareRoot.REFINED if getattr(library, "reciprocal", False) else SquareRoot.LIBRARY


def _combined(
    shown: Mapping[str, Observation], library: ArraySquareRoot | None, format: Format, correction: Correction
) -> Iterator[Twin]:
    """Twins out of forms that fit m, v and w, decays and the counting of steps, each on its own."""
    asked = [name for name in FIRST_PROBES if name in shown] or list(shown)[:1]
    decays = any(shown[name].probe.hyper.weight_decay for name in asked)
    judges: dict[tuple[str, ...], list[Observation]] = {}

    def fitting(quantity: str, names: Sequence[str], candidates: Iterable[Twin]) -> Iterator[Twin]:
        few = [shown[name] for name in names if name in shown]
        asked = judges.setdefault((quantity, *names), [*(_cut(one, GLANCE) for one in few), *few])

        def refuses(one: Observation, twin: Twin) -> bool:
            return any(each[quantity] for each in _by_parameter(one, twin, library, correction))

        yield from (one for one in candidates if not _refused(asked, refuses, one))

    def first(quantity: str, names: Sequence[str], candidates: Iterable[Twin]) -> Iterator[Twin]:
        return islice(fitting(quantity, names, candidates), 1)

    roots = _roots(library)
    known = set()
    for factors, rounding, subnormals in _manners(format):
        base = replace(plain(Epsilon.OUTSIDE, rounding), factors=factors, subnormals=subnormals)
        if base.asks_library and SquareRoot.LIBRARY not in roots:
            continue
        # Scalars that come to the same numbers in all steps make the same Adams.
        manner = rounding, subnormals, _scalars_in(shown.values(), factors, format, library)
        if manner in known:
            continue
        known.add(manner)
        starts = [Twin(Convention(Epsilon.OUTSIDE), base)]
        if decays:
            starts = list(_choices(starts[0], "decay_gradient", DecayGradient))
        firsts = (one for start in starts for one in _choices(start, "first_moment", FirstMoment))
        for with_m in first("m", asked, firsts):
            for with_v in first("v", asked, _choices(with_m, "second_moment", SecondMoment)):
                rooted = (one for root in roots for one in _choices(with_v, "square_root", [root]))
                updates: Iterable[Twin] = (one for each in rooted for one in _choices(each, "update", Update))
                if decays:
                    updates = (one for each in updates for one in _decaying(each))
                for found in fitting("w", asked, updates):
                    for counted in fitting("w", ["none"], _counting(found)):
                        for with_l2 in first("w", ["l2"], _choices(counted, "decay_gradient", DecayGradient)):
                            yield from first("w", ["decoupled"], _decaying(with_l2))


def _scalars_in(
    observations: Iterable[Observation], factors: Factors, format: Format, library: ArraySquareRoot | None
) -> bytes:
    """A digest of all scalars of the steps of observations."""
    found = hashlib.sha256()
    for one in observations:
        steps = range(1, one.probe.steps + 1)
        hyper = one.probe.hyper.over(steps)
        lr = [one.probe.hyper.lr_at(step) for step in steps]
        made = scalars(hyper, Convention(Epsilon.OUTSIDE), factors, lr, steps, format, library)
        for name in sorted(made):
            found.update(name.encode() + made[name].tobytes())
    return found.digest()


def _choices(twin: Twin, choice: str, forms: Iterable[object]) -> Iterator[Twin]:
    """The same with other forms of a stage; the place of epsilon is that of the update."""
    for form in forms:
        arithmetic = replace(twin.arithmetic, **{choice: form})  # type: ignore[arg-type]
        yield replace(
            twin, arithmetic=arithmetic, convention=replace(twin.convention, epsilon=arithmetic.update.epsilon)
        )


def _counting(twin: Twin) -> Iterator[Twin]:
    for count in StepCount:
        yield replace(twin, convention=replace(twin.convention, step_count=count))


def _decaying(twin: Twin) -> Iterator[Twin]:
    for form in DecayWeights:
        if (form is DecayWeights.IN_UPDATE) == ("decoupled:" in twin.arithmetic.update):
            yield from _choices(twin, "decay_weights", [form])


def _manners(format: Format) -> Iterator[tuple[Factors, Rounding, Subnormals]]:
    roundings = tuple(Rounding) if format.dtype.itemsize < 4 else (Rounding.EACH_OPERATION,)
    for subnormals in Subnormals:
        for rounding in roundings:
            for factors in Factors:
                yield factors, rounding, subnormals
