"""lr step by step, as the schedules of the frameworks form it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from parity.adam.forms import Rates
from parity.core.hyper import Hyper
from parity.core.stages import END, RISE, START, Decay, Schedule
from parity.numerics.formats import Format


def scheduled(hyper: Hyper, rates: Rates, steps: int, format: Format) -> Hyper:
    """Hyperparameters with lr, and beta1, step by step where a schedule is asked for, and without the schedule then.

    rates: how it is formed for weights of a format.
    """
    schedule = hyper.stages.schedule
    if schedule is None:
        return hyper
    # Keras hands its schedule the number of batches, not that of updates.
    each = 1 if rates is Rates.KERAS else hyper.stages.accumulate
    updates = 1 + (steps - 1) // each

    def own(one: Hyper) -> Hyper:
        assert not isinstance(one.lr, tuple)
        by_update = _rates(schedule, one.lr, updates, rates, format.name == "float64")
        lr = tuple(by_update[step // each] for step in range(steps))
        beta1 = one.beta1
        if schedule.beta1 is not None:
            beta1 = tuple(_beta1(schedule, step // each, rates) for step in range(steps))
        return replace(one, lr=lr, beta1=beta1, stages=replace(one.stages, schedule=None))

    return replace(own(replace(hyper, groups=())), groups=tuple((name, own(one)) for name, one in hyper.groups))


@lru_cache(maxsize=256)
def _rates(schedule: Schedule, lr: float, updates: int, rates: Rates, wide: bool) -> tuple[float, ...]:
    """wide: the weights are float64."""
    cosine = schedule.decay is Decay.COSINE
    if rates is Rates.TORCH and cosine:
        return tuple(_recursive_cosine(lr, schedule.floor * lr, schedule.steps, updates))
    if rates is Rates.TORCH and schedule.decay is Decay.ONE_CYCLE:
        return tuple(_one_cycle(lr, schedule.steps, update) for update in range(updates))
    if rates is Rates.OPTAX and schedule.decay is Decay.ONE_CYCLE:
        number = np.float64 if wide else np.float32
        return tuple(_piecewise(lr, schedule.steps, update, number) for update in range(updates))
    if rates is Rates.OPTAX and cosine:
        number = np.float64 if wide else np.float32
        return tuple(_cosine_decay(schedule, lr, update, number) for update in range(updates))
    if rates is Rates.KERAS or rates is Rates.OPTAX:
        return tuple(float(_in_float32(schedule, lr, update)) for update in range(updates))
    return tuple(lr * schedule.factor(update) for update in range(updates))


def _recursive_cosine(lr: float, least: float, steps: int, updates: int) -> Iterator[float]:
    """CosineAnnealingLR, every lr from the one before; past its end lr goes up again.

    Source: torch/optim/lr_scheduler.py, torch 2.13.
    """
    rate = lr
    for update in range(updates):
        if update and (update - 1 - steps) % (2 * steps) == 0:
            rate = rate + (lr - least) * (1 - math.cos(math.pi / steps)) / 2
        elif update:
            ratio = (1 + math.cos(math.pi * update / steps)) / (1 + math.cos(math.pi * (update - 1) / steps))
            rate = ratio * (rate - least) + least
        yield rate


def _one_cycle(lr: float, steps: int, update: int) -> float:
    """OneCycleLR: both phases end a step earlier than their shares of the steps say; torch 2.13."""
    return _cycled(lr / START, lr, lr / START / END, steps, update)


def _beta1(schedule: Schedule, update: int, rates: Rates) -> float:
    """beta1 after so many updates; torch's OneCycleLR (`cycle_momentum`) puts it into the group, as it does with lr."""
    if rates is Rates.TORCH and schedule.beta1 is not None:
        low, high = schedule.beta1
        return _cycled(high, low, high, schedule.steps, update)
    return schedule.beta1_after(update)


def _cycled(first: float, middle: float, last: float, steps: int, update: int) -> float:
    top = float(RISE * steps) - 1
    if update <= top:
        return _annealed(first, middle, update / top)
    return _annealed(middle, last, (update - top) / ((steps - 1) - top))


def _annealed(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)


def _in_float32(schedule: Schedule, lr: float, update: int) -> Any:
    """Every operation rounded to float32, as Keras's functions of a count do it, and optax's exponential decay."""
    number = np.float32
    n, steps, rate = number(update), number(schedule.steps), number(schedule.rate)
    match schedule.decay:
        case Decay.COSINE:
            share = number(math.pi) * (np.minimum(n, steps) / steps)
            cosine = number(0.5) * (number(1) + number(math.cos(share)))
            return number(lr) * (number(1 - schedule.floor) * cosine + number(schedule.floor))
        case Decay.EXPONENTIAL:
            return number(lr) * number(float(rate) ** float(n / steps))
        case _:
            return number(lr) / (number(1) + rate * (n / steps))


def _cosine_decay(schedule: Schedule, lr: float, update: int, number: Any) -> float:
    """cosine_decay_schedule, every operation in a format; optax/schedules/_schedule.py, optax 0.2.8."""
    angle = number(math.pi) * number(min(update, schedule.steps)) / number(schedule.steps)
    cosine = number(0.5) * (number(1) + number(math.cos(angle)))
    return float(number(lr) * (number(1 - schedule.floor) * cosine + number(schedule.floor)))


def _piecewise(lr: float, steps: int, update: int, number: Any) -> float:
    """cosine_onecycle_schedule, every operation in a format; optax/schedules/_schedule.py, optax 0.2.8."""
    bounds = (0, int(RISE * steps), steps)
    values = np.cumprod(np.array([lr / START, START, 1 / (START * END)], number))
    for place in (0, 1):
        if bounds[place] <= update < bounds[place + 1]:
            # Counts are integers of 32 bits, and their quotient is a float32.
            share = np.float32(update - bounds[place]) / np.float32(max(bounds[place + 1] - bounds[place], 1))
            cosine = np.float32(math.cos(np.float32(math.pi) * share)) + np.float32(1)
            return float(values[place + 1] + (values[place] - values[place + 1]) / number(2) * cosine)
    return float(values[-1])
