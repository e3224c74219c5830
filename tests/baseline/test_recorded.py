"""Traces made under another interpreter are those that this one makes, where the versions are the same."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from parity.baseline.environments.installs import build_environment
from parity.baseline.saving import record_under
from parity.case.catalogue import load_case_file, select_cases
from parity.comparison.trace import read_trace
from parity.engine.candidates import describe_plugin, shipped_candidates, under
from parity.engine.plan import Cell, Plan
from parity.engine.run import Options, execute, load_part

pytestmark = pytest.mark.thorough


NUMPY = [one for one in shipped_candidates() if one.worker == "numpy"]
OWN = {"plain": {}, "squared": {"swap": [("f(1 - hyper.beta2) * g * g", "f(1 - hyper.beta2) * (g * g)")]}}
"""Two Adams that need NumPy and nothing else."""
DTYPES = ("float64", "float32", "float16", "bfloat16")


@pytest.fixture
def small(write_case):
    return load_case_file(write_case(dtypes=list(DTYPES)))


def bits(folder):
    trace = read_trace(folder)
    return {quantity: trace.array(quantity).tobytes() for quantity in trace.quantities}


def named(*names):
    return [one for one in shipped_candidates() if one.name in names]


def test_an_isolated_environment_makes_the_same_bits(quick_index, small, write_adam, tmp_path, monkeypatch):
    """And has nothing of this one: neither pandas nor pydantic is there to be imported."""
    python = build_environment(["young==1.0"]).python
    adams = [describe_plugin(write_adam(name, **changed), tmp_path) for name, changed in OWN.items()]
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "ml_dtypes.py").write_text("raise ImportError('of another interpreter')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.chdir(tmp_path / "path")
    there = list(record_under(python, small, [*adams, *NUMPY], DTYPES, tmp_path / "there"))
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.chdir(tmp_path)
    here = list(record_under("", small, adams, DTYPES, tmp_path / "here"))
    assert len(here) == len(adams) * len(DTYPES)
    # The from-scratch Adam is machine code, and says so where its compiler is not.
    lacking = [one for one in there if one.implementation.startswith("numpy.")]
    assert len(lacking) == len(NUMPY) * len(DTYPES)
    assert {one.failure.reason for one in lacking if one.failure.kind == "missing"} == {"numba is not installed"}
    assert all(one.failure.kind in ("missing", "unsupported") for one in lacking)
    there = [one for one in there if one not in lacking]
    compared = 0
    for one, other in zip(there, here, strict=True):
        assert (one.case, one.dtype, one.implementation) == (other.case, other.dtype, other.implementation)
        assert one.failure is other.failure is None
        assert one.folder == tmp_path / "there" / one.case / one.dtype / one.implementation
        assert bits(one.folder) == bits(other.folder)
        packages = read_trace(one.folder).environment["packages"]
        assert set(packages) == {"numpy", "ml_dtypes"}
        assert packages.items() <= read_trace(other.folder).environment["packages"].items()
        compared += 1
    assert compared == len(OWN) * len(DTYPES)


def test_a_recording_is_the_trace_of_a_run(run_small, small, tmp_path):
    run_small("numpy.adam.outside", "numpy.adam.hat", options=Options(keep_traces=True))
    (one,) = record_under(sys.executable, small, named("numpy.adam.hat"), ["float32"], tmp_path / "there")
    kept = read_trace(tmp_path / "run" / "traces" / "small" / "float32" / "numpy.adam.hat")
    made = read_trace(one.folder)
    assert bits(one.folder) == bits(kept.folder)
    assert (made.input_digest, made.digests, made.environment) == (kept.input_digest, kept.digests, kept.environment)
    assert sorted(path.name for path in one.folder.parent.iterdir()) == ["numpy.adam.hat"]


def test_each_recording_is_whole_when_it_comes(small, tmp_path):
    """So that a caller who removes what it has read needs no room for all."""
    recording = record_under("", small, named("numpy.adam.hat"), ["float64", "float32"], tmp_path)
    first = next(recording)
    assert np.any(read_trace(first.folder).array("w"))
    assert not (tmp_path / "small" / "float32").exists()
    assert next(recording).dtype == "float32"
    recording.close()


def test_what_fails_is_a_value_and_stops_nobody(small, write_adam, tmp_path, quick_index):
    python = build_environment(["young==1.0"]).python
    dying = describe_plugin(write_adam("dying", before="if t == 3: os._exit(7)"), tmp_path)
    raising = describe_plugin(write_adam("raising", before="if t == 2: raise ValueError('planted')"), tmp_path)
    steady = describe_plugin(write_adam("steady"), tmp_path)
    chosen = [dying, *named("numpy.adam.hat", "keras.adam.eager"), steady, raising]
    recorded = {one.implementation: one for one in record_under(python, small, chosen, ["float32"], tmp_path)}
    failures = {name: one.failure and (one.failure.kind, one.failure.step) for name, one in recorded.items()}
    assert failures == {
        "user.dying": ("died", 3),
        "numpy.adam.hat": ("missing", 0),
        "user.steady": None,
        "keras.adam.eager": ("missing", 0),
        "user.raising": ("raised", 2),
    }
    assert recorded["keras.adam.eager"].failure.reason == "tensorflow is not installed"
    assert recorded["numpy.adam.hat"].failure.reason == "numba is not installed"
    assert read_trace(recorded["user.steady"].folder).steps == 5


def test_modules_of_the_engine_do_not_lie_about(small, write_adam, tmp_path):
    """A script's folder is searched first, and the script that starts the worker stands among theirs."""
    importing = describe_plugin(write_adam("importing", first="import plan"), tmp_path)
    (one,) = record_under(sys.executable, small, [importing], ["float32"], tmp_path)
    assert "No module named 'plan'" in one.failure.reason


def test_an_interpreter_that_is_none_fails_every_cell(small, tmp_path):
    recorded = list(record_under(str(tmp_path / "python"), small, named("numpy.adam.hat"), DTYPES, tmp_path / "out"))
    assert len(recorded) == len(DTYPES)
    for one in recorded:
        assert one.failure.kind == "died"
        assert "cannot be started (No such file or directory)" in one.failure.reason
    assert not list(Path(tmp_path).glob("out/**/*.npy"))


@pytest.mark.frameworks
@pytest.mark.parametrize("name", ["keras.adam.eager", "optax.adam.jit"])
def test_a_framework_under_this_interpreter_as_another(name, tmp_path):
    cases = select_cases(keyword="same-hyperparameters")
    (there,) = record_under(sys.executable, cases, named(name), ["float32"], tmp_path / "there")
    (here,) = record_under("", cases, named(name), ["float32"], tmp_path / "here")
    assert bits(there.folder) == bits(here.folder)
    assert read_trace(there.folder).environment == read_trace(here.folder).environment


@pytest.mark.parametrize(("python", "kept"), [("", True), (sys.executable, False)])
def test_a_result_of_another_interpreter_is_not_taken_over(small, tmp_path, python, kept):
    """What is installed there may have changed under the same path."""
    pair = ("numpy.adam.hat", "numpy.adam.outside")
    chosen = tuple(under(one, python) if python else one for one in named(*pair))
    cell = Cell(small[0], "float32", chosen, (pair,))
    (tmp_path / "parts").mkdir()
    execute(Plan((cell,), ()), tmp_path, Options(), lambda *_: None)
    assert (load_part(tmp_path, cell, False, False) is not None) is kept
