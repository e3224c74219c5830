"""``parity record``: a script is run as it is, and its optimizers are recorded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from parity.case.recording import check_recording, read_recording

pytestmark = [pytest.mark.frameworks, pytest.mark.thorough]

TORCH = """\
import sys
import torch

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
optimizers = [torch.optim.Adam(one.parameters()) for one in model] if "two" in sys.argv else None
optimizers = optimizers or [torch.optim.AdamW(model.parameters())]
for step in range(5):
    model.zero_grad()
    model(torch.ones(4, 3)).square().mean().backward()
    for one in optimizers:
        one.step()
    if step == 3 and "raise" in sys.argv:
        raise RuntimeError("planted")
print(float(sum(one.detach().double().sum() for one in model.parameters())), sys.argv[1:])
if "leave" in sys.argv:
    sys.exit(7)
"""
KERAS = """\
import sys
import keras
import numpy as np

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, name="hidden")])
x, y = np.ones((8, 3), np.float32), np.zeros((8, 2), np.float32)
if "loop" in sys.argv:
    import tensorflow as tf
    optimizer = keras.optimizers.Adam()
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))
else:
    model.compile("adam", "mse")
    model.fit(x, y, batch_size=4, verbose=0)
print(float(sum(one.sum() for one in model.get_weights())))
"""


@pytest.fixture
def record(process, tmp_path):
    """Record a script of this text: (exit code, standard output, standard error)."""

    def run(text, *arguments):
        (tmp_path / "train.py").write_text(text)
        done = process("record", "train.py", "-o", "made", *arguments)
        out, err = done.communicate(timeout=200)
        return done.returncode, out, err

    return run


def alone(tmp_path, *arguments):
    command = [sys.executable, "train.py", *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout


def test_a_torch_script(record, tmp_path):
    code, out, err = record(TORCH, "--", "some", "--flag")
    assert (code, err) == (0, "made: 5 steps recorded\n")
    assert out == alone(tmp_path, "some", "--flag")
    recording = read_recording(tmp_path / "made")
    check_recording(recording)
    assert [one.name for one in recording.parameters] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert recording.told["optimizer"] == "torch.optim.adamw.AdamW"


def test_two_optimizers_and_an_exit_code(record, tmp_path):
    code, _, err = record(TORCH, "two", "leave")
    assert code == 7
    assert err == "made: 5 steps recorded\nmade-2: 5 steps recorded\n"
    names = [[one.name for one in read_recording(tmp_path / name).parameters] for name in ("made", "made-2")]
    assert [len(one) for one in names] == [2, 2]


def test_a_script_that_raises_shows_its_own_lines(record, tmp_path):
    code, _, err = record(TORCH, "raise")
    assert code == 1
    assert err.startswith('Traceback (most recent call last):\n  File "train.py", line 14, in <module>')
    assert "RuntimeError: planted\nmade: 4 steps recorded\n" in err
    assert "parity/" not in err


def test_the_last_of_every_second_step(record, tmp_path):
    code, _, err = record(TORCH, "--every", "2", "--last", "2")
    assert (code, err) == (0, "made: 2 steps recorded\n")
    recording = read_recording(tmp_path / "made")
    check_recording(recording)
    assert [one.t[0] for one in recording.journal] == [3, 5]


JAX = """\
import jax, keras, numpy as np

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, name="hidden")])
own = keras.optimizers.Adam()
own.build(model.trainable_variables)
x, y = np.ones((8, 3), np.float32), np.zeros((8, 2), np.float32)

@jax.jit
def step(trainable, state):
    gradients = jax.grad(lambda w: ((model.stateless_call(w, [], x)[0] - y) ** 2).mean())(trainable)
    return own.stateless_apply(state, gradients, trainable)

state = [one.value for one in model.trainable_variables], [one.value for one in own.variables]
for _ in range(3):
    state = step(*state)
print([float(one.sum()) for one in state[0]])
"""


def test_a_step_that_jax_compiles(record, tmp_path, monkeypatch):
    """The first thing that is heard of the optimizer comes while it is traced."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    code, out, err = record(JAX)
    assert (code, "made: 3 steps recorded" in err) == (0, True), err
    assert out == alone(tmp_path)
    recording = read_recording(tmp_path / "made")
    check_recording(recording)
    assert [one.t for one in recording.journal] == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize("how", ["fit", "loop"])
def test_a_keras_script(record, tmp_path, how):
    code, out, err = record(KERAS, how)
    assert code == 0, err
    assert "made: 2 steps recorded" in err
    assert out == alone(tmp_path, how)
    recording = read_recording(tmp_path / "made")
    check_recording(recording)
    assert [one.name.rpartition("hidden.")[2] for one in recording.parameters] == ["kernel", "bias"]


def test_nothing_recorded_is_not_green(record, tmp_path):
    code, _, err = record("print('nothing')")
    assert code == 5
    assert err.startswith("parity: train.py took no step with what can be recorded: torch.optim (Adam, ")
    assert not (tmp_path / "made").exists()


def test_what_is_wrong_is_one_line(command, tmp_path):
    for arguments, told in (
        (("record", tmp_path / "gone.py"), "there is no script"),
        (("record", __file__, "--steps", "0"), "steps=0: allowed: a whole number of at least 1"),
        (("record", __file__, "--limit", "much"), "limit='much': allowed: a number of bytes"),
        (("record", __file__, "--every", "0"), "every=0: allowed: a whole number of at least 1"),
        (("record", __file__, "--last", "2", "--steps", "3"), "steps=3 and last=2: allowed: one of them"),
        (("record", __file__, "-o", tmp_path), "exists; --overwrite replaces a recording"),
    ):
        code, _, err = command(*arguments)
        assert (code, err.count("\n")) == (2, 1)
        assert told in err
