"""What a trace is taken for: the twin that is claimed or found, its residual, or a convention only."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from parity.adam.arithmetic import Arithmetic, Exceptional, plain
from parity.adam.convention import (
    AverageStart,
    ClipFactor,
    Convention,
    Epsilon,
    Maximum,
    ScaleRange,
    StepCount,
)
from parity.adam.forms import Averaging, Clipping, Factors, FirstMoment, Rates, Reduction, SecondMoment, Update
from parity.adam.machine import Machine, known_twins, machine_of, twin_on, twins_on
from parity.adam.oracle import Oracle, orbits
from parity.adam.twin import Twin
from parity.case.case import RESTARTED
from parity.case.recording import recording_in
from parity.case.replay import RECORDED
from parity.comparison.trace import Trace
from parity.core.stages import WideState
from parity.explain.inputs import Inputs
from parity.explain.libraries import Libraries
from parity.explain.residual import Residual, residual
from parity.explain.running import Adam
from parity.explain.split import Side
from parity.numerics.formats import Format, format_named

GLANCE = 4
"""Steps after which a twin that does not fit is given up."""


CLEARLY = 100
"""How many times nearer another convention has to be before a trace is taken for it."""


_OF_FORMULA = {
    "step_count": StepCount, "maximum": Maximum, "clip_factor": ClipFactor, "average_start": AverageStart,
    "scale_range": ScaleRange, "counts_left_out": (True, False), "lazy_rows": (True, False),
}  # fmt: skip
_AROUND = {"factors": Factors, "clipping": Clipping, "reduction": Reduction, "averaging": Averaging}

CONVENTIONS = tuple(Convention(epsilon, step_count=count) for epsilon in Epsilon for count in StepCount)
"""What an Adam may be taken for of which nothing is known; the paper's first."""


class Source(StrEnum):
    """Where the knowledge of a side comes from.

    CLAIMED: `parity.adam.twins` says it. FOUND: none is claimed or the claim is broken, and this one of another
    fits every bit. CONVENTION: only the place of epsilon is claimed. NEAREST: nothing is; the convention whose
    oracle is nearest.
    """

    CLAIMED = "claimed"
    FOUND = "found"
    CONVENTION = "convention"
    NEAREST = "nearest"


@dataclass(frozen=True, slots=True)
class Standing:
    """One implementation's trace and what it is taken for.

    adam: the from-scratch Adam it was held against: its twin, or the plain Adam of its convention. residual: what that
    leaves. like: whose twin was found to fit; '' for a mixture of known forms. broken: elements with other bits than a
    claimed twin has in whose place another was found. known_as: whose Adam it is said to be; machine: where it ran.
    """

    trace: Trace
    known_as: str
    machine: Machine
    source: Source
    adam: Adam
    residual: Residual
    like: str = ""
    broken: int = 0

    @property
    def known(self) -> bool:
        """Whether its twin has every bit."""
        return self.residual.differing == 0

    @property
    def plain(self) -> bool:
        """Whether all that it computes is in one dtype: of several twins there is no one set of scalars."""
        return not self.trace.layout.mixed and self.trace.hyper.stages.state is None

    @property
    def side(self) -> Side:
        """As the split takes it."""
        has_twin = self.source in (Source.CLAIMED, Source.FOUND) and self.plain
        return Side(self.trace, self.adam.hyper, self.adam.twin.convention, self.adam.twin if has_twin else None)

    @property
    def left_open(self) -> str:
        """Why the claimed twin does not speak of these hyperparameters; empty where it does, or none is claimed."""
        own = {_computed(self.trace).name, *(one.dtype for one in self.trace.layout.parameters if one.dtype)}
        claimed = [twin_on(self.known_as, dtype, self.machine) for dtype in own]
        return next(
            filter(None, (one.leaves_open(self.trace.hyper, self.trace.layout) for one in claimed if one is not None)),
            "",
        )


def standing_of(trace: Trace, claim: str | None, inputs: Inputs, libraries: Libraries) -> Standing:
    """Takes a trace for its claimed twin, else for any twin that fits, else for a plain Adam.

    claim: the place of epsilon that the implementation states, None where it states none.
    """
    trace = _as_kept(trace)
    (name, machine), computed = _said_to_be(trace, inputs), _computed(trace)
    dtype = computed.name
    held: Standing | None = None
    for claimed in twins_on(name, dtype, machine):
        hyper = claimed.in_force(trace.hyper, trace.steps, computed)
        others = _others(trace, name, machine)
        if others is None:
            break
        asking = next((one for one in (claimed, *dict(others).values()) if one.arithmetic.asks_library), claimed)
        adam = Adam(hyper, claimed, libraries.for_twin(name, asking.arithmetic), others)
        claim_held = Standing(trace, name, machine, Source.CLAIMED, adam, residual(trace, inputs, adam))
        if claim_held.known:
            return claim_held
        held = held or claim_held
    own = held.adam.twin if held is not None else None
    beside = () if own is None else _neighbours(own)
    guesses = itertools.chain(known_twins(dtype, machine), beside, _search(trace, inputs, own))
    for like, twin in () if trace.layout.mixed else guesses:
        if twin.arithmetic.asks_library and not libraries.serve(name, twin.arithmetic):
            continue
        hyper = twin.in_force(trace.hyper, trace.steps, computed)
        adam = Adam(hyper, twin, libraries.for_twin(name, twin.arithmetic))
        if not residual(trace, inputs, adam, GLANCE).differing:
            broken = 0 if held is None or held.left_open else held.residual.differing
            left = residual(trace, inputs, adam)
            found = Standing(trace, name, machine, Source.FOUND, adam, left, like, broken)
            if found.known:
                return found
    if held is not None:
        return held
    source = Source.NEAREST if claim is None else Source.CONVENTION
    conventions = [one for one in CONVENTIONS if claim is None or one.epsilon == claim]
    convention = nearest_convention(trace, inputs, conventions)
    adam = Adam(trace.hyper, Twin(convention, plain(convention.epsilon)))
    return Standing(trace, name, machine, source, adam, residual(trace, inputs, adam))


def _as_kept(trace: Trace) -> Trace:
    """With moments that it keeps in a wider dtype of its own accord as if that had been asked for."""
    kept = {name: set(trace.formats[name]) for name in ("m", "v") if name in trace.quantities}
    wide = {name: formats for name, formats in kept.items() if formats != {trace.format}}
    stages = trace.hyper.stages
    if stages.state is not None or trace.layout.mixed or not wide or any(len(one) > 1 for one in kept.values()):
        return trace
    state = WideState(**{name: next(iter(formats)).name for name, formats in wide.items()})
    return replace(trace, hyper=replace(trace.hyper, stages=replace(stages, state=state)))


def _computed(trace: Trace) -> Format:
    """In which a step is computed: the case's, or that of a wide state."""
    wide = trace.hyper.stages.state
    return trace.format if wide is None else format_named(wide.dtype)


def _others(trace: Trace, name: str, machine: Machine) -> tuple[tuple[str, Twin], ...] | None:
    """Twins of parameters with a dtype of their own, by that; None where nothing is claimed in one of them."""
    dtypes = dict.fromkeys(one.dtype for one in trace.layout.parameters if one.dtype not in ("", trace.format.name))
    found = [(dtype, twin_on(name, dtype, machine)) for dtype in dtypes]
    return None if any(twin is None for _, twin in found) else tuple((dtype, twin) for dtype, twin in found if twin)


def _said_to_be(trace: Trace, inputs: Inputs) -> tuple[str, Machine]:
    """The implementation that a trace says it is of, and where it ran; what was recorded: its optimizer, and there."""
    if trace.implementation != RECORDED:
        return trace.implementation.removesuffix(RESTARTED), machine_of(trace.environment)
    told = recording_in(Path(inputs.case.recorded)).told
    return told["implementation"] or RECORDED, machine_of(told.get("environment", {}))


def nearest_convention(trace: Trace, inputs: Inputs, conventions: Sequence[Convention] = CONVENTIONS) -> Convention:
    """The first convention, unless the oracle of another is by far nearer to the weights of a trace.

    Measured: the root of the mean square of the difference; by far: `CLEARLY` times.
    """
    oracles = {Oracle(trace.hyper, convention): 0.0 for convention in conventions}
    array = trace.array("w")
    row = 1
    with np.errstate(all="ignore"):
        for truths in orbits(list(oracles), inputs.start(), inputs.layout, inputs.blocks(), inputs.format):
            for oracle, truth in truths.items():
                rows = array[row : row + len(truth.w.high)].astype(np.float64)
                gaps = rows - truth.w.high
                oracles[oracle] += float(np.sum(np.square(gaps[np.isfinite(gaps)])))
            row += len(truth.w.high)
    nearest = min(oracles, key=lambda oracle: oracles[oracle])
    first = next(iter(oracles))
    return (nearest if oracles[nearest] * CLEARLY**2 < oracles[first] else first).convention


def _search(trace: Trace, inputs: Inputs, claimed: Twin | None) -> Iterator[tuple[str, Twin]]:
    """Mixtures of known forms that fit the first steps, stage by stage: m and v first, then the update of w.

    They begin with the twin that is claimed, as it is and without what elements at the end of a tensor, or alone in it,
    are computed by; then with the plain Adam of every convention.
    """
    for twin in () if claimed is None else (claimed, replace(claimed, arithmetic=_alike(claimed.arithmetic))):
        yield from (("", one) for one in _mixtures(trace, inputs, twin, [twin.convention]))
    for factors in (Factors.ROUNDED_ONCE, Factors.IN_WORKING_FORMAT):
        twin = Twin(CONVENTIONS[0], replace(plain(Epsilon.OUTSIDE), factors=factors))
        yield from (("", one) for one in _mixtures(trace, inputs, twin, CONVENTIONS))


def _alike(arithmetic: Arithmetic) -> Arithmetic:
    """The same for all elements of every tensor."""
    none = Exceptional()
    return replace(arithmetic, tail=none, only=none, rows=none, alone=none, zero_dimensional=none)


def _mixtures(trace: Trace, inputs: Inputs, twin: Twin, conventions: Sequence[Convention]) -> Iterator[Twin]:
    """A twin with those forms of the moments that fit, its own before others, and every form of the update."""
    base = twin.arithmetic
    own = base.first_moment, base.second_moment
    first = (one for one in (own[0], *FirstMoment) if _fits(trace, inputs, twin, "m", first_moment=one))
    second = (one for one in (own[1], *SecondMoment) if _fits(trace, inputs, twin, "v", second_moment=one))
    for m, v in itertools.islice(zip(first, second, strict=False), 1):
        for convention in conventions:
            for update in (one for one in Update if one.epsilon is convention.epsilon):
                arithmetic = replace(base, first_moment=m, second_moment=v, update=update)
                yield replace(twin, convention=convention, arithmetic=arithmetic)


def _fits(trace: Trace, inputs: Inputs, twin: Twin, quantity: str, **forms: StrEnum) -> bool:
    changed = replace(twin, arithmetic=replace(twin.arithmetic, **forms))  # type: ignore[arg-type]
    hyper = twin.in_force(trace.hyper, trace.steps, _computed(trace))
    left = residual(trace, inputs, Adam(hyper, changed, np.sqrt if changed.arithmetic.asks_library else None), GLANCE)
    # Of moments in another dtype than the weights there is no step from what was recorded, only the way from the start.
    own_way = trace.hyper.stages.state is not None
    return (left.lock_step or own_way) and not any(
        one.differing for one in left.differences if one.quantity == quantity
    )


def _neighbours(twin: Twin) -> Iterator[tuple[str, Twin]]:
    """A claimed twin with one choice made otherwise, as another release may have it: of the formula or around the step.

    Forms of the step itself are left to the search; a place of epsilon has forms of its own.
    """
    for name, kind in _OF_FORMULA.items():
        for value in kind:
            yield "", replace(twin, convention=replace(twin.convention, **{name: value}))
    for name, values in _AROUND.items():
        for value in values:
            yield "", replace(twin, arithmetic=replace(twin.arithmetic, **{name: value}))  # type: ignore[arg-type]
    for rates in Rates:
        yield "", replace(twin, rates=rates)
