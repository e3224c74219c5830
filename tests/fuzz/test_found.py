"""The smallest inputs with which damage once met an internal error: each is one line now."""

from __future__ import annotations

import io
import json
import pickle

import pytest

from parity.baseline.store import INDEX, _seal, read_baseline
from parity.case.recording import read_recording
from parity.case.recording_header import HEADER
from parity.comparison import trace as traces
from parity.core.digest import SEAL, seal_of
from parity.core.errors import ParityError, TargetError
from parity.engine.candidates import describe_plugin
from parity.engine.errand import answered, keep_files
from parity.engine.host import receive
from parity.engine.process import LONGEST_ANSWER, WorkerFailed, WorkerProcess
from parity.engine.protocol import misshapen

NESTED = "[" * 5000


def refused(error, call, *arguments):
    with pytest.raises(error) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(path, change, seal=None):
    """A JSON file in which something is otherwise, and which is sealed anew."""
    told = json.loads(path.read_text())
    change(told)
    told = told if seal is None else {**told, "seal": seal({key: one for key, one in told.items() if key != "seal"})}
    path.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one: one["parameters"][0].update(shape=[[]]), "'[[]]' is no shape"),
        (lambda one: one["parameters"][0].update(shape=[{}]), "'[{}]' is no shape"),
        (lambda one: one["parameters"][0].update(shape=3), "'3' is no shape"),
        (lambda one: one.update(formats={"m": []}), "a format for every parameter"),
        (lambda one: one.update(steps=float("inf")), "cannot convert float infinity to integer"),
        (lambda one: one["hyper"].update(lr="0x1p99999"), "hexadecimal value too large"),
        (lambda one: one["hyper"].update(lr=[]), "a step size, or a beta, of every step"),
        (lambda one: one["hyper"].update(beta2=[]), "a step size, or a beta, of every step"),
    ],
)
def test_a_sealed_trace_that_is_none(write_trace, change, told):
    folder = write_trace("made", [[1.0], [2.0]])
    changed(folder / traces.HEADER, change, traces._seal)
    assert told in refused(ParityError, traces.read_trace, folder)


@pytest.mark.parametrize("name", ["trace", "recording", "baseline"])
def test_a_document_that_is_nested_too_deeply(tmp_path, name):
    file, read = {
        "trace": (traces.HEADER, traces.read_trace),
        "recording": (HEADER, read_recording),
        "baseline": (INDEX, read_baseline),
    }[name]
    (tmp_path / file).write_text(NESTED)
    assert "its brackets are nested too deeply" in refused(ParityError, read, tmp_path)


@pytest.fixture
def recording(write_recording):
    import numpy as np

    one = {"w": np.ones((2, 3), np.float32)}
    return write_recording("made", one, [one, one])


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["parameters"][0].update(shape=[2, {}]),
        lambda one: one["parameters"][0].update(kept=7),
        lambda one: one["parameters"][0].update(name=[]),
        lambda one: one["parameters"].append(one["parameters"][0]),
        lambda one: one.update(quantities=["m"]),
        lambda one: one.update(quantities=["w", "x"]),
        lambda one: one.update(elements="all"),
        lambda one: one.update(seed=float("inf")),
        lambda one: one.update(every=0),
        lambda one: one.update(t=["0"]),
        lambda one: one.update(t=[10**30]),
        lambda one: one["parameters"][0].update(group=-(10**30)),
        lambda one: one["parameters"][0].update(group=-1),
        lambda one: one["parameters"][0].update(group="0"),
        lambda one: one.update(digest=None),
        lambda one: one.pop("framework"),
        lambda one: one.pop("optimizer"),
        lambda one: one.update(optimizer=3),
        lambda one: one.pop("implementation"),
        lambda one: one.update(implementation={"kind": "bell"}),
        lambda one: one.update(first="1"),
    ],
)
def test_a_header_of_a_recording_that_is_none(recording, change):
    read_recording(recording)
    changed(recording / HEADER, change, seal_of)
    assert "not a readable recording" in refused(ParityError, read_recording, recording)


@pytest.mark.parametrize(
    ("key", "value"), [("t", ["1"]), ("t", [1, 2]), ("t", 1e400), ("groups", [3]), ("groups", 3), ("none", [9])]
)
def test_a_line_of_a_journal_that_is_none(recording, key, value):
    path = recording / "steps.jsonl"
    lines = path.read_text().splitlines()
    lines[0] = json.dumps({"t": 1, key: value} | {**json.loads(lines[0]), key: value})
    path.write_text("\n".join(lines) + "\n")
    assert "line 1 cannot be understood" in refused(ParityError, read_recording, recording)


@pytest.mark.parametrize("change", [{"weight_decay": "?"}, {"betas": 3}, {"lr": None}, {"eps": -1}])
def test_hyperparameters_of_a_recording_that_no_adam_takes(command, recording, change_recording, tmp_path, change):
    change_recording(recording, lines=lambda told: told[0]["groups"][0].update(change))
    code, _, err = command("run", recording, "-k", "none", "-o", tmp_path / "run")
    assert code == 4
    assert "its hyperparameters are none that an Adam takes" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.update(cells=3),
        lambda one: one.update(cells={"small": 3}),
        lambda one: one.update(cells={"small": {"float32": {"file": "a\0b", "implementations": []}}}),
        lambda one: one.update(cells={"small": {"float32": {"file": "../a", "implementations": []}}}),
        lambda one: one.update(environments=[3]),
        lambda one: one.update(environments=[]),
        lambda one: one["environments"][0].pop("python"),
        lambda one: one["environments"][0].update(packages=3),
        lambda one: one["environments"][0].update(cpu_flags=[3]),
        lambda one: one.update(parity=float("nan")),
    ],
)
def test_a_sealed_baseline_that_is_none(sides, tmp_path, change):
    before, _, _ = sides
    found = before.baseline if hasattr(before, "baseline") else before
    folder = tmp_path / "made"
    folder.mkdir()
    for one in found.folder.iterdir():
        (folder / one.name).write_bytes(one.read_bytes())
    read_baseline(folder)
    changed(folder / INDEX, change, _seal)
    told = refused(ParityError, read_baseline, folder)
    assert "cannot be understood by this parity" in told or "truncated or altered" in told


def test_a_sealed_run_with_flags_and_hyperparameters_that_are_none(command, run_small, tmp_path):
    run_small("numpy.adam.hat", "numpy.adam.outside")
    path = tmp_path / "run" / "run.json"
    sound = path.read_bytes()

    def no_flags(one):
        one["environment"]["cpu_flags"] = [3]

    def no_hyper(one):
        one["cells"][0]["outcomes"][0]["hyper"]["eps"] = 3

    def no_list(one):
        one["environment"]["cpu_flags"] = 1e400

    lacks = "environment lacks cpu_flags"
    for change, told in ((no_flags, lacks), (no_list, lacks), (no_hyper, "that are none")):
        path.write_bytes(sound)
        content = json.loads(sound)
        change(content)
        path.write_text(json.dumps(content | {SEAL: seal_of(content)}))
        code, _, err = command("report", tmp_path / "run", "--certificate", "numpy.adam.hat", "numpy.adam.outside")
        assert (code, err.count("\n")) == (4, 1)
        assert told in err


HELLO = '{"protocol": 1, "environment": {}}\n'


@pytest.fixture
def speaking(tmp_path):
    """An interpreter that says, whatever it is asked, what it is given."""

    def program(text):
        (tmp_path / "text").write_text(text)
        path = tmp_path / "speaks"
        path.write_text(f"#!/bin/sh\nread request\nexec cat '{tmp_path / 'text'}'\n")
        path.chmod(0o755)
        return str(path)

    return program


@pytest.mark.parametrize("text", ["no JSON\n", "3\n", NESTED + "\n", '{"protocol": 1}\n', "\n", '\xff"\n'])
def test_a_worker_that_greets_with_no_answer(speaking, tmp_path, text):
    told = refused(WorkerFailed, WorkerProcess, "made", tmp_path / "log", speaking(text))
    assert "an answer of the worker process cannot be understood" in told


def test_a_worker_whose_answer_has_no_end(speaking, tmp_path):
    program = speaking("")
    (tmp_path / "speaks").write_text(f"#!/bin/sh\nexec head -c {2 * LONGEST_ANSWER} /dev/zero\n")
    told = refused(WorkerFailed, WorkerProcess, "made", tmp_path / "log", program)
    assert told.endswith("(it has no end after 16 MiB); it was ended")


@pytest.mark.parametrize("answer", [{}, {"ok": True}, {"ok": False}, {"ok": True, "name": 3, "dtypes": 3}, []])
def test_a_description_that_is_none(speaking, tmp_path, answer):
    told = refused(TargetError, describe_plugin, "x.py:f", tmp_path, 5.0, speaking(HELLO + json.dumps(answer) + "\n"))
    assert "cannot be understood" in told


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({}, "ok is neither true nor false"),
        ({"ok": False}, "it says not of what kind a failure is"),
        ({"ok": False, "kind": "raised", "reason": 3}, "reason is no word"),
        ({"ok": True, "step": 6, "quantities": ["w"]}, "step is no step of the run"),
        ({"ok": True, "step": "1", "quantities": ["w"]}, "step is no step of the run"),
        ({"ok": True, "step": 1}, "quantities are none"),
        ({"ok": True, "step": 1, "quantities": ["w", "x"]}, "quantities are none"),
        ({"ok": True, "step": 1, "quantities": ["w"], "formats": {"m": 3}}, "formats are none"),
        ({"ok": True, "machine": 3}, "machine or formats"),
        ({"ok": True, "step": 5, "quantities": ["m", "w"], "formats": {"m": ["float32"]}}, ""),
        ({"ok": False, "kind": "raised", "reason": "ValueError: no"}, ""),
    ],
)
def test_an_answer_to_a_request_of_a_run(answer, told):
    assert misshapen(answer, 5) == told


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("empty.py", "nothing in it has a name: define a run function, 'def run(...)'"),
        ("empty.py:run", "defines nothing: name what it imports where that stands"),
        ("plain.py:run?x=1", "it takes no options: leave out all behind the question mark"),
    ],
)
def test_where_nothing_can_be_chosen_it_is_said_what_helps(command, write_case, tmp_path, target, told):
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "plain.py").write_text("def run(weights, gradients, hyper):\n    yield\n")
    code, _, err = command("run", write_case(), "-i", tmp_path / target, "-o", tmp_path / "run")
    assert code == 4
    assert told in err
    assert "allowed: nothing" not in err


def test_a_case_for_more_than_there_is_says_at_once_what_it_needs(command, write_case, tmp_path):
    case = write_case(parameters=[{"name": "w", "shape": [10**12]}])
    code, _, err = command("run", case, "-i", "numpy.adam.outside", "-i", "numpy.adam.hat", "-o", tmp_path / "run")
    assert code == 4
    assert "GiB at a time" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("head", [b"", b"1234567", (5).to_bytes(8, "big"), b"\xff" * 8])
def test_a_frame_that_is_cut_or_says_that_it_has_no_end(head):
    assert receive(io.BytesIO(head + b"four")) is None


@pytest.mark.parametrize(
    "found",
    [None, 3, {3: b""}, {"../out": b""}, {"/tmp/out": b""}, {"": b""}, {".": b""}, {"a\0b": b""}, {"a": "text"}],
)
def test_files_of_a_worker_that_belong_nowhere(tmp_path, found):
    (tmp_path / "run").mkdir()
    assert "worker far: its answer " in refused(ParityError, keep_files, found, tmp_path / "run", "far")
    assert [one.name for one in tmp_path.rglob("*")] == ["run"]


def test_an_answer_of_a_worker_that_ends_early():
    assert "its answer cannot be understood" in refused(ParityError, answered, pickle.dumps({"a": b"b"})[:-3], "far")
