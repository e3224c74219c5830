"""Whatever goes wrong with a recording is one line, and never harms the training."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import parity
from parity.case.recording import check_recording, read_recording

pytestmark = pytest.mark.frameworks

FULL = """
import resource, sys, torch, parity

def train(size, steps):
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(size))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    def run():
        for _ in range(steps):
            weight.grad = torch.sin(weight.detach())
            optimizer.step()
    return weight, optimizer, run

folder, limit, size, steps, options = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]
alone, _, run = train(size, steps)
run()
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
weight, optimizer, run = train(size, steps)
with parity.record(folder, optimizer, **{one: 10 for one in options}) as recorder:
    run()
print(recorder.steps, torch.equal(weight, alone))
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("limit", "size", "steps", "options"),
    [
        (2_000_000, 200, 3000, []),
        (100_000, 200, 300, []),
        (2_000_000, 100_000, 20, []),
        (1_000, 200, 20, []),
        (30_000_000, 300_000, 30, ["last"]),
    ],
    ids=["waiting", "at-once", "large", "nothing", "rolling"],
)
def test_a_disk_that_fills_ends_the_recording(script, tmp_path, limit, size, steps, options):
    """A limit of the system on the size of files is as real as a disk, and harms nobody else."""
    done = script(FULL, tmp_path / "full", limit, size, steps, *options)
    out, err = done.communicate()
    recorded, same = out.split()
    assert (done.returncode, same) == (0, "True"), err
    if options:
        # What rolls on is never too large, but ten steps cannot be put together in the end.
        assert (err, recorded) == ("", "10")
    else:
        folder = tmp_path / "full"
        assert err == f"parity: recording ends after {recorded} steps: {folder}: File too large\n"
    if limit == 1_000:
        assert not (tmp_path / "full").exists()
        return
    recording = read_recording(tmp_path / "full")
    check_recording(recording)
    assert recording.steps == int(recorded) > 0


def test_gradients_that_are_all_none(tmp_path):
    import torch

    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], amsgrad=True)
    with parity.record(tmp_path / "none", optimizer):
        for gradient in (None, None, torch.ones(3), None):
            weight.grad = gradient
            optimizer.step()
    recording = read_recording(tmp_path / "none")
    check_recording(recording)
    assert recording.quantities == ("w", "m", "v", "vmax")
    assert [one.t for one in recording.journal] == [(0,), (0,), (1,), (1,)]
    assert [one.none for one in recording.journal] == [("0.0",), ("0.0",), (), ("0.0",)]
    assert recording.values("m", "0.0", 2).tolist() == [0.0] * 3
    assert recording.values("m", "0.0", 4).tolist() == optimizer.state[weight]["exp_avg"].tolist()


def test_nothing_but_none_is_a_recording_of_zeros(tmp_path):
    import torch

    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))])
    with parity.record(tmp_path / "none", optimizer):
        optimizer.step()
    recording = read_recording(tmp_path / "none")
    check_recording(recording)
    assert recording.values("w", "0.0", 1).tolist() == [1.0] * 3


def test_a_scheduler_that_replaces_groups(tmp_path):
    import torch

    weights = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))]
    optimizer = torch.optim.Adam([{"params": [one]} for one in weights], lr=0.1)
    with parity.record(tmp_path / "made", optimizer) as recorder:
        for step in range(5):
            if step == 1:
                optimizer.param_groups = [{**group, "lr": 0.2} for group in optimizer.param_groups]
            if step == 2:
                optimizer.param_groups[1] = {**optimizer.param_groups[1], "betas": (0.5, 0.5)}
            if step == 3:
                # A tensor that is changed where it lies.
                optimizer.param_groups[0] = {**optimizer.param_groups[0], "lr": torch.tensor(0.25)}
            if step == 4:
                optimizer.param_groups[0]["lr"].mul_(2)
            for one in weights:
                one.grad = torch.ones_like(one)
            optimizer.step()
    assert recorder.ended == "closed"
    told = [
        [(group["lr"], group["betas"]) for group in one.groups] for one in read_recording(tmp_path / "made").journal
    ]
    usual, other = [0.9, 0.999], [0.5, 0.5]
    assert told == [
        [(0.1, usual), (0.1, usual)],
        [(0.2, usual), (0.2, usual)],
        [(0.2, usual), (0.2, other)],
        [(0.25, usual), (0.2, other)],
        [(0.5, usual), (0.2, other)],
    ]


@pytest.mark.parametrize("how", ["group", "in-place"])
def test_a_parameter_that_is_added_later(tmp_path, capsys, how):
    import torch

    weights = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))]
    optimizer = torch.optim.Adam(weights[:1])
    with parity.record(tmp_path / "made", optimizer) as recorder:
        for step in range(4):
            if step == 2 and how == "group":
                optimizer.add_param_group({"params": weights[1:]})
            elif step == 2:
                optimizer.param_groups[0]["params"].append(weights[1])
            for one in weights:
                one.grad = torch.ones_like(one)
            optimizer.step()
    assert recorder.ended == "a parameter was added to the optimizer"
    assert capsys.readouterr().err == f"parity: recording ends after 2 steps: {recorder.ended}\n"
    check_recording(read_recording(tmp_path / "made"))


def trained_in(thread_of, optimizers, weights, steps=200):
    """Step each optimizer in a thread of its own; thread_of: what each does in its loop."""
    failed = []

    def run(place):
        try:
            for step in range(steps):
                thread_of(optimizers[place], weights[place], step)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(optimizers))]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failed


def gradient_and_step(optimizer, weight, step):
    import torch

    weight.grad = torch.full_like(weight, 1 / (step + 1))
    optimizer.step()


def test_two_threads_with_an_optimizer_each(tmp_path):
    import torch

    def made():
        weights = [torch.nn.Parameter(torch.full((50,), float(place))) for place in (1, 2)]
        return weights, [torch.optim.Adam([one], lr=0.1) for one in weights]

    alone, optimizers = made()
    trained_in(gradient_and_step, optimizers, alone)
    weights, optimizers = made()
    with parity.record(tmp_path / "0", optimizers[0]), parity.record(tmp_path / "1", optimizers[1]):
        trained_in(gradient_and_step, optimizers, weights)
    for place in (0, 1):
        assert torch.equal(alone[place], weights[place])
        recording = read_recording(tmp_path / str(place))
        check_recording(recording)
        assert [one.t for one in recording.journal] == [(step,) for step in range(1, 201)]
        assert not any(one.moved for one in recording.journal)
        for step in range(1, 201):
            assert recording.gradients("0.0", step).tolist() == [np.float32(1 / step)] * 50
        assert recording.values("w", "0.0", 200).tolist() == weights[place].tolist()


def test_threads_that_take_turns_with_one_optimizer(tmp_path):
    import torch

    weight, lock = torch.nn.Parameter(torch.ones(50)), threading.Lock()
    optimizer = torch.optim.Adam([weight])

    def turn(optimizer, weight, step):
        with lock:
            gradient_and_step(optimizer, weight, step)

    with parity.record(tmp_path / "made", optimizer) as recorder:
        trained_in(turn, [optimizer] * 2, [weight] * 2)
    assert (recorder.ended, recorder.steps) == ("closed", 400)
    recording = read_recording(tmp_path / "made")
    check_recording(recording)
    assert [one.t for one in recording.journal] == [(step,) for step in range(1, 401)]
    assert not any(one.moved for one in recording.journal)


def test_threads_in_one_optimizer_at_once_are_told(tmp_path, capsys):
    import torch

    weight, inside = torch.nn.Parameter(torch.ones(50)), threading.Barrier(2, timeout=20)
    optimizer = torch.optim.Adam([weight])

    def together(optimizer, weight, step):
        def closure():
            # Both are in their step now.
            if step == 2:
                inside.wait()
            weight.grad = torch.ones_like(weight)

        if step < 2:
            with lock:
                optimizer.step(closure)
        else:
            optimizer.step(closure)

    lock = threading.Lock()
    with parity.record(tmp_path / "made", optimizer) as recorder:
        trained_in(together, [optimizer] * 2, [weight] * 2, steps=3)
    assert recorder.ended == "two threads were in a step of the optimizer at once"
    assert capsys.readouterr().err == f"parity: recording ends after {recorder.steps} steps: {recorder.ended}\n"
    recording = read_recording(tmp_path / "made")
    check_recording(recording)
    assert recording.steps == recorder.steps <= 4


def test_one_folder_has_one_recorder(tmp_path):
    import torch

    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    with parity.record(tmp_path / "made", optimizer) as recorder:
        for options, told in (({}, "exists; overwrite=True replaces"), ({"overwrite": True}, "is being made just now")):
            gradient_and_step(optimizer, weight, 0)
            with pytest.raises(parity.ParityError, match=told), parity.record(tmp_path / "made", optimizer, **options):
                pass
        gradient_and_step(optimizer, weight, 0)
    assert recorder.steps == read_recording(tmp_path / "made").steps == 3
    with parity.record(tmp_path / "made", optimizer, overwrite=True):
        gradient_and_step(optimizer, weight, 0)
    assert read_recording(tmp_path / "made").steps == 1


def test_a_step_that_fails_is_none(tmp_path):
    import torch

    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])

    def fails():
        raise RuntimeError("planted")

    with parity.record(tmp_path / "made", optimizer) as recorder:
        gradient_and_step(optimizer, weight, 0)
        with pytest.raises(RuntimeError, match="planted"):
            optimizer.step(fails)
        gradient_and_step(optimizer, weight, 1)
    assert (recorder.steps, recorder.ended) == (2, "closed")
    recording = read_recording(tmp_path / "made")
    check_recording(recording)
    assert [one.t for one in recording.journal] == [(1,), (2,)]


def test_a_keras_optimizer_that_is_not_built_and_a_model_that_was_fitted(tmp_path):
    import keras

    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, name="hidden")])
    model.compile("adam", "mse")
    x, y = np.ones((8, 3), np.float32), np.zeros((8, 2), np.float32)
    with parity.record(tmp_path / "new", model.optimizer, model=model):
        model.fit(x, y, batch_size=4, verbose=0)
    model.fit(x, y, batch_size=4, verbose=0)
    with parity.record(tmp_path / "old", model.optimizer, model=model):
        model.fit(x, y, batch_size=4, verbose=0)
    new, old = read_recording(tmp_path / "new"), read_recording(tmp_path / "old")
    assert [[one.t[0] for one in recording.journal] for recording in (new, old)] == [[1, 2], [5, 6]]
    assert np.any(old.before("m", "hidden.kernel", 1))
    run = parity.run([tmp_path / "old"], [old.told["implementation"]], output=tmp_path / "run")
    assert run.exit_code == 0


def test_a_function_that_was_traced_before_is_told(tmp_path, capsys):
    import keras
    import tensorflow as tf

    weight, own = keras.Variable(np.ones(3, np.float32)), keras.optimizers.Adam()
    own.build([weight])

    @tf.function
    def step():
        own.apply([tf.ones(3)], [weight])

    step()
    with parity.record(tmp_path / "made", own) as recorder:
        step()
        step()
    assert recorder.steps == 0
    told = "parity: nothing is recorded: 2 steps ran in a function that was traced before\n"
    assert capsys.readouterr().err == told
    assert not (tmp_path / "made").exists()
