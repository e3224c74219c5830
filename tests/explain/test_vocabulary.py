"""docs/vocabulary.md: every family with its sentence, and its example names it."""

from __future__ import annotations

import re
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest

from parity.api.explain import explain
from parity.api.identify import identify
from parity.explain.causes import BENIGN, FORMULA, SENTENCES, Family
from parity.identify.fit import fit

sys.path.append(str(Path(__file__).parents[1] / "faults"))
from pairs import orbits

pytestmark = pytest.mark.thorough


DOCS = Path(__file__).parents[2] / "docs"
PARTS = re.split(r"^## ", (DOCS / "vocabulary.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
SECTIONS = {
    Family(name): text
    for part in PARTS
    for name, text in re.findall(r"^### (\S+)\n(.*?)(?=^### |\Z)", part, re.M | re.S)
}
COMMANDS = {
    family: found.groups()
    for family, text in SECTIONS.items()
    if (found := re.search(r"```sh\nparity explain (.*)\n# ([\w-]+): (.*)\n```", text))
}
CHANGES = {
    family: found.groups()
    for family, text in SECTIONS.items()
    if (found := re.search(r"```diff\n(.*?)```\n\nIdentified: (.*)\.\n", text, re.S))
}
ASKED = {Family.NON_FINITE, Family.NONDETERMINISM}
"""Told apart by questions in processes of their own: twice the same one, and gradients that are not finite."""
WITHOUT = {Family.RESTART: "assert_restarts", Family.DIVISION: "operation-order"}
"""With the word that their reason rests on."""


def test_every_family_stands_there_once_with_its_sentence() -> None:
    named = [re.findall(r"^### (\S+)$", part, re.MULTILINE) for part in PARTS]
    assert [set(one) for one in named] == [FORMULA, BENIGN, {Family.UNEXPLAINED}]
    assert sum(map(len, named)) == len(Family)
    for family, text in SECTIONS.items():
        assert text.strip().partition("\n")[0].lower() == f"{SENTENCES[family]}.".lower()


def test_what_has_no_example_says_so() -> None:
    assert {*COMMANDS} | {*CHANGES} == {*Family} - {*WITHOUT}
    assert {family for family, text in SECTIONS.items() if "\nNo example here: " in text} == {*WITHOUT}
    for family, word in WITHOUT.items():
        (reason,) = re.findall(r"^No example here: (.*)$", SECTIONS[family], re.MULTILINE)
        pages = [(DOCS / name).read_text(encoding="utf-8") for name in re.findall(r"\]\((.*)\)", reason)]
        assert any(word in text for text in (reason, *pages))


def test_nothing_is_told_as_a_quotient_today() -> None:
    """Which is why that family has no example."""
    sources = [path for path in (DOCS.parent / "parity").rglob("*.py") if path.name != "causes.py"]
    assert len(sources) > 200
    assert not [
        path for path in sources if re.search(r"Family\.DIVISION|\"division\"", path.read_text(encoding="utf-8"))
    ]


@cache
def causes(command: str) -> dict[str, str]:
    """What `parity explain` says of each family."""
    case, actual, expected, _, dtype = shlex.split(command)
    (found,) = explain(case, actual, expected, [dtype])
    return {str(cause.family): cause.detail for cause in found.causes}


@pytest.mark.frameworks
@pytest.mark.parametrize("family", COMMANDS)
def test_a_command_names_its_family(family: Family) -> None:
    command, named, told = COMMANDS[family]
    assert named == family
    # Of several things that differ the first is shown.
    assert re.match(re.escape(told) + r"($|[;:,])", causes(command)[family]), causes(command)[family]


def departures(source: str) -> dict[str, list[str]]:
    """What is read out of an Adam's answers to the questions of `parity identify`, by family."""
    module: dict[str, object] = {}
    exec(compile(source, "my_adam.py", "exec"), module)
    found: dict[str, list[str]] = {}
    for cause in fit(orbits(module["run"], "float64"), "outside").causes:
        found.setdefault(cause.family, []).append(cause.detail)
    return found


MY_ADAM = (DOCS / "same.md").read_text(encoding="utf-8").split("`my_adam.py`:\n\n```python\n")[1].split("```")[0]


@cache
def unchanged() -> dict[str, list[str]]:
    return departures(MY_ADAM)


def asked(source: str, folder: Path) -> dict[str, list[str]]:
    """The same, by `parity identify` itself."""
    (folder / "my_adam.py").write_text(source, encoding="utf-8")
    found: dict[str, list[str]] = {}
    for cause in identify(f"{folder / 'my_adam.py'}:run", ["float64"])["float64"].causes:
        found.setdefault(cause.family, []).append(cause.detail)
    return found


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("family", CHANGES)
def test_a_change_is_identified_by_its_family(family: Family, tmp_path: Path) -> None:
    lines, told = CHANGES[family]
    assert len(lines.splitlines()) == 2
    before = "".join(line[1:] + "\n" for line in lines.splitlines() if line[0] in " -")
    after = "".join(line[1:] + "\n" for line in lines.splitlines() if line[0] in " +")
    assert MY_ADAM.count(before) == 1
    if family in ASKED:
        changed = asked(MY_ADAM.replace(before, after), tmp_path)
        assert family not in asked(MY_ADAM, tmp_path)
        assert any(all(part in detail for part in told.split(" ... ")) for detail in changed[family])
    else:
        assert told in departures(MY_ADAM.replace(before, after))[family]
        assert told not in unchanged().get(family, [])
