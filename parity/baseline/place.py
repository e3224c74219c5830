"""Where a side comes from: pins of which an environment is built, an interpreter, or a saved baseline."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from parity.baseline.environments.installer import OnLine
from parity.baseline.environments.installs import build_environment
from parity.baseline.environments.interpreter import check_interpreter
from parity.baseline.environments.pins import parse_pins
from parity.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Place:
    """One side as it is asked for: by pins, by a path of a Python, or by the folder of a baseline.

    flag: names it in error lines. beside: pins that are the same on every side, only where there are pins.
    """

    flag: str
    pins: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    python: str = ""
    baseline: Path | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """An interpreter to record under. packages, notes: as its environment has them, empty where nobody built it."""

    name: str
    python: str
    packages: Mapping[str, str]
    notes: tuple[str, ...]


def check_place(place: Place) -> None:
    """Look at all that can be looked at before anything is built.

    UsageError where a side is asked for in no way or in several; ParityError where its pins or its interpreter are
    none.
    """
    given = {
        place.flag: bool(place.pins),
        f"{place.flag}-python": bool(place.python),
        f"{place.flag}-baseline": place.baseline is not None,
    }
    chosen = [flag for flag, is_given in given.items() if is_given]
    if len(chosen) != 1:
        told = "is not given" if not chosen else f"is given {len(chosen)} times ({', '.join(chosen)})"
        raise UsageError(f"this side {told}; give one of {', '.join(given)}")
    if place.pins:
        parse_pins((*place.pins, *place.beside), place.flag)
    if place.python:
        check_interpreter(place.python, f"{place.flag}-python")


def settle(place: Place, on_line: OnLine) -> Site:
    """The interpreter of a place that is no baseline; its environment is built where there is none yet."""
    if place.python:
        found = check_interpreter(place.python, f"{place.flag}-python")
        return Site(place.python, found.path, {}, ())
    built = build_environment((*place.pins, *place.beside), flag=place.flag, on_line=on_line)
    return Site(" ".join(built.pins), built.python, built.packages, built.notes)


def pinned(places: Collection[Place]) -> tuple[str, ...]:
    """The pins by which places are told apart; those that stand on every side where nothing else is pinned."""
    own = tuple(pin for place in places for pin in place.pins)
    return own or tuple(pin for place in places for pin in place.beside)
