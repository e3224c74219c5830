"""What an Adam takes of the gradients that it is given: accumulation, loss scale, the sign, block by block."""

from __future__ import annotations

from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.adam.arithmetic import plain
from parity.adam.convention import ClipFactor, Convention, Epsilon, ScaleRange, StepCount
from parity.adam.forms import Clipping, Reduction
from parity.adam.gradients import Block, counts_in, taken, taken_exactly, taken_one_by_one
from parity.core.hyper import Hyper
from parity.core.layout import Layout, Parameter
from parity.core.stages import Clip, ClipBy, Decay, LossScale, Schedule, Stages
from parity.implementations.numpy_ import run
from parity.numerics.formats import FORMATS, to_bits

LAYOUT = Layout((Parameter("b", (2, 3)), Parameter("a", (5,)), Parameter("empty", (0,)), Parameter("c", ())))
STEPS = 12

each_dtype = pytest.mark.parametrize("dtype", [one.dtype for one in FORMATS.values()], ids=list(FORMATS))

STAGES = {
    "accumulate": Stages(accumulate=3),
    "all but a scale": Stages(accumulate=2, clip=Clip(ClipBy.GLOBAL_NORM, 1.0), maximize=True),
    "scale": Stages(loss_scale=LossScale(8.0, interval=2), clip=Clip(ClipBy.NORM, 0.5), maximize=True),
    "value": Stages(clip=Clip(ClipBy.VALUE, 0.5)),
}


def drawn(dtype, not_finite=False):
    """Gradients of all steps as a block; some parameters have none."""
    random = np.random.default_rng(4)
    rows = random.standard_normal((STEPS, LAYOUT.size)).astype(dtype)
    present = random.random((STEPS, len(LAYOUT.parameters))) < 0.7
    for number, (_, place) in enumerate(LAYOUT.slices()):
        rows[:, place] *= present[:, number, None]
    if not_finite:
        rows[3, 2], rows[7, -1] = np.inf, np.nan
        present[3, 0] = present[7, -1] = True
    return Block(range(1, STEPS + 1), rows, present)


def in_one(blocks):
    """Rows, present and updates of all blocks together."""
    blocks = list(blocks)
    return tuple(np.concatenate([getattr(one, name) for one in blocks]) for name in ("gradients", "present", "updates"))


def cut(block, places):
    ends = [0, *sorted({place for place in places if 0 < place < STEPS}), STEPS]
    for start, stop in pairwise(ends):
        part = slice(start, stop)
        yield Block(block.steps[part], block.gradients[part], block.present[part])


def assert_same_updates(one, other):
    """Of steps that are no updates nobody looks at the gradients."""
    assert one[2].tolist() == other[2].tolist()
    assert one[1].tolist() == other[1].tolist()
    updates = one[2]
    assert to_bits(one[0][updates]).tolist() == to_bits(other[0][updates]).tolist()


@each_dtype
@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("clipping", Clipping)
def test_where_blocks_are_cut_says_nothing(dtype, name, clipping):
    block, stages = drawn(dtype, not_finite=name == "scale"), STAGES[name]
    whole = in_one(taken([block], LAYOUT, stages, clipping, Reduction.EXACT))
    exact = in_one(taken_exactly([block], LAYOUT, stages, ClipFactor.EXACT))
    for places in ([1], [4], range(STEPS), [2, 7]):
        assert_same_updates(in_one(taken(cut(block, places), LAYOUT, stages, clipping, Reduction.EXACT)), whole)
        assert_same_updates(in_one(taken_exactly(cut(block, places), LAYOUT, stages, ClipFactor.EXACT)), exact)


@each_dtype
@pytest.mark.parametrize("name", STAGES)
def test_one_by_one_is_the_same(dtype, name):
    block, stages = drawn(dtype, not_finite=name == "scale"), STAGES[name]
    rows, present, updates = in_one(taken([block], LAYOUT, stages, Clipping.PLAIN, Reduction.EXACT))
    weights = LAYOUT.views(np.zeros(LAYOUT.size, dtype))
    given = [
        {one: view if here else None for (one, view), here in zip(LAYOUT.views(row).items(), who, strict=True)}
        for row, who in zip(block.gradients, block.present, strict=True)
    ]
    found = list(taken_one_by_one(given, weights, stages, plain(Epsilon.HAT)))
    assert [one is not None for one in found] == updates.tolist()
    for place in np.flatnonzero(updates):
        for number, (one, view) in enumerate(LAYOUT.views(rows[place]).items()):
            made = found[place][one]
            assert (made is not None) == present[place, number]
            assert made is None or (made.shape, to_bits(made).tolist()) == (view.shape, to_bits(view).tolist())


def test_what_asks_for_nothing_hands_the_blocks_on():
    block = drawn(np.dtype(np.float32))
    asked = Stages(schedule=Schedule(Decay.COSINE, 3))
    assert list(taken([block], LAYOUT, asked, Clipping.PLAIN, Reduction.EXACT)) == [block]
    assert list(taken_exactly([block], LAYOUT, asked, ClipFactor.EXACT)) == [block]


def test_gradients_that_are_given_are_not_written_to():
    block = drawn(np.dtype(np.float32), not_finite=True)
    before = block.gradients.copy(), block.present.copy()
    for stages in STAGES.values():
        list(taken([block], LAYOUT, stages, Clipping.PLAIN, Reduction.EXACT))
        list(taken_exactly([block], LAYOUT, stages, ClipFactor.EXACT))
    assert to_bits(block.gradients).tolist() == to_bits(before[0]).tolist()
    assert block.present.tolist() == before[1].tolist()


MEANS = {
    Clipping.PLAIN: lambda a, b, c, k: (a / k + b / k) + c / k,
    Clipping.TORCH: lambda a, b, c, k: (a / k + b / k) + c / k,
    Clipping.KERAS: lambda a, b, c, k: ((a + b) + c) / k,
    Clipping.KERAS_COMPILED: lambda a, b, c, k: ((a + b) + c) * type(k)(1 / float(k)),
}


@each_dtype
@pytest.mark.parametrize("clipping", Clipping)
def test_a_mean_of_three_is_formed_as_each_framework_does(dtype, clipping):
    block = drawn(dtype)
    rows, present, updates = in_one(taken([block], LAYOUT, STAGES["accumulate"], clipping, Reduction.EXACT))
    assert updates.tolist() == [False, False, True] * 4
    for place in range(2, STEPS, 3):
        assert present[place].tolist() == block.present[place - 2 : place + 1].any(axis=0).tolist()
        for i in range(LAYOUT.size):
            a, b, c = block.gradients[place - 2 : place + 1, i]
            if clipping in (Clipping.OPTAX, Clipping.OPTAX_COMPILED):
                # Kept in float32 between the steps, also of float64.
                wide = np.float64 if dtype == np.float64 else np.float32
                kept = np.float32(wide(a))
                kept = np.float32(wide(kept) + (wide(b) - wide(kept)) / wide(2))
                expected = dtype.type(wide(kept) + (wide(c) - wide(kept)) / wide(3))
            else:
                expected = MEANS[clipping](a, b, c, dtype.type(3))
            assert rows[place, i] == expected
    assert not present[~updates].any()


@each_dtype
@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("clipping", Clipping)
def test_the_exact_one_is_near(dtype, name, clipping):
    """Which steps are updates, and who has a gradient, is the same; numbers are apart by some roundings."""
    block, stages = drawn(dtype, not_finite=name == "scale"), STAGES[name]
    rows, present, updates = in_one(taken([block], LAYOUT, stages, clipping, Reduction.EXACT))
    factor = ClipFactor.WITH_1E_6 if clipping is Clipping.TORCH else ClipFactor.EXACT
    exact, who, moves = in_one(taken_exactly([block], LAYOUT, stages, factor))
    assert moves.tolist() == updates.tolist()
    assert who.tolist() == present.tolist()
    unit = (
        2.0**-24
        if clipping in (Clipping.OPTAX, Clipping.OPTAX_COMPILED) and dtype == np.float64
        else float(np.finfo(np.float64).eps)
    )
    unit = max(unit, 2.0 ** -next(one.precision for one in FORMATS.values() if one.dtype == dtype))
    for number, (_, place) in enumerate(LAYOUT.slices()):
        here = present[:, number]
        apart = np.abs(rows[here, place].astype(np.float64) - exact[here, place])
        # Gradients are some 1 in size, and so is what is added up.
        assert np.all(apart <= 12 * unit)


@given(st.integers(2, 5), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_the_exact_mean_is_exact(many, seed):
    layout = Layout((Parameter("a", (6,)),))
    rows = np.random.default_rng(seed).standard_normal((many, 6))
    block = Block(range(1, many + 1), rows, np.ones((many, 1), bool))
    (made,) = taken_exactly([block], layout, Stages(accumulate=many), ClipFactor.EXACT)
    with localcontext() as context:
        context.prec = 60
        for i in range(6):
            mean = sum(map(Decimal, rows[:, i].tolist())) / many
            found = Decimal(float(made.gradients[-1, i])) + Decimal(float(made.low[-1, i]))
            # A sum of different signs is smaller than what was added up.
            assert abs(found - mean) <= Decimal(2) ** -95 * max(map(abs, map(Decimal, rows[:, i].tolist())))


def only(value):
    return {"w": np.array([value])}


def test_the_mean_of_two_moves_half_a_step_and_t_counts_updates():
    """g = eps = 1e-3: 0.5 lr of the mean, where the sum would move 0.66667 lr; t by batch would move 0.74414 lr."""
    hyper = Hyper(lr=1.0, eps=1e-3, stages=Stages(accumulate=2))
    states = run(only(1.0), [only(1e-3)] * 4, hyper, stages=hyper.stages)
    found = [(float(one.w["w"][0]), one.steps["w"]) for one in states]
    np.testing.assert_allclose([one[0] for one in found], [1, 0.5, 0.5, 0.0], atol=1e-12)
    assert [one[1] for one in found] == [0, 1, 1, 2]


def counts_of(stages, rows, convention):
    block = Block(range(1, len(rows) + 1), np.array(rows)[:, None], np.ones((len(rows), 1), bool))
    (made,) = taken([block], Layout((Parameter("w", (1,)),)), stages, Clipping.PLAIN, Reduction.EXACT)
    return counts_in(made, np.zeros(1, np.int64), convention)[:, 0].tolist()


@pytest.mark.parametrize("count", StepCount)
def test_t_counts_updates(count):
    convention = Convention(step_count=count)
    assert counts_of(Stages(accumulate=2), [1.0] * 5, convention) == [0, 1, 1, 2, 2]
    assert counts_of(Stages(loss_scale=LossScale(1.0)), [1.0, np.nan, 1.0], convention) == [1, 1, 2]


def test_a_step_that_is_not_finite_is_left_out():
    """w = 1, lr = 1e-3, eps = 0, g = 1, NaN, 1: the third step is as the second of (1, 1)."""
    hyper = Hyper(lr=1e-3, eps=0.0, stages=Stages(loss_scale=LossScale()))
    states = run(only(1.0), [only(1.0), only(np.nan), only(1.0)], hyper, stages=hyper.stages)
    found = [(float(one.w["w"][0]), float(one.m["w"][0]), one.steps["w"]) for one in states]
    np.testing.assert_allclose([one[0] for one in found], [0.999, 0.999, 0.998], rtol=1e-12)
    assert found[1][1] == found[0][1]
    assert [one[2] for one in found] == [1, 1, 2]


def updates_of(table, gradients, dtype=np.float16):
    block = Block(range(1, len(gradients) + 1), np.array(gradients, dtype)[:, None], np.ones((len(gradients), 1), bool))
    (made,) = taken([block], Layout((Parameter("w", (1,)),)), Stages(loss_scale=table), Clipping.PLAIN, Reduction.EXACT)
    return made.updates.tolist()


def test_the_scale_falls_by_every_overflow_and_grows_after_an_interval():
    """In float16 a scale of s is too large for gradients of 65,504 / s and more."""
    assert updates_of(LossScale(65536.0), [1.0] * 4) == [False, True, True, True]
    assert updates_of(LossScale(8192.0), [32.0] * 4) == [False, False, False, True]
    # 16,384 twice, then 32,768, which is too large for 2, then 16,384 again.
    table = LossScale(16384.0, interval=2)
    assert updates_of(table, [2.0, 2.0, 2.0, 2.0, 2.0, 2.0]) == [True, True, False, True, True, False]
    # What was not finite begins the interval anew.
    assert updates_of(table, [2.0, np.inf, 2.0, 2.0, 4.0, 4.0]) == [True, False, True, True, False, True]


def test_a_scale_that_is_no_power_of_two_is_inverted_in_float32_by_torch():
    row, layout = np.array([[1.0]]), Layout((Parameter("w", (1,)),))
    block = Block(range(1, 2), row, np.ones((1, 1), bool))
    found = {}
    for clipping in (Clipping.TORCH, Clipping.PLAIN):
        (made,) = taken([block], layout, Stages(loss_scale=LossScale(1000.1)), clipping, Reduction.EXACT)
        found[clipping] = float(made.gradients[0, 0])
    scale = np.float32(1000.1)
    assert found[Clipping.TORCH] == float(scale) * float(np.float32(1 / float(scale)))
    assert found[Clipping.PLAIN] == 1000.1 * (1 / 1000.1)


def gradients_after(scale_range, clipping, gradients, table):
    """Of one float32 element, what is left after the scale at every step; None where none is taken."""
    rows = np.array(gradients, np.float32)[:, None]
    block = Block(range(1, len(rows) + 1), rows, np.ones(rows.shape, bool))
    around = Stages(loss_scale=table), clipping, Reduction.EXACT, scale_range
    (made,) = taken([block], Layout((Parameter("w", (1,)),)), *around)
    return [float(row[0]) if update else None for row, update in zip(made.gradients, made.updates, strict=True)]


def test_a_scale_at_the_end_of_float32_stays_is_inf_or_makes_every_gradient_zero():
    """2**126 once, then 2**127, whose double is inf; 0.25 is finite under all but inf."""
    table, given = LossScale(2.0**126, interval=1), [0.25] * 4
    assert gradients_after(ScaleRange.FINITE, Clipping.TORCH, given, table) == [0.25, 0.25, 0.25, 0.25]
    assert gradients_after(ScaleRange.FINITE, Clipping.PLAIN, given, table) == [0.25, 0.25, 0.25, 0.25]
    assert gradients_after(ScaleRange.UNBOUNDED, Clipping.KERAS, given, table) == [0.25, 0.25, None, None]
    assert gradients_after(ScaleRange.FROM_ONE, Clipping.KERAS, given, table) == [0.25, 0.0, 0.0, 0.0]


def test_a_scale_falls_below_one_but_in_tf_keras_and_is_none_in_optax():
    """At 2**-150 a scale is 0 in float32: what is divided by it is NaN, and torch and Keras look at it before that."""
    table, given = LossScale(1.0, interval=2000), [np.inf] * 150 + [0.25]
    assert gradients_after(ScaleRange.FROM_ONE, Clipping.KERAS, given, table)[-1] == 0.25
    assert gradients_after(ScaleRange.FIXED, Clipping.OPTAX, given, table)[-1] == 0.25
    for scale_range, clipping in ((ScaleRange.FINITE, Clipping.TORCH), (ScaleRange.UNBOUNDED, Clipping.KERAS)):
        assert np.isnan(gradients_after(scale_range, clipping, given, table)[-1])


def test_keras_divides_by_a_scale_that_is_no_power_of_two():
    found = gradients_after(ScaleRange.UNBOUNDED, Clipping.KERAS, [0.1], LossScale(1000.1))
    scale, given = np.float32(1000.1), np.float32(0.1)
    assert found == [float(given * scale / scale)]
    assert found != [float(given * scale * (np.float32(1) / scale))]


def test_maximize_is_the_other_sign():
    block = drawn(np.dtype(np.float32))
    rows, _, _ = in_one(taken([block], LAYOUT, Stages(maximize=True), Clipping.PLAIN, Reduction.EXACT))
    assert to_bits(rows).tolist() == to_bits(-block.gradients).tolist()
