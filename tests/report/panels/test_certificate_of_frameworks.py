"""Which pairs of real frameworks are certified, and which must not be."""

from __future__ import annotations

import pytest

import parity
from parity.report.panels.certificate import Ground, Obstacle

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    output = tmp_path_factory.mktemp("frameworks") / "run"
    names = ["torch.adam.forloop", "torch.adam.foreach", "keras.adam.eager", "keras.adam.function", "numpy.adam.hat"]
    parity.run(implementations=names, dtypes=["float32"], keyword="same-hyperparameters", output=output)
    return output


@pytest.mark.parametrize(
    ("pair", "ground"),
    [
        (("torch.adam.forloop", "torch.adam.foreach"), Ground.IDENTICAL),
        (("keras.adam.eager", "keras.adam.function"), Ground.IDENTICAL),
        (("numpy.adam.hat", "keras.adam.eager"), Ground.SAME_FORMULA),
    ],
)
def test_one_formula_is_certified(folder, pair, ground):
    found = parity.certificate(folder, *pair)
    assert found.issued
    assert [one.ground for one in found.clauses] == [ground]
    assert found.bounds[0].lr.value < 1e-3


def test_torch_and_keras_are_not_for_their_epsilon(folder):
    (reason,) = parity.certificate(folder, "torch.adam.forloop", "keras.adam.eager").reasons
    assert (reason.obstacle, reason.details) == (Obstacle.OTHER_FORMULA, (("epsilon-placement", 1),))
