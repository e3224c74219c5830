"""Keras on torch and on JAX is recorded as it is on TensorFlow; a backend is a process's own, so each has one."""

from __future__ import annotations

import numpy as np
import pytest

from parity.case.recording import check_recording, read_recording

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(400), pytest.mark.thorough]

NAMES = ["hidden.kernel", "hidden.bias", "out.kernel", "out.bias"]
BATCHES = 6

TRAINING = """
import sys, pickle, numpy as np, keras, parity

folder, backend = sys.argv[1], keras.backend.backend()
random = np.random.default_rng(5)
x, y = random.normal(size=(96, 10)).astype(np.float32), random.integers(0, 4, 96)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

def made(**settings):
    keras.utils.set_random_seed(3)
    hidden, out = keras.layers.Dense(8, "relu", name="hidden"), keras.layers.Dense(4, name="out")
    return keras.Sequential([keras.layers.Input((10,)), hidden, out]), keras.optimizers.Adam(0.01, **settings)

def held(model, own, gradients=None):
    parts = {"w": model.trainable_variables, "m": own._momentums, "v": own._velocities}
    told = {name: [np.array(keras.ops.convert_to_numpy(one)) for one in many] for name, many in parts.items()}
    if gradients is not None:
        told["gradients"] = [np.array(keras.ops.convert_to_numpy(one)) for one in gradients]
    return told

def loop(model, own, seen, jitted):
    if backend == "torch":
        for at in range(0, 96, 16):
            model.zero_grad()
            loss(y[at : at + 16], model(x[at : at + 16], training=True)).backward()
            gradients = [one.value.grad for one in model.trainable_variables]
            own.apply(gradients, model.trainable_variables)
            seen.append(held(model, own, gradients))
        return
    import jax
    own.build(model.trainable_variables)
    def value(trainable, fixed, xs, ys):
        return loss(ys, model.stateless_call(trainable, fixed, xs, training=True)[0])
    def step(trainable, fixed, state, xs, ys):
        gradients = jax.grad(value)(trainable, fixed, xs, ys)
        return *own.stateless_apply(state, gradients, trainable), gradients
    step = jax.jit(step) if jitted else step
    parts = model.trainable_variables, model.non_trainable_variables
    trainable, fixed = [[one.value for one in many] for many in parts]
    state = [one.value for one in own.variables]
    for at in range(0, 96, 16):
        trainable, state, gradients = step(trainable, fixed, state, x[at : at + 16], y[at : at + 16])
        for many, values in ((model.trainable_variables, trainable), (own.variables, state)):
            for one, now in zip(many, values):
                one.assign(now)
        seen.append(held(model, own, gradients))

def fit(model, own, seen, eagerly):
    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if backend == "jax":
                model.jax_state_sync()
            seen.append(held(model, own))
    model.compile(own, loss, run_eagerly=eagerly)
    model.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0, callbacks=[Watch()])

MODES = {
    "loop": (lambda *a: loop(*a, False), {}, {}),
    "jitted": (lambda *a: loop(*a, True), {}, {}),
    "fit": (lambda *a: fit(*a, False), {}, {}),
    "fit-eager": (lambda *a: fit(*a, True), {}, {}),
    "accumulated": (lambda *a: fit(*a, False), {"gradient_accumulation_steps": 2}, {}),
    "clipped": (lambda *a: fit(*a, False), {"clipnorm": 1e-3, "amsgrad": True}, {}),
    "every": (lambda *a: fit(*a, False), {}, {"every": 2, "first": 2}),
    "last": (lambda *a: fit(*a, False), {}, {"last": 2, "elements": 7}),
}
told = {}
for mode, (train, settings, options) in MODES.items():
    if mode == "jitted" and backend == "torch":
        continue
    alone, seen = [], []
    model, own = made(**settings)
    train(model, own, alone)
    model, own = made(**settings)
    with parity.record(f"{folder}/{mode}", own, model=model, **options) as recorder:
        train(model, own, seen)
    told[mode] = alone, seen, recorder.steps, recorder.ended
# A model that was fitted before, and is afterwards as it was.
model, own = made()
fit(model, own, [], False)
seen = []
with parity.record(f"{folder}/again", own, model=model) as recorder:
    fit(model, own, seen, False)
fit(model, own, [], False)
assert not {"apply", "_backend_update_step", "make_train_function", "train_step"} & {*vars(own), *vars(model)}
told["again"] = seen, seen, recorder.steps, recorder.ended
pickle.dump(told, open(f"{folder}/told", "wb"))
"""


@pytest.fixture(scope="module", params=["torch", "jax"])
def trainings(request, tmp_path_factory):
    """By mode: what each step left, alone and recorded, as the framework has it; and where the recordings lie."""
    import os
    import pickle
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp(request.param)
    variables = {**os.environ, "KERAS_BACKEND": request.param}
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, folder], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, pickle.loads((folder / "told").read_bytes()), done.stderr, request.param


def test_nothing_of_a_training_changes(trainings):
    _, told, err, _ = trainings
    assert "parity" not in err
    for mode, (alone, seen, _, ended) in told.items():
        assert ended == "closed"
        assert len(alone) == len(seen) == BATCHES, mode
        for one, two in zip(alone, seen, strict=True):
            for quantity in ("w", "m", "v"):
                pairs = zip(one[quantity], two[quantity], strict=True)
                assert all(now.tobytes() == then.tobytes() for now, then in pairs), (mode, quantity)


def test_it_holds_what_the_framework_held(trainings):
    folder, told, _, backend = trainings
    for mode in ("loop", "jitted", "fit", "fit-eager", "again"):
        if mode not in told:
            continue
        _, seen, steps, _ = told[mode]
        recording = read_recording(folder / mode)
        check_recording(recording)
        assert recording.steps == steps == BATCHES
        assert [one.name for one in recording.parameters] == NAMES
        assert recording.told["backend"] == backend
        assert recording.told["implementation"] is None
        begun = BATCHES if mode == "again" else 0
        assert [one.t for one in recording.journal] == [(begun + 1 + step,) * 4 for step in range(BATCHES)]
        assert not any(one.moved or one.none for one in recording.journal)
        for step, left in enumerate(seen, start=1):
            for place, name in enumerate(NAMES):
                for quantity in ("w", "m", "v"):
                    found = recording.values(quantity, name, step)
                    assert found.tobytes() == left[quantity][place].tobytes(), (mode, step, name, quantity)
                if "gradients" in left:
                    assert recording.gradients(name, step).tobytes() == left["gradients"][place].tobytes()
        for name in NAMES:
            m = recording.before("m", name, 1)
            for step in range(1, BATCHES + 1):
                m = m + (recording.gradients(name, step) - m) * np.float32(1 - 0.9)
                assert recording.values("m", name, step) == pytest.approx(m, rel=1e-4, abs=1e-8)


def test_an_accumulated_gradient_is_what_the_update_is_given(trainings):
    folder, told, _, _ = trainings
    recording = read_recording(folder / "accumulated")
    check_recording(recording)
    assert [one.t[0] for one in recording.journal] == [1, 2, 3]
    for step in (1, 2, 3):
        for place, name in enumerate(NAMES):
            left = told["accumulated"][1][2 * step - 1]
            assert recording.values("w", name, step).tobytes() == left["w"][place].tobytes()
            before = recording.before("m", name, step)
            m = before + (recording.gradients(name, step) - before) * np.float32(1 - 0.9)
            assert left["m"][place].reshape(-1) == pytest.approx(m, rel=1e-4, abs=1e-8)


def test_what_stands_around_it(trainings):
    folder, told, _, _ = trainings
    clipped = read_recording(folder / "clipped")
    assert "vmax" in clipped.quantities
    for name in NAMES:
        assert np.linalg.norm(clipped.gradients(name, 1).astype(float)) <= 1e-3 * (1 + 1e-5)
    every, whole = read_recording(folder / "every"), read_recording(folder / "fit")
    check_recording(every)
    assert ([one.t[0] for one in every.journal], every.told["first"]) == ([2, 4, 6], 2)
    for step in (1, 2, 3):
        for quantity in ("w", "m", "v"):
            for find in ("before", "values"):
                found, expected = (getattr(*one) for one in ((every, find), (whole, find)))
                assert found(quantity, NAMES[0], step).tobytes() == expected(quantity, NAMES[0], 2 * step).tobytes()
    last = read_recording(folder / "last")
    check_recording(last)
    assert ([one.t[0] for one in last.journal], last.told["first"]) == ([5, 6], 5)
    assert [one.kept for one in last.parameters] == [7, 7, 7, 4]
    assert last.values("w", "out.bias", 2).tobytes() == told["last"][1][-1]["w"][3].tobytes()
