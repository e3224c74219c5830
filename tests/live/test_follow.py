"""A second model follows a recording: equal weights at every step, and nothing told but what its gradients are."""

from __future__ import annotations

import os

import numpy as np
import pytest

import parity
from parity.case.recording import read_recording
from parity.core.errors import ParityError, UsageError
from parity.numerics.formats import to_bits

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(600)]

STEPS, BATCH = 8, 16
MODES = ("eager", "function", "fit-eager", "fit-graph", "fit-xla")


def batches():
    random = np.random.default_rng(2)
    x = random.normal(size=(STEPS * BATCH, 6)).astype(np.float32)
    return x, random.integers(0, 3, STEPS * BATCH)


class Torch:
    """A small torch model with its loop; wrong: another activation."""

    def __init__(self, seed=0, kind="Adam", dtype="float32", wrong=False, reduction="mean", **settings):
        import torch

        torch.manual_seed(seed)
        between = torch.nn.Sigmoid() if wrong else torch.nn.Tanh()
        self.model = torch.nn.Sequential(torch.nn.Linear(6, 5), between, torch.nn.Linear(5, 3))
        self.model = self.model.to(getattr(torch, dtype))
        self.optimizer = getattr(torch.optim, kind)(self.model.parameters(), **{"lr": 0.01, **settings})
        self.loss = torch.nn.CrossEntropyLoss(reduction=reduction)
        self.dtype = getattr(torch, dtype)
        self.seen = []

    def train(self, steps=STEPS, watch=False, between=lambda step: None):
        import torch

        x, y = map(torch.from_numpy, batches())
        for step in range(steps):
            rows = slice(step % STEPS * BATCH, (step % STEPS + 1) * BATCH)
            between(step)
            if watch:
                self.seen.append([to_bits(one.detach().float().numpy().copy()) for one in self.model.parameters()])
            self.optimizer.zero_grad()
            self.loss(self.model(x[rows].to(self.dtype)), y[rows]).backward()
            self.optimizer.step()


@pytest.fixture
def torch_recording(tmp_path):
    """Record a torch training; its folder."""

    def record(name="led", **settings):
        options = {key: settings.pop(key) for key in ("elements", "first") if key in settings}
        one = Torch(**settings)
        with parity.record(tmp_path / name, one.optimizer, model=one.model, **options):
            one.train()
        return tmp_path / name

    return record


def recorded_weights(folder, step):
    recording = read_recording(folder)
    return [to_bits(recording.values("w", one.name, step).astype(np.float32)) for one in recording.parameters]


@pytest.mark.parametrize("settings", [
    {}, {"amsgrad": True}, {"fused": True}, {"foreach": True}, {"dtype": "bfloat16"}, {"kind": "NAdam"},
    {"kind": "AdamW", "weight_decay": 0.1}, {"kind": "SGD"},
], ids=str)  # fmt: skip
def test_the_recorded_weights_and_state_stand_under_the_model_at_every_step(torch_recording, settings):
    """Its own optimizer has another step size and its model another seed: neither is seen."""
    # What takes the steps is not seen, and has to be no Adam.
    folder = torch_recording(**{} if settings.get("kind") == "SGD" else settings)
    two = Torch(**{**settings, "seed": 9, "lr": 0.5})
    with parity.follow(folder, two.optimizer, model=two.model) as followed:
        two.train(watch=True)
    for step, weights in enumerate(two.seen):
        assert all(
            np.array_equal(a.reshape(-1), b) for a, b in zip(weights, recorded_weights(folder, step), strict=True)
        )
    assert followed.alike
    assert {one.likeness for step in followed.steps for one in step.gradients} == {"equal"}
    assert followed.sentence == f"the models are alike: all gradients are equal, bit for bit, over {STEPS} steps"
    recording = read_recording(folder)
    for name, one in two.model.named_parameters():
        held = two.optimizer.state[one]
        assert float(held.get("step", STEPS)) == STEPS
        for key, quantity in (("exp_avg", "m"), ("exp_avg_sq", "v"), ("max_exp_avg_sq", "vmax")):
            if key in held:
                last = recording.values(quantity, name, STEPS).astype(np.float32)
                np.testing.assert_array_equal(held[key].float().numpy().reshape(-1), last)
    last = [to_bits(one.detach().float().numpy().reshape(-1)) for one in two.model.parameters()]
    assert all(np.array_equal(a, b) for a, b in zip(last, recorded_weights(folder, STEPS), strict=True))


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_state_and_count_are_the_recorded_ones_whatever_the_gradients_are(torch_recording, framework):
    """The recording begins with its fourth step, the model with its first; its gradients are sixteen times as large."""
    folder = torch_recording(first=4)
    recording = read_recording(folder)
    two = Torch(seed=9, reduction="sum") if framework == "torch" else Keras("eager", reduction="sum")
    with parity.follow(folder, two.optimizer, model=two.model) as followed:
        two.train(2)
    assert [one.number for one in followed.steps] == [4, 5]
    for place, parameter in enumerate(recording.parameters):
        if framework == "torch":
            held = two.optimizer.state[list(two.model.parameters())[place]]
            counted, moments = float(held["step"]), [held["exp_avg"].numpy(), held["exp_avg_sq"].numpy()]
        else:
            counted = int(two.optimizer.iterations)
            moments = [held[place].numpy().T for held in (two.optimizer._momentums, two.optimizer._velocities)]
        assert counted == 5
        for quantity, one in zip("mv", moments, strict=True):
            last = recording.values(quantity, parameter.name, 2)
            np.testing.assert_array_equal(one.reshape(-1), last)


@pytest.mark.parametrize(("settings", "told"), [
    ({"reduction": "sum"}, "differ from step 1 on by a factor of 16"),
    ({"wrong": True}, "are unlike from step 1 on in 4 of 4 tensors: 0.weight (unlike), 0.bias (unlike)"),
])  # fmt: skip
def test_a_model_that_differs_is_told_at_every_step(torch_recording, settings, told):
    two = Torch(**settings)
    with parity.follow(torch_recording(), two.optimizer, model=two.model) as followed:
        two.train()
    assert not followed.alike
    assert followed.sentence.startswith("not the optimizer: on equal weights the gradients ")
    assert told in followed.sentence
    assert [one.number for one in followed.steps] == [*range(1, STEPS + 1)]
    assert str(followed).splitlines()[-1] == followed.sentence
    assert len(str(followed).splitlines()) == 6


def test_what_goes_wrong_later_is_told_with_its_step_and_tensor(torch_recording):
    two = Torch()

    def between(step):
        if step == 5:
            two.model[2].bias.register_hook(lambda gradient: gradient + 1)

    with parity.follow(torch_recording(), two.optimizer, model=two.model) as followed:
        two.train(between=between)
    assert followed.first_unlike.number == 6
    assert "are unlike from step 6 on in 1 of 4 tensors: 2.bias (unlike): the model or the data" in followed.sentence


def test_the_table_has_a_row_for_every_tensor_and_step_in_mode_lock(torch_recording):
    two = Torch(reduction="sum")
    with parity.follow(torch_recording(), two.optimizer, model=two.model) as followed:
        two.train()
    table = followed.table.to_pandas()
    assert len(table) == STEPS * 4
    assert ({*table["mode"]}, {*table["quantity"]}) == ({"lock"}, {"gradients"})
    assert ({*table["actual"]}, {*table["expected"]}) == ({"followed"}, {"led"})
    assert {*table["dtype"]} == {"float32"}
    assert table.groupby("parameter", observed=True).step.agg(list).tolist() == [[*range(1, STEPS + 1)]] * 4
    row = table[table.differing > 0].iloc[0]
    assert float.fromhex(row.actual_value) == pytest.approx(16 * float.fromhex(row.expected_value), rel=1e-5)


def test_more_and_fewer_steps_than_recorded_are_told(torch_recording, capsys):
    folder = torch_recording()
    two = Torch(seed=4)
    with parity.follow(folder, two.optimizer, model=two.model) as followed:
        two.train(STEPS + 3)
    assert capsys.readouterr().err == f"parity: following ends after {STEPS} steps: led has no more\n"
    assert len(followed.steps) == STEPS
    last = [to_bits(one.detach().numpy().reshape(-1)) for one in two.model.parameters()]
    assert all(np.array_equal(a, b) for a, b in zip(last, recorded_weights(folder, STEPS), strict=True))
    with parity.follow(folder, two.optimizer, model=two.model) as followed:
        two.train(3)
    assert followed.sentence.endswith(f"over 3 of {STEPS} steps")
    with parity.follow(folder, two.optimizer, model=two.model) as followed:
        pass
    assert not followed.alike
    assert followed.sentence == "nothing was compared: the optimizer took no step beside led"
    assert followed.table.num_rows == 0


def test_a_parameter_that_is_added_later_ends_it(torch_recording, capsys):
    import torch

    two = Torch()

    def between(step):
        if step == 3:
            two.optimizer.add_param_group({"params": torch.nn.Linear(2, 2).parameters()})

    with parity.follow(torch_recording(), two.optimizer, model=two.model) as followed:
        two.train(between=between)
    assert capsys.readouterr().err == ("parity: following ends after 3 steps: a parameter was added to the optimizer\n")
    assert followed.sentence.endswith(f"over 3 of {STEPS} steps")


def test_a_training_that_breaks_off_leaves_the_last_recorded_state(torch_recording):
    folder = torch_recording()
    two = Torch(seed=4)
    with pytest.raises(ZeroDivisionError), parity.follow(folder, two.optimizer, model=two.model) as followed:
        two.train(between=lambda step: 1 // (step != 4))
    assert len(followed.steps) == 4
    last = [to_bits(one.detach().numpy().reshape(-1)) for one in two.model.parameters()]
    assert all(np.array_equal(a, b) for a, b in zip(last, recorded_weights(folder, 4), strict=True))
    # And the optimizer is free again.
    two.train(1)
    assert len(followed.steps) == 4


def keras():
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    return keras


class Keras:
    """The same model in Keras, trained in some mode; it keeps its weights before every step where that is seen."""

    def __init__(self, mode, reduction="sum_over_batch_size", seed=9):
        k = keras()
        k.utils.set_random_seed(seed)
        self.mode = mode
        self.model = k.Sequential(
            [k.layers.Input((6,)), k.layers.Dense(5, "tanh", name="hidden"), k.layers.Dense(3, name="out")]
        )
        self.optimizer = k.optimizers.Adam(0.5)
        self.loss = k.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
        if mode.startswith("fit"):
            eager, xla = mode == "fit-eager", mode == "fit-xla"
            self.model.compile(self.optimizer, self.loss, run_eagerly=eager, jit_compile=xla)

    def train(self, steps=STEPS):
        import tensorflow as tf

        x, y = (one[: steps * BATCH] for one in batches())
        if self.mode.startswith("fit"):
            self.model.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
            return

        def step(inputs, targets):
            with tf.GradientTape() as tape:
                value = self.loss(targets, self.model(inputs, training=True))
            variables = self.model.trainable_variables
            self.optimizer.apply(tape.gradient(value, variables), variables)

        step = tf.function(step) if self.mode == "function" else step
        for start in range(0, len(x), BATCH):
            step(tf.constant(x[start : start + BATCH]), tf.constant(y[start : start + BATCH]))


@pytest.mark.parametrize("mode", MODES)
def test_keras_follows_torch_however_its_step_is_compiled(torch_recording, mode):
    folder = torch_recording()
    two = Keras(mode)
    with parity.follow(folder, two.optimizer, model=two.model) as followed:
        two.train()
    assert [one.number for one in followed.steps] == [*range(1, STEPS + 1)]
    assert [(one.actual, one.expected, one.turned) for one in followed.pairing.pairs] == [
        ("hidden.kernel", "0.weight", True),
        ("hidden.bias", "0.bias", False),
        ("out.kernel", "2.weight", True),
        ("out.bias", "2.bias", False),
    ]
    assert followed.alike, str(followed)
    assert 0 < max(one.difference for step in followed.steps for one in step.gradients) < 1e-5
    recording = read_recording(folder)
    for quantity, held in (("w", two.model.trainable_variables), ("m", two.optimizer._momentums)):
        for variable, parameter in zip(held, recording.parameters, strict=True):
            last = recording.values(quantity, parameter.name, STEPS).reshape(parameter.shape)
            np.testing.assert_array_equal(variable.numpy(), last.T if last.ndim > 1 else last)
    assert int(two.optimizer.iterations) == STEPS


@pytest.mark.parametrize("mode", MODES)
def test_a_keras_model_that_sums_its_loss_is_told(torch_recording, mode):
    two = Keras(mode, reduction="sum")
    with parity.follow(torch_recording(), two.optimizer, model=two.model) as followed:
        two.train()
    assert len(followed.steps) == STEPS
    assert "differ from step 1 on by a factor of 16" in followed.sentence
    # On equal weights it is that factor at every step, which two trainings on their own ways do not show.
    for step in followed.steps:
        assert all(one.factor == pytest.approx(16, rel=1e-4) for one in step.gradients)


@pytest.mark.parametrize("mode", ["fit-graph", "fit-xla"])
def test_a_model_that_was_fitted_before_follows_and_goes_on_alone_after_the_last_step(torch_recording, mode, capsys):
    """What was compiled before the block knows nothing of it; what is compiled in it is forgotten afterwards."""
    two = Keras(mode)
    two.train()
    capsys.readouterr()
    with parity.follow(torch_recording(), two.optimizer, model=two.model) as followed:
        two.train()
        two.train(2)
    assert followed.alike, str(followed)
    assert len(followed.steps) == STEPS
    assert f"parity: following ends after {STEPS} steps: led has no more\n" in capsys.readouterr().err
    before = two.model.get_weights()
    two.train(1)
    assert len(followed.steps) == STEPS
    assert int(two.optimizer.iterations) == STEPS + 1
    assert not np.array_equal(before[0], two.model.get_weights()[0])


def test_a_function_of_its_own_that_xla_compiles_is_one_line(torch_recording):
    import tensorflow as tf

    two = Keras("eager")
    x, y = batches()

    @tf.function(jit_compile=True)
    def step(inputs, targets):
        with tf.GradientTape() as tape:
            value = two.loss(targets, two.model(inputs))
        variables = two.model.trainable_variables
        two.optimizer.apply(tape.gradient(value, variables), variables)

    folder = torch_recording()
    with (
        pytest.raises(UsageError, match=r"a tf.function that XLA compiles cannot follow"),
        parity.follow(folder, two.optimizer, model=two.model),
    ):
        step(tf.constant(x[:BATCH]), tf.constant(y[:BATCH]))


def test_a_map_says_what_is_what(torch_recording, tmp_path):
    import torch

    folder = torch_recording()
    two = Torch()
    names = {"a": "0.weight", "b": "0.bias", "c": "2.weight", "d": "2.bias"}
    model = dict(zip(names, two.model.parameters(), strict=True))
    (tmp_path / "map.toml").write_text(
        "[parameters]\n" + "".join(f'{one} = "{other}"\n' for one, other in names.items())
    )
    for asked in (names, tmp_path / "map.toml"):
        with parity.follow(folder, two.optimizer, model=model, map=asked) as followed:
            two.train()
        assert {one.by for one in followed.pairing.pairs} == {"map"}
        assert followed.alike
    with pytest.raises(ParityError, match=r"no parameter '0.wieght' in recording 'led'"):
        parity.follow(folder, two.optimizer, model=model, map={"a": "0.wieght"}).__enter__()
    wide = torch.nn.Linear(7, 7)
    two.optimizer.add_param_group({"params": wide.parameters()})
    with pytest.raises(ParityError, match=r"1.0, 1.1 of the model is not in recording 'led'; map= says"):
        parity.follow(folder, two.optimizer, model=two.model).__enter__()


def test_what_cannot_be_followed_is_one_line(torch_recording, tmp_path):
    import torch

    two = Torch()
    sampled = torch_recording("sampled", elements=4)
    with pytest.raises(ParityError, match=r"holds a sample of '0.weight' \(elements=4\)") as error:
        parity.follow(sampled, two.optimizer, model=two.model).__enter__()
    assert "\n" not in str(error.value)
    folder = torch_recording()
    with pytest.raises(UsageError, match=r"torch.nn.modules.linear.Linear cannot follow .* optimizers of torch.optim"):
        parity.follow(folder, torch.nn.Linear(1, 1), model=two.model).__enter__()
    optax = pytest.importorskip("optax")
    with pytest.raises(UsageError, match="optax leaves its weights to its caller"):
        parity.follow(folder, optax.adam(1e-3)).__enter__()
    narrow = Torch(dtype="bfloat16")
    with pytest.raises(ParityError, match=r"'0.weight' is bfloat16, and was recorded in float32, which it cannot hold"):
        parity.follow(folder, narrow.optimizer, model=narrow.model).__enter__()
    with pytest.raises(ParityError, match=r"has no recording.json"):
        parity.follow(tmp_path, two.optimizer, model=two.model).__enter__()
    k = keras()
    scaled = k.optimizers.LossScaleOptimizer(k.optimizers.Adam())
    with pytest.raises(UsageError, match="LossScaleOptimizer cannot follow a recording"):
        parity.follow(folder, scaled, model=Keras("eager").model).__enter__()
    complex_numbers = torch.nn.Linear(6, 5, dtype=torch.complex64)
    with pytest.raises(ParityError, match="'weight' is complex64; allowed: float64, float32, float16, bfloat16"):
        parity.follow(folder, torch.optim.Adam(complex_numbers.parameters()), model=complex_numbers).__enter__()
    with pytest.raises(UsageError, match="the model has no variables yet"):
        parity.follow(folder, k.optimizers.Adam(), model=k.Sequential([k.layers.Dense(3)])).__enter__()


def test_wider_weights_hold_what_was_recorded(torch_recording):
    """A float64 model on float32 weights: its gradients are those of float32, but for rounding."""
    two = Torch(dtype="float64")
    with parity.follow(torch_recording(), two.optimizer, model=two.model) as followed:
        two.train()
    assert followed.alike
    assert {one.likeness for step in followed.steps for one in step.gradients} == {"rounding"}
    assert {*followed.table.to_pandas()["dtype"]} == {"float64"}
