"""The exact split of a divergence: what is formula, what is hyperparameters, what is rounding of either side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from parity.adam.convention import Convention
from parity.adam.oracle import Oracle, Truth, orbits
from parity.adam.twins import Twin
from parity.comparison.trace import Trace
from parity.core.hyper import Hyper
from parity.explain.inputs import Inputs
from parity.numerics.double_double import DoubleDouble, from_double
from parity.numerics.formats import Format


class Term(StrEnum):
    """Parts of ``actual - expected``, in the order in which they add up.

    With O the oracle in a side's convention and hyperparameters, and O' the same with the scalars that the side's
    arithmetic has in force: ROUNDING = side - O'; SCALARS = O' - O (hyperparameters and powers of beta as the
    side forms them); VALUES = O of actual - O of actual's convention with expected's hyperparameters (only
    where they are other numbers); FORMULA = the latter - O of expected. Those of expected count with a minus.
    """

    ROUNDING_ACTUAL = "rounding_actual"
    SCALARS_ACTUAL = "scalars_actual"
    VALUES = "values"
    FORMULA = "formula"
    SCALARS_EXPECTED = "scalars_expected"
    ROUNDING_EXPECTED = "rounding_expected"


@dataclass(frozen=True, slots=True)
class Side:
    """A trace and what it is taken for. hyper: in force. twin: None where no arithmetic is known; O' is then O."""

    trace: Trace
    hyper: Hyper
    convention: Convention
    twin: Twin | None

    @property
    def exact(self) -> Oracle:
        """O: the truth of its convention."""
        return Oracle(self.hyper, self.convention)

    @property
    def in_force(self) -> Oracle:
        """O': that truth with the scalars as the side forms them."""
        return self.exact if self.twin is None else Oracle(self.hyper, self.convention, self.twin.arithmetic)

    def with_values(self, hyper: Hyper) -> Oracle:
        """Its formula with hyperparameters of another."""
        return Oracle(hyper, self.convention)


@dataclass(frozen=True, slots=True)
class Series:
    """How large a difference is at every step: arrays (steps,).

    max_abs, rms: over the elements, in the quantity's own unit; max_ulp, rms_ulp: in units of the format's
    spacing at the truth. nonfinite: elements left out because a side is inf or NaN.
    """

    max_abs: np.ndarray
    rms: np.ndarray
    max_ulp: np.ndarray
    rms_ulp: np.ndarray
    nonfinite: np.ndarray


Key = tuple[object, object, str]
"""(what, minus what, quantity); what: an Oracle, or the name of a trace."""


@dataclass
class _Growing:
    """A series that grows block by block."""

    parts: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    def add(self, difference: np.ndarray, spacing: np.ndarray) -> None:
        finite = np.isfinite(difference)
        lost = np.count_nonzero(~finite, axis=1)
        size = np.abs(difference if finite.all() else np.where(finite, difference, 0.0))
        kept = np.maximum(size.shape[1] - lost, 1)
        in_ulp = size / spacing

        def rms(rows: np.ndarray) -> np.ndarray:
            # Squares of small differences would underflow.
            top = rows.max(axis=1, initial=0.0)
            scale = np.where(top > 0, top, 1.0)
            root: np.ndarray = scale * np.sqrt(np.sum(np.square(rows / scale[:, None]), axis=1) / kept)
            return root

        self.parts.append(
            (size.max(axis=1, initial=0.0), rms(size), in_ulp.max(axis=1, initial=0.0), rms(in_ulp), lost)
        )

    def series(self) -> Series:
        return Series(*(np.concatenate(column) for column in zip(*self.parts, strict=True)))


@dataclass(frozen=True, slots=True)
class PairSplit:
    """A pair's terms by quantity, their total, and each side's error against the truth of its own convention."""

    terms: Mapping[str, Mapping[Term, Series]]
    total: Mapping[str, Series]
    actual_error: Mapping[str, Series]
    expected_error: Mapping[str, Series]


@dataclass(frozen=True, slots=True)
class Split:
    """All differences of a cell that were asked for."""

    series: Mapping[Key, Series]

    def of(self, actual: Side, expected: Side) -> PairSplit:
        """The split of one pair that was asked for; only lookups."""
        quantities = _shared(actual, expected)

        def column(pair: tuple[object, object]) -> dict[str, Series]:
            return {quantity: self.series[(*pair, quantity)] for quantity in quantities}

        found = {term: column(pair) for term, pair in differences(actual, expected).items()}
        return PairSplit(
            {quantity: {term: one[quantity] for term, one in found.items()} for quantity in quantities},
            column((_name(actual), _name(expected))),
            column((_name(actual), actual.exact)),
            column((_name(expected), expected.exact)),
        )


def differences(actual: Side, expected: Side) -> dict[Term, tuple[object, object]]:
    """Which two orbits make a term. Of expected the sign is turned: it does not matter for a size."""
    same = actual.hyper == expected.hyper
    middle = actual.with_values(expected.hyper)
    found: dict[Term, tuple[object, object]] = {Term.ROUNDING_ACTUAL: (_name(actual), actual.in_force)}
    if actual.twin is not None:
        found[Term.SCALARS_ACTUAL] = (actual.in_force, actual.exact)
    if not same:
        found[Term.VALUES] = (actual.exact, middle)
    found[Term.FORMULA] = (middle, expected.exact)
    if expected.twin is not None:
        found[Term.SCALARS_EXPECTED] = (expected.in_force, expected.exact)
    found[Term.ROUNDING_EXPECTED] = (_name(expected), expected.in_force)
    return found


def terms(actual: Side, expected: Side, rows: Mapping[object, DoubleDouble]) -> dict[Term, DoubleDouble]:
    """The terms themselves, element by element; they add up to actual - expected.

    rows: one quantity of every orbit in `differences`, any one shape. Each term has a relative error of 2**-104.
    """
    turned = (Term.SCALARS_EXPECTED, Term.ROUNDING_EXPECTED)
    return {
        term: rows[right] - rows[left] if term in turned else rows[left] - rows[right]
        for term, (left, right) in differences(actual, expected).items()
    }


def split(pairs: Iterable[tuple[Side, Side]], inputs: Inputs) -> Split:
    """Measures the terms of all pairs of one cell in one pass over its steps; every orbit is made once."""
    pairs = tuple(pairs)
    asked: dict[Key, tuple[str, object]] = {}
    for actual, expected in pairs:
        inputs.check(actual.trace)
        inputs.check(expected.trace)
        for quantity in _shared(actual, expected):
            for left, right in differences(actual, expected).values():
                asked[left, right, quantity] = (quantity, right)
            asked[_name(actual), _name(expected), quantity] = (quantity, expected.exact)
            for side in (actual, expected):
                asked[_name(side), side.exact, quantity] = (quantity, side.exact)
    sides = {_name(side): side for pair in pairs for side in pair}
    oracles = [one for key in asked for one in (*key[:2], asked[key][1]) if isinstance(one, Oracle)]
    growing = {key: _Growing() for key in asked}
    arrays = {(name, quantity): side.trace.array(quantity) for name, side in sides.items()
              for quantity in side.trace.quantities}  # fmt: skip
    sizes = [parameter.size for parameter in inputs.layout.parameters]
    pending: list[range] = []

    def blocks() -> Iterable[object]:
        for block in inputs.blocks():
            pending.append(block.steps)
            yield block

    with np.errstate(all="ignore"):
        for truths in orbits(oracles, inputs.weights(), sizes, blocks(), inputs.format):  # type: ignore[arg-type]
            steps = pending.pop()
            spacings: dict[tuple[object, str], np.ndarray] = {}
            for (left, right, quantity), grown in growing.items():
                at = (asked[left, right, quantity][1], quantity)
                if at not in spacings:
                    spacings[at] = spacing(_rows(truths[at[0]], quantity).high, inputs.format)  # type: ignore[index]
                both = (_orbit(one, quantity, truths, arrays, steps) for one in (left, right))
                x, y = both
                grown.add((x - y).high, spacings[at])
    return Split({key: grown.series() for key, grown in growing.items()})


def spacing(values: np.ndarray, format: Format) -> np.ndarray:
    """Distance of neighbours of the format around doubles, as double; the smallest one below its normal range."""
    smallest = 3 - 2 ** (format.exponent_bits - 1)
    # The exponent that frexp gives to 0 is that of 1/2.
    exponents = np.where(values == 0, smallest, np.maximum(np.frexp(values)[1], smallest))
    distances: np.ndarray = np.ldexp(1.0, exponents - format.precision)
    return distances


def _orbit(
    one: object,
    quantity: str,
    truths: Mapping[Oracle, Truth],
    arrays: Mapping[tuple[str, str], np.ndarray],
    steps: range,
) -> DoubleDouble:
    if isinstance(one, Oracle):
        return _rows(truths[one], quantity)
    return from_double(arrays[str(one), quantity][steps[0] : steps[-1] + 1].astype(np.float64))


def _rows(truth: Truth, quantity: str) -> DoubleDouble:
    rows: DoubleDouble = getattr(truth, quantity)
    return rows


def _name(side: Side) -> str:
    return side.trace.implementation


def _shared(actual: Side, expected: Side) -> list[str]:
    """Quantities that both sides show and Adam has."""
    has = ("m", "v", "vmax", "w") if actual.trace.hyper.amsgrad else ("m", "v", "w")
    return [one for one in has if one in actual.trace.quantities and one in expected.trace.quantities]
