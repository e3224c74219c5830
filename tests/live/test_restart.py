"""A training that is saved and loaded by the user's own functions: right ones pass, and every usual loss has a name."""

from __future__ import annotations

import re
from copy import deepcopy

import numpy as np
import pytest

import parity
from parity.core.errors import UsageError

pytestmark = [
    pytest.mark.frameworks,
    # Of Keras 3.15, as it saves its variables under NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SHAPES = {"query": (4, 3), "key": (4, 3), "bias": (5,)}


def parameters(dtype="float32"):
    import torch

    torch.manual_seed(0)
    return {name: torch.nn.Parameter(torch.randn(shape).to(getattr(torch, dtype))) for name, shape in SHAPES.items()}


def torch_training(kind="Adam", dtype="float32", schedule=False, **settings):
    """What `make` builds: parameters, optimizer, and a schedule where one is asked for."""
    import torch

    def make():
        model = parameters(dtype)
        optimizer = getattr(torch.optim, kind)(model.values(), **settings)
        found = [model, optimizer]
        if schedule:
            found.append(torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch))
        return tuple(found)

    return make


def save_torch(made, path, change=lambda optimizer: None, schedules=True):
    """All of it; change: what goes wrong with the optimizer's state on its way."""
    import torch

    model, optimizer, *schedulers = made
    # A state_dict shares its tensors with the optimizer, which goes on.
    state = deepcopy(optimizer.state_dict())
    change(state)
    kept = [one.state_dict() for one in schedulers] if schedules else []
    torch.save({"model": dict(model), "optimizer": state, "schedulers": kept}, path)


def load_torch(made, path):
    import torch

    model, optimizer, *schedulers = made
    kept = torch.load(path, weights_only=False)
    with torch.no_grad():
        for name, one in model.items():
            one.copy_(kept["model"][name])
    optimizer.load_state_dict(kept["optimizer"])
    for one, state in zip(schedulers, kept["schedulers"], strict=False):
        one.load_state_dict(state)


@pytest.mark.parametrize("settings", [
    {}, {"amsgrad": True}, {"kind": "AdamW", "weight_decay": 0.1}, {"schedule": True}, {"dtype": "bfloat16"},
    {"betas": (0.5, 0.9), "eps": 1e-3, "fused": True},
], ids=str)  # fmt: skip
def test_torch_comes_back(settings):
    parity.assert_restarts(torch_training(**settings), save_torch, load_torch)


def every(change):
    """Of every parameter's state."""

    def changed(state):
        for one in state["state"].values():
            change(one)

    return changed


def turned(state):
    first, second, last = (state["state"][key] for key in range(3))
    state["state"] = {0: second, 1: first, 2: last}


def narrowed(name, *keys):
    import torch

    def change(one):
        for key in keys:
            one[key] = one[key].to(getattr(torch, name)).to(torch.float32)

    return every(change)


def constructor_s(**hyper):
    def change(state):
        for group in state["param_groups"]:
            group.update(hyper)

    return change


LOST = {
    "count lost": ({}, lambda: every(lambda one: one["step"].zero_()), "the step count is lost: it begins at 0 again"),
    "count ahead": ({}, lambda: every(lambda one: one["step"].add_(1)), "the step count is one too large; saved was 6"),
    "count behind": ({}, lambda: every(lambda one: one["step"].sub_(1)), "the step count is one too small; saved was"),
    "m lost": ({}, lambda: every(lambda one: one["exp_avg"].zero_()), "m is lost (zeros) (all parameters)"),
    "v lost": ({}, lambda: every(lambda one: one["exp_avg_sq"].zero_()), "v is lost (zeros) (all parameters)"),
    "vmax lost": ({"amsgrad": True}, lambda: every(lambda one: one["max_exp_avg_sq"].zero_()), "vmax is lost (zeros)"),
    "vmax is v": ({"amsgrad": True, "betas": (0.9, 0.5)},
                  lambda: every(lambda one: one["max_exp_avg_sq"].copy_(one["exp_avg_sq"])), "vmax begins at v again"),
    "moments narrowed": ({}, lambda: narrowed("bfloat16", "exp_avg", "exp_avg_sq"), "v is narrowed to bfloat16 (all"),
    "order": ({}, lambda: turned, "belong to other parameters: query has those of key, key has those of query"),
    "beta2": ({"betas": (0.9, 0.95)}, lambda: constructor_s(betas=(0.9, 0.999)), "beta2 is 0.999; saved was 0.95 (all"),
    "eps": ({"eps": 1e-3}, lambda: constructor_s(eps=1e-8), "eps is 1e-08; saved was 0.001 (all parameters)"),
    "lr": ({"lr": 0.1}, lambda: constructor_s(lr=0.01), "lr is 0.01; saved was 0.1 (all parameters)"),
    "weight decay": ({"kind": "AdamW", "weight_decay": 0.1}, lambda: constructor_s(weight_decay=0.01),
                     "weight_decay is 0.01; saved was 0.1"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOST)
def test_what_gets_lost_around_torch_is_named(name):
    settings, change, told = LOST[name]
    broken = change()

    def save(made, path):
        save_torch(made, path, broken)

    with pytest.raises(AssertionError, match=re.escape(told)) as caught:
        parity.assert_restarts(torch_training(**settings), save, load_torch)
    # The first line says where, each other one what.
    head, *lines = str(caught.value).splitlines()
    assert re.fullmatch(r"not restarted as it was saved after step 6: from step 7 on, [\d.e+-]+ lr after step 12", head)
    assert len(lines) == (2 if name in {"moments narrowed"} else 1)


def test_the_constructor_s_hyperparameters_are_named_as_such():
    """Only moments and counts are saved: the betas are those that the script begins with."""
    import torch

    later = []

    def make():
        model = parameters()
        # The first training was tuned by hand, the second one is built as the script says.
        betas = (0.9, 0.999) if later else (0.8, 0.95)
        later.append(1)
        return model, torch.optim.Adam(model.values(), betas=betas)

    def save(made, path):
        save_torch(made, path, lambda state: state.update(param_groups=[
            {**one, "betas": (0.9, 0.999)} for one in state["param_groups"]]))  # fmt: skip

    with pytest.raises(AssertionError) as caught:
        parity.assert_restarts(make, save, load_torch)
    assert "beta1 is 0.9, that of the constructor; saved was 0.8 (all parameters)" in str(caught.value)
    assert "beta2 is 0.999, that of the constructor; saved was 0.95 (all parameters)" in str(caught.value)


def test_nothing_saved_loses_everything():
    with pytest.raises(AssertionError) as caught:
        parity.assert_restarts(torch_training(), lambda made, path: None, lambda made, path: None)
    text = str(caught.value)
    for told in ("the step count is lost", "the weights came back with other numbers", "m is lost", "v is lost"):
        assert told in text


def test_a_schedule_that_begins_again_is_named():
    def save(made, path):
        save_torch(made, path, schedules=False)

    with pytest.raises(AssertionError, match="the schedule is not where it was: after step 7 lr is"):
        parity.assert_restarts(torch_training(schedule=True), save, load_torch)


def test_torch_narrows_moments_on_loading_without_a_word():
    """float32 moments of a bfloat16 parameter, as some trainers keep them: load_state_dict casts them."""
    import torch

    def make():
        model, optimizer = torch_training(dtype="bfloat16")()
        for one in model.values():
            wide = torch.full_like(one, 0.1, dtype=torch.float32)
            optimizer.state[one] = {"step": torch.tensor(3.0), "exp_avg": wide, "exp_avg_sq": wide.clone()}
        optimizer.step = lambda: None
        return model, optimizer

    with pytest.raises(AssertionError) as caught:
        parity.assert_restarts(make, save_torch, load_torch)
    assert "m was float32 and came back as bfloat16 (all parameters)" in str(caught.value)
    assert "v was float32 and came back as bfloat16 (all parameters)" in str(caught.value)


def test_a_counter_that_stops_is_named():
    import torch

    def stops(one):
        one["step"] = torch.minimum(one["step"], torch.tensor(256.0))

    def save(made, path):
        save_torch(made, path, every(stops))

    with pytest.raises(AssertionError, match="the step count stops at 256"):
        parity.assert_restarts(torch_training(), save, load_torch, steps=302, after=300)


def test_keras_comes_back_and_its_usual_loss_is_named():
    import keras

    def make():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
        optimizer = keras.optimizers.Adam(0.01)
        optimizer.build(model.trainable_variables)
        model.compile(optimizer=optimizer, loss="mse")
        return model, optimizer

    def save(made, path):
        made[0].save(f"{path}.keras")

    def load(made, path):
        model = keras.saving.load_model(f"{path}.keras")
        return model, model.optimizer

    parity.assert_restarts(make, save, load)

    def only_weights(made, path):
        store = [variable.numpy() for variable in made[0].trainable_variables]
        np.savez(f"{path}.npz", *store)

    def load_only_weights(made, path):
        with np.load(f"{path}.npz") as kept:
            made[0].set_weights([kept[key] for key in kept.files])

    with pytest.raises(AssertionError) as caught:
        parity.assert_restarts(make, only_weights, load_only_weights)
    assert "the step count is lost: it begins at 0 again; saved was 6" in str(caught.value)
    assert "m is lost (zeros) (all parameters)" in str(caught.value)


def test_optax_comes_back_and_an_empty_state_does_not():
    import jax
    import optax

    def make():
        weights = {name: jax.numpy.ones(shape) for name, shape in SHAPES.items()}
        transformation = optax.adam(optax.exponential_decay(0.1, 1, 0.9))
        return transformation, weights, transformation.init(weights)

    def save(made, path):
        np.savez(f"{path}.npz", *jax.tree.leaves(made[1:]))

    def load(made, path):
        with np.load(f"{path}.npz") as kept:
            leaves, tree = jax.tree.flatten(made[1:])
            found = [jax.numpy.asarray(kept[f"arr_{place}"], one.dtype) for place, one in enumerate(leaves)]
        return made[0], *jax.tree.unflatten(tree, found)

    parity.assert_restarts(make, save, load)

    def load_weights_only(made, path):
        transformation, weights, _ = load(made, path)
        return transformation, weights, transformation.init(weights)

    with pytest.raises(AssertionError, match="m is lost"):
        parity.assert_restarts(make, save, load_weights_only)


@pytest.mark.parametrize(("steps", "after"), [(6, 6), (6, 0)])
def test_there_have_to_be_steps_on_either_side(steps, after):
    with pytest.raises(UsageError, match=f"after={after}: allowed: from 1 to less than steps=6"):
        parity.assert_restarts(torch_training(), save_torch, load_torch, steps=steps, after=after)


def test_what_is_no_adam_is_one_line():
    import torch

    def make():
        model = parameters()
        return model, torch.optim.SGD(model.values(), lr=0.1)

    with pytest.raises(UsageError, match=r"torch\.optim\.sgd\.SGD is no Adam whose state can be read; allowed: torch"):
        parity.assert_restarts(make, save_torch, load_torch)
