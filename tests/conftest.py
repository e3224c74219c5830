"""What many tests share: small cases, plug-ins with planted lines, traces of given numbers, the command."""

from __future__ import annotations

import fcntl
import gc
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import parity
from parity.adam.convention import Epsilon
from parity.api.baselines import save_baseline
from parity.baseline.bisection import Answer, Bisected, Decision, Range, Suspects
from parity.baseline.side import saved_side
from parity.baseline.upgrade import Column, ReleaseMatrix, hold_sides
from parity.case.catalogue import load_case_file
from parity.case.journal import JOURNAL, digest_of_step, line_of
from parity.case.recording import read_recording, rows_file
from parity.case.recording_header import GRADIENTS
from parity.case.recording_header import write_header as write_recording_header
from parity.cli.main import exit_code
from parity.comparison.trace import create_rows, write_header
from parity.core.digest import SEAL
from parity.core.hyper import Hyper
from parity.core.layout import Layout, Parameter
from parity.engine.record import read_run
from parity.implementations.numpy_ import run as run_adam
from parity.live.folder import Folder
from parity.live.recorder import Moment, Recorder, Wanted
from parity.numerics.formats import FORMATS
from parity.report.drift import checked_to_json
from parity.report.upgrade import bisected_to_json, matrix_to_json, upgrade_to_json

pytest_plugins = ["pytester"]

# Whatever a test makes of PARITY_CACHE, what is compiled once serves all processes and sessions of this environment.
os.environ.setdefault("PARITY_KERNELS", str(Path(sys.prefix) / "kernels"))

# Two processes share the cores, and a thread that waits for its next piece in a loop takes them from the other one:
# OpenBLAS's do so as soon as NumPy is imported, for 2^4 cycles where 2^26 are usual.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

# Collected tests and imported frameworks are here to stay: to look through them again and again is a tenth of the time.
gc.set_threshold(50_000, 20, 20)


def pytest_collection_finish():
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Files with tests that may take longest come first, so that no process is left alone with them at the end."""

    def longest(item):
        marker = item.get_closest_marker("timeout")
        return -marker.args[0] if marker is not None else 0, item.get_closest_marker("frameworks") is None

    items.sort(key=longest)


USER_AGAINST_PAPER = {
    "actual": "user.*",
    "expected": "numpy.adam.outside",
    "verdict": "WITHIN",
    "rounding": "operations",
    "because": "Both are Algorithm 1 of the paper.",
}

HAT_AGAINST_PAPER = {
    "actual": "numpy.adam.hat",
    "expected": "numpy.adam.outside",
    "verdict": "DIVERGED",
    "because": "Epsilon stands in another place.",
}

TWO_AGAINST_ONE = {
    "actual": "user.two",
    "expected": "user.one",
    "verdict": "IDENTICAL",
    "because": "The same text twice.",
}

ADAM = """\
import ctypes, os, signal, sys, time
from pathlib import Path
import numpy as np
from parity import Hyper, Implementation, State, Unsupported

def run(weights, gradients, hyper):
    w = {name: array.copy() for name, array in weights.items()}
    m = {name: np.zeros_like(array) for name, array in weights.items()}
    v = {name: np.zeros_like(array) for name, array in weights.items()}
    #first#
    for t, gradient in enumerate(gradients, start=1):
        #before#
        for name, g in gradient.items():
            if g is None:
                continue
            f = g.dtype.type
            m[name] = f(hyper.beta1) * m[name] + f(1 - hyper.beta1) * g
            v[name] = f(hyper.beta2) * v[name] + f(1 - hyper.beta2) * g * g
            m_hat = m[name] / f(1 - hyper.beta1**t)
            v_hat = v[name] / f(1 - hyper.beta2**t)
            w[name] = w[name] - f(hyper.lr_at(t)) * m_hat / (np.sqrt(v_hat) + f(hyper.eps))
        state = State(w=w, m=m, v=v)
        #after#
        yield state
    #last#
"""


def toml(value):
    """A value as it stands in a TOML file; tables are written inline."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(one) for one in value) + "]"
    return json.dumps(value)


@pytest.fixture(scope="session")
def case_text():
    """The text of a small case file; keyword arguments replace its keys, None removes one."""

    def text(**keys):
        table = {
            "summary": "A small case, made by a test.",
            "why": "It is small, and every failure in it is planted.",
            "seed": 7,
            "steps": 5,
            "dtypes": ["float32"],
            "weights": {"kind": "uniform", "low": -1.0, "high": 1.0},
            "gradients": {"kind": "bell", "scale": 0.1},
            "parameters": [{"name": "kernel", "shape": [3, 4]}, {"name": "bias", "shape": [5]}],
            "expect": [USER_AGAINST_PAPER, HAT_AGAINST_PAPER],
        } | keys
        return "".join(f"{key} = {toml(value)}\n" for key, value in table.items() if value is not None)

    return text


@pytest.fixture(scope="session")
def adam_text():
    """The text of a correct from-scratch Adam with lines planted at its places, or pieces swapped."""

    def text(name, *, swap=(), **planted):
        source = ADAM.replace("def run(", f"def {name}(")
        for place, indent in (("first", 4), ("before", 8), ("after", 8), ("last", 4)):
            lines = planted.pop(place, "pass").split("\n")
            source = source.replace(f"#{place}#", ("\n" + " " * indent).join(lines))
        for old, new in swap:
            assert old in source
            source = source.replace(old, new)
        assert not planted
        return source

    return text


@pytest.fixture
def write_case(tmp_path, case_text):
    """Write the case `name` as `case_text` has it; its path."""

    def write(name="small", **keys):
        path = tmp_path / f"{name}.toml"
        path.write_text(case_text(**keys))
        return path

    return write


@pytest.fixture
def write_adam(tmp_path, adam_text):
    """Write the plug-in `name` as `adam_text` has it; the target for ``-i``."""

    def write(name="plugin", **planted):
        path = tmp_path / f"{name}.py"
        path.write_text(adam_text(name, **planted))
        return f"{path}:{name}"

    return write


@pytest.fixture
def run_small(tmp_path, write_case):
    """Run a small case on implementations; the Run. Keyword arguments are those of `write_case`."""

    def run(*implementations, output="run", options=None, **keys):
        case = write_case(**keys)
        return parity.run([case], implementations, output=tmp_path / output, options=options)

    return run


@pytest.fixture
def verdict_of():
    """The verdict of a run on an implementation, which must be in exactly one pair as actual."""

    def find(run, actual="user.plugin"):
        (found,) = [one.verdict for one in run.verdicts if one.actual == actual]
        return found

    return find


@pytest.fixture
def command(capsys):
    """Call the command line in this process: (exit code, standard output, standard error)."""

    def call(*arguments):
        capsys.readouterr()
        code = exit_code([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


@pytest.fixture(scope="session")
def interruptible():
    """The command that a SIGINT reaches: where tests run in the background it is ignored, and children inherit that."""
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    return [sys.executable, "-c", f"import runpy, signal; {heard}; runpy.run_module('parity', run_name='__main__')"]


@pytest.fixture
def process(tmp_path):
    """Start ``python -m parity`` in tmp_path: a Popen with text pipes, ended with the test."""
    started = []

    def start(*arguments, code=None, **variables):
        what = ["-c", code] if code is not None else ["-m", "parity"]
        one = subprocess.Popen(
            [sys.executable, *what, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(one)
        return one

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.fixture
def write_trace(tmp_path):
    """Write a trace folder from rows (steps + 1, size) of w, m, v in one dtype; its path."""

    def write(name, w, m=None, v=None, *, dtype="float32", parameters=(), input_digest="same", lr=1e-3):
        format = FORMATS[dtype]
        w = np.atleast_2d(np.asarray(w, format.dtype))
        layout = Layout(tuple(Parameter(*one) for one in parameters) or (Parameter("p", (w.shape[1],)),))
        folder = tmp_path / name
        quantities = {"w": w, "m": m, "v": v}
        for quantity, rows in quantities.items():
            if rows is not None:
                target = create_rows(folder, quantity, len(w), layout, format)
                target[:] = np.asarray(rows, format.dtype).view(format.unsigned)
        write_header(
            folder,
            case="made",
            case_digest="0",
            input_digest=input_digest,
            implementation=name,
            format=format,
            hyper=Hyper(lr=lr),
            layout=layout,
            steps=len(w) - 1,
            quantities=tuple(quantity for quantity in ("m", "v", "w") if quantities[quantity] is not None),
            environment={},
        )
        return folder

    return write


@pytest.fixture
def change_recording():
    """Change the header, or the lines of the journal, of a recording in place, and seal it anew as its recorder would.

    rows: of the quantities, the gradients first, one array of bytes a step; they may be changed as well.
    """

    def change(folder, header=lambda told: None, lines=lambda told: None, rows=lambda told: None):
        recording = read_recording(folder)
        told = {key: value for key, value in recording.told.items() if key != SEAL}
        header(told)
        journal = [json.loads(line) for line in (folder / JOURNAL).read_bytes().splitlines()]
        bits = {one: np.stack(recording.rows(one)) for one in (GRADIENTS, *recording.quantities)}
        begun = {one: recording.row(one, 1, before=True).tobytes() for one in recording.quantities}
        rows(bits)
        lines(journal)
        written = []
        for step, one in enumerate(journal):
            text = json.dumps({key: value for key, value in one.items() if key != "digest"})[:-1].encode()
            written.append(line_of(text, digest_of_step([each[step] for each in bits.values()], text)))
        for one, each in bits.items():
            rows_file(folder, one).write_bytes(begun.get(one, b"") * (recording.every == 1) + each.tobytes())
        (folder / JOURNAL).write_bytes(b"".join(written))
        write_recording_header(folder, told)

    return change


@pytest.fixture
def write_recording(tmp_path):
    """Record what the from-scratch Adam makes of weights and gradients, by name, a dict a step; the folder.

    What is None in a step has no gradient. before: steps that are taken and not recorded; wanted: which of the others
    are, and which elements.
    """

    def write(name, weights, gradients, *, hyper=None, before=0, framework="torch", epsilon="outside", **wanted):
        hyper = hyper or Hyper()
        folder = tmp_path / name
        own = Folder(folder, overwrite=False)
        about = {
            "framework": framework,
            "versions": {"numpy": np.__version__},
            "optimizer": "numpy.Adam",
            "device": "cpu",
            "implementation": f"numpy.adam.{epsilon}",
        }
        betas = {"betas": [hyper.beta1, hyper.beta2], "eps": hyper.eps, "amsgrad": hyper.amsgrad}
        decay = {"weight_decay": hyper.weight_decay, "decoupled_weight_decay": hyper.decoupled}
        shapes = [one.shape for one in weights.values()]
        recorder = Recorder(
            folder, Wanted(first=before + 1, **wanted), about, list(weights), shapes, [0] * len(weights)
        )

        def kept(arrays):
            flat = zip(arrays.values(), recorder.places, strict=True)
            return [None if one is None else one.reshape(-1)[slice(None) if at is None else at] for one, at in flat]

        def moment(w, m, v, t):
            states = {"w": w, "m": m, "v": v}
            return Moment({key: [one.copy() for one in kept(part)] for key, part in states.items()}, [t] * len(w))

        zeros = {key: np.zeros_like(one) for key, one in weights.items()}
        last = moment(weights, zeros, zeros, 0)
        with np.errstate(all="ignore"):
            states = run_adam(weights, iter(gradients), hyper, epsilon=Epsilon(epsilon))
            for step, (state, given) in enumerate(zip(states, gradients, strict=True), start=1):
                now = moment(state.w, state.m, state.v, step)
                if recorder.takes_next:
                    recorder.write(kept(given), last, now, [{"lr": hyper.lr_at(step), **betas, **decay}])
                else:
                    recorder.pass_over()
                last = now
        recorder.close()
        own.release()
        return folder

    return write


@pytest.fixture(scope="session")
def four_folder(tmp_path_factory, case_text, adam_text):
    """A run of four Adams, made once: two plug-ins of one text, two places of epsilon, two cases, two dtypes."""
    folder = tmp_path_factory.mktemp("four")
    expect = [TWO_AGAINST_ONE, USER_AGAINST_PAPER, HAT_AGAINST_PAPER]
    for name, seed, lr in (("small", 7, 1e-3), ("wide", 8, 1e-2)):
        text = case_text(seed=seed, dtypes=["float32", "float64"], hyper={"lr": lr, "eps": 1e-3}, expect=expect)
        (folder / f"{name}.toml").write_text(text)
    targets = []
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text(adam_text(name))
        targets.append(f"{folder / name}.py:{name}")
    cases = [folder / "small.toml", folder / "wide.toml"]
    parity.run(cases, [*targets, "numpy.adam.hat", "numpy.adam.outside"], output=folder / "run")
    return folder / "run"


@pytest.fixture(scope="session")
def four(four_folder):
    """The record of that run, for tests that change one thing in it."""
    return read_run(four_folder)


@pytest.fixture(scope="session")
def whole_catalogue(tmp_path_factory):
    """The whole catalogue on all implementations, explained, run once for all processes of a session.

    The run, and the lines that it logged.
    """
    root = tmp_path_factory.getbasetemp()
    # Each process of pytest-xdist has a folder of its own in that of the session.
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder, told = root / "whole-catalogue", root / "whole-catalogue.json"
    with (root / "whole-catalogue.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            records = []
            handler = logging.Handler()
            handler.emit = records.append
            log = logging.getLogger("parity")
            level = log.level
            log.addHandler(handler)
            log.setLevel("INFO")
            try:
                parity.run(output=folder, options=parity.Options(timeout=900, jobs=2))
            finally:
                log.removeHandler(handler)
                log.setLevel(level)
            told.write_text(json.dumps([one.getMessage() for one in records]))
    return read_run(folder), tuple(json.loads(told.read_text()))


HAT_EPSILON = [("(np.sqrt(v_hat) + f(hyper.eps))", "(np.sqrt(v_hat) + f(hyper.eps / (1 - hyper.beta2**t) ** 0.5))")]


@pytest.fixture(scope="session")
def sides(tmp_path_factory, case_text, adam_text):
    """Two sides of an upgrade after which a plug-in has another epsilon, and its case: (before, after, case).

    Each is recorded for real: in float32 and float64 before, in float32 and float16 after.
    """
    folder = tmp_path_factory.mktemp("sides")
    case, plugin = folder / "small.toml", folder / "plugin.py"
    case.write_text(case_text(dtypes=["float32", "float64", "float16"], hyper={"eps": 1e-3}))
    found = []
    for name, other, swap in (("1.0", "float64", ()), ("2.0", "float16", HAT_EPSILON)):
        plugin.write_text(adam_text("plugin", swap=swap))
        targets = [f"{plugin}:plugin", "numpy.adam.outside"]
        saved, _ = save_baseline(folder / name, [case], targets, ["float32", other])
        found.append(replace(saved_side(saved, f"adams=={name}"), packages={"adams": name, "numpy": "2.0"}))
    return *found, load_case_file(case)[0]


@pytest.fixture(scope="session")
def documents(sides):
    """What commands leave of these sides, by kind, as JSON values.

    The matrix has a release that is the same, one that changed, and one that cannot be had.
    """
    before, after, case = sides
    upgraded = hold_sides(before, after, [case])
    same = hold_sides(replace(after, name="adams==1.9"), after, [case])
    columns = (Column("1.0", upgraded), Column("1.5", None, "no /srv/wheels/of/it here"), Column("1.9", same))
    decisions = (Decision("1.5", Answer.UNTOLD, "it <hangs>"), Decision("1.9", Answer.CHANGED, "other bits"))
    releases = ("1.0", "1.5", "1.9", "2.0")
    search = Bisected(Range("adams", "1.0", "2.0"), releases, decisions, Suspects("1.0", ("1.5", "1.9")), upgraded)
    command = ("parity", "upgrade", "--before", "adams==1.0", "--after-python", "/opt/secret/bin/python")
    found = {
        "upgrade": upgrade_to_json(replace(upgraded, command=command)),
        "matrix": matrix_to_json(ReleaseMatrix("adams", "adams==2.0", columns)),
        "bisect": bisected_to_json(search),
        "baseline": checked_to_json(upgraded.checked),
    }
    return {name: json.loads(json.dumps(value)) for name, value in found.items()}
