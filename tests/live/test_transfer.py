"""A training handed over from one framework to another: it goes on as if nobody had taken it over."""

from __future__ import annotations

import re

import numpy as np
import pytest

import parity
from parity.core.errors import ParityError, UsageError

pytestmark = pytest.mark.frameworks

LR, STEPS, EPS = 0.01, 10, 1e-3

SHAPES = {"first/kernel": (6, 4), "first/bias": (4,), "second/kernel": (4, 3), "second/bias": (3,)}
"""As Keras lays them out; torch has kernels the other way round."""


def drawn(seed, scale=1.0):
    random = np.random.default_rng(seed)
    return {name: (scale * random.standard_normal(shape)).astype(np.float32) for name, shape in SHAPES.items()}


class Torch:
    """An optimizer of torch, or the bridge, that takes gradients laid out as Keras's."""

    def __init__(self, make, weights=None):
        import torch

        self.turn = True
        self.model = {
            name.replace("/", ".").replace("kernel", "weight"): torch.nn.Parameter(
                torch.from_numpy(np.ascontiguousarray(array.T)))
            for name, array in (weights or drawn(9)).items()
        }  # fmt: skip
        self.optimizer = make(self.model.values())

    def step(self, gradients):
        import torch

        for one, array in zip(self.model.values(), gradients.values(), strict=True):
            one.grad = torch.from_numpy(np.ascontiguousarray(array.T))
        self.optimizer.step()

    def weights(self):
        return [one.detach().numpy().T.copy() for one in self.model.values()]

    def take(self, other, **more):
        return parity.transfer(other.optimizer, self.optimizer, models=(other.model, self.model), **more)


class Keras:
    """An optimizer of Keras, or the bridge."""

    def __init__(self, make, weights=None):
        import keras

        weights = weights or drawn(9)
        self.model = {name: keras.Variable(array, name=name.replace("/", "_")) for name, array in weights.items()}
        self.optimizer = make()
        self.optimizer.build(list(self.model.values()))

    def step(self, gradients):
        import keras

        self.optimizer.apply([keras.ops.convert_to_tensor(one) for one in gradients.values()],
                             list(self.model.values()))  # fmt: skip

    def weights(self):
        return [one.numpy().copy() for one in self.model.values()]

    take = Torch.take


class Optax:
    """A transformation, its parameters and state."""

    def __init__(self, make, weights=None):
        import jax

        self.model = {name: jax.numpy.asarray(array) for name, array in (weights or drawn(9)).items()}
        self.transformation = make()
        self.optimizer = self.transformation.init(self.model)

    def step(self, gradients):
        import optax

        updates, self.optimizer = self.transformation.update(dict(gradients), self.optimizer, self.model)
        self.model = optax.apply_updates(self.model, updates)

    def weights(self):
        return [np.array(self.model[name]) for name in SHAPES]

    def take(self, other, **more):
        found = parity.transfer(other.optimizer, self.optimizer, models=(other.model, self.model), **more)
        self.model, self.optimizer = found.parameters, found.state
        return found


def keras_adam(**more):
    import keras

    return Keras(lambda: keras.optimizers.Adam(LR, beta_2=0.99, epsilon=EPS, **more), drawn(1))


def torch_adam(kind="Adam", **more):
    import torch

    given = {"lr": LR, "betas": (0.9, 0.99), "eps": EPS, **more}
    return Torch(lambda parameters: getattr(torch.optim, kind)(parameters, **given), drawn(1))


def optax_adam():
    import optax

    return Optax(lambda: optax.adam(LR, b2=0.99, eps=EPS), drawn(1))


def fresh(name, **more):
    """What takes over: built as a user builds it, with other numbers everywhere."""
    if name == "keras.Adam":
        import keras

        return Keras(lambda: keras.optimizers.Adam(**more))
    if name == "optax.adam":
        import optax

        return Optax(lambda: optax.adam(LR, b2=0.99, eps=EPS))
    import torch

    kinds = {"torch.Adam": lambda: torch.optim.Adam, "torch.AdamW": lambda: torch.optim.AdamW,
             "KerasAdam": lambda: parity.bridge.KerasAdam}  # fmt: skip
    if name in kinds:
        return Torch(lambda parameters: kinds[name]()(parameters, **more))
    return Keras(lambda: parity.bridge.TorchAdam(**more))


HYPER = parity.Hyper(lr=LR, beta2=0.99, eps=EPS)


def apart(source, target, steps=STEPS, **more):
    """Largest distance of the weights after so many more steps, in lr; and what was carried."""
    for step in range(5):
        source.step(drawn(100 + step, 0.01))
    found = target.take(source, **more)
    for step in range(steps):
        gradients = drawn(200 + step, 0.01)
        source.step(gradients)
        target.step(gradients)
    pairs = zip(source.weights(), target.weights(), strict=True)
    return max(float(np.abs(one - other).max()) for one, other in pairs) / LR, found


NEAR = STEPS * 2**-22 / LR
"""In lr: one rounding of a weight below 4 at every step."""

WAYS = [
    ("keras", "KerasAdam", {}), ("keras", "torch.Adam", {}), ("keras", "keras.Adam", {}),
    ("torch", "TorchAdam", {}), ("torch", "torch.Adam", {}), ("torch", "torch.AdamW", {}), ("torch", "KerasAdam", {}),
    ("torch", "optax.adam", {}), ("optax", "torch.Adam", {"hyper": HYPER}), ("optax", "TorchAdam", {"hyper": HYPER}),
    ("optax", "optax.adam", {"hyper": HYPER}),
]  # fmt: skip

SOURCES = {"keras": keras_adam, "torch": torch_adam, "optax": optax_adam}


@pytest.mark.parametrize(("source", "target", "given"), WAYS, ids=lambda one: one if isinstance(one, str) else "")
def test_a_training_goes_on_as_if_it_had_not_been_handed_over(source, target, given):
    gap, found = apart(SOURCES[source](), fresh(target), **given)
    assert gap < NEAR
    assert found.steps == 5
    assert "w, m, v of 4 parameters" in str(found)
    assert sum(turned for _, _, turned, _ in found.pairs) == (2 if ("torch" in source) != ("orch." in target
                                                              or target == "KerasAdam") else 0)  # fmt: skip


def test_the_bridge_has_every_bit():
    assert apart(keras_adam(), fresh("KerasAdam"), 100)[0] == 0.0


def test_the_number_alone_would_not_do():
    """The same eps under the other convention, as a port by hand leaves it."""
    import torch

    source = keras_adam()
    for step in range(5):
        source.step(drawn(100 + step, 0.01))
    target = fresh("torch.Adam")
    target.take(source)
    target.optimizer._optimizer_step_pre_hooks.clear()
    for group in target.optimizer.param_groups:
        group["eps"] = EPS
    for step in range(STEPS):
        gradients = drawn(200 + step, 0.01)
        source.step(gradients)
        target.step(gradients)
    gap = max(float(np.abs(one - other).max()) for one, other in zip(source.weights(), target.weights(), strict=True))
    assert gap / LR > 1
    assert torch.is_grad_enabled()


def test_epsilon_of_every_step_is_told():
    _, found = apart(keras_adam(), fresh("torch.Adam"))
    assert found.adapted == (
        "epsilon 0.001 is eps / sqrt(1 - beta2^t) here, set before every step; parity.bridge.KerasAdam has it as one "
        "number",
    )
    assert found.left == ()


def test_keras_goes_to_optax_with_eps_of_every_step():
    import optax

    from parity.live.bridge import outside_epsilon

    target = Optax(lambda: optax.inject_hyperparams(optax.adam)(LR, b2=0.99, eps=outside_epsilon(EPS, 0.99)))
    gap, found = apart(keras_adam(), target)
    assert gap < NEAR
    assert "optax.inject_hyperparams(optax.adam)(..., eps=parity.bridge.outside_epsilon(0.001, 0.99))" in str(found)


def test_decoupled_decay_stays_decoupled():
    gap, found = apart(keras_adam(weight_decay=0.1), fresh("torch.Adam"))
    assert gap < NEAR
    assert next(iter(found.hyper.values())).decoupled
    assert apart(torch_adam("AdamW", weight_decay=0.1), fresh("TorchAdam"))[0] < NEAR
    assert apart(torch_adam(weight_decay=0.1), fresh("TorchAdam"))[0] < NEAR


def test_amsgrad_is_carried():
    assert apart(keras_adam(amsgrad=True), fresh("KerasAdam", amsgrad=True))[0] == 0.0
    assert apart(torch_adam(amsgrad=True), fresh("TorchAdam", amsgrad=True))[0] < NEAR


def grouped(parameters):
    import torch

    first, *others = parameters
    return torch.optim.Adam([{"params": [first], "lr": 0.5}, {"params": others}], lr=LR)


@pytest.mark.parametrize(("source", "target", "told"), [
    (torch_adam, lambda: fresh("keras.Adam"), "has one epsilon for all steps, and here it is eps * sqrt(1 - beta2^t)"),
    (lambda: torch_adam(weight_decay=0.1), lambda: fresh("KerasAdam"), "KerasAdam has no L2 weight decay, and the so"),
    (lambda: torch_adam(amsgrad=True), lambda: fresh("torch.Adam"), "source keeps AMSGrad's maximum and the target do"),
    (torch_adam, lambda: fresh("torch.Adam", amsgrad=True), "target keeps AMSGrad's maximum and the source does not"),
    (lambda: Torch(grouped, drawn(1)), lambda: fresh("TorchAdam"), "one set of hyperparameters, and the source has"),
    (lambda: Torch(grouped, drawn(1)), lambda: fresh("torch.Adam"), "group 0 of the target has parameters of 2 groups"),
    (lambda: keras_adam(weight_decay=0.1, amsgrad=True), lambda: fresh("optax.adam"), "AMSGrad's maximum"),
])  # fmt: skip
def test_what_cannot_be_carried_is_one_line_and_nothing_is_written(source, target, told):
    source, target = source(), target()
    source.step(drawn(100))
    before = target.weights()
    with pytest.raises(ParityError, match=re.escape(told)) as caught:
        target.take(source)
    assert "\n" not in str(caught.value)
    assert all(np.array_equal(one, other) for one, other in zip(before, target.weights(), strict=True))


def test_a_missing_tensor_is_one_line():
    import torch

    source, target = torch_adam(), fresh("torch.Adam")
    source.step(drawn(100))
    target.model["third.bias"] = torch.nn.Parameter(torch.zeros(9))
    target.optimizer.add_param_group({"params": [target.model["third.bias"]]})
    with pytest.raises(ParityError, match=r"only the target has 'third\.bias' \[9\]; nothing was carried"):
        target.take(source)


def test_another_family_is_one_line():
    import torch

    source = Torch(lambda parameters: torch.optim.NAdam(parameters), drawn(1))
    with pytest.raises(UsageError, match=r"torch\.optim\.nadam\.NAdam is no Adam whose state can be read; allowed"):
        fresh("torch.Adam").take(source)


def test_optax_keeps_its_numbers_to_itself():
    with pytest.raises(UsageError, match=r"optax keeps its hyperparameters to itself; give hyper=parity\.Hyper"):
        fresh("torch.Adam").take(optax_adam())


def test_narrower_moments_are_not_rounded_in_silence():
    import torch

    source, target = torch_adam(), fresh("torch.Adam")
    source.step(drawn(100))
    for one in target.model.values():
        one.data = one.data.to(torch.bfloat16)
    with pytest.raises(ParityError, match=r"is float32 and would be rounded to the bfloat16 of"):
        target.take(source)


def test_what_stands_around_is_told():
    import keras

    source = Keras(
        lambda: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LR, 100), clipnorm=1.0), drawn(1)
    )
    source.step(drawn(100))
    found = fresh("KerasAdam").take(source)
    assert "clipnorm = 1.0 of the source is no part of its Adam: the target needs its own" in found.left
    assert "the learning rate schedule of the source: lr is what it was at this step" in found.left


def test_a_map_decides():
    """Two biases of one shape: names and order would pair them as they stand."""
    import torch

    shapes = {"a": (3,), "b": (3,)}
    random = np.random.default_rng(0)

    def made():
        model = {name: torch.nn.Parameter(torch.from_numpy(random.standard_normal(shape).astype(np.float32)))
                 for name, shape in shapes.items()}  # fmt: skip
        return model, torch.optim.Adam(model.values())

    (model, optimizer), (other, taking) = made(), made()
    for one in model.values():
        one.grad = torch.randn(3)
    optimizer.step()
    found = parity.transfer(optimizer, taking, models=(model, other), map={"a": "b", "b": "a"})
    assert [(one, two) for one, two, _, _ in found.pairs] == [("a", "b"), ("b", "a")]
    assert torch.equal(model["a"], other["b"])
    assert torch.equal(optimizer.state[model["a"]]["exp_avg"], taking.state[other["b"]]["exp_avg"])


def test_a_live_hand_over_is_certified(tmp_path):
    """The side that goes on is recorded; what takes over begins with its state and gets its gradients."""
    source = keras_adam()
    for step in range(5):
        source.step(drawn(100 + step, 0.01))
    with parity.record(tmp_path / "after", source.optimizer, model=source.model):
        for step in range(5):
            source.step(drawn(200 + step, 0.01))
    told, paths = parity.certify_handover(tmp_path / "after", "torch", tmp_path / "held")
    assert told.issued
    assert told.exit_code == 0
    assert all(path.is_file() for path in paths)
    with pytest.raises(UsageError, match="nothing is handed over from keras to jax by a certificate"):
        parity.certify_handover(tmp_path / "after", "jax", tmp_path / "other")
