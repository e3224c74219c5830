"""The questions put to a target: the same on every machine, and each able to show what it is for."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from parity.core.hyper import Hyper
from parity.core.stages import NO_STAGES, LossScale, Stages
from parity.identify.probes import IDLE, IDLE_ROW, LAWS, MOVED, OMITTED, POWER, RESTING_ROWS, probes
from parity.numerics.formats import FORMATS

NAMES = (
    *("main", "wide", "default-eps", "no-eps", "other", "decoupled", "l2", "amsgrad"),
    *("none", "schedule", "zeros", "tiny", "long", "clip", "matrices", "jumps"),
    *("shapes", "many", "none-decoupled", "clip-l2", "groups", "betas", "not-finite", "law", *LAWS),
)

SCALED = Stages(loss_scale=LossScale(initial=64.0))

DIGESTS = {
    "float64": "555ee1c95068c734",
    "float32": "a86c4e63b310b8f6",
    "float16": "b49e269e5ca34266",
    "bfloat16": "0fb232d3993a3e3b",
}
"""Of all numbers: an answer that was kept belongs to these questions."""


@pytest.fixture(params=FORMATS)
def asked(request):
    """All probes of a dtype by name."""
    return {one.name: one for one in probes(FORMATS[request.param])}


def magnitudes(probe):
    """|gradient| in float64, zeros left out."""
    values = np.abs(probe.gradients.astype(np.float64))
    return values[values > 0]


def place(probe, name):
    return next(place for parameter, place in probe.layout.slices() if parameter.name == name)


def test_the_numbers_are_the_same_everywhere(asked):
    digest = hashlib.sha256()
    for one in asked.values():
        assert one.hyper.stages in (NO_STAGES, SCALED)
        hyper = repr(one.hyper).replace(f", groups=(), stages={NO_STAGES!r}", "")
        none = sorted((s, sorted(n)) for s, n in one.none.items())
        digest.update(f"({one.name!r}, {hyper}, {one.layout!r}, {none!r})".encode())
        digest.update(one.weights.tobytes() + one.gradients.tobytes())
    assert digest.hexdigest()[:16] == DIGESTS[one.format.name]


def test_each_is_whole_and_cheap(asked):
    assert tuple(asked) == NAMES
    for one in asked.values():
        assert one.weights.dtype == one.gradients.dtype == one.format.dtype
        assert one.weights.shape == (one.layout.size,)
        assert one.gradients.shape == (one.steps, one.layout.size)
        assert not one.weights.flags.writeable
        assert not one.gradients.flags.writeable
        finite = np.isfinite(one.gradients.astype(np.float64))
        assert np.count_nonzero(~finite) == {"not-finite": 2, "law-left-out": 1}.get(one.name, 0)
        assert np.abs(one.weights.astype(np.float64)).max() <= 1
        assert np.mean(one.weights == 0) == pytest.approx(1 / 3, abs=0.05)
        assert one.name != "many" or len(one.layout.parameters) == 300
        assert not isinstance(one.hyper.lr, tuple) or len(one.hyper.lr) == one.steps
    assert sum(one.gradients.size for name, one in asked.items() if name != "wide") < 156_000


def test_gradients_span_decades_and_change_sign_and_magnitude(asked):
    main = asked["main"]
    low, high = (2.0**-7, 8) if main.format.name == "float16" else (2.0**-20, 64)
    assert low <= magnitudes(main).min() < 2 * low
    assert high / 2 < magnitudes(main).max() <= high
    bias = main.gradients[:, place(main, "bias")].astype(np.float64)
    lively = np.delete(bias, np.arange(bias.shape[1])[IDLE], axis=1)
    assert np.mean(lively == 0) == pytest.approx(0.1, abs=0.01)
    assert np.mean(lively[1:] * lively[:-1] < 0) == pytest.approx(0.81 / 2, abs=0.02)
    both = (lively[1:] != 0) & (lively[:-1] != 0)
    ratio = np.abs(lively[1:][both] / lively[:-1][both])
    assert 8 < ratio.max() < 16.1
    # What a tensor of its own shows is nobody else's.
    assert not np.array_equal(main.gradients[:, place(main, "query")], main.gradients[:, place(main, "key")])


def test_v_neither_vanishes_nor_overflows_where_it_is_not_asked_to(asked):
    for name in ("main", "other", "clip", "long"):
        one = asked[name]
        real = one.format.dtype.type
        v = (real(1 - one.hyper.beta2) * one.gradients * one.gradients).astype(np.float64)
        moving = one.gradients != 0
        assert np.isfinite(v).all()
        # In float16 the square of 0.008, times 0.001, is just below the smallest number there is.
        assert np.mean(v[moving] == 0) < (0.1 if one.format.name == "float16" else 1e-9)


def test_some_elements_never_get_a_gradient_and_some_rows_rest(asked):
    for name, one in asked.items():
        if "bias" not in {parameter.name for parameter in one.layout.parameters}:
            continue
        idle = one.gradients[:, place(one, "bias")][:, IDLE]
        rows = one.gradients[:, place(one, "rows")].reshape(one.steps, 8, 6)
        if name == "no-eps":
            assert one.gradients.astype(bool).all()
            continue
        assert idle.shape[1] == 64
        assert not idle.any()
        assert not rows[:, IDLE_ROW].any()
        for row in RESTING_ROWS:
            assert not rows[1::2, row].any()
            assert rows[0, row].any()
        assert rows[1, 0].any() or name == "zeros"


def test_each_probe_asks_what_its_name_says(asked):
    decaying = {"decoupled", "l2", "none-decoupled", "clip-l2"}
    assert {name for name, one in asked.items() if one.hyper.weight_decay} == decaying
    assert [name for name, one in asked.items() if one.hyper.decoupled] == ["decoupled", "none-decoupled"]
    assert [name for name, one in asked.items() if one.hyper.amsgrad] == ["amsgrad"]
    assert [name for name, one in asked.items() if one.none] == ["none", "none-decoupled"]
    assert asked["no-eps"].hyper.eps == 0
    assert asked["default-eps"].hyper.eps == asked["zeros"].hyper.eps == 1e-8
    assert len(set(asked["schedule"].hyper.lr)) == asked["schedule"].steps
    assert asked["jumps"].hyper.lr.count(0.0) == 3
    # What only takes matrices, and what has neither eps nor betas, is asked as well.
    assert {len(one.shape) for one in asked["matrices"].layout.parameters} == {2}
    assert all(replace(asked[name].hyper, lr=1e-3) == Hyper() for name in ("matrices", "jumps", "default-eps"))
    assert asked["long"].steps > 2100
    assert asked["zeros"].gradients[:3].any(axis=1).all()
    assert not asked["zeros"].gradients[3:].any()
    assert asked["zeros"].steps == 12


def test_a_gradient_that_is_none_is_zero_here(asked):
    one = asked["none"]
    assert {step: set(names) for step, names in one.none.items()} == {1: {"bias"}, 2: {"key"}, 5: {"key"}, 6: {"key"}}
    for step, names in one.none.items():
        for name in names:
            assert not one.gradients[step - 1, place(one, name)].any()
    assert one.gradients[2, place(one, "key")].any()
    assert one.gradients[1, place(one, "bias")].any()


def test_the_maximum_of_v_stays_behind_v(asked):
    one = asked["amsgrad"]
    squares = one.gradients.astype(np.float64) ** 2
    v, largest = np.zeros(one.layout.size), np.zeros(one.layout.size)
    for square in squares:
        v = one.hyper.beta2 * v + (1 - one.hyper.beta2) * square
        largest = np.maximum(largest, v)
    moving = squares.any(axis=0)
    assert np.median(largest[moving] / v[moving]) > 1.5


def test_tiny_squares_are_subnormal(asked):
    one = asked["tiny"]
    smallest = float(np.ldexp(1.0, 2 - 2 ** (one.format.exponent_bits - 1)))
    # As a sum of exponents: below float64's own subnormals there is nothing left to multiply.
    logarithm = 2 * np.log2(magnitudes(one)) + np.log2(1 - one.hyper.beta2)
    subnormal = np.mean((logarithm < np.log2(smallest)) & (logarithm > np.log2(smallest) + 1 - one.format.precision))
    assert subnormal > 0.2
    assert 0 < one.hyper.eps < 1e-5


def test_clipping_would_be_seen(asked):
    one = asked["clip"]
    assert np.mean(magnitudes(one) > 1) > 0.5
    for _, where in one.layout.slices():
        norms = np.linalg.norm(one.gradients[:, where].astype(np.float64), axis=1)
        assert np.median(norms) > 1


def test_a_law_asks_the_same_numbers_in_another_place(asked):
    plain = asked["law"]
    numbers = {"law-scaled": 2.0 ** POWER.get(plain.format.name, 4)}
    for law in LAWS:
        one = asked[law]
        gradients, weights = one.gradients.astype(np.float64) / numbers.get(law, 1.0), one.weights
        if law == "law-continued":
            gradients = np.concatenate([plain.gradients[: one.begins].astype(np.float64), gradients])
        if law == "law-left-out":
            assert np.isinf(gradients[OMITTED - 1]).sum() == 1
            gradients = np.delete(gradients, OMITTED - 1, axis=0)
        assert one.hyper.stages.names == (("loss_scale",) if law in ("law-unscaled", "law-left-out") else ())
        if law == "law-turned":
            gradients, weights = gradients[:, ::-1], weights[::-1]
            assert [each.name for each in one.layout.parameters] == ["second", "first"]
        if law == "law-moved":
            gradients, weights = gradients[:, MOVED:], weights[MOVED:]
        assert np.array_equal(gradients, plain.gradients.astype(np.float64))
        assert np.array_equal(weights, plain.weights)
    assert len(asked["law-joined"].layout.parameters) == 1


def test_shapes_have_every_number_of_axes_and_sizes_around_powers_of_two(asked):
    layouts = [asked[name].layout for name in ("shapes", "main")]
    assert {len(one.shape) for layout in layouts for one in layout.parameters} == {0, 1, 2, 3, 4}
    assert {15, 16, 17, 63, 65, 255, 256, 257} <= {one.size for one in layouts[0].parameters}
    assert max(one.size for one in asked["wide"].layout.parameters) > 65_536
