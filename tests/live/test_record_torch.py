"""A torch training is recorded as it is, to the last bit, and trains as if nobody looked."""

from __future__ import annotations

import itertools
import re
import struct
from functools import partial

import numpy as np
import pytest

import parity
from parity.case.journal import PENDING, PENDING_HEAD, PENDING_MARK
from parity.case.recording import check_recording, read_recording, sampled_places
from parity.core.errors import UsageError
from parity.explain.trainings import compare_trainings

pytestmark = pytest.mark.frameworks

KINDS = {
    "forloop": ("Adam", {"foreach": False}),
    "foreach": ("Adam", {"foreach": True}),
    "fused": ("Adam", {"fused": True}),
    "amsgrad": ("Adam", {"amsgrad": True}),
    "decoupled": ("AdamW", {"weight_decay": 0.1}),
    "nadam": ("NAdam", {}),
    "radam": ("RAdam", {}),
    "adamax": ("Adamax", {}),
    "closure": ("Adam", {}),
    "bfloat16": ("Adam", {}),
}


def trained(kind="forloop", path=None, length=6, clip=None, until=None, **options):
    """Weights, gradients and moments of every step of a small training, as torch itself holds them."""
    import torch

    torch.manual_seed(7)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    if kind == "bfloat16":
        model = model.bfloat16()
    name, settings = KINDS[kind]
    optimizer = getattr(torch.optim, name)(
        [{"params": model[0].parameters(), "lr": 0.02}, {"params": model[2].parameters()}], lr=0.01, **settings
    )
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    dtype = next(model.parameters()).dtype
    x, y = torch.randn(8, 3).to(dtype), torch.randn(8, 2).to(dtype)
    seen = []

    def loss():
        optimizer.zero_grad()
        value = ((model(x) - y) ** 2).mean()
        value.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        return value

    def train():
        for step in range(length):
            if until is not None and step == until:
                until_then(model, optimizer)
            if kind == "closure":
                optimizer.step(loss)
            else:
                loss()
                optimizer.step()
            lrs = [group["lr"] for group in optimizer.param_groups]
            state = [optimizer.state[one] for one in model.parameters()]
            seen.append(
                {
                    "w": [one.detach().clone() for one in model.parameters()],
                    "gradients": [one.grad.clone() for one in model.parameters()],
                    "m": [one["exp_avg"].clone() for one in state],
                    "v": [one.get("exp_avg_sq", one.get("exp_inf")).clone() for one in state],
                    "lr": lrs,
                }
            )
            scheduler.step()

    if path is None:
        train()
    else:
        with parity.record(path, optimizer, model=model, **options):
            train()
    return model, optimizer, seen


def until_then(model, optimizer):
    import torch

    with torch.no_grad():
        model[0].weight.mul_(0.5)


def bits(tensor):
    import torch

    return tensor.reshape(-1).view(torch.int16 if tensor.dtype == torch.bfloat16 else torch.int32).numpy().tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_it_holds_what_torch_held_and_changes_nothing(tmp_path, kind):
    _, _, alone = trained(kind)
    model, _, seen = trained(kind, tmp_path / "made")
    assert [[bits(one) for one in step["w"]] for step in alone] == [[bits(one) for one in step["w"]] for step in seen]
    recording = read_recording(tmp_path / "made")
    check_recording(recording)
    names = [name for name, _ in model.named_parameters()]
    assert ([one.name for one in recording.parameters], recording.steps) == (names, 6)
    assert [one.group for one in recording.parameters] == [0, 0, 1, 1]
    assert ("vmax" in recording.quantities) == (kind == "amsgrad")
    for step, told in enumerate(seen, start=1):
        for place, name in enumerate(names):
            for quantity in ("w", "m", "v"):
                found = recording.values(quantity, name, step)
                assert found.view(f"i{found.itemsize}").tolist() == bits(told[quantity][place]), (step, name, quantity)
            found = recording.gradients(name, step)
            assert found.view(f"i{found.itemsize}").tolist() == bits(told["gradients"][place])
        assert [group["lr"] for group in recording.step(step).groups] == told["lr"]
        assert set(recording.step(step).t) == {step}
    assert not any(np.any(recording.values("m", name, 0)) for name in names)
    assert recording.told["optimizer"].endswith(KINDS[kind][0])
    assert recording.told["framework"] == "torch"


def test_clipping_shows_in_the_gradients_and_not_elsewhere(tmp_path):
    trained(path=tmp_path / "clipped", clip=1e-3)
    recording = read_recording(tmp_path / "clipped")
    norm = sum(float((recording.gradients(one.name, 1).astype(float) ** 2).sum()) for one in recording.parameters)
    assert np.sqrt(norm) == pytest.approx(1e-3, rel=1e-3)


def test_a_window_of_steps_some_parameters_a_sample(tmp_path):
    _, _, seen = trained(path=tmp_path / "some", first=3, parameters="0.* | 2.bias", elements=5, moments=False)
    recording = read_recording(tmp_path / "some")
    assert [one.name for one in recording.parameters] == ["0.weight", "0.bias", "2.bias"]
    assert [one.kept <= 5 for one in recording.parameters] == [True] * 3
    assert [one.whole for one in recording.parameters] == [False, True, True]
    assert (recording.steps, recording.quantities, recording.step(1).t[0]) == (4, ("w",), 3)
    assert recording.weights("2.bias").tolist() == seen[1]["w"][3].tolist()
    assert recording.gradients("2.bias", 4).tolist() == seen[5]["gradients"][3].tolist()


@pytest.mark.parametrize("options", [{}, {"first": 2, "steps": 2}, {"elements": 5, "last": 2}], ids=str)
def test_one_step_in_three_is_exact_on_its_own(tmp_path, options):
    _, _, whole = trained(length=14, path=tmp_path / "whole", elements=options.get("elements"))
    trained(length=14, path=tmp_path / "some", every=3, **options)
    whole, some = read_recording(tmp_path / "whole"), read_recording(tmp_path / "some")
    check_recording(some)
    first = options.get("first", 1)
    numbers = list(range(first, 15, 3))[: options.get("steps")][-options.get("last", 99) :]
    assert (some.every, some.steps, some.told["first"]) == (3, len(numbers), numbers[0])
    assert [one.t for one in some.journal] == [(number,) * 4 for number in numbers]
    assert some.told["t"] == [numbers[0] - 1] * 4
    for place, number in enumerate(numbers, start=1):
        assert some.step(place).groups == whole.step(number).groups
        for name in [one.name for one in whole.parameters]:
            assert some.gradients(name, place).tobytes() == whole.gradients(name, number).tobytes()
            for quantity in ("w", "m", "v"):
                assert some.before(quantity, name, place).tobytes() == whole.before(quantity, name, number).tobytes()
                assert some.values(quantity, name, place).tobytes() == whole.values(quantity, name, number).tobytes()
    assert some.weights("0.bias").tobytes() == whole.before("w", "0.bias", numbers[0]).tobytes()


def test_one_step_in_three_is_compared_and_not_replayed(tmp_path):
    for name in ("one", "two"):
        trained(length=9, path=tmp_path / name, every=3)
    one, two = (read_recording(tmp_path / name) for name in ("one", "two"))
    found = compare_trainings(one, two)
    assert {gradient.likeness for gradient in found.gradients} == {"equal"}
    assert (found.why_not, found.alike) == ("one holds one step in 3, which no optimizer goes through", False)
    told = "recording 'one[group=0]': its steps count by 3; only one that counts every step can be replayed"
    with pytest.raises(parity.ParityError, match=f"^{re.escape(told)}$"):
        parity.run([tmp_path / "one"], output=tmp_path / "run")


@pytest.mark.parametrize(("length", "last"), [(3, 5), (5, 5), (6, 5), (11, 5), (23, 5), (4, 1)])
def test_the_last_steps_are_a_recording_of_them_alone(tmp_path, length, last):
    trained(length=length, path=tmp_path / "rolled", last=last)
    kept = min(length, last)
    trained(length=length, path=tmp_path / "alone", first=length - kept + 1)
    rolled, alone = tmp_path / "rolled", tmp_path / "alone"
    assert sorted(one.name for one in rolled.iterdir()) == sorted(one.name for one in alone.iterdir())
    for one in alone.iterdir():
        assert (rolled / one.name).read_bytes() == one.read_bytes(), one.name
    check_recording(read_recording(rolled))


ROLLING = """
import itertools, signal, sys, torch, parity, parity.live.recorder
parity.live.recorder.CAPACITY = int(sys.argv[2])
weight = torch.nn.Parameter(torch.ones(100))
optimizer = torch.optim.Adam([weight])
with parity.record(sys.argv[1], optimizer, last=7, every=int(sys.argv[4])):
    for step in itertools.count(1):
        weight.grad = torch.full_like(weight, 1 / step)
        optimizer.step()
        if step in (int(sys.argv[3]), 300):
            print('far enough', flush=True)
            if step != 300:
                signal.pause()
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("capacity", "every", "length"),
    [(1 << 20, 1, 5), (1 << 20, 1, 14), (1 << 20, 2, 29), (0, 1, 66), (0, 2, 29), (3000, 1, 0), (1 << 20, 2, 0)],
)
def test_a_kill_leaves_the_last_steps(script, tmp_path, capacity, every, length):
    """Where it stands still, or, of length 0, wherever it happens to be."""
    running = script(ROLLING, tmp_path / "cut", capacity, length, every)
    assert running.stdout.readline() == "far enough\n"
    running.kill()
    running.wait()
    recording = read_recording(tmp_path / "cut")
    check_recording(recording)
    kept = (length + every - 1) // every if length else (recording.told["first"] - 1) // every + recording.steps
    assert min(kept, 7) <= recording.steps <= 14
    begins = kept - recording.steps
    for step in range(1, recording.steps + 1):
        number = (begins + step - 1) * every + 1
        assert recording.gradients("0.0", step).tolist() == [np.float32(1 / number)] * 100
        assert recording.step(step).t == (number,)
        assert len(recording.step(step).groups) == 1
    assert (recording.told["first"], recording.told["t"]) == (begins * every + 1, [begins * every])
    size = sum(one.stat().st_size for one in (tmp_path / "cut").glob("?.*bits"))
    # Two segments with a row 0 each, and the next one where it was about to begin.
    assert size <= 3 * 400 * (2 * 7 + 3) * every


def test_weights_that_somebody_else_changes_are_told(tmp_path):
    trained(path=tmp_path / "moved", until=3)
    recording = read_recording(tmp_path / "moved")
    assert [step.moved for step in recording.journal] == [(), (), (), ("0.weight",), (), ()]


def test_a_sample_is_the_same_for_a_transposed_tensor():
    for shape, turn in (
        ((30, 7), (1, 0)),
        ((12, 12), (1, 0)),
        ((3, 3, 5, 8), (3, 2, 0, 1)),
        ((3, 3, 6, 6), (3, 2, 0, 1)),
    ):
        turned = tuple(shape[axis] for axis in turn)
        flat = np.arange(np.prod(shape)).reshape(shape)
        here, there = sampled_places(shape, 20, 1), sampled_places(turned, 20, 1)
        assert 0 < here.size <= 20
        assert set(flat.reshape(-1)[here]) == set(flat.transpose(turn).reshape(-1)[there])
        assert here.tolist() != sampled_places(shape, 20, 2).tolist()
    assert sampled_places((4, 5), 20, 0) is None


def test_the_limit_ends_the_recording_and_not_the_training(tmp_path, capsys):
    _, _, alone = trained()
    _, _, seen = trained(path=tmp_path / "full", limit="1kB")
    assert bits(alone[-1]["w"][0]) == bits(seen[-1]["w"][0])
    assert capsys.readouterr().err == "parity: recording ends after 1 steps: its limit of 1,000 bytes is reached\n"
    assert read_recording(tmp_path / "full").steps == 1


def test_gradients_that_are_none_and_a_parameter_that_comes_later(tmp_path, capsys):
    import torch

    weights = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))]
    optimizer = torch.optim.Adam(weights)
    with parity.record(tmp_path / "none", optimizer) as recorder:
        for step in range(3):
            weights[0].grad, weights[1].grad = torch.ones(3), torch.ones(2) if step else None
            optimizer.step()
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
        optimizer.step()
    assert recorder.ended == "a parameter was added to the optimizer"
    assert "recording ends after 3 steps: a parameter was added" in capsys.readouterr().err
    recording = read_recording(tmp_path / "none")
    assert [step.none for step in recording.journal] == [("0.1",), (), ()]
    assert recording.step(3).t == (3, 2)


def test_twice_at_once(tmp_path):
    import torch

    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    with parity.record(tmp_path / "one", optimizer), parity.record(tmp_path / "two", optimizer):
        weight.grad = torch.ones(3)
        optimizer.step()
    one, two = (read_recording(tmp_path / name) for name in ("one", "two"))
    assert one.step(1).digest == two.step(1).digest


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"steps": 0}, "steps=0: allowed: a whole number of at least 1"),
        ({"every": 0}, "every=0: allowed: a whole number of at least 1"),
        ({"last": 1.5}, "last=1.5: allowed: a whole number of at least 1"),
        ({"steps": 3, "last": 2}, "steps=3 and last=2: allowed: one of them"),
        ({"limit": "2 apples"}, "limit='2 apples': allowed: a number of bytes, or one with a unit of kB, MB, GB, TB"),
        ({"parameters": "kernel*"}, "no parameter is called 'kernel*'; nothing would be recorded"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(tmp_path, options, told):
    with pytest.raises(parity.ParityError, match=f"^{told}".replace("*", r"\*")):
        trained(path=tmp_path / "bad", **options)
    assert not (tmp_path / "bad").exists()


def test_what_lies_there_stays(tmp_path):
    trained(path=tmp_path / "made")
    with pytest.raises(UsageError, match="exists; overwrite=True replaces a recording"):
        trained(path=tmp_path / "made")
    trained(path=tmp_path / "made", overwrite=True, steps=2)
    assert read_recording(tmp_path / "made").steps == 2
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="is no recording"):
        trained(path=tmp_path / "other", overwrite=True)


def test_another_optimizer_is_named(tmp_path):
    import torch

    sgd = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    with pytest.raises(UsageError, match=r"^torch.optim.sgd.SGD cannot be recorded; allowed: torch.optim \(Adam, "):
        with parity.record(tmp_path / "sgd", sgd):
            pass
    assert not (tmp_path / "sgd").exists()


KILLED = """
import itertools, sys, torch, parity, parity.live.pending, parity.live.recorder
parity.live.recorder.CAPACITY = int(sys.argv[2])
if sys.argv[3:]:
    parity.live.pending.IN_PLACE = frozenset()
weights = [torch.nn.Parameter(torch.ones(500)), torch.nn.Parameter(torch.ones(3))]
optimizer = torch.optim.Adam(weights)
with parity.record(sys.argv[1], optimizer):
    for step in itertools.count(1):
        for one in weights:
            one.grad = torch.full_like(one, 1 / step)
        optimizer.step()
        if step == 140:
            print('far enough', flush=True)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("how", [[1 << 20], [1 << 20, "called"], [1 << 16], [0]], ids=str)
def test_a_kill_leaves_every_whole_step(script, tmp_path, how):
    running = script(KILLED, tmp_path / "cut", *how)
    assert running.stdout.readline() == "far enough\n"
    running.kill()
    running.wait()
    recording = read_recording(tmp_path / "cut")
    check_recording(recording)
    assert recording.steps >= 140
    for step in range(1, recording.steps + 1):
        assert recording.gradients("0.1", step).tolist() == [np.float32(1 / step)] * 3
        assert recording.step(step).t == (step, step)
        assert recording.values("w", "0.0", step).tobytes() == recording.before("w", "0.0", step + 1).tobytes()
    assert bool(recording.pending) == bool(how[0])
    if recording.pending:
        waiting = tmp_path / "cut" / PENDING
        whole = waiting.read_bytes()
        head = whole.index(PENDING_MARK + struct.pack("<II", 0, recording.steps))
        # Its t, and its row.
        for offset in (head + 16, head + PENDING_HEAD.size + 3):
            waiting.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
            with pytest.raises(parity.ParityError, match=f"step {recording.steps} was altered"):
                check_recording(read_recording(tmp_path / "cut"))


def test_however_steps_wait_the_files_are_the_same(tmp_path, monkeypatch):
    """Mapped to memory, written by a call, in small rounds, or not waiting at all."""
    from parity.live import pending, recorder

    ways = {"mapped": {}, "called": {"IN_PLACE": frozenset()}, "rounds": {"CAPACITY": 2000}, "at-once": {"CAPACITY": 0}}
    for name, changes in ways.items():
        with monkeypatch.context() as patch:
            for key, value in changes.items():
                patch.setattr(pending if key == "IN_PLACE" else recorder, key, value)
            trained(path=tmp_path / name, length=40)
    files = {name: {one.name: one.read_bytes() for one in (tmp_path / name).iterdir()} for name in ways}
    assert files["mapped"] == files["called"] == files["rounds"] == files["at-once"]
    assert sorted(files["mapped"]) == ["gradients.bits", "m.bits", "recording.json", "steps.jsonl", "v.bits", "w.bits"]


def every_kind(torch, dtype, *, turned):
    """Parameters of every shape; turned: one of them does not lie as its rows are written."""
    torch.manual_seed(3)
    found = [torch.randn(shape).to(dtype) for shape in ((), (0,), (7,), (6, 5), (2, 3, 4))]
    if turned:
        found.append(torch.randn(5, 6).to(dtype).t())
    return [torch.nn.Parameter(one) for one in found]


def held_by(parameters, optimizer):
    state = [optimizer.state[one] for one in parameters]
    tensors = {
        "w": parameters,
        "m": [one.get("exp_avg") for one in state],
        "v": [one.get("exp_avg_sq") for one in state],
        "gradients": [one.grad for one in parameters],
    }
    # Slow, and plain to see: each tensor on its own, in its own order.
    return {
        name: [None if one is None else b"".join(raw(element) for element in one.detach().reshape(-1)) for one in many]
        for name, many in tensors.items()
    }


def raw(element):
    import torch

    return element.clone().reshape(1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("elements", [None, 5])
@pytest.mark.parametrize("turned", [False, True], ids=["plain", "turned"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_what_is_copied_at_once_is_what_each_tensor_holds(tmp_path, monkeypatch, dtype, turned, elements):
    """Whatever a user does with gradients, weights and states between two steps."""
    import torch

    from parity.live.torch_memory import Memory

    kind, taken, take = getattr(torch, dtype), [], Memory.take
    monkeypatch.setattr(Memory, "take", lambda self: taken.append(take(self)) or taken[-1])
    parameters = every_kind(torch, kind, turned=turned)
    optimizer = torch.optim.Adam(parameters, lr=0.1)
    seen = []
    with parity.record(tmp_path / "made", optimizer, elements=elements):
        for step in range(12):
            for place, one in enumerate(parameters):
                # Every gradient but one is new, as after zero_grad; some are none, some lie the other way around.
                value = torch.randn(one.shape).to(kind)
                if place == 3 and step % 3 == 1:
                    value = value.t().contiguous().t()
                one.grad = None if step % 2 and place == step % 7 else value
            if step == 4:
                parameters[2].data = parameters[2].data.clone() * 2
            if step == 6:
                optimizer.load_state_dict(optimizer.state_dict())
            if step == 8:
                optimizer.state[parameters[3]]["exp_avg"] = torch.ones_like(parameters[3])
            if step == 10:
                moment = optimizer.state[parameters[4]]["exp_avg_sq"]
                moment.data = moment.data.clone() + 1
            optimizer.step()
            seen.append(held_by(parameters, optimizer))
    recording = read_recording(tmp_path / "made")
    check_recording(recording)
    assert recording.steps == 12
    assert [step.moved for step in recording.journal] == [()] * 4 + [("0.2",)] + [()] * 7
    places = [sampled_places(tuple(one.shape), elements, 0) for one in parameters]
    for step, told in enumerate(seen, start=1):
        for place, one in enumerate(recording.parameters):
            for quantity, many in told.items():
                find = recording.gradients if quantity == "gradients" else partial(recording.values, quantity)
                found, expected = find(one.name, step), many[place]
                if expected is None:
                    expected = bytes(parameters[place].numel() * found.itemsize)
                elements_of = np.frombuffer(expected, f"V{found.itemsize}")
                kept = elements_of if places[place] is None else elements_of[places[place]]
                assert found.tobytes() == kept.tobytes(), (step, quantity, one.name)
        assert recording.step(step).none == tuple(
            one.name for one, given in zip(recording.parameters, told["gradients"], strict=True) if given is None
        )
    # Where all lies plainly, it was copied at once, but for what the very first step had to be looked at for.
    assert [one is not None for one in taken] == [not turned] * 11


@pytest.mark.parametrize(
    ("file", "damage", "told"),
    [
        ("w.bits", lambda old: old[:-4], "w.bits: cut: 6 rows, steps.jsonl says 7"),
        ("gradients.bits", lambda old: old[:5] + bytes([old[5] ^ 4]) + old[6:], "step 1 was altered"),
        ("w.bits", lambda old: bytes([old[0] ^ 1]) + old[1:], "the initial state was altered"),
        ("steps.jsonl", lambda old: b"\n".join(old.split(b"\n")[:3]) + b"\n", "cut: 3 steps, recording.json says 6"),
        ("steps.jsonl", lambda old: old.replace(b'"t": 2', b'"t": no'), "line 2 cannot be understood"),
        ("recording.json", lambda old: old.replace(b'version": 3', b'version": 4'), "allowed: 2, 3"),
        ("recording.json", lambda old: old.replace(b'version": 3', b'version": 2'), "its seal does not fit"),
        ("recording.json", lambda old: old.replace(b'version": 3', b'version": 1'), "record it again"),
        ("recording.json", lambda old: old.replace(b'"device": "cpu"', b'"device": "gpu"'), "its seal does not fit"),
        ("steps.jsonl", lambda old: old.replace(b'"lr": 0.0', b'"lr": 1.0'), "step 1 was altered"),
        ("steps.jsonl", lambda old: old.replace(b'"eps"', b'"ups"'), "step 1 was altered"),
        ("steps.jsonl", lambda old: old.replace(b'"t": 3,', b'"t": 4,'), "step 3 was altered"),
        ("steps.jsonl", lambda old: old.replace(b'"digest"', b'"Digest"', 1), "line 1 cannot be understood"),
        ("recording.json", lambda old: old[:50], "not a readable recording"),
        ("v.bits", None, "recorded data is missing"),
    ],
    ids=itertools.count(),
)
def test_a_damaged_recording_is_one_line(tmp_path, file, damage, told):
    trained(path=tmp_path / "made")
    path = tmp_path / "made" / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(parity.ParityError, match=told) as caught:
        check_recording(read_recording(tmp_path / "made"))
    assert "\n" not in str(caught.value)
