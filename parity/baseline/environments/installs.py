"""Isolated environments: from pins to an interpreter, built once and kept by what was asked."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from parity.baseline.environments.installer import InstallFailed, OnLine, choose_installer, run_installer
from parity.baseline.environments.interpreter import Interpreter, check_interpreter, find_interpreter
from parity.baseline.environments.pins import beside, is_exact, normal, parse_pins
from parity.core.cache import VARIABLE, cache_folder
from parity.core.digest import digest_of
from parity.core.errors import ParityError
from parity.core.files import write_json

SCHEMA = 1
SHELF = "environments"
READY = "ready.json"
"""Written last: an environment without it was never finished."""

_PYTHON = Path("bin") / "python"


@dataclass(frozen=True, slots=True)
class Environment:
    """An interpreter with what was asked for.

    python: its path. pins: as they were asked for. packages: every installed package with its release. notes: for
    every pin that stands although another package asks for another release, one line.
    """

    folder: Path
    python: str
    pins: tuple[str, ...]
    packages: dict[str, str]
    notes: tuple[str, ...]


def build_environment(
    pins: Sequence[str],
    *,
    flag: str = "pins",
    python: str = "",
    cache: Path | str | None = None,
    on_line: OnLine = lambda line: None,
    passing: Path | None = None,
) -> Environment:
    """The environment that holds what the pins say, NumPy and ml_dtypes; built where the cache has none.

    flag: names the pins in error lines. python: the interpreter it is built for, empty for this one. cache: see
    `cache_folder`. on_line: shown what the installer says, line by line. passing: a folder for one that the cache does
    not have and nobody is to keep, as neither does the installer what it downloads for it. A package in pure Python
    that is pinned to one release is installed even where another package asks for another one; the notes then say so.
    ParityError, one line, where a pin is not understood, cannot be had, or contradicts another; nothing half built is
    left.
    """
    asked = parse_pins(pins, flag)
    interpreter = find_interpreter(python or sys.executable, "--python")
    folder = cache_folder(cache) / SHELF / _key(asked, interpreter)
    kept = _read(folder)
    if kept is not None:
        return kept
    if passing is not None:
        folder = passing.absolute() / SHELF / folder.name
    shelf = folder.parent
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        with _alone(shelf / f"{folder.name}.lock", on_line):
            return _read(folder) or _build(asked, interpreter, folder, on_line, cached=passing is None)
    except InstallFailed as failure:
        raise ParityError(f"{flag} {' '.join(map(normal, asked))}: {failure}") from None
    except OSError as error:
        raise ParityError(
            f"{flag}: no environment can be built in {shelf} ({error.strerror or error}); {VARIABLE} sets another"
        ) from None


@contextmanager
def passing(folder: Path | None) -> Iterator[Path | None]:
    """A folder for environments that are removed when they have served, or where anything goes wrong; None for none."""
    try:
        yield folder
    finally:
        if folder is not None:
            shutil.rmtree(folder / SHELF, ignore_errors=True)


def kept_environments(cache: Path | str | None = None) -> tuple[Path, int]:
    """Where built environments wait to be used again, and how many; deleting them loses only the time to build them."""
    shelf = cache_folder(cache) / SHELF
    return shelf, sum(1 for _ in shelf.glob(f"[!.]*/{READY}"))


def _key(asked: Sequence[Requirement], interpreter: Interpreter) -> str:
    """A name for all that decides what an environment holds: its pins, and the Python it is built for."""
    parts = [
        SCHEMA,
        [*map(normal, asked), *beside(asked)],
        interpreter.version,
        interpreter.about,
        os.path.realpath(interpreter.path),
    ]
    return digest_of(json.dumps(parts).encode())[:16]


def _read(folder: Path) -> Environment | None:
    """The environment in a folder, None where it is not there, unfinished, damaged, or its Python is gone."""
    try:
        told: dict[str, Any] = json.loads((folder / READY).read_text(encoding="utf-8"))
        environment = Environment(
            folder, str(folder / _PYTHON), tuple(told["pins"]), dict(told["packages"]), tuple(told["notes"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return environment if os.access(environment.python, os.X_OK) else None


@contextmanager
def _alone(lock: Path, on_line: OnLine) -> Iterator[None]:
    """Hold a lock that dies with this process."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_line("another parity is building this environment: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(
    asked: Sequence[Requirement], interpreter: Interpreter, folder: Path, on_line: OnLine, *, cached: bool
) -> Environment:
    """Build beside its place, and put it there when it is finished. The lock of the folder is held."""
    unfinished = f".{folder.name}-"
    for left in folder.parent.glob(f"{unfinished}*"):  # by builders that were killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=unfinished, dir=folder.parent, ignore_cleanup_errors=True) as half:
        home = Path(half) / "environment"
        notes = _install(asked, interpreter, home, on_line, cached=cached)
        check_interpreter(str(home / _PYTHON), "the new environment")
        facts = {
            "schema": SCHEMA,
            "pins": [normal(one) for one in asked],
            "packages": {name: one.version for name, one in sorted(_installed(home).items())},
            "notes": notes,
        }
        write_json(home / READY, facts)
        shutil.rmtree(folder, ignore_errors=True)
        home.rename(folder)
    environment = _read(folder)
    assert environment is not None
    return environment


def _install(
    asked: Sequence[Requirement], interpreter: Interpreter, home: Path, on_line: OnLine, *, cached: bool
) -> list[str]:
    """Make the environment and install into it; the notes. InstallFailed where that cannot be."""
    installer = choose_installer()
    run_installer([*installer.make(interpreter.path), str(home)], home.parent, on_line, cached=cached)

    def install(*words: str) -> None:
        run_installer([*installer.install(str(home / _PYTHON)), *words], home.parent, on_line, cached=cached)

    wanted = [*map(normal, asked), *beside(asked)]
    try:
        install(*wanted)
    except InstallFailed as failure:
        contradicted = _contradicted(asked, failure.output)
        if contradicted is None:
            raise
        pin, name = normal(contradicted), canonicalize_name(contradicted.name)
        install("--no-deps", pin)
        if not _is_pure(_installed(home)[name]):
            raise failure from None
        on_line(f"{failure}; {pin} is installed all the same")
        # The others bring the release that they ask for; the pin then takes its place.
        install(*(one for one in wanted if one != pin))
        install("--no-deps", pin)
        lacking = [str(one) for one in _requirements(home, name, interpreter) if not _installed(home).get(_name(one))]
        if lacking:
            install(*lacking)
        return _notes(home, name, interpreter)
    return []


def _contradicted(asked: Sequence[Requirement], output: str) -> Requirement | None:
    """The exact pin for which another package asks another release, by what the installer said."""
    for one in asked:
        name = re.sub(r"[-_.]+", "[-_.]+", canonicalize_name(one.name))
        if is_exact(one) and re.search(rf"depends? on {name}(?![\w.-]*\w)", output):
            return one
    return None


def _installed(home: Path) -> dict[str, importlib.metadata.Distribution]:
    places = [str(place) for place in home.glob("lib/python*/site-packages")]
    return {canonicalize_name(one.name): one for one in importlib.metadata.distributions(path=places)}


def _is_pure(distribution: importlib.metadata.Distribution) -> bool:
    """Whether it is all Python; what is compiled stands on the releases it was compiled against."""
    return "Root-Is-Purelib: true" in (distribution.read_text("WHEEL") or "")


def _name(requirement: Requirement) -> str:
    return canonicalize_name(requirement.name)


def _requirements(home: Path, name: str, interpreter: Interpreter) -> list[Requirement]:
    """What an installed package asks for under that Python, without extras."""
    version = ".".join(map(str, interpreter.version))
    marked = {"extra": "", "python_full_version": version, "python_version": version.rpartition(".")[0]}
    asked = map(Requirement, _installed(home)[name].requires or ())
    return [one for one in asked if one.marker is None or one.marker.evaluate(marked)]


def _notes(home: Path, name: str, interpreter: Interpreter) -> list[str]:
    """Where an installed package and the others disagree on releases, one line each."""
    there = {one: distribution.version for one, distribution in _installed(home).items()}
    return [
        f"{other} {there[other]} asks for {_name(one)}{one.specifier}, and {_name(one)} {there[_name(one)]} is there"
        for other in sorted(there)
        for one in _requirements(home, other, interpreter)
        if name in (other, _name(one)) and _name(one) in there
        if not one.specifier.contains(there[_name(one)], prereleases=True)
    ]
