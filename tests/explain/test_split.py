"""The terms of a split add up to the difference, exactly; and each has what belongs to it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from parity.adam.oracle import Oracle, orbits
from parity.explain.split import (
    Question,
    Term,
    differences,
    pairwise_sum,
    quantities_of,
    sizes_of_differences,
    spacing,
    split,
)
from parity.numerics.double_double import add, from_double
from parity.numerics.formats import FORMATS
from parity.numerics.ulp import ordered_keys

PAIR = ("numpy.adam.hat", "numpy.adam.outside")
EXACT = Fraction(1, 2**98)


def asked(actual, expected, steps=range(1, 8)):
    return Question(actual, expected, quantities_of(actual, expected), tuple(steps))


def rows_of(actual, expected, quantity, inputs):
    orbits_of = {one for pair in differences(actual, expected).values() for one in pair}
    oracles = [one for one in orbits_of if isinstance(one, Oracle)]
    (truths,) = orbits(oracles, inputs.start(), inputs.layout, inputs.blocks(), inputs.format)
    rows = {oracle: getattr(truths[oracle], quantity) for oracle in oracles}
    for side in (actual, expected):
        rows[side.trace.implementation] = from_double(side.trace.array(quantity)[1:].astype(np.float64))
    return rows


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("quantity", ["w", "m", "v"])
def test_the_terms_add_up_element_by_element(traced, side_of, dtype, quantity):
    inputs, traces = traced(*PAIR, dtype=dtype, hyper={"eps": 1e-3})
    actual, expected = (side_of(traces[name]) for name in PAIR)
    rows = rows_of(actual, expected, quantity, inputs)
    parts = differences(actual, expected)
    assert len(parts) == 5
    turned = (Term.SCALARS_EXPECTED, Term.ROUNDING_EXPECTED)
    total = actual.trace.array(quantity)[1:].astype(np.float64), expected.trace.array(quantity)[1:].astype(np.float64)
    for place in np.ndindex(total[0].shape):
        added = Fraction(0)
        for term, (left, right) in parts.items():
            x, y = (rows[one] for one in ((right, left) if term in turned else (left, right)))
            added += sum(map(Fraction, add(x.high[place], x.low[place], -y.high[place], -y.low[place])))
        assert abs(added - (Fraction(total[0][place]) - Fraction(total[1][place]))) <= EXACT


def test_other_hyperparameters_are_a_term_of_their_own(traced, side_of):
    inputs, traces = traced(*PAIR)
    actual, expected = (side_of(traces[name]) for name in PAIR)
    assert Term.VALUES not in differences(actual, expected)
    other = replace(actual, hyper=replace(actual.hyper, lr=2e-3))
    assert list(differences(other, expected)) == list(Term)
    (found,) = split([asked(other, expected)], inputs)
    assert found.terms["w"][Term.VALUES].max_abs[0] == pytest.approx(1e-3, rel=1e-3)


def test_formula_is_in_w_only_and_rounding_is_half_an_ulp_at_first(traced, side_of):
    inputs, traces = traced(*PAIR, hyper={"eps": 1e-3}, parameters=[{"name": "kernel", "shape": [50]}])
    actual, expected = (side_of(traces[name]) for name in PAIR)
    (found,) = split([asked(actual, expected)], inputs)
    assert found.terms["w"][Term.FORMULA].max_abs[0] > 1e-6
    assert (found.terms["m"][Term.FORMULA].max_abs == 0).all()
    assert (found.total["m"].max_abs == 0).all()
    assert 0 < found.terms["m"][Term.ROUNDING_ACTUAL].max_ulp[0] <= 0.5
    assert (found.actual_error["w"].max_ulp > 0).all()
    assert len(found.total["w"].rms) == 7
    assert (found.total["w"].rms <= found.total["w"].max_abs).all()


def test_one_pass_serves_every_pair(traced, side_of, monkeypatch):
    names = (*PAIR, "numpy.adam.inside")
    inputs, traces = traced(*names)
    sides = {name: side_of(traces[name]) for name in names}
    made = []
    monkeypatch.setattr("parity.explain.split.orbits",
                        lambda oracles, *rest: made.append(set(oracles)) or orbits(oracles, *rest))  # fmt: skip
    pairs = [(sides[a], sides[b]) for a in names for b in names if a < b]
    found = split([asked(*pair) for pair in pairs], inputs)
    assert [len(one) for one in made] == [6]
    for one in found:
        assert set(one.terms) == {"w", "m", "v"}


def test_only_what_is_asked_for_is_measured_and_is_the_same(traced, side_of, monkeypatch):
    inputs, traces = traced(*PAIR, parameters=[{"name": "kernel", "shape": [50]}])
    actual, expected = (side_of(traces[name]) for name in PAIR)
    (whole,) = split([asked(actual, expected)], inputs)
    measured = []
    monkeypatch.setattr(
        "parity.explain.split.sizes_of_differences",
        lambda *given: measured.append(given[5].tolist()) or sizes_of_differences(*given),
    )
    few, one = split([Question(actual, expected, ("w",), (2, 5)), Question(actual, expected, ("v", "w"), (3,))], inputs)
    assert {tuple(places) for places in measured} == {(1, 2, 4), (2,)}
    assert (few.steps, set(few.terms), set(one.terms)) == ((2, 5), {"w"}, {"v", "w"})
    for term, series in few.terms["w"].items():
        for part in ("max_abs", "rms", "max_ulp", "rms_ulp", "nonfinite"):
            assert (getattr(series, part) == getattr(whole.terms["w"][term], part)[[1, 4]]).all()
    assert one.actual_error["v"].rms_ulp[0] == whole.actual_error["v"].rms_ulp[2]
    assert one.total["w"].max_abs[0] == whole.total["w"].max_abs[2]


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_spacing_is_one_ulp(format):
    emax = (1 << (format.exponent_bits - 1)) - 1
    least = 2.0 ** (1 - emax)
    values = np.array([1.0, 1.5, 3e-5, 2.0**-30, 0.0, -3.0, least, least * 1.5, least / 2, 2.0**emax]).astype(
        format.dtype
    )
    keys = ordered_keys(np.abs(values)) + 1
    above = keys.astype(format.unsigned).view(format.dtype).astype(np.float64)
    # Above the greatest power of two the neighbour may be the largest number, not beyond.
    for value, neighbour in zip(values.astype(np.float64).tolist(), above.tolist(), strict=True):
        assert spacing(value, format.precision, 2 - emax) == neighbour - abs(value)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 63, 64, 127, 128, 129, 135, 136, 1000, 1060, 4097, 70001])
def test_sums_are_those_of_numpy_bit_for_bit(size):
    values = np.random.default_rng(size).standard_normal(size)
    assert pairwise_sum(values) == np.sum(values)


def test_sizes_are_those_of_the_slow_version():
    random = np.random.default_rng(2)
    x, y = (random.standard_normal((5, 300)) * 1e-3 for _ in range(2))
    x[1, 7], x[1, 9], y[2, 0], x[3], y[3] = np.inf, np.nan, -np.inf, 0.0, 0.0
    x[4], y[4] = 1e-200, 2e-200
    low = np.zeros_like(x)
    truth = np.where(np.isfinite(y), y, 1.0)
    format = FORMATS["float32"]
    places = np.array([4, 1, 2, 3, 0])
    limits = np.full(300, format.precision), np.full(300, -125)
    found = sizes_of_differences(x, low, y, low, truth, places, *limits)[:, np.argsort(places)]
    for step in range(5):
        with np.errstate(invalid="ignore"):
            gaps = np.abs(x[step] - y[step])
        kept = gaps[np.isfinite(gaps)]
        units = np.array([spacing(one, 24, -125) for one in truth[step][np.isfinite(gaps)]])
        expected = [kept.max(), np.sqrt(np.mean(np.square(kept / kept.max()))) * kept.max() if kept.any() else 0.0]
        in_ulp = kept / units
        expected += [in_ulp.max(), np.sqrt(np.mean(np.square(in_ulp)))]
        np.testing.assert_allclose(found[:4, step], expected, rtol=1e-14)
        assert found[4, step] == 300 - len(kept)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_updates_that_move_no_weight_are_counted(traced, side_of, dtype):
    inputs, traces = traced(*PAIR, dtype=dtype, hyper={"lr": 3e-3, "eps": 1e-3})
    sides = [side_of(traces[name]) for name in PAIR]
    (parts,) = split([asked(*sides)], inputs)
    for side, updates in zip(sides, parts.updates, strict=True):
        (truths,) = orbits([side.exact], inputs.start(), inputs.layout, inputs.blocks(), inputs.format)
        w = truths[side.exact].w
        exact = [
            [Fraction(high) + Fraction(low) for high, low in zip(*row, strict=True)] for row in zip(*w, strict=True)
        ]
        rows = side.trace.array("w").astype(np.float64)
        before = [list(map(Fraction, rows[0])), *exact[:-1]]
        moves = np.array(exact) != np.array(before)
        still = rows[1:] == rows[:-1]
        assert tuple(updates) == (np.count_nonzero(moves), np.count_nonzero(moves & still))
        assert 0 < updates.exact < moves.size
        assert (updates.lost > 0) == (dtype == "bfloat16")
