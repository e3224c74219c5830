"""An interpreter that is named on a command line: a Python that can run a worker, or one clear line."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from parity.baseline.environments.installs import build_environment
from parity.baseline.environments.interpreter import check_interpreter, find_interpreter, runnable_under, unmet_under
from parity.core.errors import ParityError
from parity.engine.candidates import describe_plugin, shipped_candidates

CANDIDATES = shipped_candidates()


def refused(call, *arguments):
    with pytest.raises(ParityError) as caught:
        call(*arguments)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A Python with nothing but its standard library."""
    folder = tmp_path_factory.mktemp("bare") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return str(folder / "bin" / "python")


@pytest.fixture
def program(tmp_path):
    """Write an executable file with this text; its path."""

    def write(text):
        path = tmp_path / "program"
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return write


def test_this_interpreter_passes():
    found = check_interpreter(sys.executable, "--before-python")
    assert found.path == sys.executable
    assert found.version == tuple(sys.version_info[:3])
    assert not found.lacks


def test_one_on_the_path_and_links_are_not_followed(bare, monkeypatch):
    """What makes a virtual environment is the link itself."""
    monkeypatch.setenv("PATH", os.path.dirname(bare))
    assert find_interpreter("python", "--before-python").path == bare
    assert os.path.islink(bare)


def test_what_is_no_python(program, tmp_path):
    def line(python):
        return refused(check_interpreter, python, "--before-python")

    assert line("/bin/true") == "--before-python /bin/true: is no Python interpreter (exit status 0)"
    assert "is no Python interpreter (exit status 1" in line("/bin/false")
    assert "is no Python interpreter (exit status" in line("/bin/cat")
    assert line(str(tmp_path)).endswith("cannot be executed; allowed: the path of a Python interpreter")
    assert "there is no such file" in line(str(tmp_path / "python"))
    assert "is no Python interpreter (Exec format error)" in line(program("no script"))
    assert "is no Python interpreter" in line(program("#!/bin/sh\necho '{}'\n"))
    assert "is no Python interpreter" in line(program("#!/bin/sh\necho 3.11\n"))


def test_one_that_never_answers(program, monkeypatch):
    monkeypatch.setattr("parity.baseline.environments.interpreter._SECONDS", 0.2)
    line = refused(check_interpreter, program("#!/bin/sh\nexec sleep 60\n"), "--after-python")
    assert line.endswith("is no Python interpreter (no answer in 0.2 s)")


def test_one_that_is_too_old(program):
    """Its answer, as Python 3.9 gives it."""
    answer = '{"version": [3, 9, 2], "about": ["CPython", "linux", "x86_64"], "lacks": ""}'
    line = refused(check_interpreter, program(f"#!/bin/sh\necho '{answer}'\n"), "--before-python")
    assert line.endswith("is Python 3.9.2; allowed: 3.11 and newer, which a worker needs")


def test_one_without_numpy(bare):
    line = refused(check_interpreter, bare, "--before-python")
    assert line.startswith(f"--before-python {bare}: numpy cannot be imported (ModuleNotFoundError: ")
    assert line.endswith("a worker needs numpy and ml_dtypes: install them there")
    assert find_interpreter(bare, "--before-python").lacks


def test_numpy_of_this_interpreter_is_not_lent_to_it(bare, monkeypatch):
    numpy = pytest.importorskip("numpy")
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(os.path.dirname(numpy.__file__)))
    monkeypatch.chdir(os.path.dirname(os.path.dirname(numpy.__file__)))
    assert "numpy cannot be imported" in refused(check_interpreter, bare, "--before-python")


def test_what_a_worker_without_numpy_says(bare):
    line = refused(unmet_under, bare, CANDIDATES)
    assert "no worker runs there: the worker process died" in line
    assert "No module named 'numpy'" in line


def test_which_implementations_an_environment_has(quick_index, write_adam, tmp_path):
    python = build_environment(["young==2.0"]).python
    unmet = unmet_under(python, CANDIDATES)
    assert list(unmet) == [one.name for one in CANDIDATES]
    assert all(unmet.values())
    assert {lacks for name, lacks in unmet.items() if name.startswith("numpy.")} == {("numba",)}
    assert unmet["keras.adam.xla"] == ("tensorflow", "keras>=3")
    plugin = describe_plugin(write_adam("mine"), tmp_path)
    assert runnable_under(python, [plugin, *CANDIDATES], "--before") == (plugin,)
    lacking = [one for one in CANDIDATES if one.worker == "torch"]
    line = refused(runnable_under, python, lacking, "--before young==2.0")
    assert line == (
        "--before young==2.0: no implementation can run there: torch.adam.forloop needs torch "
        f"(and {len(lacking) - 1} more cannot run either)"
    )
