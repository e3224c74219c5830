"""What README.md and the pages show is run, what they quote is what is printed, and every link leads somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import yaml

import parity as parity_library
from parity.cli.main import cli

# One file after the other: it has to come early, or one process is left alone with it.
pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parent.parent
ELSEWHERE = {"cluster": "tests/engine/test_cluster.py"}
"""Pages whose commands another test runs; the examples of docs/vocabulary.md, tests/explain/test_vocabulary.py."""
TEXTS = {path: path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md"))]}
README = TEXTS[ROOT / "README.md"]
PAGES = {
    path.stem: text
    for path, text in TEXTS.items()
    if (path.parent != ROOT and path.stem not in ELSEWHERE) or path.name == "SKILL.md"
}
"""What is run: README shows nothing that does not stand on a page."""
BLOCK = re.compile(r"(?:`([\w./]+)`:\n\n)?```(\w*)\n(.*?)```", re.DOTALL)
MAKE = {"make report", "make test"}
LATEST = "reports/latest"
"""What `make report` leaves."""


def blocks(page: str, language: str) -> list[tuple[str, str]]:
    """(file name, text) of the fenced blocks of a page in a language."""
    return [(name, text) for name, told, text in BLOCK.findall(page) if told == language]


def commands(page: str) -> list[tuple[str, list[str]]]:
    """Every command that a page shows, with the lines that are shown of its output."""
    found: list[tuple[str, list[str]]] = []
    for _, text in blocks(page, "console"):
        for line in text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def prose(text: str) -> str:
    """A text without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """For every page one folder, with the files that any of them names, written as they are shown."""
    files = {
        name: text
        for page in PAGES.values()
        for language in ("python", "toml")
        for name, text in blocks(page, language)
        if name
    }
    assert set(files) == {"my_adam.py", "my_case.toml", "my_training.toml", "test_my_adam.py"}
    made: dict[str, Path] = {}

    def of(page: str) -> Path:
        if page not in made:
            made[page] = tmp_path_factory.mktemp(page)
            for name, text in files.items():
                (made[page] / name).write_text(text, encoding="utf-8")
            shutil.copytree(ROOT / "examples", made[page] / "examples")
        return made[page]

    return of


def parity(arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    name, rest = arguments.split(" ", 1)
    assert name in ("parity", "pytest", "python")
    command = f"{Path(sys.executable).parent / name} {rest}"
    return subprocess.run(command, cwd=folder, shell=True, capture_output=True, text=True, timeout=1100)


def untimed(line: str) -> str:
    """A line without the seconds that pytest took, nor the rule whose length depends on them."""
    return re.sub(r"^=+ (.*) in [\d.]+s( \([\d:]+\))? =+$", r"\1", line)


DOWNLOADS = (pytest.mark.network, pytest.mark.timeout(1200))


@pytest.mark.thorough
@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("page", "command", "shown"),
    [
        pytest.param(page, *one, marks=DOWNLOADS if "==" in one[0] else ())
        for page, text in PAGES.items()
        for one in commands(text)
    ],
)
def test_a_command_prints_what_is_shown(
    page: str, command: str, shown: list[str], folder: Callable[[str], Path]
) -> None:
    finished = parity(command, folder(page))
    # Trainings that part are what is shown of a comparison.
    assert finished.returncode == command.startswith(("parity compare ", "parity upgrade --after-env ")), (
        finished.stdout + finished.stderr
    )
    printed = [untimed(line.rstrip()) for line in finished.stdout.splitlines()]
    assert shown[0] == "...", "only the end of an output is shown"
    *some, end = pieces([untimed(line) for line in shown])
    assert printed[len(printed) - len(end) :] == end
    rest = printed[: len(printed) - len(end)]
    for piece in some:
        where = [at for at in range(len(rest)) if rest[at : at + len(piece)] == piece]
        assert where, (piece, rest)
        rest = rest[where[0] + len(piece) :]


def pieces(shown: list[str]) -> list[list[str]]:
    """The lines between those that stand for others."""
    found: list[list[str]] = []
    for line in shown:
        if line == "...":
            found.append([])
        else:
            found[-1].append(line)
    return found


def test_what_the_readme_shows_stands_on_a_page() -> None:
    """There it is run."""
    shown = [one for page in PAGES.values() for one in commands(page)]
    ours = commands(README)
    assert {command for command, _ in ours} > MAKE
    for command, lines in ours:
        assert (command, lines) in shown or (command in MAKE and not lines), command
    programs = [text for page in PAGES.values() for _, text in blocks(page, "python")]
    for _, text in blocks(README, "python"):
        assert any(text in program for program in programs), text


def test_the_readme_is_read_in_five_minutes_and_knows_every_page() -> None:
    assert len(README.splitlines()) < 200
    assert commands(README)[0][0] in MAKE
    for path in TEXTS:
        assert path.name == "README.md" or f"]({path.relative_to(ROOT).as_posix()})" in README, path.name


def test_a_page_that_is_not_run_here_is_run_elsewhere() -> None:
    for page, test in ELSEWHERE.items():
        assert commands(TEXTS[ROOT / "docs" / f"{page}.md"])
        assert f'"{page}.md"' in (ROOT / test).read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """What headings are called in an address."""
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    }


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(TEXTS[path])):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        leads = (path.parent / name).resolve() if name else path
        assert leads.exists(), target
        assert leads.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(leads.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_command_option_and_name_of_the_library_is_one(path: Path) -> None:
    """Of those that stand in a sentence or a table."""
    for told in re.findall(r"`parity ([^`]+)`", prose(TEXTS[path])):
        command: click.Command = cli
        words = told.split()
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            found = command.get_command(click.Context(command), words.pop(0))
            assert found is not None, told
            command = found
        ours = words[: words.index("--")] if "--" in words else words
        options = {one for parameter in command.params for one in parameter.opts} | {"--help"}
        assert {word.partition("=")[0] for word in ours if re.match("--?[a-z]", word)} <= options, told
    for name in re.findall(r"`parity\.((?!toml)\w+)[`(.]", prose(TEXTS[path])):
        assert hasattr(parity_library, name) or importlib.util.find_spec(f"parity.{name}"), name


TARGETS = {name for text in TEXTS.values() for name in re.findall(r"`(make [\w-]+)`", text)}


@pytest.mark.parametrize("command", sorted(TARGETS | MAKE))
def test_a_make_target_that_is_shown_exists(command: str) -> None:
    finished = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("words", ["cases", "implementations", "metrics", "conventions"])
def test_a_listing_that_is_named_lists(words: str, folder: Callable[[str], Path]) -> None:
    assert f"`parity list {words}`" in PAGES["cases"]
    finished = parity(f"parity list {words}", folder("cases"))
    assert finished.returncode == 0
    assert finished.stdout.splitlines()[0].startswith("name")


PROGRAMS = {
    page: program
    for page, text in PAGES.items()
    if (program := "\n".join(block for name, block in blocks(text, "python") if not name))
}
LAST = {
    "checkpoints": "",
    "epsilon": "",
    "python": "DIVERGED ",
    "trainings": "the models are alike: ",
}
"""How the last line begins that a page's program prints."""


@pytest.mark.thorough
@pytest.mark.parametrize("page", PROGRAMS)
def test_the_python_blocks_of_a_page_run_in_order(page: str, folder: Callable[[str], Path]) -> None:
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAMS[page]],
        cwd=folder(page),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.rstrip().rpartition("\n")[2].startswith(LAST[page])


def test_what_is_quoted_of_a_file_stands_in_it() -> None:
    """Lines of a report one by one; of anything else all of them as they stand."""
    text = "\n".join(TEXTS.values())
    reports = re.findall(r"^<!-- excerpt: (\S+) -->\n((?:> .*\n)+)", text, re.MULTILINE)
    files = re.findall(r"^<!-- excerpt: (\S+) -->\n```\w+\n(.*?)```\n", text, re.MULTILINE | re.DOTALL)
    assert len(reports) >= 2
    assert len(files) >= 9
    assert len(reports) + len(files) == text.count("<!-- excerpt")
    for name, quoted in reports:
        report = (ROOT / name).read_text(encoding="utf-8")
        for line in quoted.splitlines():
            assert line.removeprefix("> ") in report, name
    for name, quoted in files:
        assert quoted in (ROOT / name).read_text(encoding="utf-8"), name


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_path_that_is_named_is_there(path: Path) -> None:
    """Those of the repository, from its root."""
    for name in re.findall(r"`((?:parity|tests|cases|docs|reports|examples|benchmarks)/[^`\s]*)`", prose(TEXTS[path])):
        assert (ROOT / name).exists() or name == LATEST, name


@pytest.mark.thorough
@pytest.mark.frameworks
def test_the_workflow_for_ci_does_what_it_says(folder: Callable[[str], Path], tmp_path: Path) -> None:
    """Every step that calls parity is run, as the shell of a CI job runs it; what is uploaded is there."""
    ((_, text),) = blocks(PAGES["ci"], "yaml")
    place = folder("ci")
    steps = yaml.safe_load(text)["jobs"]["adam"]["steps"]
    ran = [step["run"] for step in steps if step.get("run", "").startswith("parity ")]
    assert len(ran) == 2
    summary = tmp_path / "summary.md"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "GITHUB_STEP_SUMMARY": str(summary), "PATH": path}
    save = ran[1].replace("check", "save --update").partition(" --markdown")[0]
    for command in (save, *ran):
        finished = subprocess.run(
            ["bash", "-e", "-c", command], cwd=place, env=environment, capture_output=True, text=True, timeout=280
        )
        assert finished.returncode == 0, finished.stderr
    told = summary.read_text(encoding="utf-8")
    assert told.startswith("### Adam parity: as expected\n")
    assert "### Adam against the baseline: 5 identical\n" in told
    (uploaded,) = [step["with"]["path"].split() for step in steps if "upload" in step.get("uses", "")]
    assert [name for name in uploaded if (place / name).exists()] == ["junit.xml", "runs/latest/report.md"]


def test_the_kept_report_is_of_this_catalogue_and_the_pinned_versions() -> None:
    from parity.case.catalogue import load_catalogue, shipped_cases

    report = (ROOT / "reports" / "reference" / "report.md").read_text(encoding="utf-8")
    names = [case.name.replace("[", "\\[") for case in load_catalogue(shipped_cases())]
    cases = report[report.index("## Cases") :]
    assert re.findall(r"^### (.*)$", cases, re.MULTILINE) == names
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    for package in ("keras", "numpy", "torch"):
        assert f"{package} {pins[package]}" in report


def test_how_many_adams_are_named_is_told_as_it_was_counted() -> None:
    from parity.case.catalogue import shipped_cases
    from parity.engine.power import Asked, read_power
    from parity.report.names import tables

    counted = read_power(shipped_cases()).names
    assert tables(counted) in PAGES["identify"]
    assert not sum(one.falsely for one in counted)
    whole = [one for one in counted if not one.family]
    (asked, named), (pairs, named_pairs) = (
        [sum(getattr(one, what) for one in whole if one.kind == kind) for what in ("asked", "named")]
        for kind in (Asked.ONE_FAULT, Asked.TWO_FAULTS)
    )
    told = (
        f"Of {asked} wrong Adams that `make power` makes by program it names {named}, of {pairs} that are wrong in two "
        f"ways {named_pairs}, none falsely."
    )
    assert told in " ".join(README.split())


def test_the_rooms_that_are_shown_are_there() -> None:
    tree = next(text for _, text in blocks(PAGES["design"], "") if text.startswith("parity/"))
    for name in re.findall(r"^  ([\w.]+?)/?  ", tree, re.MULTILINE):
        assert (ROOT / "parity" / name).exists(), name
