"""`KerasAdam` is a torch optimizer like any other."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from parity.implementations import keras_

pytestmark = pytest.mark.frameworks

torch = pytest.importorskip("torch")

KERAS = keras_.IMPLEMENTATIONS[0].defaults
KERAS_DEFAULTS = {
    "lr": KERAS.lr,
    "betas": (KERAS.beta1, KERAS.beta2),
    "eps": KERAS.eps,
    "weight_decay": KERAS.weight_decay,
    "amsgrad": KERAS.amsgrad,
}


@pytest.fixture
def keras_adam():
    from parity.live.bridge import KerasAdam

    return KerasAdam


def model_and_loss(seed=3):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    x = torch.randn(64, 4)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]])
    return model, lambda: ((model(x) - y) ** 2).mean()


def train(model, loss, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return [w.detach().clone() for w in model.parameters()]


def test_it_trains(keras_adam):
    model, loss = model_and_loss()
    before = loss().item()
    train(model, loss, keras_adam(model.parameters(), lr=1e-2), 200)
    assert loss().item() < before / 20


def test_its_defaults_are_those_of_keras(keras_adam):
    assert keras_adam([torch.ones(1)]).defaults == {**KERAS_DEFAULTS, "iterations": 0}


def test_the_first_step_is_that_of_epsilon_hat(keras_adam):
    w = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    w.grad = torch.tensor([1e-7, -1e-3, 2.0], dtype=torch.float64)
    keras_adam([w], eps=1e-7).step()
    g = w.grad.numpy()
    expected = -1e-3 * g / (np.abs(g) + 1e-7 / np.sqrt(1 - 0.999))
    # Keras's betas are float32 numbers in the bias correction.
    assert w.detach().numpy() == pytest.approx(expected, abs=0, rel=2e-5)


def test_the_state_goes_through_a_state_dict_and_a_file(keras_adam, tmp_path):
    whole, loss = model_and_loss()
    expected = train(whole, loss, keras_adam(whole.parameters(), amsgrad=True), 20)
    model, loss = model_and_loss()
    first = keras_adam(model.parameters(), amsgrad=True)
    train(model, loss, first, 9)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = keras_adam(model.parameters(), lr=0.5, betas=(0.5, 0.5))
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    actual = train(model, loss, second, 11)
    assert all(torch.equal(*pair) for pair in zip(actual, expected, strict=True))


def test_each_group_has_its_own_numbers_and_all_have_one_t(keras_adam):
    steady, late = (torch.ones(2, requires_grad=True) for _ in range(2))
    optimizer = keras_adam([{"params": [steady], "lr": 0.0}], weight_decay=0.5)
    steady.grad = torch.ones(2)
    optimizer.step()
    optimizer.add_param_group({"params": [late], "lr": 1e-2, "weight_decay": 0.0})
    late.grad = torch.ones(2)
    optimizer.step()
    assert [group["iterations"] for group in optimizer.param_groups] == [2, 2]
    assert steady.tolist() == [1.0, 1.0]
    # The first gradient of `late`, at t = 2.
    alpha = 1e-2 * np.sqrt(1 - 0.999**2) / (1 - 0.9**2)
    assert late.detach().numpy() == pytest.approx(1 - alpha * 0.1 / (np.sqrt(0.001) + 1e-7), rel=1e-6)


def test_a_scheduler_sets_lr(keras_adam):
    model, loss = model_and_loss()
    optimizer = keras_adam(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.0 if epoch else 1.0)
    (once, *_) = train(model, loss, optimizer, 1)
    scheduler.step()
    (twice, *_) = train(model, loss, optimizer, 1)
    assert torch.equal(once, twice)


def test_a_parameter_without_gradient_stands_still_while_t_goes_on(keras_adam):
    still, moving = (torch.ones(2, requires_grad=True) for _ in range(2))
    optimizer = keras_adam([still, moving], weight_decay=0.5)
    moving.grad = torch.ones(2)
    optimizer.step()
    assert still.tolist() == [1.0, 1.0]
    assert still not in optimizer.state
    moving.grad = None
    optimizer.step()
    assert optimizer.param_groups[0]["iterations"] == 1


def test_a_closure_gives_the_loss(keras_adam):
    model, loss = model_and_loss()
    optimizer = keras_adam(model.parameters())

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    assert optimizer.step(closure).item() == pytest.approx(model_and_loss()[1]().item())


def test_a_copy_goes_on_alike(keras_adam):
    model, loss = model_and_loss()
    optimizer = keras_adam(model.parameters())
    train(model, loss, optimizer, 3)
    assert copy.deepcopy(optimizer).state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"lr": -1.0}, "lr is -1.0; allowed: 0 or more"),
        ({"eps": float("nan")}, "eps is nan"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"betas": (0.9, 1.0)}, r"betas are \(0.9, 1.0\)"),
    ],
)
def test_a_number_out_of_range_is_refused(keras_adam, wrong, told):
    with pytest.raises(ValueError, match=rf"^KerasAdam: {told}"):
        keras_adam([torch.ones(1, requires_grad=True)], **wrong)


def test_a_sparse_gradient_is_refused_before_anything_moves(keras_adam):
    dense = torch.ones(2, requires_grad=True)
    embedding = torch.nn.Embedding(5, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    dense.grad = torch.ones(2)
    with pytest.raises(RuntimeError, match=r"^KerasAdam: a gradient is sparse; make it dense"):
        keras_adam([dense, embedding.weight]).step()
    assert dense.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(keras_adam, dtype):
    w = torch.ones(2, dtype=dtype, requires_grad=True)
    w.grad = torch.ones(2, dtype=dtype)
    with pytest.raises(RuntimeError, match=r"^KerasAdam: a parameter is torch\.\w+; allowed: torch.float32"):
        keras_adam([w]).step()
