"""All that was observed as one flat table, and numbers read out of many of its points at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from parity.core.hyper import Hyper
from parity.core.layout import Parameter
from parity.identify.probes import Narrowing, Observation, Probe
from parity.numerics.formats import FORMATS, Format
from parity.numerics.rounding import round_to

NAMES = 6
"""Tensors that are told by name."""

DIGITS = 6
"""A number with so few significant digits is believed to have been typed."""


@dataclass(frozen=True, slots=True)
class Points:
    """One element at one step, many times over: every array is (points,), numbers as doubles.

    w0, m0, v0, x0 and w1, m1, v1, x1: w, m, v and vmax before and after the step, NaN where hidden; w_error: by how
    much w1 may be off as weights are kept in fewer bits than moments. g: gradient, 0 where it is None; late: the
    parameter's last gradient before, 0 at its first. norm, norm_all: Euclidean norm of the gradient of the parameter
    and of all parameters. probe: index of the observation; step: 1-based; seen: gradients of the parameter so far,
    this one included; rows: those that were not all zero in the row (first axis) of the element; tensor: name of the
    parameter; place, of: index of the parameter and their number; element: place in the row of all parameters; axes,
    size: of the parameter; present: not None; empty: in a row (first axis) whose gradient is all zero. lr, beta1,
    beta2, eps, decay: as asked of the parameter at that step; product1, product2: of all its betas until then;
    first_lr, last_lr, next_lr: at the first step, at the one before (at the first: its own), at the next (NaN at the
    last).
    """

    probe: np.ndarray
    step: np.ndarray
    seen: np.ndarray
    rows: np.ndarray
    tensor: np.ndarray
    place: np.ndarray
    of: np.ndarray
    element: np.ndarray
    axes: np.ndarray
    size: np.ndarray
    present: np.ndarray
    empty: np.ndarray
    w0: np.ndarray
    m0: np.ndarray
    v0: np.ndarray
    x0: np.ndarray
    w1: np.ndarray
    m1: np.ndarray
    v1: np.ndarray
    x1: np.ndarray
    w_error: np.ndarray
    g: np.ndarray
    late: np.ndarray
    norm: np.ndarray
    norm_all: np.ndarray
    lr: np.ndarray
    first_lr: np.ndarray
    last_lr: np.ndarray
    next_lr: np.ndarray
    beta1: np.ndarray
    beta2: np.ndarray
    product1: np.ndarray
    product2: np.ndarray
    eps: np.ndarray
    decay: np.ndarray

    def __len__(self) -> int:
        return len(self.step)

    def at(self, chosen: np.ndarray) -> Points:
        """Some of the points, by mask or by index."""
        if chosen.dtype == bool:
            if chosen.all():
                return self
            # Of many columns, places are taken faster than a mask is.
            chosen = np.flatnonzero(chosen)
        return Points(*(getattr(self, field.name).take(chosen) for field in fields(self)))


def points_of(observations: Iterable[Observation]) -> Points:
    """The points of all observations, in their order, steps and elements of one in the order of its arrays."""
    tables = [_points(index, one) for index, one in enumerate(observations)]
    return Points(*(np.concatenate([table[field.name] for table in tables]) for field in fields(Points)))


def smallest(format: Format) -> float:
    """Smallest subnormal number of a format."""
    # 2^(emin - precision + 1), emin = 2 - 2^(exponent bits - 1) (IEEE 754, 3.3).
    return float(2.0 ** (3 - 2 ** (format.exponent_bits - 1) - format.precision))


def roundoff(format: Format) -> float:
    """Unit roundoff of a format."""
    return float(2.0**-format.precision)


def greatest(format: Format) -> float:
    """Greatest finite number of a format."""
    return float((2 - 2.0 ** (1 - format.precision)) * 2.0 ** (2 ** (format.exponent_bits - 1) - 1))


def _points(index: int, observed: Observation) -> dict[str, np.ndarray]:
    probe = observed.probe
    steps, size = probe.gradients.shape
    g = probe.gradients.astype(np.float64)
    present = _present(probe)
    g = np.where(present, g, 0.0)
    late, seen, norm = np.zeros_like(g), np.zeros(g.shape), np.zeros(g.shape)
    rows = np.zeros(g.shape)
    place_of, axes, empty = np.zeros(g.shape), np.zeros(g.shape), np.zeros(g.shape, bool)
    parameters = list(probe.layout.slices())
    for number, (parameter, place) in enumerate(parameters):
        place_of[:, place], axes[:, place] = number, len(parameter.shape)
        if not parameter.size:
            continue
        norm[:, place] = np.sqrt(np.sum(g[:, place] ** 2, axis=1))[:, None]
        empty[:, place] = _empty_rows(g[:, place], parameter)
        seen[:, place] = np.cumsum(present[:, place], axis=0)
        rows[:, place] = np.cumsum(present[:, place] & ~empty[:, place], axis=0)
        last = np.zeros(parameter.size)
        for step in range(steps):
            # Before `last` moves on: late is the gradient of an earlier step, never of this one.
            late[step, place] = last
            if present[step, place.start]:
                last = g[step, place]
    hidden = np.full((steps + 1, size), np.nan)
    states = {
        # Exact: every format is held by a double, so rounding is that of the target alone.
        name: hidden if rows is None else rows.astype(np.float64)
        for name, rows in (("w", observed.w), ("m", observed.m), ("v", observed.v), ("x", observed.vmax))
    }

    def everywhere(value: object) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, np.float64), g.shape)

    table = {
        "probe": np.full(g.shape, index),
        "step": everywhere(np.arange(1.0, steps + 1)[:, None]),
        "seen": seen,
        "rows": rows,
        "tensor": np.broadcast_to(np.repeat([p.name for p, _ in parameters], [p.size for p, _ in parameters]), g.shape),
        "place": place_of,
        "of": everywhere(len(parameters)),
        "element": np.broadcast_to(np.arange(size), g.shape),
        "axes": axes,
        "size": everywhere(np.repeat([p.size for p, _ in parameters], [p.size for p, _ in parameters])),
        "present": present,
        "empty": empty,
        "g": g,
        "late": late,
        "norm": norm,
        "norm_all": everywhere(np.sqrt(np.sum(g**2, axis=1))[:, None]),
        "w_error": _kept_error(states["w"], observed),
        **_asked(probe, present),
        **{f"{name}0": rows[:-1] for name, rows in states.items()},
        **{f"{name}1": rows[1:] for name, rows in states.items()},
    }
    return {name: np.ascontiguousarray(array).reshape(-1) for name, array in table.items()}


def _asked(probe: Probe, present: np.ndarray) -> dict[str, np.ndarray]:
    """Hyperparameters in force, (steps, size) each. present: where there is a gradient."""
    owns = [probe.hyper.of(one.name) for one in probe.layout.parameters]
    columns = {own: _column(own, probe.steps) for own in dict.fromkeys(owns)}
    sizes = [one.size for one in probe.layout.parameters]
    made = {
        name: np.repeat(np.stack([columns[own][name] for own in owns], axis=1), sizes, axis=1)
        for name in columns[owns[0]]
    }
    products = {f"product{which}": np.cumprod(np.where(present, made[f"beta{which}"], 1.0), axis=0) for which in (1, 2)}
    return made | products


def _column(hyper: Hyper, steps: int) -> dict[str, np.ndarray]:
    """Those of one parameter, (steps,) each."""
    lr = np.array([hyper.lr_at(step) for step in range(1, steps + 1)])
    betas = np.array([hyper.betas_at(step) for step in range(1, steps + 1)])
    return {
        "lr": lr,
        "first_lr": np.full(steps, lr[0]),
        "last_lr": np.append(lr[:1], lr[:-1]),
        "next_lr": np.append(lr[1:], np.nan if hyper.lr_changes else lr[-1]),
        "beta1": betas[:, 0],
        "beta2": betas[:, 1],
        "eps": np.full(steps, hyper.eps),
        "decay": np.full(steps, hyper.weight_decay),
    }


def _kept_error(w: np.ndarray, observed: Observation) -> np.ndarray:
    """How far changes of weights (steps + 1, size) may be off, (steps, size), by the bits in which these are kept.

    Half a spacing of a weight after the step, and of what was taken off; of copies, of the weight before it too, but
    for the first, with which their originals begin; a whole one where it is not that to nearest.
    """
    kept = observed.kept.get("w")
    if kept is None:
        return np.zeros_like(w[1:])
    with np.errstate(all="ignore"):
        spacings = np.abs(w[1:]) + 1.01 * np.abs(np.diff(w, axis=0))
        if observed.narrowing is Narrowing.COPIES:
            spacings[1:] += np.abs(w[1:-1])
        elif observed.narrowing is Narrowing.EITHER_WAY:
            spacings *= 2
        return np.asarray(roundoff(kept) * spacings + smallest(kept))


def _present(probe: Probe) -> np.ndarray:
    """Mask (steps, size): where there is a gradient."""
    present = np.ones(probe.gradients.shape, bool)
    places = {parameter.name: place for parameter, place in probe.layout.slices()}
    for step, names in probe.none.items():
        for name in names:
            present[step - 1, places[name]] = False
    return present


def _empty_rows(g: np.ndarray, parameter: Parameter) -> np.ndarray:
    """Mask (steps, size): elements of rows (first axis) whose gradient is all zero."""
    rows = g.reshape(len(g), parameter.shape[0] if parameter.shape else 1, -1)
    return np.broadcast_to((rows == 0).all(axis=2, keepdims=True), rows.shape).reshape(g.shape)


def named(names: Iterable[str]) -> str:
    """Tensors, by name."""
    quoted = [f"'{name}'" for name in sorted(names)]
    if len(quoted) > NAMES:
        quoted = [", ".join(quoted[:NAMES]), f"{len(quoted) - NAMES} more"]
    return " and ".join(quoted)


def tensors_in_words(chosen: Points, others: Points) -> str:
    """Which tensors these are: by their axes, their position, their size, or by name."""
    if not len(others):
        return "all tensors"
    for axes, words in enumerate(("tensors without axes", "tensors of one axis", "tensors of two axes")):
        if (chosen.axes == axes).all() and not (others.axes == axes).any():
            return words
    for least, many in ((2, "two"), (3, "three")):
        if (chosen.axes >= least).all() and not (others.axes >= least).any():
            return f"tensors of {many} and more axes"
        if (chosen.axes < least).all() and not (others.axes < least).any():
            return f"tensors of fewer than {many} axes"
    sizes, other_sizes = chosen.size, others.size
    if sizes.min() > other_sizes.max():
        return f"tensors of {sizes.min():,.0f} and more elements (not those of up to {other_sizes.max():,.0f})"
    if sizes.max() < other_sizes.min():
        return f"tensors of up to {sizes.max():,.0f} elements (not those of {other_sizes.min():,.0f} and more)"
    return named(set(chosen.tensor.tolist()))


class Reading(NamedTuple):
    """An interval in which a number lies."""

    low: float
    high: float

    @property
    def empty(self) -> bool:
        """No number agrees with all elements, or any great one does."""
        return not (self.low <= self.high and np.isfinite(self.low) and np.isfinite(self.high))

    @property
    def middle(self) -> float:
        """The best estimate."""
        return self.low + (self.high - self.low) / 2

    def holds(self, value: float) -> bool:
        """Whether a number agrees with all elements."""
        return self.low <= value <= self.high

    def named(self, candidates: Iterable[float] = ()) -> float:
        """The first candidate it holds, else its shortest decimal of few digits, else the middle."""
        for candidate in candidates:
            if self.holds(candidate):
                return candidate
        for digits in range(1, DIGITS + 1):
            short = float(f"{self.middle:.{digits}g}")
            if self.holds(short):
                return short
        return self.middle


def intersection(low: np.ndarray, high: np.ndarray) -> Reading:
    """The numbers that lie in all intervals, NaN bounds left out; empty where none does or nothing bounds it."""
    usable = ~(np.isnan(low) | np.isnan(high))
    if not usable.any():
        return Reading(np.inf, -np.inf)
    return Reading(float(low[usable].max()), float(high[usable].min()))


def quotient(numerator: np.ndarray, denominator: np.ndarray, error: np.ndarray) -> Reading:
    """The x for which ``|numerator - x * denominator| <= error`` everywhere; a zero denominator bounds nothing."""
    with np.errstate(all="ignore"):
        # The quotient of the error, not its bounds: a negative denominator would turn them round.
        center, radius = numerator / denominator, np.abs(error / denominator)
        bounded = np.isfinite(center) & np.isfinite(radius)
        return intersection(np.where(bounded, center - radius, np.nan), np.where(bounded, center + radius, np.nan))


def usual(low: np.ndarray, high: np.ndarray) -> Reading:
    """The numbers that lie in more intervals than any others, NaN bounds left out; empty where nothing bounds them."""
    usable = (low <= high) & np.isfinite(low) & np.isfinite(high)
    if not usable.any():
        return Reading(np.inf, -np.inf)
    low, high = np.sort(low[usable]), np.sort(high[usable])
    # At every lower end: how many intervals have begun and not ended.
    open_ = np.arange(1, len(low) + 1) - np.searchsorted(high, low, side="left")
    best = int(np.argmax(open_))
    return Reading(float(low[best]), float(high[np.searchsorted(high, low[best], side="left")]))


def usual_quotient(numerator: np.ndarray, denominator: np.ndarray, error: np.ndarray) -> Reading:
    """As `quotient`, of most points."""
    with np.errstate(all="ignore"):
        center, radius = numerator / denominator, np.abs(error / denominator)
        return usual(center - radius, center + radius)


def cast(values: np.ndarray, format: Format) -> np.ndarray:
    """Numbers as a format would keep them, as doubles."""
    with np.errstate(all="ignore"):
        return round_to(np.asarray(values, np.float64), format).astype(np.float64)


def smaller_formats(format: Format) -> tuple[Format, ...]:
    """Formats of lower precision, the most precise first."""
    return tuple(one for one in FORMATS.values() if one.precision < format.precision)


def lossy_formats(format: Format) -> tuple[Format, ...]:
    """Formats that do not hold every number of a format: of lower precision or of a smaller range."""
    return tuple(
        one for one in FORMATS.values() if one.precision < format.precision or one.exponent_bits < format.exponent_bits
    )
