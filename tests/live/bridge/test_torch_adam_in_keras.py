"""`TorchAdam` is a Keras optimizer like any other."""

from __future__ import annotations

import os

import numpy as np
import pytest

from parity.implementations import torch_

pytestmark = [pytest.mark.frameworks, pytest.mark.thorough]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")


@pytest.fixture
def keras():
    import keras

    assert keras.backend.backend() == "tensorflow"
    keras.utils.set_random_seed(3)
    return keras


@pytest.fixture
def torch_adam(keras):
    from parity.live.bridge import TorchAdam

    return TorchAdam


@pytest.fixture
def make_model(keras):
    def make(optimizer):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
        model.compile(optimizer, "mse")
        return model

    return make


@pytest.fixture
def examples():
    x = np.random.default_rng(4).standard_normal((64, 4)).astype(np.float32)
    return x, x @ np.array([[1.0], [-2.0], [0.5], [0.0]], np.float32)


def test_a_model_fits(torch_adam, make_model, examples):
    model = make_model(torch_adam(learning_rate=1e-2))
    losses = model.fit(*examples, epochs=60, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 10


def test_its_defaults_are_those_of_torch(torch_adam):
    default = torch_.IMPLEMENTATIONS[0].defaults
    configuration = torch_adam().get_config()
    assert configuration["learning_rate"] == np.float32(default.lr)
    own = ("beta_1", "beta_2", "epsilon", "amsgrad", "decoupled_weight_decay")
    expected = [default.beta1, default.beta2, default.eps, default.amsgrad, default.decoupled]
    assert [configuration[name] for name in own] == expected
    assert not configuration["weight_decay"]


def test_the_first_step_is_that_of_algorithm_1(keras, torch_adam):
    g = np.array([1e-8, -1e-3, 2.0])
    w = keras.Variable(np.zeros(3), dtype="float64")
    torch_adam(epsilon=1e-8).apply([keras.ops.array(g)], [w])
    # lr is a float32 number.
    assert w.numpy() == pytest.approx(-1e-3 * g / (np.abs(g) + 1e-8), abs=0, rel=1e-7)


def test_it_can_be_made_again_from_its_configuration(keras, torch_adam):
    wanted = {
        "learning_rate": 0.25,
        "beta_1": 0.8,
        "beta_2": 0.95,
        "epsilon": 1e-5,
        "amsgrad": True,
        "weight_decay": 0.01,
        "decoupled_weight_decay": True,
        "clipnorm": 1.0,
        "name": "mine",
    }
    one = torch_adam(**wanted)
    other = keras.optimizers.deserialize(keras.optimizers.serialize(one))
    assert type(other) is torch_adam
    assert other.get_config() == one.get_config()
    assert {name: other.get_config()[name] for name in wanted} == wanted


# Keras 3.15 copies its variables in a way that NumPy 2 warns of.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
def test_a_saved_model_goes_on_alike(keras, torch_adam, make_model, examples, tmp_path):
    x, y = examples
    model = make_model(torch_adam(amsgrad=True))
    model.fit(x, y, epochs=3, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is torch_adam
    for one in (model, again):
        one.fit(x, y, epochs=3, shuffle=False, verbose=0)
    for actual, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        assert np.array_equal(actual, expected)


def test_a_schedule_sets_the_learning_rate(keras, torch_adam):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.0])
    w = keras.Variable(np.zeros(2, np.float32))
    optimizer = torch_adam(learning_rate=schedule)
    optimizer.apply([keras.ops.ones(2)], [w])
    once = w.numpy()
    assert once == pytest.approx(-1.0)
    optimizer.apply([keras.ops.ones(2)])
    assert np.array_equal(w.numpy(), once)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_steps_are_counted_for_each_variable(keras, torch_adam):
    still, moving = (keras.Variable(np.ones(2, np.float32)) for _ in range(2))
    optimizer = torch_adam(weight_decay=0.5, decoupled_weight_decay=True)
    optimizer.build([still, moving])
    for _ in range(3):
        optimizer.apply([None, keras.ops.ones(2)])
    assert still.numpy().tolist() == [1.0, 1.0]
    assert [int(count.numpy()) for count in optimizer._counts] == [0, 3]


def test_accumulated_gradients_are_one_step(keras, torch_adam):
    w = keras.Variable(np.zeros(2, np.float32))
    optimizer = torch_adam(learning_rate=1.0, gradient_accumulation_steps=2)
    optimizer.apply([keras.ops.ones(2)], [w])
    assert w.numpy().tolist() == [0.0, 0.0]
    optimizer.apply([keras.ops.ones(2)])
    assert w.numpy() == pytest.approx(-1.0)
    assert int(optimizer._counts[0].numpy()) == 1


@pytest.mark.parametrize("decoupled", [False, True])
def test_a_variable_can_be_excluded_from_weight_decay(keras, torch_adam, decoupled):
    decayed, excluded = (keras.Variable(np.ones(2, np.float32)) for _ in range(2))
    optimizer = torch_adam(weight_decay=0.5, decoupled_weight_decay=decoupled)
    optimizer.exclude_from_weight_decay([excluded])
    optimizer.apply([keras.ops.zeros(2)] * 2, [decayed, excluded])
    assert (decayed.numpy() < 1).all()
    assert excluded.numpy().tolist() == [1.0, 1.0]


def test_the_gradient_of_an_embedding_is_made_dense(keras, torch_adam):
    """IndexedSlices: a row that was not looked up has a gradient of zero, and goes on by its momentum."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Embedding(5, 2), keras.layers.Flatten()])
    model.compile(torch_adam(learning_rate=0.1), "mse")
    before = model.get_weights()[0]
    target = np.zeros((2, 2), np.float32)
    model.fit(np.array([[1], [2]]), target, batch_size=2, verbose=0)
    first = model.get_weights()[0]
    model.fit(np.array([[2], [2]]), target, batch_size=2, verbose=0)
    second = model.get_weights()[0]
    moved = [(one != other).any(axis=1).tolist() for one, other in ((before, first), (first, second))]
    assert moved == [[False, True, True, False, False]] * 2


def test_mixed_precision_keeps_its_variables_in_float32(keras, torch_adam, examples):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, dtype="mixed_bfloat16")])
    model.compile(torch_adam(learning_rate=1e-2), "mse")
    losses = model.fit(*examples, epochs=30, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
