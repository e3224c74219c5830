"""From pins to an interpreter: built once, for real, from a local index; whatever goes wrong is one line."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parity.baseline.environments.installer import run_installer
from parity.baseline.environments.installs import READY, build_environment
from parity.core.cache import cache_folder
from parity.core.errors import ParityError

BUILD = (
    "import sys; from parity.baseline.environments.installs import build_environment; build_environment(sys.argv[1:])"
)


@pytest.fixture(autouse=True)
def own_shelf(monkeypatch, tmp_path):
    """Environments of this test alone: another command on this machine may be building one of its own."""
    monkeypatch.setenv("PARITY_CACHE", str(tmp_path / "cache"))


def shelf():
    return cache_folder() / "environments"


def leftovers():
    """What stands on the shelf beside finished environments and locks."""
    found = list(shelf().iterdir()) if shelf().exists() else []
    return [one.name for one in found if one.suffix != ".lock" and not (one / READY).exists()]


def refused(*pins, **arguments):
    """The one line with which pins are refused, once nothing half built is left."""
    with pytest.raises(ParityError) as caught:
        build_environment(pins, flag="--before", **arguments)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 600
    assert caught.value.exit_code == 4
    assert not leftovers()
    return line


def in_environment(python, code):
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout.strip()


def test_what_is_asked_for_is_there_and_nothing_of_ours(installer):
    lines = []
    built = build_environment(["Young == 1.0"], on_line=lines.append)
    assert set(built.packages) == {"young", "extra-part", "numpy", "ml-dtypes"}
    assert built.packages["numpy"] == importlib.metadata.version("numpy")
    assert built.pins == ("young==1.0",)
    assert built.notes == ()
    assert any("young" in line for line in lines)
    code = "import numpy, ml_dtypes, young, importlib.util as u; print(young.__version__, u.find_spec('pandas'))"
    assert in_environment(built.python, code) == "1.0 None"
    assert not leftovers()


def test_a_built_environment_is_used_again_however_the_pins_are_spelt(quick_index):
    first = build_environment(["young==1.0", "extra-part>=7"])
    before = os.stat(first.folder / READY).st_mtime_ns
    lines = []
    again = build_environment(["Extra_Part >=7", "young == 1.0"], on_line=lines.append)
    assert again == first
    assert lines == []
    assert os.stat(first.folder / READY).st_mtime_ns == before
    other = build_environment(["young==2.0", "extra-part>=7"])
    assert other.folder != first.folder


def test_the_folder_that_is_given_goes_before_the_variable(quick_index, tmp_path):
    built = build_environment(["extra_part==7.0"], cache=tmp_path / "mine")
    assert built.folder.is_relative_to(tmp_path / "mine")
    assert not shelf().exists()


def test_a_pin_in_pure_python_stands_against_what_others_ask_for_and_it_is_said(installer):
    built = build_environment(["demanding==1.0", "young==1.0"])
    assert built.packages["young"] == "1.0"
    assert built.packages["demanding"] == "1.0"
    assert built.packages["extra-part"] == "7.0"
    assert built.notes == ("demanding 1.0 asks for young>=2.0, and young 1.0 is there",)
    assert build_environment(["demanding==1.0", "young==1.0"]).notes == built.notes


def test_a_compiled_package_does_not(installer):
    line = refused("demanding==1.0", "compiled==1.0")
    assert line.startswith("--before compiled==1.0 demanding==1.0: ")
    assert "compiled==1.0" in line
    assert "compiled>=2.0" in line


def test_nor_does_one_that_is_not_pinned_to_one_release(installer):
    assert "young>=2.0" in refused("demanding==1.0", "young<2")


@pytest.mark.parametrize(
    ("pin", "said"),
    [
        ("keras=3.3", "'keras=3.3': no requirement"),
        ("", "'': no requirement"),
        ("keras==3.3.3 @", "no requirement"),
        ("young @ file:///young.whl", "names a place"),
        ("parity==1", "parity itself is never installed"),
        ("keras==3.3.3", "brings no TensorFlow, which keras.adam.* runs on; add a release of it, as --with"),
    ],
)
def test_a_pin_that_cannot_be_meant_is_refused_before_anything_is_built(pin, said, tmp_path):
    line = refused(pin, cache=tmp_path / "cache")
    assert line.startswith("--before ")
    assert said in line
    assert not (tmp_path / "cache").exists()


def test_no_pin_and_a_pin_that_comes_twice(tmp_path):
    assert "no pin is given" in refused(cache=tmp_path)
    line = refused("young==1.0", "Young>=1", cache=tmp_path)
    assert line == "--before: young is pinned twice, 'young==1.0' and 'Young>=1'; name it once"


def test_a_release_that_is_not_there(installer):
    line = refused("young==2.2")
    assert "young==2.2" in line
    if installer == "pip":
        assert "allowed: 1.0, 2.0, 2.1; did you mean 2.1?" in line


def test_a_package_that_is_misspelt(installer):
    assert refused("tensorflow-cpuu==2.16.2").endswith("did you mean 'tensorflow-cpu'?")


def test_an_index_that_cannot_be_reached(index, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    assert "no package index could be reached for optax==0.2.8" in refused("optax==0.2.8")


def test_an_index_that_uv_cannot_reach(quick_index, monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    assert "127.0.0.1:9" in refused("optax==0.2.8")


def test_a_python_without_venv_or_none_at_all(index, tmp_path):
    assert "/bin/true: is no Python interpreter" in refused("young==1.0", python="/bin/true")
    assert "there is no such file" in refused("young==1.0", python=str(tmp_path / "python"))


def test_a_cache_that_cannot_be_written(index, tmp_path):
    (tmp_path / "file").touch()
    line = refused("young==1.0", cache=tmp_path / "file" / "cache")
    assert "no environment can be built in" in line
    assert "PARITY_CACHE sets another" in line


LIMITED = """
import resource, sys
from parity.baseline.environments.installs import build_environment
from parity.core.errors import ParityError
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
try:
    build_environment(sys.argv[1:])
except ParityError as error:
    print(error)
"""


def test_no_room_on_the_disk(installer):
    """The kernel refuses to let any file grow beyond a megabyte, which some of NumPy's do."""
    ended = subprocess.run([sys.executable, "-c", LIMITED, "young==1.0"], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout.count("\n")) == (0, 1), ended.stderr
    # pip tells the error; uv does not live to tell it.
    assert "File too large" in ended.stdout or "uv was ended by SIGXFSZ" in ended.stdout
    assert not leftovers()
    assert build_environment(["young==1.0"]).packages["young"] == "1.0"


def test_an_environment_that_was_damaged_is_built_anew(quick_index):
    built = build_environment(["extra_part==7.0"])
    (built.folder / READY).write_text("{")
    again = build_environment(["extra_part==7.0"])
    assert again == built
    Path(built.python).unlink()
    assert build_environment(["extra_part==7.0"]) == built
    assert Path(built.python).exists()


def test_a_build_that_is_killed_leaves_nothing_that_is_used(index):
    builder = subprocess.Popen([sys.executable, "-c", BUILD, "young==1.0"], start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(cache_folder().glob("environments/.*/environment/lib/python*/site-packages/numpy*")):
        assert builder.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(builder.pid, signal.SIGKILL)
    builder.wait()
    assert len(leftovers()) == 1
    assert not list(shelf().glob(f"*/{READY}"))
    lines = []
    built = build_environment(["young==1.0"], on_line=lines.append)
    assert lines
    assert not leftovers()
    assert in_environment(built.python, "import young, numpy, ml_dtypes; print(young.__version__)") == "1.0"


def interrupt(line):
    raise KeyboardInterrupt


def test_an_interrupt_leaves_nothing(index):
    with pytest.raises(KeyboardInterrupt):
        build_environment(["young==1.0"], on_line=interrupt)
    assert not leftovers()


def test_an_interrupt_ends_the_installer(tmp_path):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_installer([sys.executable, "-c", code], tmp_path, interrupt)
    assert time.monotonic() - before < 30


def test_two_builders_at_once_build_one(quick_index):
    builders = [subprocess.Popen([sys.executable, "-c", BUILD, "young==2.0"], stderr=subprocess.PIPE) for _ in range(3)]
    assert [(one.communicate(timeout=120)[1], one.returncode) for one in builders] == [(b"", 0)] * 3
    assert len(list(shelf().glob(f"*/{READY}"))) == 1
    assert not leftovers()
    lines = []
    build_environment(["young==2.0"], on_line=lines.append)
    assert lines == []


def test_packages_on_our_path_are_not_taken_for_the_environments(index, monkeypatch, tmp_path):
    """With PYTHONPATH, pip would find NumPy there already and install none."""
    monkeypatch.setenv("PYTHONPATH", str(Path(importlib.metadata.distribution("numpy").locate_file(""))))
    built = build_environment(["young==1.0"])
    assert set(built.packages) >= {"numpy", "ml-dtypes"}
    assert json.loads((built.folder / READY).read_text())["packages"] == built.packages


@pytest.mark.network
def test_real_releases_and_those_that_are_not(monkeypatch, tmp_path):
    monkeypatch.setenv("PARITY_CACHE", str(tmp_path))
    built = build_environment(["ml_dtypes==0.5.1"])
    assert built.packages["ml-dtypes"] == "0.5.1"
    assert "there is no release ml-dtypes==99.0" in refused("ml_dtypes==99.0")
    line = refused("numpy==2.2.0", "tensorflow-cpu==2.16.2")
    assert "numpy==2.2.0" in line
    assert "tensorflow-cpu 2.16.2 depends on numpy<2.0.0" in line


def test_that_pip_is_looked_for_takes_no_module_away():
    """Setuptools, asked where pip is, throws out the distutils that a compiling torch has loaded."""
    code = (
        "import sys, setuptools, distutils; kept = sys.modules['distutils'];"
        "from parity.baseline.environments.installer import choose_installer; choose_installer();"
        "assert sys.modules['distutils'] is kept"
    )
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], check=True)
