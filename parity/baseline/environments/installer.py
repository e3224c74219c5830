"""uv and pip as commands, and what they say as one line."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from parity.baseline.environments.pins import KNOWN
from parity.core.errors import ParityError

OnLine = Callable[[str], None]

_UNCACHED = {"PIP_NO_CACHE_DIR": "1", "UV_NO_CACHE": "1"}

_WORDS = 400
"""Characters of an installer's own words that a line of ours takes over."""

_NO_RELEASE = re.compile(r"Could not find a version that satisfies the requirement (\S+).*\(from versions: (.*)\)")
_NO_PACKAGE = re.compile(r"Because (\S+) was not found in the package registry")
_UNREACHABLE = re.compile(r"connection broken by '(\w+)\('?(.*?)'?[,)]|(Failed to fetch: \S+)")


class InstallFailed(Exception):
    """An installer ended without success; `reason` is one line of its words, `output` all of them."""

    def __init__(self, reason: str, output: str) -> None:
        super().__init__(reason)
        self.reason, self.output = reason, output


@dataclass(frozen=True, slots=True)
class Installer:
    """uv or pip. make: the words before the folder that make an environment; install: before what it shall install."""

    name: str
    make: Callable[[str], list[str]]
    install: Callable[[str], list[str]]


def choose_installer() -> Installer:
    """uv where it is on PATH, else pip; pip too where it is told of package indexes that uv does not know.

    ParityError where there is neither.
    """
    uv = shutil.which("uv")
    # importlib.util.find_spec asks Setuptools as well, which then takes the distutils of a compiling torch away.
    has_pip = PathFinder.find_spec("pip") is not None
    if uv is not None and not (has_pip and _pip_knows_more()):
        return Installer(
            "uv",
            make=lambda python: [uv, "venv", "--python", python],
            install=lambda python: [uv, "pip", "install", "--python", python],
        )
    if not has_pip:
        raise ParityError(
            f"no environment can be built: uv is not on PATH, and pip is not installed for {sys.executable}; "
            "install one of them, or name an interpreter that has what is needed"
        )
    # The pip beside parity installs into every environment: it is newer than the one that comes with venv.
    return Installer(
        "pip",
        make=lambda python: [python, "-m", "venv", "--without-pip"],
        install=lambda python: [
            sys.executable, "-m", "pip", "--python", python, "install",
            "--progress-bar", "off", "--no-input", "--disable-pip-version-check",
        ],
    )  # fmt: skip


def run_installer(command: Sequence[str], folder: Path, on_line: OnLine, *, cached: bool = True) -> str:
    """Run a command of an installer in a folder, each line of it shown as it comes; all it said.

    The folder also takes what it downloads. cached: whether its own cache may keep that. InstallFailed where it does
    not succeed. An exception on the way, as Ctrl-C is, ends the command first.
    """
    said: deque[str] = deque(maxlen=5000)
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**installer_environment(), "TMPDIR": str(folder), **({} if cached else _UNCACHED)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                said.append(line)
                if line.strip():
                    on_line(line.strip())
        except BaseException:
            process.kill()
            raise
    output = "".join(said)
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        raise InstallFailed(f"{Path(command[0]).name} was ended by {name}", output)
    if process.returncode:
        raise InstallFailed(reason_in(output) or f"exit status {process.returncode}", output)
    return output


def installer_environment() -> dict[str, str]:
    """The variables of this process without those by which an installer would take our packages for the other's."""
    foreign = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX")
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    # A configuration beside parity's own interpreter is read by no other.
    own = Path(sys.prefix) / "pip.conf"
    if own.is_file():
        environment.setdefault("PIP_CONFIG_FILE", str(own))
    return environment


def _pip_knows_more() -> bool:
    """Whether pip is configured with indexes or a proxy, and uv is not."""
    if any(name in os.environ for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_FIND_LINKS")):
        return False
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=installer_environment(),
        check=False,
    )
    keys = [line.partition("=")[0].rpartition(".")[2] for line in asked.stdout.splitlines()]
    return bool({"index-url", "extra-index-url", "find-links", "no-index", "proxy"} & set(keys))


def reason_in(output: str) -> str:
    """The cause in what uv or pip said, as one line; empty where they said nothing."""
    lines = [re.sub(r"^[^\w'\"(]+", "", line).strip() for line in output.splitlines()]  # without uv's drawn tree
    lines = [line for line in lines if line]
    unreachable = _UNREACHABLE.search(output)
    for line in lines:
        if missing := _NO_RELEASE.search(line):
            return _no_release(missing[1], missing[2], unreachable)
        if missing := _NO_PACKAGE.search(line):
            return f"there is no package {missing[1]!r} in the index{_near(missing[1])}"
    if "The conflict is caused by:" in lines:
        first = lines.index("The conflict is caused by:") + 1
        last = next((place for place in range(first, len(lines)) if lines[place].startswith("To fix")), len(lines))
        return _short("; ".join(line[0].lower() + line[1:] for line in lines[first:last]))
    for place, line in enumerate(lines):
        if line.startswith(("error:", "No solution found")):
            return _short(" ".join(one.removeprefix("error: ").removeprefix("cause: ") for one in lines[place:]))
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    # Where pip itself breaks it says so, and a traceback follows, of which the last line tells why.
    errors = [] if "Exception:" in errors else errors
    return _short((errors or lines or [""])[-1])


def _no_release(requirement: str, releases: str, unreachable: re.Match[str] | None) -> str:
    name = re.split(r"[^\w.-]", requirement)[0]
    if releases != "none":
        there = releases.split(", ")
        near = difflib.get_close_matches(re.split(r"[=<>!~]+", requirement)[-1], there, n=1)
        few = ", ".join(there[-8:])
        more = f"the last of {len(there)}: {few}" if len(there) > 8 else few
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"there is no release {requirement} for this Python; allowed: {more}{hint}"
    if unreachable is not None:
        why = " ".join(part for part in unreachable.groups() if part)
        return f"no package index could be reached for {requirement} ({_short(why)})"
    return f"there is no package {name!r} in the index{_near(name)}"


def _near(name: str) -> str:
    near = difflib.get_close_matches(name, KNOWN, n=1)
    return f"; did you mean {near[0]!r}?" if near and near[0] != name else ""


def _short(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= _WORDS else words[: _WORDS - 3] + "..."
