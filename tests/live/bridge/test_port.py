"""A port that trains the same: each bridge against what it stands for, in the engine, step by step."""

from __future__ import annotations

from pathlib import Path

import pytest

import parity
from parity.case.expectation import Kind

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(900), pytest.mark.thorough]

HERE = Path(__file__).parent
STEPS = 40
PARAMETERS = [{"name": "kernel", "shape": [7, 5]}, {"name": "bias", "shape": [1025]}]
BELL = {"kind": "bell", "scale": 0.1}
HYPER = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7}
CASES = {
    "same": {},
    "decades": {"gradients": {"kind": "decades", "low": 1e-12, "high": 1e3, "zeros": 0.125}},
    "eps": {"hyper": {**HYPER, "eps": 1e-3}},
    "betas": {"hyper": {**HYPER, "beta1": 0.8, "beta2": 0.95}},
    "amsgrad": {
        "hyper": {**HYPER, "beta2": 0.9, "amsgrad": True},
        "gradients": {"kind": "rows", "density": 0.25, "scale": 0.1},
    },
    "decoupled": {"hyper": {**HYPER, "weight_decay": 0.01, "decoupled": True}},
    "schedule": {"hyper": {**HYPER, "lr": [1e-2 / step for step in range(1, STEPS + 1)]}},
    "missing": {
        "parameters": [
            {**PARAMETERS[0], "gradients": {**BELL, "none_every": 3}},
            {**PARAMETERS[1], "gradients": {**BELL, "none_steps": [1, 2, 20]}},
            {"name": "temperature", "shape": [], "gradients": BELL},
        ]
    },
    "long": {"steps": 600, "parameters": PARAMETERS[:1]},
}
L2 = {"l2": {"hyper": {**HYPER, "weight_decay": 0.01}}}


@pytest.fixture
def held_against(write_case, tmp_path):
    """Run all cases on a bridge and what it stands for: the Run, whose one expectation is `expectation`."""

    def run(bridge, expected, cases, expectation):
        paths = [
            write_case(
                name,
                **{
                    "steps": STEPS,
                    "dtypes": ["float64", "float32"],
                    "parameters": PARAMETERS,
                    "hyper": HYPER,
                    "gradients": BELL,
                    "expect": [{"actual": "user.*", "expected": expected, **expectation}],
                    **keys,
                },
            )
            for name, keys in cases.items()
        ]
        outcome = parity.run(paths, [f"{HERE / bridge}.py:run", expected], output=tmp_path / "run")
        assert {one.case for one in outcome.verdicts} == set(cases)
        assert len(outcome.verdicts) == 2 * len(cases)
        return outcome

    return run


def test_keras_adam_in_torch_has_the_bits_of_keras(held_against):
    outcome = held_against(
        "torch_with_keras_convention",
        "keras.adam.eager",
        CASES,
        {"verdict": "IDENTICAL", "because": "The same operations in the same order, rounded alike."},
    )
    assert outcome.exit_code == 0, [one.verdict.reason for one in outcome.unexpected]


def test_torch_adam_in_keras_differs_from_torch_by_rounding(held_against):
    outcome = held_against(
        "keras_with_torch_convention",
        "torch.adam.forloop",
        CASES | L2,
        {"verdict": "WITHIN", "rounding": "scalars", "because": "The same formula; Keras keeps lr in float32."},
    )
    assert outcome.exit_code == 0, [one.verdict.reason for one in outcome.unexpected]


@pytest.mark.parametrize(
    ("bridge", "expected"),
    [
        ("torch_with_keras_convention", "torch.adam.forloop"),
        pytest.param("keras_with_torch_convention", "keras.adam.eager", marks=pytest.mark.exhaustive),
    ],
)
def test_a_bridge_is_not_the_adam_of_its_own_framework(held_against, bridge, expected):
    outcome = held_against(
        bridge,
        expected,
        {name: CASES[name] for name in ("same", "missing")},
        {"verdict": "WITHIN", "rounding": "scalars", "because": "It must not be: epsilon stands elsewhere."},
    )
    assert {one.verdict.kind for one in outcome.verdicts} == {Kind.DIVERGED}
