"""A residual is 0 where the twin is right, and finds one changed bit where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from parity.comparison.trace import open_rows
from parity.core.errors import ParityError
from parity.explain.inputs import BLOCK, Inputs
from parity.explain.residual import differing_bits, distance, residual
from parity.numerics.formats import FORMATS
from parity.numerics.ulp import ulp_distance

PAIR = ("numpy.adam.hat", "numpy.adam.outside")


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_a_right_twin_leaves_nothing(traced, adam_of, dtype):
    inputs, traces = traced(*PAIR, dtype=dtype)
    for trace in traces.values():
        found = residual(trace, inputs, adam_of(trace))
        assert found.lock_step
        assert [(one.quantity, one.compared, one.differing) for one in found.differences] == [
            (quantity, 7 * 17, 0) for quantity in ("m", "v", "w")
        ]


def test_a_wrong_twin_leaves_something(traced, adam_of):
    inputs, traces = traced(*PAIR)
    found = residual(traces[PAIR[0]], inputs, adam_of(traces[PAIR[1]]))
    by_quantity = {one.quantity: one for one in found.differences}
    assert by_quantity["m"].differing == by_quantity["v"].differing == 0
    assert by_quantity["w"].differing > 0


@pytest.mark.parametrize("quantity", ["m", "v", "w"])
def test_one_planted_bit_is_found_where_it_is(traced, adam_of, quantity):
    inputs, traces = traced(*PAIR)
    trace = traces["numpy.adam.outside"]
    rows = open_rows(trace.folder, quantity, "r+")
    before = float(rows[7, 12 + 3].view(np.float32))
    rows[7, 12 + 3] ^= 1
    found = residual(trace, inputs, adam_of(trace))
    (one,) = (each for each in found.differences if each.differing)
    assert (found.differing, one.quantity, one.differing, one.max_ulp) == (1, quantity, 1, 1)
    assert one.first is not None
    assert (one.first.step, one.first.parameter, one.first.index) == (7, "bias", 3)
    assert one.first.expected == before.hex()
    assert one.first.actual == float(rows[7, 15].view(np.float32)).hex() != before.hex()


def test_a_parameter_without_gradient_has_to_stand_still(traced, adam_of):
    inputs, traces = traced(*PAIR)
    trace = traces["numpy.adam.hat"]
    (absent,) = (block.present[:, 0] for block in inputs.blocks())
    step = int(np.flatnonzero(~absent)[-1]) + 1
    rows = open_rows(trace.folder, "w", "r+")
    rows[step, 2] += 4
    first = next(one.first for one in residual(trace, inputs, adam_of(trace)).differences if one.differing)
    assert (first.step, first.parameter, first.index) == (step, "kernel", 2)


def test_zeros_of_other_signs_differ_by_no_ulp(traced, adam_of):
    inputs, traces = traced(*PAIR, gradients={"kind": "zero"}, parameters=[{"name": "kernel", "shape": [2]}])
    trace = traces["numpy.adam.hat"]
    open_rows(trace.folder, "m", "r+")[7, 1] = 1 << 31
    one = next(one for one in residual(trace, inputs, adam_of(trace)).differences if one.differing)
    assert (one.quantity, one.differing, one.max_ulp) == ("m", 1, 0)


def test_blocks_hold_no_more_than_they_may(traced):
    inputs, _ = traced(*PAIR, steps=40, parameters=[{"name": "kernel", "shape": [BLOCK // 16]}])
    assert [len(block.steps) for block in inputs.blocks()] == [16, 16, 8]
    assert [len(block.steps) for block in inputs.blocks(18)] == [16, 2]


def test_hidden_moments_are_run_from_the_start(traced, adam_of, write_adam):
    hiding = write_adam(before="for name in w: w[name] = w[name].copy()", swap=[("State(w=w, m=m, v=v)", "State(w=w)")])
    inputs, traces = traced(hiding)
    found = residual(traces["user.plugin"], inputs, adam_of(traces["numpy.adam.outside"]))
    assert not found.lock_step
    assert [one.quantity for one in found.differences] == ["w"]


def test_a_trace_of_another_question_is_refused(traced, adam_of, write_case):
    from parity.case.catalogue import select_cases

    inputs, traces = traced(*PAIR)
    (other,) = select_cases([write_case("other", seed=8)])
    with pytest.raises(ParityError, match="a trace of small in float32, which is not the case other"):
        residual(traces[PAIR[0]], Inputs(other, inputs.format), adam_of(traces[PAIR[0]]))


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_differing_bits_are_those_of_the_slow_version(format):
    """Random bits, one in two pairs equal or near, NaN, infinities and zeros among them."""
    random = np.random.default_rng(5)
    top = 2 * format.sign_bit
    left = random.integers(0, top, (30, 40), np.uint64, endpoint=False)
    right = np.where(random.random(left.shape) < 0.3, random.integers(0, top, left.shape, np.uint64), left)
    special = [0, format.sign_bit, 1, format.infinity_bits, format.infinity_bits + 1, top - 1, format.infinity_bits - 1,
               format.sign_bit + format.infinity_bits]  # fmt: skip
    left[:8, :8], right[:8, :8] = np.array(special, np.uint64)[:, None], special
    limits = np.uint64(format.sign_bit - 1), np.uint64(format.infinity_bits)
    for rows in (slice(0, 30), slice(9, 10), slice(8, 8)):
        sides = [np.ascontiguousarray(one[rows].astype(format.unsigned)) for one in (left, right)]
        numbers = [one.view(format.dtype) for one in sides]
        nan = [(one & limits[0].astype(one.dtype)) > format.infinity_bits for one in sides]
        differs = (sides[0] != sides[1]) & ~(nan[0] & nan[1])
        far = ulp_distance(*numbers)
        found = differing_bits(*sides, *limits)
        assert found[0] == np.count_nonzero(differs)
        assert found[1] == far.max(initial=0, where=differs)
        assert not found[0] or found[2:] == tuple(np.argwhere(differs)[0])
    for one, other in zip(left[:8, :8].ravel(), right[:8, :8].ravel(), strict=True):
        pair = [np.array([side]).astype(format.unsigned).view(format.dtype) for side in (one, other)]
        assert distance(one, other, *limits) == ulp_distance(*pair)[0]
