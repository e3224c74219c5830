"""What a name on the command line means; listing runs nobody's code."""

from __future__ import annotations

import sys

import pytest

from parity.core.errors import ParityError
from parity.implementations.implementation import Implementation
from parity.implementations.registry import (
    check_target,
    installed_plugins,
    is_plugin,
    resolve,
    shipped_implementations,
)

EXPLODES = "raise RuntimeError('this code must not be run')\n"


@pytest.fixture
def entry_point(tmp_path, monkeypatch):
    """Make an installed package out of thin air that offers an implementation."""

    def offer(name, value, code):
        (tmp_path / "offered.py").write_text(code)
        facts = tmp_path / "offered-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[parity.implementations]\n{name} = {value}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    yield offer
    sys.modules.pop("offered", None)


def test_names_are_those_of_the_design():
    names = set(shipped_implementations())
    assert names >= {
        *(f"numpy.adam.{variant}" for variant in ("outside", "hat", "inside")),
        *(f"torch.adam.{variant}" for variant in ("forloop", "foreach", "fused")),
        *(f"keras.adam.{variant}" for variant in ("eager", "function", "xla")),
        "tensorflow.adam.kernel",
        *(f"tf_keras.adam.{variant}" for variant in ("legacy", "new")),
        *(f"optax.adam.{variant}" for variant in ("plain", "jit")),
    }
    assert all(name == one.name for name, one in shipped_implementations().items())


def test_a_shipped_name_is_no_plugin():
    assert not is_plugin("numpy.adam.outside")
    assert resolve("numpy.adam.outside") is shipped_implementations()["numpy.adam.outside"]


def test_a_function_in_a_file(write_adam):
    implementation = resolve(write_adam("mine"))
    assert (implementation.name, implementation.framework) == ("user.mine", "user")


def test_an_implementation_in_a_file_keeps_its_facts(tmp_path):
    path = tmp_path / "facts.py"
    path.write_text(
        "from parity import Hyper, Implementation\n"
        "adam = Implementation('mine.adam', print, dtypes=('float32',), defaults=Hyper(eps=1e-7))\n"
    )
    implementation = resolve(f"{path}:adam")
    assert isinstance(implementation, Implementation)
    assert (implementation.name, implementation.dtypes) == ("user.mine.adam", ("float32",))
    assert implementation.defaults.eps == 1e-7


def test_a_module(write_adam, tmp_path, monkeypatch):
    write_adam("module_of_a_test")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert resolve("module_of_a_test:module_of_a_test").name == "user.module_of_a_test"


@pytest.mark.parametrize("target", ["offered", "user.offered"])
def test_an_entry_point_goes_by_the_name_under_which_it_is_listed(entry_point, target):
    entry_point("offered", "offered:run", "def run(weights, gradients, hyper):\n    yield\n")
    check_target(target)
    assert resolve(target).name == "user.offered"


def test_listing_entry_points_runs_none_of_them(entry_point):
    entry_point("offered", "offered:run", EXPLODES)
    assert "offered" in installed_plugins()
    check_target("offered")


def test_checking_a_target_does_not_run_it(tmp_path):
    (tmp_path / "bomb.py").write_text(EXPLODES)
    check_target(f"{tmp_path / 'bomb.py'}:run")


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("torch.adam.forlop", "did you mean 'torch.adam.forloop'?"),
        ("numpy.adam", "is unknown; a name, 'module:attribute' or 'file.py:attribute'; allowed: "),
        ("file.py:", "'' after the colon is no attribute name"),
        ("file.py:run()", "'run()' after the colon is no attribute name"),
        ("nowhere.py:run", "there is no file 'nowhere.py'"),
    ],
)
def test_a_target_that_can_mean_nothing_is_one_line(target, told):
    with pytest.raises(ParityError) as caught:
        check_target(target)
    assert f"implementation {target!r}" in str(caught.value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("{file}:rum", "no attribute 'rum'; allowed: answer, run; did you mean 'run'?"),
        ("{file}:answer", "is a int; allowed: a parity.Implementation or a run function"),
        ("no_such_module:run", "there is no module 'no_such_module'"),
        ("json.no_such_part:run", "there is no module 'json.no_such_part'"),
    ],
)
def test_a_target_that_names_nothing_of_use_is_one_line(tmp_path, target, told):
    path = tmp_path / "plain.py"
    path.write_text("answer = 42\ndef run(weights, gradients, hyper):\n    yield\n")
    with pytest.raises(ParityError) as caught:
        resolve(target.format(file=path))
    assert str(caught.value).endswith(told)


def test_a_module_that_needs_another_says_which(tmp_path):
    path = tmp_path / "needy.py"
    path.write_text("import no_such_dependency\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        resolve(f"{path}:run")
