"""What stands around Adam: which stages a cell has, who differs at one and why, from real runs of small cases."""

from __future__ import annotations

import math

import pytest

from parity.core.stages import ClipBy, Decay, Stages
from parity.engine.record import read_run
from parity.report.panels.advice import ADVICE, KERAS, OPTAX, TORCH
from parity.report.panels.around import STAGES, Absent, Beside, Extent, Ground, Stage, around

LOOKED_AT = {"verdict": "DIVERGED", "because": "What comes out is looked at."}
EVERYTHING = [
    {"actual": "torch.* | user.*", "expected": "keras.* | optax.* | numpy.*", **LOOKED_AT},
    {"actual": "keras.* | optax.* | numpy.*", "expected": "numpy.*", **LOOKED_AT},
]
GROUPS = [{"name": "kernel", "shape": [3, 4]}, {"name": "bias", "shape": [5], "hyper": {"weight_decay": 0.0}}]
DECAY = {"weight_decay": 0.1, "decoupled": True}
EXPONENTIAL = {"schedule": {"decay": "exponential", "steps": 5, "rate": 0.5}}


@pytest.fixture
def found(run_small, tmp_path):
    """Run implementations, all pairs of them; what is read out of the run directory."""

    def made(*implementations, **keys):
        run_small(*implementations, **{"expect": EVERYTHING, **keys})
        return around(read_run(tmp_path / "run"))

    return made


@pytest.mark.parametrize(
    ("keys", "stages"),
    [
        ({}, ()),
        ({"hyper": {"eps": "default", "lr": 0.01}}, ("defaults",)),
        ({"parameters": GROUPS, "hyper": DECAY}, ("groups.weight_decay",)),
        ({"parameters": [{**GROUPS[1], "hyper": {"lr": 0.1, "weight_decay": 0.0}}], "hyper": DECAY}, ("groups",)),
        (
            {"stages": {"clip": {"by": "global_norm", "limit": 1.0}, "accumulate": 2, **EXPONENTIAL}},
            ("accumulate", "clip.global_norm", "schedule.exponential"),
        ),
        ({"stages": {"loss_scale": {}, "maximize": True}}, ("loss_scale", "maximize")),
        ({"parameters": [{"name": "kernel", "shape": [3, 4], "rows": True}]}, ("rows",)),
        ({"stages": {"average": {"momentum": 0.9, "overwrite": 2}}}, ("average",)),
        ({"stages": {"average": {"momentum": 0.9}}}, ("average.beside",)),
    ],
)
def test_a_cell_knows_what_stands_around_its_steps(run_small, tmp_path, keys, stages):
    run_small("numpy.adam.hat", "numpy.adam.outside", **{"expect": EVERYTHING, **keys})
    (cell,) = read_run(tmp_path / "run").cells
    assert cell.stages == stages


def test_every_stage_that_a_cell_may_name_has_a_title_and_advice_for_any_two_frameworks():
    kinds = {"clip": ClipBy, "schedule": Decay, "state": ("master", "moments")}
    asked = {
        name if name not in kinds else f"{name}.{kind}" for name in Stages.__slots__ for kind in kinds.get(name, ("",))
    }
    assert {*STAGES} == asked | {"average.beside", "groups", "groups.weight_decay", "defaults"}
    pairs = [(TORCH, KERAS), (TORCH, OPTAX), (KERAS, OPTAX)]
    assert sorted((one.stage, one.between) for one in ADVICE) == sorted(
        (name, pair) for name in STAGES for pair in pairs
    )
    assert all(text.count("`") % 2 == 0 and text.endswith(".") for one in ADVICE for text in (one.text, one.fact))


@pytest.mark.frameworks
@pytest.mark.timeout(600)
def test_where_what_stands_for_a_framework_takes_no_rows_another_does_and_lazy_rows_are_told(found):
    parameters = [{"name": "embedding", "shape": [4, 3], "rows": True}]
    rows = {"kind": "rows", "density": 0.3, "scale": 0.1}
    torch = ("torch.adam.forloop", "torch.adam.fused", "torch.adam.sparse")
    told = found(*torch, "keras.adam.eager", "numpy.adam.hat", parameters=parameters, gradients=rows, steps=8)
    (stage,) = told.stages
    assert {one.actual for one in stage.pairs} == {"torch.adam.forloop", "torch.adam.sparse", "keras.adam.eager"}
    lazy, dense = (stage.pair(name, "numpy.adam.hat").main for name in ("torch.adam.sparse", "keras.adam.eager"))
    assert (lazy.ground, lazy.families) == (Ground.FORMULA, ("sparse-rows",))
    assert lazy.lr > 0.5
    assert dense.ground is Ground.ROUNDING
    (skipped,) = [one for one in stage.absent if "torch.adam.forloop" in one.implementations]
    assert "please consider SparseAdam" in skipped.reason


@pytest.mark.frameworks
@pytest.mark.timeout(600)
def test_how_far_averages_are_apart_is_told_though_weights_are_not(found):
    told = found(
        "optax.adam.plain", "optax.adam.jit", "numpy.adam.outside", stages={"average": {"momentum": 0.9}}, steps=8
    )
    (stage,) = told.stages
    assert stage.name == "average.beside"
    (one,) = stage.pairs
    assert (one.main.ground, one.main.families[0]) == (Ground.FORMULA, "weight-average")
    assert one.main.lr > 0.1


def test_without_any_stage_there_is_nothing(found, write_adam):
    assert found(write_adam(), "numpy.adam.outside").stages == ()


def test_a_schedule_that_is_ignored_differs_by_what_the_run_says(found, write_adam, tmp_path):
    right, wrong = write_adam("right"), write_adam("wrong", swap=[("hyper.lr_at(t)", "hyper.lr")])
    (stage,) = found(right, wrong, "numpy.adam.outside", "numpy.adam.hat", stages=EXPONENTIAL).stages
    assert (stage.name, stage.cases) == ("schedule.exponential", ("small",))
    assert all({"numpy.adam.outside", "numpy.adam.hat"} != {one.actual, one.expected} for one in stage.pairs)
    (beside,) = [one for one in stage.pairs if (one.actual, one.expected) == ("user.wrong", "numpy.adam.outside")]
    run = read_run(tmp_path / "run")
    (pair,) = [one for one in run.cells[0].pairs if (one.actual, one.expected) == (beside.actual, beside.expected)]
    assert beside.main.lr == pair.weights.worst_max_steps.value > 1
    assert beside.main.ground >= Ground.FORMULA
    assert stage.ground == max(one.main.ground for one in stage.pairs)
    (right,) = [one for one in stage.pairs if (one.actual, one.expected) == ("user.right", "numpy.adam.outside")]
    assert right.main.lr < 1e-3


def test_where_a_schedule_has_come_to_nothing_the_unit_is_the_lr_that_is_asked_for(found, write_adam, tmp_path):
    cosine = {"schedule": {"decay": "cosine", "steps": 2}}
    wrong = write_adam("wrong", swap=[("hyper.lr_at(t)", "hyper.lr")])
    (stage,) = found(wrong, "numpy.adam.outside", stages=cosine, hyper={"lr": 0.01}).stages
    (pair,) = read_run(tmp_path / "run").cells[0].pairs
    assert pair.weights.worst_max_steps.value == math.inf
    assert stage.pairs[0].main.lr == pytest.approx(pair.weights.worst_max_abs.value / 0.01)
    assert 1 < stage.pairs[0].main.lr < 5


def test_who_has_no_such_thing_is_told_with_its_reason_once(found, write_adam):
    stages = {"maximize": True}
    names = (write_adam("one"), write_adam("two"), "numpy.adam.outside")
    (stage,) = found(*names, stages=stages, dtypes=["float32", "float64"]).stages
    reason = "its run takes no stages, which a case with maximize needs"
    assert stage.absent == (Absent(("user.one", "user.two"), (), reason),)
    assert stage.ground is None
    assert all(one.main is None for one in stage.pairs)
    assert stage.advice == ()


def test_a_pair_is_spoken_of_in_the_dtype_with_the_worst_ground_and_halves_only_alone():
    def extent(dtype, ground, lr=0.1):
        return Extent(dtype, "small", lr, ground, ())

    single, double = extent("float32", Ground.ROUNDING), extent("float64", Ground.FORMULA)
    half = extent("float16", Ground.UNEXPLAINED, math.inf)
    assert Beside("a", "b", (single, double, half)).main is double
    assert Beside("a", "b", (single, extent("float64", Ground.ROUNDING), half)).main is single
    assert Beside("a", "b", (half,)).main is half
    assert (half.heat, Stage("x", (), (), (), ()).ground) == (5, None)


@pytest.mark.frameworks
def test_frameworks_are_told_apart_at_a_norm_with_who_has_none_and_what_to_set(found):
    names = ("torch.adam.forloop", "torch.adam.foreach", "optax.adam.jit", "numpy.adam.outside", "numpy.adam.hat")
    clip = {"clip": {"by": "norm", "limit": 0.1}}
    one = [{"name": "kernel", "shape": [7, 5]}]
    whole = found(*names, stages=clip, dtypes=["float32", "float64"], parameters=one, hyper={"eps": 1e-3})
    (stage,) = whole.stages
    assert {(one.actual, one.expected) for one in stage.pairs} == {
        ("torch.adam.forloop", "optax.adam.jit"),
        ("torch.adam.forloop", "numpy.adam.outside"),
        ("optax.adam.jit", "numpy.adam.outside"),
    }
    assert whole.pairs[0] == ("torch.adam.forloop", "optax.adam.jit")
    torch = stage.pair("torch.adam.forloop", "numpy.adam.outside")
    assert (torch.main.dtype, torch.main.ground, torch.main.families) == ("float32", Ground.FORMULA, ("gradient-clip",))
    (absent,) = stage.absent
    assert absent.implementations == ("optax.adam.jit",)
    assert absent.reason == "it clips elements and the norm of all tensors together, not that of each"
    assert [one.between for one in stage.advice] == [(TORCH, OPTAX)]


@pytest.mark.frameworks
def test_where_only_epsilon_stands_elsewhere_the_stage_is_the_same(found):
    names = ("torch.adam.forloop", "keras.adam.eager", "numpy.adam.outside", "numpy.adam.hat")
    (stage,) = found(*names, parameters=GROUPS, hyper={"eps": 1e-3, **DECAY}).stages
    grounds = {(one.actual, one.expected): one.main.ground for one in stage.pairs}
    assert grounds == {
        ("torch.adam.forloop", "keras.adam.eager"): Ground.EPSILON,
        ("torch.adam.forloop", "numpy.adam.outside"): Ground.ROUNDING,
        ("keras.adam.eager", "numpy.adam.hat"): Ground.ROUNDING,
    }
