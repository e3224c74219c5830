"""What an implementation needs is looked up, not imported."""

from __future__ import annotations

import sys

import pytest

from parity.implementations.need import unmet
from parity.implementations.registry import shipped_implementations


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Make a package of that name and release importable, which explodes when it is imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, release):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('was imported')\n")
        (tmp_path / f"{name}-{release}.dist-info").mkdir()
        (tmp_path / f"{name}-{release}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {release}\n")

    return make


def test_a_module(install):
    install("framework", "2.15.0")
    assert unmet("framework") == ""
    assert unmet("no_such_framework") == "no_such_framework is not installed"
    assert "framework" not in sys.modules


@pytest.mark.parametrize(("release", "old"), [("2.15.0", True), ("3.0.0rc1", False), ("10.2", False)])
def test_a_bound_on_its_release(install, release, old):
    install("framework", release)
    assert unmet("framework<3") == ("" if old else f"framework<3 is not installed (framework {release} is)")
    assert unmet("framework>=3") == (f"framework>=3 is not installed (framework {release} is)" if old else "")


def test_alternatives(install):
    install("framework", "3.1")
    assert unmet("other|framework") == ""
    assert unmet("other|framework>=3") == ""
    assert unmet("other|framework<3") == "other or framework<3 is not installed (framework 3.1 is)"
    assert unmet("other|another") == "other or another is not installed"


def test_every_need_of_the_shipped_ones_is_understood():
    needs = {need for one in shipped_implementations().values() for need in one.needs}
    assert {"torch", "keras>=3", "tf_keras|keras<3", "optax"} <= needs
    assert {unmet(need) for need in needs} == {""}


def test_one_that_cannot_be_understood():
    with pytest.raises(ValueError, match="a need is 'module'"):
        unmet("keras==3")
