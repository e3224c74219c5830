"""What stands around a step, by every row's own means: the right numbers, or a refusal with its reason."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from orbits import STEPS, draw, draw_gradients, each, each_dtype, here, orbit

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.stages import Average, Clip, ClipBy, Decay, LossScale, Schedule, Stages
from parity.core.state import State
from parity.implementations.implementation import Implementation
from parity.implementations.jax_memory import double_enabled
from parity.implementations.registry import shipped_implementations
from parity.numerics.formats import FORMATS, to_bits

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
    # Of torch's lr_scheduler, where GradScaler leaves the first step out.
    pytest.mark.filterwarnings("ignore:Detected call of"),
]

ROWS = here(one for one in shipped_implementations().values() if not one.name.endswith(("zero2", "fsdp2")))
"""Sharded parties take no stages: `tests/explain/test_twins_around.py` has what they say."""
BASE = Hyper(lr=0.01, beta1=0.0, beta2=0.5, eps=1e-3)
"""m is the gradient that the step takes."""


def shown(row: Implementation, stages: Stages, gradients: list[dict[str, list[float]]], hyper: Hyper = BASE) -> Any:
    """Weights and m after every step, of weights of 1."""
    dtype = FORMATS["float32" if "float32" in row.dtypes else "bfloat16"].dtype
    given = [{name: np.array(one, dtype) for name, one in step.items()} for step in gradients]
    weights = {name: np.ones(len(one), dtype) for name, one in gradients[0].items()}
    states = orbit(row.states(weights, given, replace(hyper, stages=stages)))
    return [
        ({k: v.tolist() for k, v in one.w.items()}, {k: v.tolist() for k, v in (one.m or {}).items()}) for one in states
    ]


def near(row: Implementation, value: Any) -> Any:
    half = "float32" not in row.dtypes
    return pytest.approx(value, rel=2.0**-7 if half else 1e-5, abs=2.0**-8 if half else 1e-6)


NOT_IN_OPTAX = {
    "norm": "not that of each",
    "loss_scale": "it has no loss scale",
    "inverse_time": "no schedule of inverse time decay",
}
"""What optax has not."""


NOT_IN_TENSORFLOW = {
    "accumulate": "nothing in it accumulates",
    "loss_scale": "wraps an optimizer, and no kernel",
    "maximize": "only minimize",
    "one_cycle": "no schedule of one cycle",
    "average": "overwrites no weights",
}
"""What TensorFlow has not for its kernels."""


def refusal(row: Implementation, asked: str) -> str:
    """What a row says that cannot have a stage; empty where it can."""
    if row.framework == "tensorflow":
        return NOT_IN_TENSORFLOW.get(asked, "")
    if row.framework == "tf_keras" and asked == "accumulate":
        return "accumulate no gradients"
    if row.name == "tf_keras.adam.legacy" and asked == "average":
        return "keep no average"
    if row.name == "torch.adam.sparse" and asked in set(ClipBy):
        return "with arguments from the 'SparseCPU' backend"
    if row.framework == "jax":
        return NOT_IN_OPTAX.get(asked, "")
    if row.name == "torch.adam.compiled":
        return "needs a C.. compiler" if not has_compiler() else "would be compiled anew" if asked in set(Decay) else ""
    if row.framework.startswith(("keras", "tf_keras")):
        return {"maximize": "only minimize", "one_cycle": "no schedule of one cycle"}.get(asked, "")
    return ""


def takes_no_eps_of_zero(row: Implementation) -> bool:
    return row.framework == "tf_keras" or row.name == "torch.adam.sparse"


def has_compiler() -> bool:
    return shutil.which(os.environ.get("CXX", "g++")) is not None


def held(
    row: Implementation, asked: str, stages: Stages, gradients: list[dict[str, list[float]]], hyper: Hyper = BASE
) -> Any:
    told = refusal(row, asked)
    if told:
        with pytest.raises(Unsupported, match=told):
            shown(row, stages, gradients, hyper)
        return None
    return shown(row, stages, gradients, hyper)


CLIPPED = {
    ClipBy.VALUE: {"a": [1.0, 1.0], "b": [1.0]},
    ClipBy.NORM: {"a": [0.6, 0.8], "b": [1.0]},
    ClipBy.GLOBAL_NORM: {"a": [3 / 13, 4 / 13], "b": [12 / 13]},
}
"""Of a = (3, 4) and b = (12), held against 1."""


@each(ROWS)
@pytest.mark.parametrize("by", ClipBy)
def test_gradients_are_clipped(row: Implementation, by: ClipBy) -> None:
    found = held(row, by.value, Stages(clip=Clip(by, 1.0)), [{"a": [3.0, 4.0], "b": [12.0]}])
    if found:
        ((_, m),) = found
        assert m == {name: near(row, one) for name, one in CLIPPED[by].items()}


@each(ROWS)
def test_two_gradients_make_one_update_of_their_mean(row: Implementation) -> None:
    """g = eps: half a step of lr; of the sum it would be two thirds."""
    hyper = Hyper(lr=0.5, eps=2.0**-10)
    found = held(row, "accumulate", Stages(accumulate=2), [{"w": [2.0**-10]}] * 4, hyper)
    if found:
        w = [one["w"][0] for one, _ in found]
        assert w[0] == 1
        assert w[2] == w[1]
        hat = row.convention == "hat" or row.framework.startswith(("keras", "tf_keras"))
        inside = row.convention == "inside"
        for place, t in ((1, 1), (3, 2)):
            root = math.sqrt(1 - 0.999**t)
            moved = 1 / (1 + 1 / root) if hat else 2.0**-10 / math.sqrt(2.0**-20 + 2.0**-10) if inside else 0.5
            assert w[place - 1] - w[place] == near(row, 0.5 * moved)


@each(ROWS)
def test_a_gradient_that_is_not_finite_is_left_out(row: Implementation) -> None:
    """The third step is as the second of (1, 1)."""
    given = [{"w": [1.0], "u": [1.0]}, {"w": [math.nan], "u": [1.0]}, {"w": [1.0], "u": [1.0]}]
    scale = LossScale(initial=1.0 if row.framework == "jax" else 1024.0)
    if row.framework == "jax":
        found = shown(row, Stages(loss_scale=scale), given)
        held(row, "loss_scale", Stages(loss_scale=LossScale()), given)
    else:
        found = held(row, "loss_scale", Stages(loss_scale=scale), given)
    if found:
        assert found[1] == found[0]
        # tf_keras counts the step that it leaves out.
        counted = row.framework == "tf_keras"
        steps = shown(row, Stages(), [given[0], *([{"w": [0.0], "u": [0.0]}] * counted), given[0]])
        assert (found[2] == steps[1]) is not counted
        if counted:
            m, v, t = 1.0, 0.5 * 0.5 + 0.5, 3
            moved = 0.01 * math.sqrt(1 - 0.5**t) * m / (math.sqrt(v) + 1e-3)
            assert found[1][0]["w"][0] - found[2][0]["w"][0] == near(row, moved)


@each(ROWS)
def test_maximize_goes_up(row: Implementation) -> None:
    given = [{"w": [0.5, -0.25]}, {"w": [0.125, 1.0]}]
    found = held(row, "maximize", Stages(maximize=True), given)
    if found:
        other = shown(row, Stages(), [{"w": [-one for one in step["w"]]} for step in given])
        assert found == other
        assert found[0][0]["w"][0] > 1 > found[0][0]["w"][1]


@each(ROWS)
def test_an_average_stands_beside_the_weights(row: Implementation) -> None:
    """Of 1 - 0.5 n, half old, half new: from the first weights, or those before, or from 0 and over 1 - 0.5 ** t."""
    hyper = Hyper(lr=0.5, beta1=0.0, beta2=0.0, eps=2.0**-24)
    stages = Stages(average=Average(0.5))
    told = refusal(row, "average")
    dtype = FORMATS["float32" if "float32" in row.dtypes else "bfloat16"].dtype
    given = [{"w": np.ones(2, dtype)}] * 3
    states = row.states({"w": np.ones(2, dtype)}, given, replace(hyper, stages=stages))
    if told:
        with pytest.raises(Unsupported, match=told):
            orbit(states)
        return
    found = orbit(states)
    averages = [(one.average or {})["w"].tolist()[0] for one in found]
    corrected = [0.5, (0.5 * 0.25) / 0.75, ((0.5 * 0.25) * 0.5 - 0.25) / 0.875]
    expected = corrected if row.framework == "jax" else [0.5, 0.25, -0.125]
    if row.framework == "tf_keras":
        expected = [0.75, 0.375, -0.0625]
    assert averages == near(row, expected)
    assert [float(one.w["w"][0]) for one in found] == near(row, [0.5, 0.0, -0.5])


@each(ROWS)
def test_an_average_overwrites_the_weights(row: Implementation) -> None:
    """Momentum 0.99, every third step: Keras 3 begins with the first weights, tf_keras with those before them."""
    told = refusal(row, "average")
    if row.framework in ("torch", "jax"):
        told = "overwrites"
    with pytest.raises(Unsupported, match=told) if told else nullcontext():
        found = shown(row, Stages(average=Average(0.99, 3)), [{"w": [1.0]}] * 3, Hyper(lr=0.1, eps=1e-7))
        w = found[-1][0]["w"][0]
        assert w == near(row, 0.9940399 if row.framework == "tf_keras" else 0.89701)


SCHEDULES = {
    Decay.COSINE: Schedule(Decay.COSINE, 6, floor=0.25),
    Decay.EXPONENTIAL: Schedule(Decay.EXPONENTIAL, 2, rate=0.5),
    Decay.INVERSE_TIME: Schedule(Decay.INVERSE_TIME, 2, rate=0.5),
    Decay.ONE_CYCLE: Schedule(Decay.ONE_CYCLE, 10),
}


@each(ROWS)
@pytest.mark.parametrize("decay", Decay)
def test_lr_goes_by_the_schedule(row: Implementation, decay: Decay) -> None:
    """Without memory and eps a step is lr in the direction of the gradient."""
    hyper, schedule = (
        Hyper(lr=0.0625, beta1=0.0, beta2=0.0, eps=1e-7 if takes_no_eps_of_zero(row) else 0.0),
        SCHEDULES[decay],
    )
    found = held(row, decay.value, Stages(schedule=schedule), [{"w": [1.0]}] * 6, hyper)
    if found:
        w = [1.0, *(one["w"][0] for one, _ in found)]
        moved = [before - after for before, after in pairwise(w)]
        expected = [0.0625 * schedule.factor(n) for n in range(6)]
        if decay is Decay.ONE_CYCLE and row.framework == "torch":
            # Both phases end a step earlier.
            top, last = 2.0, 9.0
            up = [1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * n / top)) / 2 for n in range(3)]
            down = [(1 - 4e-6) * (1 + math.cos(math.pi * (n - top) / (last - top))) / 2 + 4e-6 for n in range(3, 6)]
            expected = [0.0625 * one for one in (*up, *down)]
        half = "float32" not in row.dtypes
        np.testing.assert_allclose(moved, expected, atol=2.0**-8 if half else 1e-6)


@each(ROWS)
def test_one_cycle_moves_beta1_against_lr(row: Implementation) -> None:
    """0.95, 0.90, 0.85 in torch, whose phases end a step earlier; m_hat by the beta of the step."""
    betas = [0.95, 0.9, 0.85] if row.framework == "torch" else [0.95, 0.925, 0.875]
    schedule = Schedule(Decay.ONE_CYCLE, 10, beta1=(0.85, 0.95))
    hyper = Hyper(lr=0.5, beta2=0.0, eps=1e-8 if takes_no_eps_of_zero(row) else 0.0)
    told = refusal(row, "one_cycle") or ("one beta1 and one beta2" if row.framework == "jax" else "")
    if row.framework.startswith("keras"):
        told = "one beta1 and one beta2"
    if told:
        with pytest.raises(Unsupported, match=told):
            shown(row, Stages(schedule=schedule), [{"w": [1.0]}] * 3, hyper)
        return
    found = shown(row, Stages(schedule=schedule), [{"w": [1.0]}] * 3, hyper)
    m, w, top = 0.0, 1.0, 2 if row.framework == "torch" else 3
    for n, (beta, (weights, moments)) in enumerate(zip(betas, found, strict=True)):
        m = beta * m + (1 - beta)
        w -= 0.5 * (1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * n / top)) / 2) * m / (1 - beta ** (n + 1))
        assert moments["w"][0] == near(row, m)
        assert weights["w"][0] == near(row, w)
    if row.framework == "torch":
        assert m == pytest.approx(0.27325)


def plug_in(weights: Any, gradients: Any, hyper: Hyper) -> Iterator[State]:
    for step, _ in enumerate(gradients, start=1):
        yield State({"w": np.array([hyper.lr_at(step)])})


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("clip", Stages(clip=Clip(ClipBy.VALUE, 1.0))),
        ("accumulate", Stages(accumulate=2)),
        ("loss_scale", Stages(loss_scale=LossScale())),
        ("maximize", Stages(maximize=True)),
        ("maximize, schedule", Stages(maximize=True, schedule=SCHEDULES[Decay.COSINE])),
    ],
)
def test_a_plug_in_that_takes_no_stages_says_so(name: str, stages: Stages) -> None:
    own = Implementation("user.plain", plug_in)
    with pytest.raises(Unsupported, match=rf"user\.plain: its run takes no stages, which a case with {name} needs$"):
        own.states({}, [], replace(BASE, stages=stages))


def test_a_plug_in_that_asks_for_lr_has_the_schedule() -> None:
    own, schedule = Implementation("user.plain", plug_in), SCHEDULES[Decay.EXPONENTIAL]
    states = own.states({}, [{}] * 3, replace(BASE, stages=Stages(schedule=schedule)))
    assert [float(one.w["w"][0]) for one in states] == [0.01 * schedule.factor(n) for n in range(3)]


@pytest.mark.thorough
@pytest.mark.parametrize("stages", [Stages(accumulate=2), Stages(loss_scale=LossScale(1.0))], ids=["mean", "finite"])
@each_dtype
@pytest.mark.parametrize("steps", [4, pytest.param(STEPS, marks=pytest.mark.exhaustive)])
def test_what_optax_chooses_is_compiled_once_and_is_what_it_is_when_compiled_at_every_step(
    steps: int, dtype: np.dtype, stages: Stages
) -> None:
    """Two updates of two gradients each, or more; each step is compiled anew for half a second."""
    import jax
    import optax

    row = shipped_implementations()["optax.adam.plain"]
    weights, gradients = draw(dtype), draw_gradients(dtype)[:steps]
    hyper = replace(BASE, beta1=0.9, stages=stages)
    found = orbit(row.states(weights, gradients, hyper))
    with double_enabled(dtype == np.float64):
        adam = optax.adam(hyper.lr, hyper.beta1, hyper.beta2, hyper.eps)
        many = optax.MultiSteps(adam, 2).gradient_transformation()
        transformation = many if stages.accumulate > 1 else optax.apply_if_finite(adam, 1 << 30)
        w = {name: jax.numpy.asarray(one) for name, one in weights.items()}
        state = transformation.init(w)
        for gradient, one in zip(gradients, found, strict=True):
            given = {name: jax.numpy.asarray(array) for name, array in gradient.items()}
            updates, state = transformation.update(given, state, w)
            w = optax.apply_updates(w, updates)
            for name, array in w.items():
                assert to_bits(one.w[name]).tolist() == to_bits(np.asarray(array)).tolist()
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: compiled.append(event))
    try:
        orbit(row.states(weights, gradients, hyper))
    finally:
        jax.monitoring.clear_event_listeners()
    assert [one for one in compiled if one.endswith("backend_compile_duration")] == []
