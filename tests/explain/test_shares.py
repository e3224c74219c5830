"""Two optimizers on the same gradients: shares that add up, a floor that is rounding, every choice by its name."""

from __future__ import annotations

import numpy as np
import pytest

import parity
from parity.api.trainings import compare_trainings

STEPS = 40


def numbers(none=()):
    random = np.random.default_rng(5)
    shapes = {"0.weight": (6, 5), "0.bias": (5,), "1.weight": (5, 3)}
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    gradients = [
        {name: (0.1 * random.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}
        for _ in range(STEPS)
    ]
    for step in none:
        gradients[step - 1]["0.bias"] = None
    return weights, gradients


@pytest.fixture
def compared(write_recording):
    """Compare two recordings that begin alike; change: what becomes of the gradients of the first."""

    def compare(change=None, none=(), **keys):
        weights, gradients = numbers(none)
        one = write_recording("one", weights, change(gradients) if change else gradients, **keys)
        return compare_trainings(one, write_recording("two", weights, gradients))

    return compare


def exact_orbit(weights, gradients, hyper):
    """The weights after every step of Algorithm 1 in float64, flat, one tensor after another."""
    m, v = ({name: np.zeros(one.shape) for name, one in weights.items()} for _ in range(2))
    w = {name: one.astype(np.float64) for name, one in weights.items()}
    for t, step in enumerate(gradients, start=1):
        for name, g in step.items():
            g = g.astype(np.float64)
            m[name] = hyper.beta1 * m[name] + (1 - hyper.beta1) * g
            v[name] = hyper.beta2 * v[name] + (1 - hyper.beta2) * g * g
            m_hat, v_hat = m[name] / (1 - hyper.beta1**t), v[name] / (1 - hyper.beta2**t)
            w[name] = w[name] - hyper.lr * m_hat / (np.sqrt(v_hat) + hyper.eps)
        yield np.concatenate([one.reshape(-1) for one in w.values()])


def test_the_noise_floor_is_what_rounding_makes_of_the_optimizer(compared, tmp_path):
    """In float32, against the same formula in float64 on the same gradients."""
    found = compared()
    recording = parity.case.recording.read_recording(tmp_path / "two")
    names = [one.name for one in recording.parameters]
    for step, exact in enumerate(exact_orbit(*numbers(), parity.Hyper()), start=1):
        row = np.concatenate([recording.values("w", name, step).astype(np.float64) for name in names])
        floor = np.abs(row - exact).max() / 1e-3
        assert 0 < floor < 0.01
        assert found.curve[step - 1].floor == pytest.approx(floor, rel=1e-6)


def test_shares_are_projections_that_add_up(compared):
    """With doubled gradients and another step size; the same sums, in plain arithmetic, from the recorded weights."""
    found = compared(lambda gradients: [{k: 2 * g for k, g in step.items()} for step in gradients],
                     hyper=parity.Hyper(lr=1.5e-3))  # fmt: skip
    weights, gradients = numbers()
    doubled = [{k: 2 * g for k, g in step.items()} for step in gradients]
    orbits = zip(
        exact_orbit(weights, doubled, parity.Hyper(lr=1.5e-3)),
        exact_orbit(weights, doubled, parity.Hyper()),
        exact_orbit(weights, gradients, parity.Hyper()),
        strict=True,
    )
    for one, (a, ba, b) in zip(found.curve, orbits, strict=True):
        d = a - b
        assert one.optimizer == pytest.approx(np.dot(d, a - ba) / np.dot(d, d), abs=1e-4)
        assert one.optimizer + one.gradients == pytest.approx(1, abs=1e-12)
        assert one.lr == pytest.approx(np.abs(d).max() / 1e-3, rel=1e-4)


@pytest.mark.parametrize(("name", "size"), [("inputs.BLOCK", 150), ("shares.PART", 1)])
def test_blocks_of_steps_and_parts_of_tensors_come_to_the_same(compared, monkeypatch, tmp_path, name, size):
    def change(gradients):
        return [{k: 3 * g for k, g in step.items()} for step in gradients]

    whole = compared(change, hyper=parity.Hyper(eps=1e-4))
    for folder in ("one", "two"):
        (tmp_path / folder).rename(tmp_path / f"before-{folder}")
    monkeypatch.setattr(f"parity.explain.{name}", size)
    parts = compared(change, hyper=parity.Hyper(eps=1e-4))
    assert parts.optimizers == whole.optimizers
    for one, other in zip(parts.curve, whole.curve, strict=True):
        assert (one.largest, one.lr, one.floor) == (other.largest, other.lr, other.floor)
        assert one.optimizer == pytest.approx(other.optimizer, rel=1e-12)


def test_steps_that_only_one_counts_are_a_choice_where_a_gradient_is_missing(compared):
    """The place of epsilon comes with a count of its own; without a missing gradient that one says nothing."""
    without = compared(epsilon="hat")
    assert [one.name for one in without.optimizers.choices] == ["epsilon"]
    assert without.optimizers.left < 1e-2


def test_a_count_is_named_once_it_matters(compared):
    found = compared(none=(1, 2, 3), epsilon="hat")
    choices = {one.name: (one.actual, one.expected) for one in found.optimizers.choices}
    assert choices["step count"] == ("global", "per parameter")
    assert found.optimizers.left < 1e-2


def test_a_choice_is_weighed_on_the_gradients_of_either_side(compared):
    """A large eps against gradients of 0.1, and against those of 100."""

    def change(gradients):
        return [{k: 1000 * g for k, g in step.items()} for step in gradients]

    found = compared(change, hyper=parity.Hyper(eps=1e-2))
    (choice,) = found.optimizers.choices
    weights, gradients = numbers()
    for told, given in ((choice.steps, change(gradients)), (choice.steps_expected, gradients)):
        *_, one = exact_orbit(weights, given, parity.Hyper(eps=1e-2))
        *_, other = exact_orbit(weights, given, parity.Hyper())
        assert told == pytest.approx(np.abs(one - other).max() / 1e-3, rel=1e-2)
    assert choice.steps_expected > 100 * choice.steps


def test_numbers_of_the_optimizer_leave_nothing(compared):
    found = compared(hyper=parity.Hyper(lr=2e-3, beta1=0.8, beta2=0.99, eps=1e-3, weight_decay=0.1))
    assert {one.name for one in found.optimizers.choices} == {"lr", "beta1", "beta2", "eps", "weight_decay"}
    assert found.optimizers.left == 0
    assert found.optimizers.known == (0.0, 0.0)
    weights = [max(one.steps, one.steps_expected) for one in found.optimizers.choices]
    assert weights == sorted(weights, reverse=True)
    assert all(f"{one.name}={one.expected}" in found.optimizers.advice for one in found.optimizers.choices)


def test_the_unit_is_the_largest_step_size_of_a_schedule(write_recording):
    """One that ends with nothing has no unit of its own at the end."""
    weights, gradients = numbers()
    schedule = tuple(0.01 * (1 - n / (STEPS - 1)) for n in range(STEPS))
    one = write_recording("one", weights, gradients, hyper=parity.Hyper(lr=0.02))
    found = compare_trainings(one, write_recording("two", weights, gradients, hyper=parity.Hyper(lr=schedule)))
    assert schedule[-1] == 0
    for step in found.curve:
        assert step.lr == pytest.approx(step.largest / 0.01, rel=1e-12)
        assert step.floor < 0.01
    assert {tensor.lr for tensor in found.tensors} == {0.01}
    assert found.optimizers.choices[0].actual == "0.02"


def test_trainings_that_go_on_are_compared_from_their_states(write_recording):
    weights, gradients = numbers()
    hyper = parity.Hyper(lr=2e-3)
    one = write_recording("one", weights, gradients, before=5, hyper=hyper)
    found = compare_trainings(one, write_recording("two", weights, gradients, before=5))
    # The step size was another one before: the weights are apart, and the moments are not.
    assert {start.quantity for start in found.starts} == {"w"}
    same = compare_trainings(one, write_recording("three", weights, gradients, before=5, hyper=hyper))
    assert same.alike
    assert same.optimizers.known == (0.0, 0.0)
    assert (same.actual.counted, same.curve[0].number) == (5, 6)
    other = [{k: 2 * g if n == 2 else g for k, g in step.items()} for n, step in enumerate(gradients)]
    lost = compare_trainings(one, write_recording("four", weights, other, before=5, hyper=hyper))
    assert {start.quantity for start in lost.starts} == {"w", "m", "v"}
    assert lost.sentence.startswith("not the optimizer: they start apart, in 3 of 3 tensors (0.weight by up to ")
