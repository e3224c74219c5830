"""A Keras training is recorded as it is, however its step is compiled, and trains as if nobody looked."""

from __future__ import annotations

import os

import numpy as np
import pytest

import parity
from parity.case.recording import check_recording, read_recording
from parity.numerics.formats import to_bits

pytestmark = [pytest.mark.frameworks, pytest.mark.thorough]

BATCHES, BATCH, FEATURES, CLASSES = 6, 16, 10, 4
MODES = ("eager", "function", "xla", "fit-eager", "fit-graph", "fit-xla")


def keras():
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    return keras


def trained(mode, path=None, optimizer="Adam", settings=None, **options):
    """A model after a small training, its optimizer, and what the recorder said of itself."""
    import tensorflow as tf

    k = keras()
    k.utils.set_random_seed(3)
    model = k.Sequential(
        [k.layers.Input((FEATURES,)), k.layers.Dense(8, "relu", name="hidden"), k.layers.Dense(CLASSES, name="out")]
    )
    own = getattr(k.optimizers, optimizer)(**{"learning_rate": 0.01, **(settings or {})})
    random = np.random.default_rng(5)
    x = random.normal(size=(BATCHES * BATCH, FEATURES)).astype(np.float32)
    y = random.integers(0, CLASSES, BATCHES * BATCH)
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)

    def step(inputs, targets):
        with tf.GradientTape() as tape:
            value = loss(targets, model(inputs, training=True))
        own.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        return value

    if mode in {"function", "xla"}:
        step = tf.function(step, jit_compile=mode == "xla")
    if mode.startswith("fit"):
        model.compile(own, loss, run_eagerly=mode == "fit-eager", jit_compile=mode == "fit-xla")

    def train():
        if mode.startswith("fit"):
            model.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
            return
        for start in range(0, len(x), BATCH):
            step(tf.constant(x[start : start + BATCH]), tf.constant(y[start : start + BATCH]))

    if path is None:
        train()
        return model, own, None
    with parity.record(path, own, model=model, **options) as recorder:
        train()
    return model, own, recorder


def weights(model):
    return [to_bits(np.array(one)).tolist() for one in model.get_weights()]


@pytest.mark.parametrize("mode", [one for one in MODES if one != "xla"])
def test_it_holds_what_keras_holds_and_changes_nothing(tmp_path, mode):
    alone, _, _ = trained(mode)
    model, own, recorder = trained(mode, tmp_path / "made")
    assert weights(model) == weights(alone)
    recording = read_recording(tmp_path / "made")
    check_recording(recording)
    assert recording.steps == recorder.steps == BATCHES
    names = ["hidden.kernel", "hidden.bias", "out.kernel", "out.bias"]
    assert [one.name for one in recording.parameters] == names
    assert [one.shape for one in recording.parameters] == [tuple(one.shape) for one in model.trainable_variables]
    held = {"w": model.trainable_variables, "m": own._momentums, "v": own._velocities}
    for quantity, variables in held.items():
        for name, variable in zip(names, variables, strict=True):
            last = np.array(variable.numpy()).reshape(-1)
            assert recording.values(quantity, name, BATCHES).tolist() == last.tolist(), (quantity, name)
    # The gradients are those of the states: m is their mean.
    for name in names:
        m = np.zeros_like(recording.weights(name))
        for number in range(1, BATCHES + 1):
            m = m + (recording.gradients(name, number) - m) * np.float32(1 - 0.9)
            assert recording.values("m", name, number) == pytest.approx(m, rel=1e-5, abs=1e-9)
    assert [one.t[0] for one in recording.journal] == list(range(1, BATCHES + 1))
    assert {one.groups[0]["lr"] for one in recording.journal} == {float(np.float32(0.01))}
    how = {"fit-eager": "eager", "fit-graph": "function", "fit-xla": "xla"}.get(mode, mode)
    assert recording.told["implementation"] == f"keras.adam.{how}"


@pytest.mark.parametrize("mode", ["eager", "fit-graph", "fit-xla"])
def test_it_is_the_adam_that_it_is_said_to_be(tmp_path, mode):
    trained(mode, tmp_path / "made")
    how = {"fit-graph": "function", "fit-xla": "xla"}.get(mode, mode)
    run = parity.run([tmp_path / "made"], [f"keras.adam.{how}"], output=tmp_path / "run")
    assert run.exit_code == 0
    (held,) = [one for one in run.cells[0].account.held if one.implementation == "recorded"]
    assert (held.source, held.differing) == ("claimed", 0)


def test_steps_in_a_users_function_that_xla_compiles_are_missed_and_told(tmp_path, capsys):
    alone, _, _ = trained("xla")
    model, _, _ = trained("xla", tmp_path / "made")
    assert weights(model) == weights(alone)
    assert "steps ran in a function that XLA compiled" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        ("AdamW", {"weight_decay": 0.1}),
        ("Adam", {"amsgrad": True}),
        ("Adam", {"clipnorm": 1e-3}),
        ("Nadam", {}),
        ("Adamax", {}),
        ("Adam", {"use_ema": True, "ema_overwrite_frequency": 2}),
    ],
)
def test_siblings_and_what_stands_around_them(tmp_path, optimizer, settings):
    alone, _, _ = trained("fit-graph", optimizer=optimizer, settings=settings)
    model, _, _ = trained("fit-graph", tmp_path / "made", optimizer, settings)
    assert weights(model) == weights(alone)
    recording = read_recording(tmp_path / "made")
    check_recording(recording)
    if "clipnorm" in settings:
        for one in recording.parameters:
            assert np.linalg.norm(recording.gradients(one.name, 1).astype(float)) <= 1e-3 * (1 + 1e-5)
    assert ("vmax" in recording.quantities) == bool(settings.get("amsgrad"))
    last = recording.values("w", recording.parameters[0].name, recording.steps)
    assert last.tolist() == model.get_weights()[0].reshape(-1).tolist()


def test_a_schedule_and_a_sample(tmp_path):
    schedule = keras().optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    trained("fit-graph", tmp_path / "made", settings={"learning_rate": schedule}, elements=7, moments=False)
    recording = read_recording(tmp_path / "made")
    assert [one.groups[0]["lr"] for one in recording.journal] == pytest.approx([0.1 * 0.5**i for i in range(BATCHES)])
    assert [one.kept for one in recording.parameters] == [7, 7, 7, 4]
    assert recording.quantities == ("w",)


@pytest.mark.parametrize("mode", [one for one in MODES if one != "xla"])
def test_an_accumulated_gradient_is_what_the_update_is_given(tmp_path, mode):
    settings = {"gradient_accumulation_steps": 2}
    alone, _, _ = trained(mode, settings=settings)
    model, _, recorder = trained(mode, tmp_path / "made", settings=settings)
    assert weights(model) == weights(alone)
    recording = read_recording(tmp_path / "made")
    check_recording(recording)
    assert recorder.steps == recording.steps == BATCHES // 2
    assert [one.t[0] for one in recording.journal] == [1, 2, 3]
    for place, one in enumerate(recording.parameters):
        m = np.zeros_like(recording.weights(one.name))
        for number in range(1, recording.steps + 1):
            m = m + (recording.gradients(one.name, number) - m) * np.float32(1 - 0.9)
            assert recording.values("m", one.name, number) == pytest.approx(m, rel=1e-5, abs=1e-9)
        assert recording.values("w", one.name, 3).tolist() == model.get_weights()[place].reshape(-1).tolist()
    how = {"fit-eager": "eager", "fit-graph": "function", "fit-xla": "xla"}.get(mode, mode)
    run = parity.run([tmp_path / "made"], [f"keras.adam.{how}"], output=tmp_path / "run")
    assert run.exit_code == 0


@pytest.mark.parametrize("mode", ["eager", "function", "fit-graph", "fit-xla"])
def test_a_later_beginning_and_one_step_in_two(tmp_path, mode):
    trained(mode, tmp_path / "whole")
    trained(mode, tmp_path / "later", first=3)
    trained(mode, tmp_path / "every", first=2, every=2)
    whole, later, every = (read_recording(tmp_path / name) for name in ("whole", "later", "every"))
    for some, numbers in ((later, [3, 4, 5, 6]), (every, [2, 4, 6])):
        check_recording(some)
        assert [one.t[0] for one in some.journal] == numbers
        assert not any(one.moved for one in some.journal)
        for place, number in enumerate(numbers, start=1):
            for name in [one.name for one in whole.parameters]:
                for quantity in ("w", "m", "v"):
                    expected = whole.before(quantity, name, number), whole.values(quantity, name, number)
                    found = some.before(quantity, name, place), some.values(quantity, name, place)
                    assert [one.tobytes() for one in found] == [one.tobytes() for one in expected]
                assert some.gradients(name, place).tobytes() == whole.gradients(name, number).tobytes()


def test_weights_that_somebody_else_changes_are_told(tmp_path):
    k = keras()
    import tensorflow as tf

    weight = k.Variable(np.ones(3, np.float32), name="weight")
    own = k.optimizers.Adam(0.1)

    @tf.function
    def step():
        own.apply([tf.ones(3)], [weight])

    with parity.record(tmp_path / "made", own):
        for number in range(4):
            if number == 2:
                weight.assign(weight.value * 2)
            step()
    assert [one.moved for one in read_recording(tmp_path / "made").journal] == [(), (), ("weight",), ()]


def test_a_second_training_goes_on_unrecorded(tmp_path):
    """Afterwards the model and its optimizer have no hook left."""
    model, own, _ = trained("fit-graph", tmp_path / "made")
    x = np.ones((BATCH, FEATURES), np.float32)
    model.fit(x, np.zeros(BATCH), verbose=0)
    assert read_recording(tmp_path / "made").steps == BATCHES
    assert "apply" not in vars(own)
    assert "make_train_function" not in vars(model)
