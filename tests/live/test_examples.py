"""The examples are run as a user runs them, and what parts them is named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import parity
from parity.api.trainings import compare_trainings

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(600), pytest.mark.thorough]

CLASSIFIER = Path(__file__).parents[2] / "examples" / "classifier.py"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The folder of a training by framework and mistake, which is run when it is first asked for."""
    folder = tmp_path_factory.mktemp("classifier")

    def record(framework, mistake=""):
        path = folder / f"{framework}{mistake}"
        if not path.exists():
            command = [sys.executable, str(CLASSIFIER), framework, str(path), *([mistake] if mistake else [])]
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
            told = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout
            # Whatever the mistake, it learns: a curve alone does not say that something is wrong.
            assert float(told.removeprefix("accuracy on validation data: ")) > 0.9
        return path

    return record


def test_the_port_parts_by_the_place_of_epsilon_alone(recorded):
    found = compare_trainings(recorded("torch"), recorded("keras"))
    assert [one.turned for one in found.pairing.pairs] == [True, False, True, False]
    assert {one.likeness for one in found.gradients} <= {"equal", "rounding"}
    assert {one.name for one in found.optimizers.choices} <= {"epsilon", "lr"}
    assert found.sentence.startswith("the optimizer: ")
    assert "epsilon is sqrt(v_hat) + eps and sqrt(v) + eps" in found.sentence


def test_the_two_ports_are_alike(recorded):
    """torch and optax have the same formula; their gradients differ by rounding, and their arithmetic."""
    found = compare_trainings(recorded("optax"), recorded("torch"))
    assert found.alike
    assert [(one.actual, one.expected, one.turned) for one in found.pairing.pairs] == [
        ("hidden.bias", "0.bias", False),
        ("hidden.kernel", "0.weight", True),
        ("out.bias", "2.bias", False),
        ("out.kernel", "2.weight", True),
    ]
    assert found.optimizers.known == (0.0, 0.0)
    assert found.steps.count == 100
    assert 0 < max(one.lr for one in found.curve) < 0.01


def test_a_tensor_that_is_looked_at_alone_is_not_the_only_one(recorded, monkeypatch):
    """Compiled optax divides otherwise where its optimizer has one tensor: it has four here."""
    monkeypatch.setattr("parity.explain.shares.PART", 1)
    found = compare_trainings(recorded("optax"), recorded("torch"))
    assert found.optimizers.known == (0.0, 0.0)


def test_optax_parts_from_keras_by_the_place_of_epsilon(recorded):
    found = compare_trainings(recorded("optax"), recorded("keras"))
    assert [one.name for one in found.optimizers.choices] == ["epsilon"]
    assert not any(one.turned for one in found.pairing.pairs)
    assert found.optimizers.known == (0.0, 0.0)
    assert "epsilon is sqrt(v_hat) + eps and sqrt(v) + eps" in found.sentence
    assert "take parity.bridge.outside_epsilon" in found.sentence


def test_a_port_follows_the_keras_training(recorded):
    """On equal weights at all hundred steps the port is the same model, though its optimizer is another."""
    sys.path.insert(0, str(CLASSIFIER.parent))
    try:
        import classifier
    finally:
        sys.path.remove(str(CLASSIFIER.parent))
    import torch

    x, labels = (torch.from_numpy(array) for array in classifier.data())
    model = torch.nn.Sequential(torch.nn.Linear(20, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters())
    loss = torch.nn.CrossEntropyLoss()
    with parity.follow(recorded("keras"), optimizer, model=model) as followed:
        for _ in range(classifier.EPOCHS):
            for start in range(0, classifier.SAMPLES, classifier.BATCH):
                optimizer.zero_grad()
                rows = slice(start, start + classifier.BATCH)
                loss(model(x[rows]), labels[rows]).backward()
                optimizer.step()
    assert followed.alike
    assert re.fullmatch(
        r"the models are alike: largest relative difference of a gradient \d\.\de-07 over 100 steps", followed.sentence
    )


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
