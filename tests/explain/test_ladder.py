"""The ladder goes from one Adam to another and ends at no differing bit."""

from __future__ import annotations

import pytest

from parity.comparison.trace import open_rows
from parity.explain.causes import Family
from parity.explain.choices import form_family
from parity.explain.explain import explain_traces
from parity.explain.explanation import Answer
from parity.explain.ladder import Climb, ladders
from parity.explain.noise import next_ulp, noise
from parity.explain.running import free_run
from parity.numerics.ulp import ulp_distance

PAIR = ("numpy.adam.hat", "numpy.adam.outside")


def test_every_choice_of_the_convention_is_a_rung(traced, adam_of):
    inputs, traces = traced(*PAIR, hyper={"eps": 1e-3})
    actual, expected = (traces[name] for name in PAIR)
    (rungs,) = ladders([Climb(adam_of(actual), adam_of(expected), expected)], inputs)
    assert [(rung.choice, rung.family) for rung in rungs] == [
        ("", None),
        ("epsilon", Family.EPSILON_PLACEMENT),
        ("step_count", Family.STEP_COUNT),
    ]
    assert rungs[0].differing > rungs[1].differing > rungs[2].differing == 0
    assert all(rung.changed and rung.moved for rung in rungs[1:])
    assert rungs[-1].max_steps == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounding_is_a_rung_in_the_halves(traced, adam_of, dtype):
    pair = ("numpy.adam.hat.store", "numpy.adam.outside")
    inputs, traces = traced(*pair, dtype=dtype)
    (rungs,) = ladders([Climb(*(adam_of(traces[name]) for name in pair), traces[pair[1]])], inputs)
    assert "rounding" in [rung.choice for rung in rungs]
    assert rungs[-1].differing == 0


def test_a_trace_that_is_not_the_twins_is_not_reached(traced, adam_of):
    inputs, traces = traced(*PAIR)
    open_rows(traces[PAIR[1]].folder, "v", "r+")[3, 0] ^= 1
    (rungs,) = ladders([Climb(*(adam_of(traces[name]) for name in PAIR), traces[PAIR[1]])], inputs)
    assert rungs[-1].differing == 1


def test_ladders_share_their_mixtures_and_stay_what_they_are(traced, adam_of, monkeypatch):
    names = (*PAIR, "numpy.adam.inside", "numpy.adam.hat.store")
    inputs, traces = traced(*names, dtype="float16")
    climbs = [Climb(adam_of(traces[a]), adam_of(traces[b]), traces[b]) for a in names for b in names if a != b]
    ran = []
    monkeypatch.setattr("parity.explain.ladder.free_run", lambda adam, *rest: ran.append(adam) or free_run(adam, *rest))
    alone = [ladders([climb], inputs)[0] for climb in climbs]
    apart = len(ran)
    ran.clear()
    assert ladders(climbs, inputs) == alone
    assert len(ran) == len(set(ran)) < apart / 2
    # One at a time, where memory does not allow more.
    ran.clear()
    monkeypatch.setattr("parity.explain.ladder.MOST_ROWS", 1)
    assert ladders(climbs, inputs) == alone
    assert len(ran) == apart


@pytest.mark.parametrize(
    ("left", "right", "family"),
    [
        ("m = b1 * m + c1 * g", "m = fma(c1, g, b1 * m)", Family.FMA),
        ("m = lerp(m, g, c1)", "m = b1 * m + c1 * g", Family.FMA),
        ("m = lerp(m, g, c1)", "m = fma(g - m, c1, m)", Family.OPERATION_ORDER),
        ("m = m + (g - m) * c1", "m = b1 * m + c1 * g", Family.OPERATION_ORDER),
    ],
)
def test_contraction_and_order_are_told_apart(left, right, family):
    assert form_family(left, right) is family


def test_the_noise_floor_is_that_of_one_ulp(traced, adam_of):
    inputs, traces = traced(*PAIR)
    adam, last = adam_of(traces[PAIR[1]]), inputs.case.steps
    found = noise(adam, inputs, range(1, last + 1))
    assert list(found) == list(range(1, last + 1))
    start = inputs.start()
    moved = start._replace(rows=start.rows._replace(w=next_ulp(start.rows.w)))
    largest = abs(moved.rows.w.astype(float) - start.rows.w.astype(float)).max() / 1e-3
    assert 0 < found[1].weights <= 2 * largest
    assert all(one.weights > 0 for one in found.values())
    assert max(one.gradient for one in found.values()) <= 2 * largest
    assert noise(adam, inputs, {3, 1}) == {step: found[step] for step in (1, 3)}
    # By hand, at the first step: weights that were 1 ULP apart are 1 or 2 ULP apart.
    rows = [next(free_run(adam, one, inputs.layout, inputs.blocks()))[1]["w"]
            for one in (start, moved)]  # fmt: skip
    assert ulp_distance(*(one[0] for one in rows)).max() in (1, 2)
    assert found[1].weights == abs(rows[1][0].astype(float) - rows[0][0].astype(float)).max() / 1e-3


@pytest.mark.frameworks
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_from_torch_to_the_paper(traced, tmp_path, dtype):
    pair = ("torch.adam.forloop", "numpy.adam.outside")
    inputs, traces = traced(*pair, dtype=dtype, parameters=[{"name": "kernel", "shape": [1061]}], steps=12)
    found = explain_traces(*(traces[name].folder for name in pair), inputs.case)
    assert found.answer is Answer.EXPLAINED
    assert found.ladder[0].differing > 0
    assert found.ladder[-1].differing == 0
    families = {cause.family for cause in found.causes}
    assert Family.FMA in families
    assert not families & {Family.EPSILON_PLACEMENT, Family.STEP_COUNT, Family.UNEXPLAINED}
    assert sum(cause.share for cause in found.causes) == pytest.approx(1)
    assert found.sentence.startswith("the same Adam, rounded differently; every differing bit is accounted for by")


EXPONENTIAL = {"schedule": {"decay": "exponential", "steps": 12, "rate": 0.5}}
BY_NORM = {"clip": {"by": "global_norm", "limit": 0.1}}


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("actual", "stages", "named"),
    [
        ("torch.adam.forloop", BY_NORM, Family.GRADIENT_CLIP),
        ("torch.adam.forloop", {"clip": {"by": "value", "limit": 0.1}}, None),
        ("torch.adam.forloop", {"schedule": {"decay": "one_cycle", "steps": 12}}, Family.SCHEDULE),
        ("torch.adam.forloop", {"schedule": {"decay": "cosine", "steps": 6}}, Family.SCHEDULE),
        ("optax.adam.jit", EXPONENTIAL, Family.HYPERPARAMETER_ROUNDING),
    ],
)
def test_what_is_done_otherwise_around_the_step_is_named_and_its_rounding_is_none_of_it(traced, actual, stages, named):
    pair = (actual, "numpy.adam.outside")
    one = [{"name": "kernel", "shape": [7, 5]}]
    inputs, traces = traced(*pair, dtype="float64", parameters=one, steps=12, stages=stages)
    found = explain_traces(*(traces[name].folder for name in pair), inputs.case)
    assert found.answer is Answer.EXPLAINED
    shares = {cause.family: cause.share for cause in found.causes}
    around = {Family.GRADIENT_CLIP, Family.SCHEDULE, Family.STEP_COUNT, Family.HYPERPARAMETER_ROUNDING}
    assert around & {*shares} == ({named} - {None})
    assert named is None or shares[named] > 0.99


@pytest.mark.frameworks
def test_the_formula_of_a_pair_without_a_ladder_is_that_of_the_norm(run_small):
    everything = {"actual": "*", "expected": "*", "verdict": "DIVERGED", "because": "Only its causes are looked at."}
    run = run_small("torch.adam.foreach", "numpy.adam.outside", dtypes=["float64"], stages=BY_NORM, expect=[everything])
    (why,) = run.cells[0].account.pairs
    assert why.answer == Answer.EXPLAINED
    assert why.families[0][0] == Family.GRADIENT_CLIP
    assert Family.STEP_COUNT not in dict(why.families)
