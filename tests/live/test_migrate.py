"""A checkpoint carried from Keras to torch and back: files that the frameworks write and read themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest

from parity.core.errors import ParityError, UsageError
from parity.live.migrate import migrate

pytestmark = [
    pytest.mark.frameworks,
    # Of Keras 3.15, as it saves its variables under NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A Keras classifier after six steps, saved whole."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, activation="relu", name="hidden"),
                              keras.layers.Dense(3, name="scores")])  # fmt: skip
    model.compile(optimizer=keras.optimizers.Adam(0.002, beta_2=0.99, epsilon=1e-4), loss="mse")
    random = np.random.default_rng(0)
    inputs, outputs = random.standard_normal((48, 6)).astype("float32"), random.standard_normal((48, 3))
    model.fit(inputs, outputs, batch_size=16, epochs=2, verbose=0, shuffle=False)
    path = tmp_path_factory.mktemp("trained") / "model.keras"
    model.save(path)
    return path, model, inputs, outputs.astype("float32")


def test_a_keras_checkpoint_goes_on_in_torch(trained, tmp_path):
    import torch

    import parity

    path, _, inputs, outputs = trained
    import keras

    found = migrate(path, "torch", tmp_path / "state.pt")
    assert found.steps == 6
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    assert {name: tuple(one.shape) for name, one in kept["model"].items()} == {
        "hidden.weight": (8, 6), "hidden.bias": (8,), "scores.weight": (3, 8), "scores.bias": (3,),
    }  # fmt: skip
    ported = torch.nn.ModuleDict({"hidden": torch.nn.Linear(6, 8), "scores": torch.nn.Linear(8, 3)})
    ported.load_state_dict(kept["model"])
    optimizer = parity.bridge.KerasAdam(ported.parameters())
    optimizer.load_state_dict(kept["optimizer"])
    original = keras.saving.load_model(path)
    given, wanted = torch.from_numpy(inputs), torch.from_numpy(outputs)
    for place in range(0, 48, 16):
        original.train_on_batch(inputs[place : place + 16], outputs[place : place + 16])
        optimizer.zero_grad()
        made = ported["scores"](torch.relu(ported["hidden"](given[place : place + 16])))
        torch.nn.functional.mse_loss(made, wanted[place : place + 16]).backward()
        optimizer.step()
    for one, two in zip(original.trainable_variables, ported.parameters(), strict=True):
        # Gradients differ by rounding: far less than one step of lr = 0.002.
        np.testing.assert_allclose(one.numpy().T, two.detach().numpy(), rtol=0, atol=2e-6)


def test_there_and_back_is_what_it_was(trained, tmp_path):
    import keras

    path, model, *_ = trained
    migrate(path, "torch", tmp_path / "state.pt")
    migrate(tmp_path / "state.pt", "keras", tmp_path / "back.keras", like=path)
    back = keras.saving.load_model(tmp_path / "back.keras")
    assert type(back.optimizer) is keras.optimizers.Adam
    assert (back.optimizer.epsilon, back.optimizer.beta_2) == (1e-4, 0.99)
    for one, two in zip([*model.trainable_variables, *model.optimizer.variables],
                        [*back.trainable_variables, *back.optimizer.variables], strict=True):  # fmt: skip
        assert one.numpy().tobytes() == two.numpy().tobytes()


def torch_checkpoint(path, kind="Adam", **settings):
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3))
    optimizer = getattr(torch.optim, kind)(model.parameters(), **settings)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(16, 6)).square().mean().backward()
        optimizer.step()
    torch.save({"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}, path)
    return model, optimizer


def test_a_torch_checkpoint_goes_on_in_keras(tmp_path):
    import keras

    model, optimizer = torch_checkpoint(tmp_path / "state.pt", "AdamW", weight_decay=0.1)
    like = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8), keras.layers.BatchNormalization(),
                             keras.layers.Dense(3)])  # fmt: skip
    like.compile(optimizer="adam", loss="mse")
    like.save(tmp_path / "like.keras")
    migrate(tmp_path / "state.pt", "keras", tmp_path / "out.keras", like=tmp_path / "like.keras")
    made = keras.saving.load_model(tmp_path / "out.keras")
    assert type(made.optimizer).__name__ == "TorchAdam"
    assert made.optimizer.decoupled_weight_decay
    assert int(made.optimizer.iterations) == 3
    for one, two, moment in zip(model.parameters(), made.trainable_variables, made.optimizer._momentums, strict=True):
        assert np.array_equal(one.detach().numpy().T, two.numpy())
        assert np.array_equal(optimizer.state[one]["exp_avg"].numpy().T, moment.numpy())


def test_the_command_writes_a_certificate(trained, tmp_path, command):
    path, *_ = trained
    certified = ("--certificate", tmp_path / "held", "--steps", "5")
    told = tmp_path / "told.json"
    code, out, _ = command("migrate", path, "--to", "torch", "-o", tmp_path / "state.pt", *certified, "--json", told)
    assert code == 0
    assert "w, m, v of 4 parameters, 2 of them transposed" in out
    assert "issued: recorded is equivalent, bit for bit, to user.parity.bridge.KerasAdam on 1 case in float32" in out
    told = json.loads(told.read_text())
    assert told["steps"] == 6
    assert told["certificate"].startswith("issued")
    assert list((tmp_path / "held" / "run").glob("certificate-*.md"))


@pytest.mark.parametrize(("to", "change", "told"), [
    ("jax", {}, "--to 'jax' is unknown; allowed: torch, keras"),
    ("keras", {}, "--to keras needs --like MODEL.keras, whose layers the file will have"),
    ("torch", {"source": "missing.keras"}, "there is no checkpoint"),
    ("torch", {"source": "broken.keras"}, "broken.keras: Keras cannot load it"),
    ("torch", {"source": "broken.pt"}, "broken.pt: torch cannot load it"),
    ("torch", {"source": "weights.pt"}, r"weights.pt: allowed: a dict with model or model_state_dict or"),
    ("torch", {"source": "plain.keras"}, "plain.keras: holds no optimizer: the model was not compiled"),
    ("torch", {"output": "broken.pt"}, "exists; nothing was written"),
])  # fmt: skip
def test_what_cannot_be_carried_is_one_line_and_no_file(trained, tmp_path, to, change, told):
    import keras
    import torch

    (tmp_path / "broken.keras").write_text("no archive")
    (tmp_path / "broken.pt").write_text("no archive")
    torch.save({"layer.weight": torch.ones(3)}, tmp_path / "weights.pt")
    keras.Sequential([keras.Input((6,)), keras.layers.Dense(8)]).save(tmp_path / "plain.keras")
    source = tmp_path / change["source"] if "source" in change else trained[0]
    output = tmp_path / change.get("output", "out.pt")
    before = {one.name for one in tmp_path.iterdir()}
    with pytest.raises((UsageError, ParityError), match=told) as caught:
        migrate(source, to, output)
    assert "\n" not in str(caught.value)
    assert {one.name for one in tmp_path.iterdir()} == before


def test_another_shape_is_one_line_and_no_file(trained, tmp_path):
    torch_checkpoint(tmp_path / "other.pt")
    with pytest.raises(ParityError, match=r"only the target has '1\.weight' \[8\], '1\.bias' \[8\]; nothing"):
        migrate(trained[0], "torch", tmp_path / "out.pt", like=tmp_path / "other.pt")
    assert not (tmp_path / "out.pt").exists()


def test_an_image_that_is_flattened_is_told(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(3, 2), keras.layers.Flatten(),
                              keras.layers.Dense(2)])  # fmt: skip
    model.compile(optimizer="adam", loss="mse")
    model.fit(np.ones((4, 4, 4, 2)), np.ones((4, 2)), verbose=0)
    model.save(tmp_path / "model.keras")
    found = migrate(tmp_path / "model.keras", "torch", tmp_path / "out.pt")
    assert any("a Flatten makes of an image" in line for line in found.left)


def test_a_port_in_another_order_is_not_undone(tmp_path):
    """The columns behind a Flatten, as torch has them: the same numbers, and no transpose."""
    import torch

    import parity

    torch.manual_seed(0)
    one, other = torch.nn.Linear(8, 3), torch.nn.Linear(8, 3)
    with torch.no_grad():
        other.weight.copy_(one.weight[:, torch.randperm(8)])
        other.bias.copy_(one.bias)
    source, target = torch.optim.Adam(one.parameters()), torch.optim.Adam(other.parameters())
    one(torch.ones(2, 8)).sum().backward()
    source.step()
    with torch.no_grad():
        other.weight.copy_(one.weight[:, torch.randperm(8)])
    with pytest.raises(ParityError, match="'weight' has the numbers of 'weight' in another order than its axes say"):
        parity.transfer(source, target, models=(one, other))
