"""The examples are run as a user runs them, and what parts them is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parity.api.trainings import compare_trainings

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(600)]

CLASSIFIER = Path(__file__).parents[2] / "examples" / "classifier.py"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The folder of a training by framework and mistake, which is run when it is first asked for."""
    folder = tmp_path_factory.mktemp("classifier")

    def record(framework, mistake=""):
        path = folder / f"{framework}{mistake}"
        if not path.exists():
            command = [sys.executable, str(CLASSIFIER), framework, str(path), *([mistake] if mistake else [])]
            subprocess.run(command, check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
        return path

    return record


def test_the_port_parts_by_the_place_of_epsilon_alone(recorded):
    found = compare_trainings(recorded("torch"), recorded("keras"))
    assert [one.turned for one in found.pairing.pairs] == [True, False, True, False]
    assert {one.likeness for one in found.gradients} <= {"equal", "rounding"}
    assert {one.name for one in found.optimizers.choices} <= {"epsilon", "lr"}
    assert found.sentence.startswith("the optimizer: ")
    assert "epsilon is sqrt(v_hat) + eps and sqrt(v) + eps" in found.sentence


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("sum", "comes from gradients that differ from step 1 on by a factor of 32"),
        ("eps", "eps is 1e-08 and 1e-07"),
        ("kernel", "not the optimizer: 0.weight, 2.weight was copied without being transposed"),
    ],
)
def test_a_mistake_is_named(recorded, mistake, told):
    assert told in compare_trainings(recorded("torch", mistake), recorded("keras")).sentence
