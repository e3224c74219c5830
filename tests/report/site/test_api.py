"""The page of the API has every public name with its signature, and no other; that of the commands, every flag."""

from __future__ import annotations

import inspect
import re
import sys
from html import unescape
from pathlib import Path
from typing import Any

import click
import pytest

import parity
from parity.api.explain import explain
from parity.api.identify import identify
from parity.baseline.bisection import Range
from parity.baseline.side import Place
from parity.cli.main import cli
from parity.pytest_plugin import catalogue, options
from parity.pytest_plugin.fixture import Parity

sys.path.append(str(Path(__file__).parents[3] / "docs"))
from arguments import listed

MODULES = ("bridge", "wrap")
ASKED_FOR = {"parity.baseline.side.Place": Place, "parity.baseline.bisection.Range": Range}
"""What `upgrade` and `bisect` take."""
BESIDE = {"parity.api.explain.explain": explain, "parity.api.identify.identify": identify}
"""Two that cannot be called parity.explain and parity.identify: rooms are called so."""
PYTEST = {
    "parity.pytest_plugin.catalogue": catalogue,
    "parity.pytest_plugin.fixture.Parity": Parity,
    "parity.pytest_plugin.fixture.Parity.assert_same": Parity.assert_same,
    "parity.pytest_plugin.fixture.Parity.assert_identified": Parity.assert_identified,
}
LOOSE = {f"parity.{name}": getattr(parity, name) for name in parity.__all__ if name not in (*MODULES, "__version__")}
INSIDE = {
    "parity.live.wrap.torch": parity.wrap.torch,
    "parity.live.wrap.keras": parity.wrap.keras,
    "parity.live.wrap.optax": parity.wrap.optax,
}
BRIDGE = {f"parity.live.bridge.{name}" for name in parity.bridge.__all__}
PUBLIC: dict[str, Any] = {**LOOSE, **ASKED_FOR, **BESIDE, **PYTEST, **INSIDE}
SILENT = ("parity.Unsupported", "parity.ParityError", "parity.pytest_plugin.fixture.Parity")
SPEAK = {name: one for name, one in PUBLIC.items() if name not in SILENT}
"""Those that a user gives arguments of their own."""


def members(name: str) -> set[str]:
    """What stands in a class for everybody: its methods and properties."""
    kinds = (staticmethod, classmethod, property)
    inner = vars(PUBLIC[name]).items() if inspect.isclass(PUBLIC[name]) and "pytest" not in name else ()
    return {
        f"{name}.{one}"
        for one, value in inner
        if one[0] != "_" and (inspect.isfunction(value) or isinstance(value, kinds))
    }


def test_every_public_name_stands_there_once_and_no_other(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    entries = re.findall(r'<h\d id="(parity[\w.]*)"', page)
    modules = {f"parity.live.{name}" for name in MODULES}
    assert sorted(entries) == sorted({*PUBLIC, *BRIDGE, *modules, *set().union(*map(members, PUBLIC))})
    assert dir(parity) == sorted(parity.__all__)


@pytest.mark.parametrize("name", sorted(SPEAK.keys() | BRIDGE))
def test_an_entry_has_its_signature(name: str, site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    entry = re.split(r"<h[234] ", page.partition(f'id="{name}"')[2])[0]
    shown = unescape(re.sub(r"<[^>]*>", "", entry))
    called = name.rpartition(".")[2]
    signature = re.search(rf"\b{called}\(.*?\)( -> [^\n]*)?$", shown, re.DOTALL | re.MULTILINE)
    assert signature is not None
    if name not in BRIDGE:
        for argument in inspect.signature(PUBLIC[name]).parameters:
            if argument not in ("self", "test"):
                assert re.search(rf"\b{argument}\b", signature[0]), argument


@pytest.mark.parametrize("name", PUBLIC)
def test_a_docstring_begins_with_a_sentence_and_tells_every_argument(name: str) -> None:
    told = inspect.getdoc(PUBLIC[name])
    assert told is not None
    assert re.fullmatch(r"[A-Z][^\n]*[.:`]", told.partition("\n\n")[0]), name
    if name in SPEAK:
        for argument in inspect.signature(PUBLIC[name]).parameters:
            assert argument == "self" or re.search(rf"\b{argument}\b", told), argument


def test_arguments_are_listed_one_a_line_and_nothing_is_lost() -> None:
    text = "What it does.\n\nFirst this. a, b: both\nof them. Stays. c: last. ParityError where not."
    shown = listed(text, ["a", "b", "c"])
    assert shown == (
        "What it does.\n\nFirst this.\n\n- **a, b**: both of them. Stays.\n- **c**: last.\n\nParityError where not."
    )
    for one in PUBLIC.values():
        told = inspect.getdoc(one) or ""
        names = list(inspect.signature(one).parameters) if one in SPEAK.values() else []
        plain = re.sub(r"\n- |\*\*", " ", listed(told, names))
        assert re.sub(r"\s|\*", "", plain) == re.sub(r"\s|\*", "", told)


def test_every_command_and_flag_stands_there(site: Path) -> None:
    page = unescape(re.sub(r"<[^>]*>", "", (site / "commands.html").read_text(encoding="utf-8")))

    def walk(command: click.Command, path: str) -> int:
        assert path in page
        if isinstance(command, click.Group):
            context = click.Context(command)
            inner = [(command.get_command(context, name), name) for name in command.list_commands(context)]
            return sum(walk(one, f"{path} {name}") for one, name in inner if one is not None)
        flags = [
            flag for one in command.params if isinstance(one, click.Option) and not one.hidden for flag in one.opts
        ]
        section = page.partition(f"{path} [")[2].partition("\nparity ")[0] if flags else ""
        assert all(flag in section for flag in flags), path
        return len(flags)

    assert walk(cli, "parity") > 100
    for flag in ("--parity-report=DIR", "--parity-update", "--no-parity-explain", *options.MARKERS):
        assert flag.partition(":")[0] in page
