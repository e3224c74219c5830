"""Two trainings that part: by their start, their gradients, their optimizers; and what share each of them has."""

from __future__ import annotations

import json
import math
import re
import tomllib

import pytest

import parity
from parity.api.trainings import compare_trainings
from parity.core.errors import NothingCompared, ParityError

pytestmark = pytest.mark.frameworks

STEPS = 20


@pytest.fixture
def training(tmp_path):
    """Record a small torch training under a name; its folder."""
    import torch

    def train(
        name,
        *,
        reduction="mean",
        seed=1,
        start=0,
        kind="Adam",
        factors=None,
        flip=False,
        drop=False,
        later=0,
        **settings,
    ):
        options = {one: settings.pop(one) for one in ("parameters", "steps") if one in settings}
        layers = settings.pop("layers", None)
        torch.manual_seed(start)
        model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
        parameters = dict(model.named_parameters())
        if drop:
            parameters = {"other.weight": torch.nn.Parameter(torch.ones(9, 9))}
        given = parameters.values()
        if layers:
            given = [
                {"params": [one for name, one in parameters.items() if name.startswith(layer)], "lr": lr}
                for layer, lr in layers.items()
            ]
        optimizer = getattr(torch.optim, kind)(given, **{"lr": 0.01, **settings})
        torch.manual_seed(seed)
        x, y = torch.randn(32, 6), torch.randint(0, 3, (32,))
        loss = torch.nn.CrossEntropyLoss(reduction=reduction)
        with parity.record(tmp_path / name, optimizer, model=parameters, **options):
            for step in range(1, STEPS + 1):
                if step == later:
                    x = torch.randn(32, 6)
                optimizer.zero_grad()
                if drop:
                    parameters["other.weight"].square().sum().backward()
                else:
                    loss(model(x), y).backward()
                for parameter, factor in zip(parameters.values(), factors or (), strict=False):
                    parameter.grad *= factor
                if flip:
                    parameters["0.weight"].grad = parameters["0.weight"].grad.flip(0)
                optimizer.step()
        return tmp_path / name

    return train


def test_the_same_training_twice_is_alike(training):
    found = compare_trainings(training("one"), training("two"))
    assert found.alike
    assert found.optimizers.known == (0.0, 0.0)
    assert {one.likeness for one in found.gradients} == {"equal"}
    assert {one.largest for one in found.curve} == {0.0}
    assert [(one.actual, one.expected, one.by) for one in found.pairing.pairs] == [
        (name, name, "value") for name in ("0.weight", "0.bias", "2.weight", "2.bias")
    ]


def test_a_loss_that_is_summed_is_a_factor(training):
    found = compare_trainings(training("sum", reduction="sum"), training("mean"))
    assert not found.alike
    assert {one.likeness for one in found.gradients} == {"factor"}
    assert all(one.factor == pytest.approx(32, rel=1e-5) for one in found.gradients)
    assert re.fullmatch(
        r"not the optimizer: \d+\.\d % of the difference after 20 steps comes from gradients that differ from step 1 "
        r"on by a factor of 32",
        found.sentence,
    )
    assert found.curve[-1].gradients == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("scale", [1 / 2, 1 / 32, 1024.0, -1.0])
def test_other_factors_are_named_as_people_write_them(training, scale):
    found = compare_trainings(training("scaled", factors=[scale] * 4), training("plain"))
    told = f"1/{round(1 / scale)}" if 0 < scale < 1 else f"{scale:.0f}"
    assert found.sentence.endswith(f"by a factor of {told}")


def test_a_factor_of_one_tensor_names_it(training):
    found = compare_trainings(training("one", factors=[1, 8]), training("two"))
    assert found.sentence.endswith("differ from step 1 on by factors: 8 in 0.bias")


def test_gradients_that_are_permuted_or_unlike(training):
    found = compare_trainings(training("flipped", flip=True), training("plain"))
    assert [one.likeness for one in found.gradients] == ["permuted", "equal", "equal", "equal"]
    assert "in 1 of 4 tensors: 0.weight (permuted): the model or the data" in found.sentence
    other = compare_trainings(training("other", seed=2), training("again"))
    assert "unlike" in {one.likeness for one in other.gradients}
    assert other.sentence.startswith("not the optimizer: ")


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"eps": 1e-3}, "eps"),
        ({"lr": 0.02}, "lr"),
        ({"betas": (0.8, 0.999)}, "beta1"),
        ({"betas": (0.9, 0.99)}, "beta2"),
        ({"weight_decay": 0.1}, "weight_decay"),
        ({"amsgrad": True, "betas": (0.9, 0.5)}, "amsgrad"),
    ],
)
def test_what_the_optimizers_differ_in_is_named(training, settings, name):
    found = compare_trainings(training("one", **settings), training("two"))
    assert name in {one.name for one in found.optimizers.choices}
    assert found.sentence.startswith("the optimizer: ")
    assert found.optimizers.known == (0.0, 0.0)
    assert found.optimizers.left == 0.0
    # Up to there both have the same weights, and with them the same gradients.
    assert next(one for one in found.curve if one.largest).optimizer == pytest.approx(1, abs=1e-9)
    assert all(one.optimizer + one.gradients == pytest.approx(1, abs=1e-9) for one in found.curve if one.largest)


def test_groups_are_weighed_each_with_its_own_numbers(training):
    """In one the first layer has twice the step size; the other has both layers in groups that say the same."""
    layers = {"0": 0.02, "2": 0.01}
    found = compare_trainings(training("one", layers=layers), training("two", layers=dict.fromkeys("20", 0.01)))
    (choice,) = found.optimizers.choices
    assert (choice.name, choice.actual, choice.expected) == ("lr", "0.02", "0.01")
    assert found.optimizers.known == (0.0, 0.0)
    assert found.optimizers.left == 0.0
    assert found.curve[0].optimizer == pytest.approx(1, abs=1e-9)
    same = compare_trainings(training("three", layers=dict.fromkeys("02", 0.01)), training("four"))
    assert same.alike


def test_data_that_differs_later_is_not_alike(training):
    """The start, the first gradients and the optimizers are the same."""
    found = compare_trainings(training("one", later=7), training("two"))
    assert (found.alike, found.step) == (False, 7)
    assert "are unlike from step 7 on" in found.sentence


def test_what_only_one_has_is_not_alike(training):
    found = compare_trainings(training("one", parameters="0.*"), training("two"))
    assert not found.alike
    assert "2 parameters stand in one of them only, and were not compared: 2.weight" in found.sentence
    shorter = compare_trainings(training("short", steps=5), training("long"))
    assert not shorter.alike
    assert shorter.sentence == "alike in the 5 steps that both have; the rest was not compared"


def test_a_start_that_differs_comes_first(training):
    found = compare_trainings(training("one", start=3), training("two", reduction="sum"))
    assert len(found.starts) == 4
    assert found.sentence.startswith("not the optimizer: they start apart, in 4 of 4 tensors (0.weight by up to ")


def test_nothing_in_common(training, command):
    one, two = training("one"), training("two", drop=True)
    with pytest.raises(NothingCompared, match="have no parameter in common"):
        compare_trainings(one, two)
    assert command("compare", one, two)[0] == 5


def test_an_optimizer_that_is_no_adam_is_told(training):
    found = compare_trainings(training("one", kind="Adamax"), training("two"))
    assert found.optimizers is None
    assert "is no Adam whose arithmetic is known" in found.sentence


def test_the_command_says_it_and_writes_it_down(training, command, tmp_path):
    one, two = training("sum", reduction="sum"), training("mean")
    code, out, _ = command("compare", one, two, "--json", tmp_path / "told.json", "--write-map", tmp_path / "map.toml")
    assert code == 1
    assert "by a factor of 32" in " ".join(out.split())
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["mode"], told["alike"], len(told["curve"])) == ("closed", False, STEPS)
    assert math.isclose(told["gradients"][0]["factor"], 32, rel_tol=1e-5)
    pairs = tomllib.loads((tmp_path / "map.toml").read_text())["parameters"]
    assert pairs == {name: name for name in ("0.weight", "0.bias", "2.weight", "2.bias")}
    assert command("compare", two, training("again"), "--map", tmp_path / "map.toml")[0] == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"allowed: one table \[parameters\]"),
        ("parameters = 3", r"allowed: one table \[parameters\]"),
        (
            "[parameters]\n'0.wieght' = '0.weight'",
            "no parameter '0.wieght' in recording 'one'; .*did you mean '0.weight'",
        ),
        ("[parameters]\n'0.weight' = '0.bias'", "are of no common shape"),
        ("[parameters", "not valid TOML"),
        ("parameters = " + "[" * 5000, "its brackets are nested too deeply"),
    ],
)
def test_a_bad_map_is_one_line(training, tmp_path, text, told):
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(ParityError, match=told) as caught:
        compare_trainings(training("one"), training("two"), tmp_path / "map.toml")
    assert "\n" not in str(caught.value)


def test_a_recording_and_something_else(training, command, tmp_path):
    (tmp_path / "nothing").mkdir()
    code, _, err = command("compare", training("one"), tmp_path / "nothing")
    assert code == 2
    assert "is no recording, and can't be compared with one" in err
