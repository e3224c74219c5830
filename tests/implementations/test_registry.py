"""What a name on the command line means; listing runs nobody's code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import parity
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
        *(
            f"torch.adam.{variant}"
            for variant in ("forloop", "foreach", "fused", "differentiable", "compiled", "sparse")
        ),
        *(f"torch.adam.tensor_lr{variant}" for variant in ("", ".fused")),
        *(f"torch.adamw.{variant}" for variant in ("forloop", "foreach", "fused")),
        *(f"keras.adam.{variant}" for variant in ("eager", "function", "xla")),
        *(f"keras.adamw.{variant}" for variant in ("eager", "function", "xla")),
        "keras_torch.adam.eager",
        *(f"keras_jax.adam.{variant}" for variant in ("eager", "jit")),
        "tensorflow.adam.kernel",
        *(f"tf_keras.adam.{variant}" for variant in ("legacy", "new")),
        *(f"optax.{kind}.{variant}" for kind in ("adam", "adamw") for variant in ("plain", "jit")),
    }
    assert all(name == one.name for name, one in shipped_implementations().items())


def test_a_shipped_name_is_no_plugin():
    assert not is_plugin("numpy.adam.outside")
    assert resolve("numpy.adam.outside") is shipped_implementations()["numpy.adam.outside"]


def test_a_function_in_a_file(write_adam):
    implementation = resolve(write_adam("mine"))
    assert (implementation.name, implementation.framework) == ("user.mine", "user")


def test_a_file_that_was_rewritten_in_the_same_second_is_the_new_one(tmp_path):
    """As long as it was, and as old: Python would run the bytecode that it has kept of it."""
    path = tmp_path / "mine.py"
    program = (
        "import sys; sys.dont_write_bytecode = False; sys.path.insert(0, sys.argv[2])\n"
        "from parity.implementations.registry import resolve; print(resolve(sys.argv[1]).run.__defaults__)"
    )
    told = []
    for number in (1, 2):
        path.write_text(f"def run(weights, gradients, hyper={number}):\n    yield\n")
        os.utime(path, (10**9, 10**9))
        command = [sys.executable, "-c", program, f"{path}:run", str(Path(parity.__file__).parents[1])]
        told.append(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip())
    assert told == ["(1,)", "(2,)"]


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


PLAIN = """\
import numpy as np
answer = 42
def run(weights, gradients, hyper):
    yield
def narrow(weights, gradients):
    yield
class Called:
    def __call__(self, weights, gradients, hyper):
        yield
class Method:
    def run(self, weights, gradients, hyper):
        yield
class Stepwise:
    def __init__(self, weights, gradients, hyper): ...
    def __iter__(self): ...
class Iterated(Stepwise):
    def __next__(self): ...
method = Method()
begun = run({}, [], None)
"""

RUN_OF = "allowed: a run function, as '{}' makes one"


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("{file}:rum", "no attribute 'rum'; allowed: Called, Iterated, Method, Stepwise, method, narrow, run; "
                       "did you mean 'run'?"),
        ("{file}:answer", "is a int; allowed: a run function, a parity.Implementation, or an optimizer class"),
        ("{file}:narrow", "cannot be called as run(weights, gradients, hyper): too many positional arguments"),
        ("{file}:Called", "is the class Called; " + RUN_OF.format("adam = Called()")),
        ("{file}:Method", "is the class Method; " + RUN_OF.format("adam = Method().run")),
        ("{file}:method", "is a Method; " + RUN_OF.format("adam = method.run")),
        ("{file}:Stepwise", "is the class Stepwise; "
                            + RUN_OF.format("def run(*given): yield from Stepwise(*given)")),
        ("{file}:begun", "is a generator that has begun; allowed: the function that returns it"),
        ("{file}", "names a file and nothing in it; allowed: {file}:run, {file}:narrow, {file}:Called, {file}:Method, "
                   "{file}:Stepwise, {file}:Iterated, {file}:answer, {file}:method, {file}:begun"),
        ("nowhere.py", "there is no file 'nowhere.py'; 'file.py:run' names a function in one"),
        ("no_such_module:run", "there is no module 'no_such_module'"),
        ("json.no_such_part:run", "there is no module 'json.no_such_part'"),
    ],
)  # fmt: skip
def test_a_target_that_names_nothing_of_use_is_one_line(tmp_path, target, told):
    path = tmp_path / "plain.py"
    path.write_text(PLAIN)
    with pytest.raises(ParityError) as caught:
        resolve(target.format(file=path))
    assert str(caught.value).endswith(told.format(file=path))


def test_a_class_of_generators_is_a_run_function(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(PLAIN)
    assert resolve(f"{path}:Iterated").name == "user.Iterated"


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("import torch; adam = torch.optim.Adam([torch.ones(2)])",
         "is an optimizer that has its parameters already; allowed: its class, or "
         "parity.wrap.torch(lambda parameters: torch.optim.Adam(parameters))"),
        ("import keras; adam = keras.optimizers.Adam()",
         "is an optimizer; allowed: its class, or parity.wrap.keras(lambda: Adam(...))"),
        ("import optax; adam = optax.adam(1e-3)",
         "is a transformation; allowed: a function of optax, or parity.wrap.optax(lambda hyper: ...)"),
    ],
    ids=["torch", "keras", "optax"],
)  # fmt: skip
def test_an_optimizer_that_is_made_already_is_one_line(tmp_path, made, told):
    path = tmp_path / "made.py"
    path.write_text(made)
    with pytest.raises(ParityError) as caught:
        resolve(f"{path}:adam")
    assert str(caught.value) == f"implementation '{path}:adam' {told}"


def test_a_module_that_needs_another_says_which(tmp_path):
    path = tmp_path / "needy.py"
    path.write_text("import no_such_dependency\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        resolve(f"{path}:run")
