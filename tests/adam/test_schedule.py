"""lr step by step, held against the frameworks' own schedule objects: bit for bit where that is claimed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from parity.adam.forms import Rates
from parity.adam.schedule import scheduled
from parity.core.hyper import Hyper
from parity.core.stages import Decay, Schedule, Stages
from parity.numerics.formats import FORMATS

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]

STEPS = 100
LR = 0.03

SCHEDULES = {
    "cosine": Schedule(Decay.COSINE, 80),
    "cosine to a floor": Schedule(Decay.COSINE, 37, floor=0.1),
    "exponential": Schedule(Decay.EXPONENTIAL, 10, rate=0.9),
    "inverse time": Schedule(Decay.INVERSE_TIME, 7, rate=0.3),
    "one cycle": Schedule(Decay.ONE_CYCLE, 100),
    "one cycle of 60": Schedule(Decay.ONE_CYCLE, 60),
}


def ours(schedule, rates, format="float32", accumulate=1, steps=STEPS, lr=LR):
    asked = Hyper(lr=lr, stages=Stages(schedule=schedule, accumulate=accumulate))
    found = scheduled(asked, rates, steps, FORMATS[format])
    assert found.stages.schedule is None
    assert found.stages.accumulate == accumulate
    return list(found.lr)


def of_torch(schedule, steps):
    import torch
    from torch.optim import lr_scheduler

    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=LR)
    match schedule.decay:
        case Decay.COSINE:
            made = lr_scheduler.CosineAnnealingLR(optimizer, schedule.steps, LR * schedule.floor)
        case Decay.ONE_CYCLE:
            made = lr_scheduler.OneCycleLR(optimizer, LR, schedule.steps, cycle_momentum=False)
        case Decay.EXPONENTIAL:
            made = lr_scheduler.LambdaLR(optimizer, lambda n: schedule.rate ** (n / schedule.steps))
        case _:
            made = lr_scheduler.LambdaLR(optimizer, lambda n: 1 / (1 + schedule.rate * n / schedule.steps))
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    return found


@pytest.mark.parametrize("name", SCHEDULES)
def test_torch_has_every_bit(name):
    schedule = SCHEDULES[name]
    # OneCycleLR raises after its last step.
    steps = min(STEPS, schedule.steps) if schedule.decay is Decay.ONE_CYCLE else STEPS
    assert ours(schedule, Rates.TORCH, steps=steps) == of_torch(schedule, steps)


def of_keras(schedule):
    from keras.optimizers import schedules

    match schedule.decay:
        case Decay.COSINE:
            made = schedules.CosineDecay(LR, schedule.steps, schedule.floor)
        case Decay.EXPONENTIAL:
            made = schedules.ExponentialDecay(LR, schedule.steps, schedule.rate)
        case _:
            made = schedules.InverseTimeDecay(LR, schedule.steps, schedule.rate)
    return [float(np.asarray(made(step))) for step in range(STEPS)]


@pytest.mark.parametrize("name", [name for name in SCHEDULES if "cycle" not in name])
def test_keras_on_tensorflow(name):
    made, expected = ours(SCHEDULES[name], Rates.KERAS), of_keras(SCHEDULES[name])
    assert made == expected


def of_optax(schedule, double):
    from parity.implementations.jax_memory import double_enabled, jax_module

    jax = jax_module()
    import optax

    with double_enabled(double):
        match schedule.decay:
            case Decay.COSINE:
                made = optax.cosine_decay_schedule(LR, schedule.steps, schedule.floor)
            case Decay.EXPONENTIAL:
                made = optax.exponential_decay(LR, schedule.steps, schedule.rate)
            case _:
                made = optax.cosine_onecycle_schedule(schedule.steps, LR)
        return [float(np.asarray(made(jax.numpy.asarray(step, "int32")))) for step in range(STEPS)]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "inverse time"])
def test_optax(name, format):
    """XLA's cosine is an ULP of float32 from the rounded one here and there: at one step of one of the cycles."""
    made, expected = ours(SCHEDULES[name], Rates.OPTAX, format), of_optax(SCHEDULES[name], format == "float64")
    apart = [step for step in range(STEPS) if made[step] != expected[step]]
    assert apart == ([76] if name == "one cycle" else [])
    np.testing.assert_allclose(made, expected, rtol=2.0**-23)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_formula_is_that_of_the_stage_and_all_are_near_it(name):
    schedule = SCHEDULES[name]
    formula = [LR * schedule.factor(n) for n in range(STEPS)]
    assert ours(schedule, Rates.DOUBLE) == formula
    asked = Hyper(lr=LR, stages=Stages(schedule=schedule))
    assert [asked.lr_at(step) for step in range(1, STEPS + 1)] == formula
    if schedule.decay is not Decay.ONE_CYCLE:
        for rates in (Rates.KERAS, Rates.OPTAX):
            np.testing.assert_allclose(ours(schedule, rates), formula, rtol=1e-6, atol=LR * 3e-7)
        end = schedule.steps + 1
        np.testing.assert_allclose(ours(schedule, Rates.TORCH)[:end], formula[:end], rtol=1e-9, atol=LR * 1e-12)


def test_the_cosine_of_torch_goes_up_again_past_its_end():
    found = ours(Schedule(Decay.COSINE, 10), Rates.TORCH, steps=24)
    assert min(found) == pytest.approx(0, abs=1e-15)
    assert found[10] == pytest.approx(0, abs=1e-15)
    assert found[20] == pytest.approx(LR)
    assert ours(Schedule(Decay.COSINE, 10), Rates.DOUBLE, steps=24)[10:] == [0.0] * 14
    assert ours(Schedule(Decay.COSINE, 10), Rates.KERAS, steps=24)[20] == 0.0


def test_both_phases_of_torch_s_cycle_end_a_step_earlier():
    """The highest lr is that of n = 0.3 N - 1, and the lowest that of n = N - 1."""
    cycle = Schedule(Decay.ONE_CYCLE, 100)
    torch_s, formula = ours(cycle, Rates.TORCH), ours(cycle, Rates.DOUBLE, steps=101)
    assert (torch_s[29], formula[30]) == (LR, LR)
    assert torch_s[0] == pytest.approx(LR / 25)
    assert formula[0] == pytest.approx(LR / 25)
    assert torch_s[99] == pytest.approx(LR / 250_000)
    assert formula[100] == pytest.approx(LR / 250_000)


@pytest.mark.parametrize("rates", Rates)
def test_updates_are_counted_and_by_keras_batches(rates):
    schedule = SCHEDULES["exponential"]
    each = ours(schedule, rates, steps=9)
    found = ours(schedule, rates, accumulate=3, steps=9)
    if rates is Rates.KERAS:
        assert found == each
    else:
        assert found == [each[n // 3] for n in range(9)]


def test_every_group_decays_from_its_own_lr():
    schedule = SCHEDULES["exponential"]
    stages = Stages(schedule=schedule)
    asked = Hyper(lr=LR, stages=stages, groups=(("head", Hyper(lr=0.5, beta1=0.8, stages=stages)),))
    found = scheduled(asked, Rates.TORCH, 5, FORMATS["float32"])
    assert found.of("other").lr == tuple(ours(schedule, Rates.TORCH, steps=5))
    assert found.of("head").lr == tuple(ours(schedule, Rates.TORCH, steps=5, lr=0.5))
    assert found.of("head").beta1 == 0.8


def test_what_has_no_schedule_stays_what_it_is():
    asked = Hyper(lr=(0.1, 0.2))
    assert scheduled(asked, Rates.TORCH, 2, FORMATS["float32"]) is asked


def test_numbers_by_hand():
    assert Schedule(Decay.COSINE, 4, floor=0.2).factor(2) == pytest.approx(0.6)
    assert Schedule(Decay.COSINE, 4, floor=0.2).factor(9) == pytest.approx(0.2)
    assert Schedule(Decay.EXPONENTIAL, 2, rate=0.25).factor(3) == pytest.approx(0.125)
    assert Schedule(Decay.INVERSE_TIME, 2, rate=0.5).factor(4) == pytest.approx(0.5)
    cycle = Schedule(Decay.ONE_CYCLE, 20)
    assert cycle.factor(0) == pytest.approx(0.04)
    assert cycle.factor(3) == pytest.approx((1 + 1 / 25) / 2)
    assert cycle.factor(6) == 1
    assert cycle.factor(13) == pytest.approx((1 + 4e-6) / 2)
    assert cycle.factor(25) == pytest.approx(4e-6)
    assert math.isfinite(cycle.factor(10**6))
