"""What a target is asked, so that its answers tell one Adam from another, and what it showed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

from parity.core.hyper import Hyper
from parity.core.layout import Layout, Parameter
from parity.core.stages import LossScale, Stages
from parity.core.state import Rows
from parity.numerics.formats import Format, format_of, in_format, widest
from parity.numerics.rounding import round_to


@dataclass(frozen=True, slots=True)
class Probe:
    """A question whose answer tells Adams apart: initial weights, a gradient sequence, hyperparameters.

    name: what it is for. weights: (size,) and gradients: (steps, size), rows packed by `layout`, of the format's
    dtype, read-only. none: parameters whose gradient is None, by 1-based step. strided: whether each gradient lies in
    every other place of memory. begins: after how many steps of the probe "law" it begins, with the state that the
    target had there; its weights are then those.
    """

    name: str
    layout: Layout
    format: Format
    weights: np.ndarray
    gradients: np.ndarray
    hyper: Hyper
    none: Mapping[int, frozenset[str]]
    strided: bool = False
    begins: int = 0

    @property
    def steps(self) -> int:
        """Number of gradients."""
        return len(self.gradients)


OBSERVED = ("m", "v", "vmax", "w")
"""Quantities of a target that are looked at; probes ask for no average of the weights."""


class Narrowing(StrEnum):
    """How weights get into a narrower format than moments, in words."""

    NEAREST = "rounded to nearest at every step"
    COPIES = "copies of wider ones, which it goes on from"
    EITHER_WAY = "rounded up or down, not always to nearest"


@dataclass(frozen=True, slots=True)
class Observation:
    """The orbit of a target on a probe.

    w, m, v, vmax: (steps + 1, size), row 0 the state before the first step; None where the target hides the quantity.
    All are of the probe's dtype, or as wide as the target keeps them until `in_one_format`. kept: by quantity, formats
    that are narrower than that of the probe, which is then that of the widest. narrowing: how weights are taken to have
    got into such a format.
    """

    probe: Probe
    w: np.ndarray
    m: np.ndarray | None = None
    v: np.ndarray | None = None
    vmax: np.ndarray | None = None
    kept: Mapping[str, Format] = field(default_factory=lambda: MappingProxyType({}))
    narrowing: Narrowing = Narrowing.NEAREST

    def states(self, place: slice) -> Rows:
        """All states of one parameter, (steps + 1, its size); ValueError where a moment is hidden."""
        if self.m is None or self.v is None:
            raise ValueError(f"{self.probe.name}: m or v is hidden")
        vmax = None if self.vmax is None else self.vmax[:, place]
        return Rows(self.w[:, place], self.m[:, place], self.v[:, place], vmax)


def in_formats_held(observations: Mapping[str, Observation]) -> tuple[dict[str, Observation], tuple[str, ...]]:
    """All rows, those in the probe's format that are shown in a wider one and hold none of its numbers; their names."""
    shown = tuple(
        name
        for name in OBSERVED
        if (rows := [(one, row) for one in observations.values() if (row := getattr(one, name)) is not None])
        and any(format_of(row) is not one.probe.format for one, row in rows)
        and all(_holds(one.probe.format, row) for one, row in rows)
    )

    def held(one: Observation) -> Observation:
        rows = {name: row for name in shown if (row := getattr(one, name)) is not None}
        return replace(one, **{name: round_to(row.astype(np.float64), one.probe.format) for name, row in rows.items()})  # type: ignore[arg-type]

    return {name: held(one) for name, one in observations.items()}, shown


def _holds(format: Format, rows: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        same = in_format(round_to(rows.astype(np.float64), format), format_of(rows)) == rows
        return bool((same | np.isnan(rows)).all())


def in_one_format(observations: Mapping[str, Observation]) -> dict[str, Observation]:
    """All rows, and the probes, in the format that holds every number of every one exactly."""
    found = [
        format_of(rows)
        for one in observations.values()
        for name in OBSERVED
        if (rows := getattr(one, name)) is not None
    ]
    if not found:
        return dict(observations)
    wide = widest(found)
    return {name: _widened(one, wide) for name, one in observations.items()}


def _widened(observation: Observation, wide: Format) -> Observation:
    rows: dict[str, Any] = {name: one for name in OBSERVED if (one := getattr(observation, name)) is not None}
    narrow = {name: format for name, one in rows.items() if (format := format_of(one)) is not wide}
    if not narrow:
        return observation
    probe = observation.probe
    weights, gradients = in_format(probe.weights, wide), in_format(probe.gradients, wide)
    probe = replace(probe, format=wide, weights=weights, gradients=gradients)
    widened: dict[str, Any] = {name: in_format(one, wide) for name, one in rows.items()}
    return replace(observation, probe=probe, kept=narrow, **widened)


MAIN, WIDE, MATRICES, NOT_FINITE, LAW = "main", "wide", "matrices", "not-finite", "law"
GROUPS, BETAS, LONG = "groups", "betas", "long"
STEPS = 24

IDLE = slice(64, 128)
"""Elements of "bias" that never get a gradient: weight decay moves them, and nothing else."""

RESTING_ROWS, IDLE_ROW = (2, 5), 7
"""Of "rows": those whose gradient is all zero at every even step, and the one that never gets any."""

VISIBLE = Hyper(lr=0.01, eps=1e-3)
"""An eps that is seen in the update, and a step size that no binary format holds exactly."""

_USUAL = (-20, 6)
_USUAL_IN_FLOAT16 = (-7, 3)
_LOUD = (-2, 5)

# By format: binades of a gradient whose square is normal, subnormal or zero, and an eps below its root.
_TINY = {
    "float64": (((-69, -63), (-538, -512)), 1e-30),
    "float32": (((-73, -61),), 1e-30),
    "float16": (((-9, -1),), 2.0**-20),
    "bfloat16": (((-66, -56),), 1e-30),
}


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the numbers of a probe are made.

    binades: the powers of two between which gradients lie, one range for each of so many elements in turn;
    None for the usual one. zeros: share of gradients that are 0 by chance. gaps: some elements and rows get no
    gradient. halving: steps after which gradients are half as large, 0 for never. ends: the last step with a
    gradient that is not 0.
    """

    name: str
    layout: Layout
    hyper: Hyper = VISIBLE
    steps: int = STEPS
    binades: tuple[tuple[int, int], ...] | None = None
    zeros: float = 0.1
    gaps: bool = True
    halving: int = 0
    ends: int = 0
    none: Mapping[int, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))


def _tensors(bias: int) -> Layout:
    """Two tensors of one shape, rows, a vector that ends amid any vector register, and a scalar."""
    shapes = {"kernel": (7, 5), "query": (3, 4), "key": (3, 4), "rows": (8, 6), "bias": (bias,), "scalar": ()}
    return Layout(tuple(Parameter(name, shape) for name, shape in shapes.items()))


_LARGE, _SMALL = _tensors(1033), _tensors(269)
_NONE = MappingProxyType({1: frozenset({"bias"}), **dict.fromkeys((2, 5, 6), frozenset({"key"}))})
_MATRICES = Layout((Parameter("kernel", (9, 7)), Parameter("query", (6, 8))))
_SHAPES = Layout(
    tuple(
        Parameter("_".join(map(str, ("tensor", *shape))), shape)
        for shape in ((1,), (15,), (16,), (17,), (63,), (65,), (255,), (256,), (257,), (3, 1), (2, 3, 5), (2, 2, 3, 3))
    )
)
_MANY = Layout(tuple(Parameter(f"small_{number}", (2,)) for number in range(300)))
_TWO = Layout((Parameter("first", (40,)), Parameter("second", (24,))))
_LAWFUL = Hyper(lr=0.01, eps=0.0)
_GROUPED = replace(VISIBLE, groups=(("second", Hyper(lr=0.03, beta1=0.8, beta2=0.95, eps=1e-2)),))
_BETAS = (0.95, 0.9, 0.85, 0.8, 0.85, 0.9, 0.95, 0.9)
_CHANGING = replace(VISIBLE, beta1=_BETAS, beta2=tuple(1 - (1 - beta) / 10 for beta in _BETAS))
_JUMPS = (0.01, 0.01, 0.0, 0.02, 0.02, 0.0025, 0.0, 0.0, 0.04, 0.01)
_NONE_UNDER_DECAY = MappingProxyType(
    {1: frozenset({"query"}), 2: frozenset({"kernel", "bias"}), 3: frozenset({"kernel"})}
)
_DECAYING = replace(VISIBLE, weight_decay=0.1)


@cache
def probes(format: Format) -> tuple[Probe, ...]:
    """All questions in a dtype, the same on every machine; "wide" only shows whether two runs are equal.

    Gradients lie in [2^-20, 2^6), in float16 in [2^-7, 2^3), if not said otherwise: each element has a magnitude of
    its own, which changes 16-fold from step to step, and a sign that changes. A tenth of them is 0.
    """
    made = [_probe(plan, format) for plan in _plans(format)]
    broken = [_not_finite(one) if one.name == NOT_FINITE else one for one in made]
    return (*broken, *(_lawful(made[-1], law) for law in LAWS))


LAWS: Mapping[str, str] = MappingProxyType(
    {
        "law-scaled": "gradients times a power of two, eps 0: the same weights, m times it, v times its square",
        "law-turned": "elements of every tensor, and the tensors, in reverse order: the same numbers, in that order",
        "law-joined": "two tensors as one: the same numbers",
        "law-moved": "another tensor before them, so that they lie elsewhere in memory: the same numbers",
        "law-strided": "gradients in every other place of memory: the same numbers",
        "law-continued": "begun with its own state after two steps: the same numbers from there on",
        "law-unscaled": "a loss scale that is a power of two: the same numbers",
        "law-left-out": "a step that it leaves out, as a gradient is inf: the same numbers, and nothing at that step",
    }
)
"""What needs no reference: a probe like "law" by its name, and what has to come of it."""

POWER = {"float16": 1}
"""By which power of two "law-scaled" scales, where it is not 4."""

BAD = MappingProxyType({3: ("first", 1, math.nan), 5: ("second", 2, math.inf)})
"""Of "not-finite", by step: tensor and element whose gradient is no number, and what it is."""


def _not_finite(probe: Probe) -> Probe:
    gradients, places = probe.gradients.copy(), {one.name: place for one, place in probe.layout.slices()}
    for step, (name, element, value) in BAD.items():
        gradients[step - 1, places[name].start + element] = value
    gradients.flags.writeable = False
    return replace(probe, gradients=gradients)


def _lawful(probe: Probe, law: str) -> Probe:
    layout, gradients, weights, hyper = probe.layout, probe.gradients, probe.weights, probe.hyper
    first, second = layout.parameters
    match law:
        case "law-scaled":
            gradients = (gradients.astype(np.float64) * 2.0 ** POWER.get(probe.format.name, 4)).astype(gradients.dtype)
        case "law-turned":
            gradients, weights, layout = gradients[:, ::-1], weights[::-1], Layout((second, first))
        case "law-joined":
            layout = Layout((Parameter("both", (layout.size,)),))
        case "law-moved":
            layout = Layout((Parameter("before", (MOVED,)), *layout.parameters))
            gradients = np.concatenate([gradients[:, :MOVED], gradients], axis=1)
            weights = np.concatenate([weights[:MOVED], weights])
        case "law-continued":
            gradients = gradients[CONTINUED:]
        case "law-unscaled":
            hyper = replace(hyper, stages=_SCALED)
        case "law-left-out":
            hyper, left_out = replace(hyper, stages=_SCALED), gradients[0].copy()
            left_out[1] = np.inf
            gradients = np.insert(gradients, OMITTED - 1, left_out, axis=0)
    made = replace(
        probe, name=law, layout=layout, gradients=gradients.copy(), weights=weights.copy(), hyper=hyper,
        strided=law == "law-strided", begins=CONTINUED if law == "law-continued" else 0,
    )  # fmt: skip
    made.gradients.flags.writeable = made.weights.flags.writeable = False
    return made


MOVED = 3
"""Elements of the tensor that lies before the others."""

CONTINUED = 2
"""Steps after which "law-continued" begins."""

OMITTED = 3
"""The step that "law-left-out" has beside those of the others, of which a gradient is inf."""

_SCALED = Stages(loss_scale=LossScale(initial=2.0**6))


def _plans(format: Format) -> tuple[_Plan, ...]:
    tiny, tiny_eps = _TINY[format.name]
    return (
        _Plan(MAIN, _LARGE),
        _Plan(WIDE, Layout((Parameter("vector", (70_001,)),)), steps=3),
        _Plan("default-eps", _SMALL, replace(VISIBLE, eps=1e-8)),
        _Plan("no-eps", _SMALL, replace(VISIBLE, eps=0.0), zeros=0, gaps=False),
        _Plan("other", _SMALL, Hyper(lr=0.03, beta1=0.8, beta2=0.95, eps=1e-2)),
        _Plan("decoupled", _SMALL, replace(_DECAYING, decoupled=True)),
        _Plan("l2", _SMALL, _DECAYING),
        _Plan("amsgrad", _SMALL, replace(VISIBLE, beta2=0.95, amsgrad=True), halving=3),
        _Plan("none", _SMALL, none=_NONE),
        _Plan("schedule", _SMALL, replace(VISIBLE, lr=tuple(0.24 / (STEPS + step) for step in range(STEPS)))),
        _Plan("zeros", _SMALL, replace(VISIBLE, eps=1e-8), steps=12, ends=3),
        _Plan("tiny", _SMALL, replace(VISIBLE, eps=tiny_eps), binades=tiny),
        _Plan(LONG, Layout((Parameter("long", (7,)),)), Hyper(eps=1e-3), 2200, (_USUAL_IN_FLOAT16,), gaps=False),
        _Plan("clip", _SMALL, binades=(_LOUD,)),
        _Plan(MATRICES, _MATRICES, Hyper(lr=0.01), 6, ((-2, 3),), zeros=0, gaps=False),
        _Plan("jumps", _SMALL, Hyper(lr=_JUMPS), len(_JUMPS)),
        _Plan("shapes", _SHAPES, steps=4),
        _Plan("many", _MANY, steps=2),
        _Plan("none-decoupled", _SMALL, replace(_DECAYING, decoupled=True), 4, none=_NONE_UNDER_DECAY),
        _Plan("clip-l2", _SMALL, _DECAYING, 8, ((-2, 3),)),
        _Plan(GROUPS, _TWO, _GROUPED, 8),
        _Plan(BETAS, _TWO, _CHANGING, len(_BETAS)),
        _Plan(NOT_FINITE, _TWO, steps=6, zeros=0),
        _Plan(LAW, _TWO, _LAWFUL, 4, ((0, 4),), zeros=0),
    )


def _probe(plan: _Plan, format: Format) -> Probe:
    weights, gradients = round_to(_weights(plan), format), round_to(_gradients(plan, format), format)
    weights.flags.writeable = gradients.flags.writeable = False
    return Probe(plan.name, plan.layout, format, weights, gradients, plan.hyper, plan.none)


def _weights(plan: _Plan) -> np.ndarray:
    """(size,): every third is 0, the others lie in [-1, 1)."""
    size = plan.layout.size
    return np.where(np.arange(size) % 3 == 1, 0.0, 2 * _shares(plan.name, "weights", (size,)) - 1)


def _gradients(plan: _Plan, format: Format) -> np.ndarray:
    """(steps, size), exact in float64."""
    shape = plan.steps, plan.layout.size
    usual = _USUAL_IN_FLOAT16 if format.name == "float16" else _USUAL
    ranges = np.resize(plan.binades or (usual,), (shape[1], 2))
    # What changes from step to step spans four binades, the magnitude of an element the others.
    lowest, width = ranges[:, 0] + 2, ranges[:, 1] - ranges[:, 0] - 4
    own = lowest + np.floor(_shares(plan.name, "magnitudes", shape[1:]) * (width + 1))
    now = np.floor(_shares(plan.name, "changes", shape) * 4) - 2
    smaller = np.arange(plan.steps) // plan.halving if plan.halving else np.zeros(plan.steps)
    exponents = (own + now - smaller[:, None]).astype(np.int32)
    signs = np.where(_shares(plan.name, "signs", shape) < 0.5, -1.0, 1.0)
    gradients: np.ndarray = np.ldexp(signs * (1 + _shares(plan.name, "fractions", shape)), exponents)
    gradients[_shares(plan.name, "zeros", shape) < plan.zeros] = 0
    if plan.ends:
        gradients[plan.ends :] = 0
    for parameter, place in plan.layout.slices():
        rows = gradients[:, place].reshape(plan.steps, *parameter.shape)
        if plan.gaps and parameter.name == "bias":
            rows[:, IDLE] = 0
        if plan.gaps and parameter.name == "rows":
            rows[1::2, RESTING_ROWS] = 0
            rows[:, IDLE_ROW] = 0
        for step, names in plan.none.items():
            if parameter.name in names:
                rows[step - 1] = 0
    return gradients


def _shares(name: str, purpose: str, shape: tuple[int, ...]) -> np.ndarray:
    """53 bits each, in [0, 1): the words of a Philox counter whose key is the digest of what they are for."""
    key = int.from_bytes(hashlib.sha256(f"{name} {purpose}".encode()).digest()[:16], "little")
    words = np.random.Philox(key=key).random_raw(math.prod(shape))
    return ((words >> np.uint64(11)) * 2.0**-53).reshape(shape)
