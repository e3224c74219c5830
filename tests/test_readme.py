"""Everything README.md shows is run, and what it quotes is what is printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

# One file after the other: it has to come early, or one process is left alone with it.
pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:`([\w./]+)`:\n\n)?```(\w*)\n(.*?)```", re.DOTALL)
MAKE = {"make report", "make test"}


def blocks(language: str) -> list[tuple[str, str]]:
    """(file name, text) of the fenced blocks in a language."""
    return [(name, text) for name, told, text in BLOCK.findall(README) if told == language]


def commands() -> list[tuple[str, list[str]]]:
    """Every command that is shown, with the lines that are shown of its output."""
    found: list[tuple[str, list[str]]] = []
    for _, text in blocks("console"):
        for line in text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README names, written as it shows them."""
    place = tmp_path_factory.mktemp("readme")
    for language in ("python", "toml"):
        for name, text in blocks(language):
            match = re.search(rf"`(\w+\.toml)`:\n\n```toml\n{re.escape(text)}", README)
            if name or match:
                (place / (name or match[1])).write_text(text, encoding="utf-8")  # type: ignore[index]
    shown = {"my_adam.py", "my_case.toml", "my_training.toml", "test_my_adam.py"}
    assert {path.name for path in place.iterdir()} == shown
    shutil.copytree(ROOT / "examples", place / "examples")
    return place


def parity(arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    name, rest = arguments.split(" ", 1)
    assert name in ("parity", "pytest", "python")
    command = f"{Path(sys.executable).parent / name} {rest}"
    return subprocess.run(command, cwd=folder, shell=True, capture_output=True, text=True, timeout=1100)


def untimed(line: str) -> str:
    """A line without the seconds that pytest took, nor the rule whose length depends on them."""
    return re.sub(r"^=+ (.*) in [\d.]+s( \([\d:]+\))? =+$", r"\1", line)


DOWNLOADS = (pytest.mark.network, pytest.mark.timeout(1200))


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("command", "shown"),
    [pytest.param(*one, marks=DOWNLOADS if "==" in one[0] else ()) for one in commands() if one[0] not in MAKE],
)
def test_a_command_prints_what_is_shown(command: str, shown: list[str], folder: Path) -> None:
    finished = parity(command, folder)
    # Trainings that part are what is shown of a comparison.
    assert finished.returncode == command.startswith(("parity compare ", "parity upgrade --after-env ")), (
        finished.stdout + finished.stderr
    )
    printed = [untimed(line.rstrip()) for line in finished.stdout.splitlines()]
    assert shown[0] == "...", "only the end of an output is shown"
    assert printed[len(printed) - len(shown) + 1 :] == [untimed(line) for line in shown[1:]]


@pytest.mark.parametrize("command", [*sorted(MAKE), "make releases"])
def test_a_make_target_that_is_shown_exists(command: str) -> None:
    finished = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("words", ["cases", "implementations", "metrics", "conventions"])
def test_a_listing_that_is_named_lists(words: str, folder: Path) -> None:
    assert f"`parity list {words}`" in README
    finished = parity(f"parity list {words}", folder)
    assert finished.returncode == 0
    assert finished.stdout.splitlines()[0].startswith("name")


def test_the_python_blocks_run_in_order(folder: Path) -> None:
    program = "\n".join(text for name, text in blocks("python") if not name)
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1].startswith("DIVERGED ")


def test_what_is_quoted_of_a_report_stands_in_it() -> None:
    excerpts = re.findall(r"^<!-- excerpt: (\S+) -->\n((?:> .*\n)+)", README, re.MULTILINE)
    assert len(excerpts) == README.count("<!-- excerpt") >= 2
    for name, quoted in excerpts:
        report = (ROOT / name).read_text(encoding="utf-8")
        for line in quoted.splitlines():
            assert line.removeprefix("> ") in report, name


@pytest.mark.frameworks
def test_the_workflow_for_ci_does_what_it_says(folder: Path, tmp_path: Path) -> None:
    """Every step that calls parity is run, as the shell of a CI job runs it; what is uploaded is there."""
    ((_, text),) = blocks("yaml")
    steps = yaml.safe_load(text)["jobs"]["adam"]["steps"]
    ran = [step["run"] for step in steps if step.get("run", "").startswith("parity ")]
    assert len(ran) == 2
    summary = tmp_path / "summary.md"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "GITHUB_STEP_SUMMARY": str(summary), "PATH": path}
    save = ran[1].replace("check", "save --update").partition(" --markdown")[0]
    for command in (save, *ran):
        finished = subprocess.run(
            ["bash", "-e", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
        )
        assert finished.returncode == 0, finished.stderr
    told = summary.read_text(encoding="utf-8")
    assert told.startswith("### Adam parity: as expected\n")
    assert "### Adam against the baseline: 5 identical\n" in told
    (uploaded,) = [step["with"]["path"].split() for step in steps if "upload" in step.get("uses", "")]
    assert [name for name in uploaded if (folder / name).exists()] == ["junit.xml", "runs/latest/report.md"]


def test_the_kept_report_is_of_this_catalogue_and_the_pinned_versions() -> None:
    from parity.case.catalogue import load_catalogue, shipped_cases

    report = (ROOT / "reports" / "reference" / "report.md").read_text(encoding="utf-8")
    names = [case.name.replace("[", "\\[") for case in load_catalogue(shipped_cases())]
    cases = report[report.index("## Cases") :]
    assert re.findall(r"^### (.*)$", cases, re.MULTILINE) == names
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    for package in ("keras", "numpy", "torch"):
        assert f"{package} {pins[package]}" in report


def test_the_rooms_that_are_shown_are_there() -> None:
    tree = next(text for _, text in blocks("") if text.startswith("parity/"))
    for name in re.findall(r"^  ([\w.]+?)/?  ", tree, re.MULTILINE):
        assert (ROOT / "parity" / name).exists(), name
