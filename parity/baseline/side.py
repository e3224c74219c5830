"""One side of an upgrade: where it comes from, which implementations can run there, and what was recorded."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from parity.baseline.environments.installer import OnLine
from parity.baseline.environments.installs import build_environment
from parity.baseline.environments.interpreter import check_interpreter
from parity.baseline.environments.pins import TENSORFLOWS, is_exact, parse_pins
from parity.baseline.saving import OnCell, Recorded, Selection, save
from parity.baseline.store import Baseline
from parity.core.environment import VARIABLES, changes_numerics
from parity.core.errors import NothingCompared, ParityError, UsageError, nearest
from parity.core.files import json_in, write_json
from parity.engine.candidates import describe_plugin, shipped_named, usual_candidates
from parity.engine.plan import Candidate
from parity.engine.result import Failure
from parity.implementations.registry import check_target, shipped_implementations

Unmet = Mapping[str, tuple[str, ...]]
"""By name of an implementation what it lacks under an interpreter, nothing where it can run."""

DESCRIBE_SECONDS = 120.0

RULER = "numpy"
"""What parity measures with: of no interest in an upgrade, unless it is what is upgraded."""


def candidates_for(targets: Sequence[str], pins: Sequence[str], pythons: Sequence[str]) -> tuple[Candidate, ...]:
    """The implementations that targets name; where none does, the shipped ones that stand on what is pinned.

    pythons: a plug-in is described by the first under which it can be loaded. ParityError where a target means
    nothing, or its plug-in can be loaded under none.
    """
    if not targets:
        return standing_on(pins)
    chosen: dict[str, Candidate] = {}
    for target in dict.fromkeys(targets):
        matching = shipped_named(target)
        if not matching:
            check_target(target)
            plugin = _plugin(target, pythons)
            matching = {plugin.name: plugin}
        chosen.update(matching)
    return tuple(chosen.values())


def standing_on(pins: Sequence[str]) -> tuple[Candidate, ...]:
    """The shipped implementations whose framework a pin names; all but NumPy's where no pin names one."""
    asked = tuple(map(Requirement, pins))
    standing = tuple(one for one in usual_candidates() if _stands(one.name, asked))
    frameworks = {one.worker for one in standing}
    if frameworks - {RULER}:
        return tuple(one for one in standing if one.worker != RULER)
    return standing or tuple(one for one in usual_candidates() if one.worker != RULER)


def able(candidates: Sequence[Candidate], unmet: Unmet) -> tuple[Candidate, ...]:
    """Those that lack nothing."""
    return tuple(one for one in candidates if not unmet[one.name])


def able_somewhere(
    names: Sequence[str], targets: Sequence[str], unmets: Sequence[Unmet], saved: Collection[str]
) -> set[str]:
    """Those implementations that can run on a side, or of which a baseline has entries.

    saved: names in baselines. ParityError where nothing is left, or where one that is named in full is not.
    """
    left = {one for one in names if one in saved or any(not unmet[one] for unmet in unmets)}
    shipped = shipped_implementations()
    named = [one for one in names if one not in left and (one not in shipped or one in targets)]
    for one in named or ([] if left else names):
        lacks = " and ".join(dict.fromkeys(why for unmet in unmets for why in unmet[one])) or "is in no baseline"
        more = "" if left else f" (and {len(names) - 1} more cannot run either)" if len(names) > 1 else ""
        raise ParityError(f"{one} can run on no side: {lacks}{more}")
    return left


def _stands(name: str, asked: Sequence[Requirement]) -> bool:
    """Whether a pin brings something that an implementation needs, in a release that serves."""
    needs = shipped_implementations()[name].needs
    alternatives = [Requirement(alternative) for need in needs for alternative in need.split("|")]
    return any(_module(pin.name) == _module(one.name) and _serves(pin, one) for pin in asked for one in alternatives)


def _serves(pin: Requirement, need: Requirement) -> bool:
    return not is_exact(pin) or need.specifier.contains(next(iter(pin.specifier)).version, prereleases=True)


def _module(package: str) -> str:
    name = canonicalize_name(package)
    return {"jaxlib": "jax", **dict.fromkeys(TENSORFLOWS, "tensorflow")}.get(name, name.replace("-", "_"))


def _plugin(target: str, pythons: Sequence[str]) -> Candidate:
    reasons = []
    for python in pythons:
        try:
            with tempfile.TemporaryDirectory(prefix="parity-") as logs:
                return describe_plugin(target, Path(logs), DESCRIBE_SECONDS, python)
        except ParityError as error:
            reasons.append(str(error))
    raise ParityError(reasons[0] if reasons else f"implementation {target!r}: there is no interpreter to load it")


@dataclass(frozen=True, slots=True)
class Place:
    """One side as it is asked for: by pins, by a path of a Python, or by the folder of a baseline; else this Python.

    flag: names it in error lines. pins: ``package==version``. beside: pins that are the same on every side, only where
    there are pins. python, baseline: a path, a folder. variables: of the environment in which frameworks are imported,
    names and values, beside those of this process.
    """

    flag: str
    pins: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    python: str = ""
    baseline: Path | None = None
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        """The flags by which it is asked for, but those of variables."""
        given = {
            self.flag: bool(self.pins),
            f"{self.flag}-python": bool(self.python),
            f"{self.flag}-baseline": self.baseline is not None,
        }
        return tuple(flag for flag, is_given in given.items() if is_given)

    @property
    def name(self) -> str:
        """How it is shown, where it is no baseline."""
        base = " ".join(self.pins) or self.python or "this Python"
        return f"{base} with {' '.join(map('='.join, self.variables))}" if self.variables else base


def variables_of(told: Sequence[str], flag: str) -> tuple[tuple[str, str], ...]:
    """Environment variables given as NAME=VALUE, by name.

    UsageError, naming the flag, where one is not so, is given twice, or is not known to change numerics.
    """
    found: dict[str, str] = {}
    for one in told:
        name, sign, value = one.partition("=")
        if not sign or not name:
            raise UsageError(f"{flag} {one}: allowed: NAME=VALUE, as XLA_FLAGS=--xla_cpu_max_isa=AVX2")
        if not changes_numerics(name):
            raise UsageError(f"{flag} {one}: {name} is not known to change numerics; {nearest(name, VARIABLES)}")
        if name in found:
            raise UsageError(f"{flag} {one}: {name} is given twice")
        found[name] = value
    return tuple(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Site:
    """An interpreter to record under. packages, notes: as its environment has them, empty where nobody built it.

    python: empty for this one. variables: of its environment, beside those of this process.
    """

    name: str
    python: str
    packages: Mapping[str, str]
    notes: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def check_place(place: Place, *, here: bool = False) -> None:
    """Look at all that can be looked at before anything is built; here: one that is not given is this Python.

    UsageError where a side is asked for in no way or in several; ParityError where its pins or its interpreter are
    none.
    """
    chosen = place.named
    if len(chosen) > 1 or not (chosen or here or place.variables):
        told = "is not given" if not chosen else f"is given {len(chosen)} times ({', '.join(chosen)})"
        ways = ", ".join(f"{place.flag}{way}" for way in ("", "-python", "-baseline", "-env"))
        raise UsageError(f"this side {told}; give one of {ways}")
    if place.baseline is not None and place.variables:
        raise UsageError(f"{place.flag}-env: {place.baseline} was recorded before, and no variable changes it any more")
    if place.pins:
        parse_pins((*place.pins, *place.beside), place.flag)
    if place.python:
        check_interpreter(place.python, f"{place.flag}-python")


def settle(place: Place, on_line: OnLine, passing: Path | None = None) -> Site:
    """The interpreter of a place that is no baseline; its environment is built where there is none yet.

    passing: where one is built that is to be discarded.
    """
    variables = dict(place.variables)
    if not place.pins:
        path = check_interpreter(place.python, f"{place.flag}-python").path if place.python else ""
        return Site(place.name, path, {}, (), variables)
    pins = (*place.pins, *place.beside)
    built = build_environment(pins, flag=place.flag, on_line=on_line, passing=passing)
    return Site(replace(place, pins=built.pins).name, built.python, built.packages, built.notes, variables)


def pinned(places: Collection[Place]) -> tuple[str, ...]:
    """The pins by which places are told apart; those that stand on every side where nothing else is pinned."""
    own = tuple(pin for place in places for pin in place.pins)
    return own or tuple(pin for place in places for pin in place.beside)


Where = tuple[str, str, str]
"""Case, dtype and implementation."""


@dataclass(frozen=True, slots=True)
class Side:
    """What is held against another side.

    name: as it was asked for. packages, notes, variables: of its environment. unmet: what implementations lack that
    could not even be tried; failed: what was tried and gave no trace.
    """

    name: str
    baseline: Baseline
    packages: Mapping[str, str]
    notes: tuple[str, ...]
    unmet: Unmet
    failed: tuple[Recorded, ...]
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def reason(self, where: Where) -> str:
        """Why there is no entry; empty where nobody knows, as of a baseline that was saved before."""
        for one in self.failed:
            if (one.case, one.dtype, one.implementation) == where and one.failure is not None:
                return one.failure.reason
        return " and ".join(lacks.replace("|", " or ") for lacks in self.unmet.get(where[2], ()))


def recorded_side(site: Site, selection: Selection, unmet: Unmet, root: Path, on_cell: OnCell) -> Side:
    """Record what can run there of a selection, as a baseline in a folder of its own.

    NothingCompared, naming the side, where nothing could be recorded.
    """
    able_there = able(selection.candidates, unmet)
    runnable = replace(selection, candidates=able_there, python=site.python, variables=site.variables)
    if not runnable.candidates:
        name = selection.candidates[0].name
        raise NothingCompared(f"{site.name}: no implementation can run there: {name}: {' and '.join(unmet[name])}")
    try:
        baseline, failed = save(runnable, root, update=True, on_cell=on_cell)
    except NothingCompared as error:
        raise NothingCompared(f"{site.name}: {error}") from None
    return Side(site.name, baseline, site.packages, site.notes, unmet, failed, site.variables)


def saved_side(baseline: Baseline, name: str = "") -> Side:
    """A baseline that was saved before."""
    return Side(name or str(baseline.folder), baseline, {}, (), {}, ())


SIDE = "side.json"
"""Beside the baseline of a side, written after it: what is known of its environment, and of what gave no trace."""

_SIDE_SCHEMA = 1


def keep_side(side: Side, root: Path) -> None:
    """Write what a baseline does not tell of its side; root: the folder in which `recorded_side` put the baseline."""
    failed = [
        [one.case, one.dtype, one.implementation, one.failure.kind, one.failure.reason, one.failure.step]
        for one in side.failed
        if one.failure is not None
    ]
    told = {
        "schema": _SIDE_SCHEMA,
        "name": side.name,
        "packages": dict(side.packages),
        "notes": list(side.notes),
        "variables": dict(side.variables),
        "unmet": {name: list(lacks) for name, lacks in side.unmet.items()},
        "failed": failed,
    }
    write_json(root / SIDE, told)


def kept_side(baseline: Baseline, root: Path) -> Side:
    """The side that `keep_side` wrote; ParityError, one line, where it cannot be read."""
    path = root / SIDE
    try:
        told = json_in(path.read_bytes())
        if told["schema"] != _SIDE_SCHEMA:
            raise ParityError(f"{path}: schema {told['schema']}; this parity reads {_SIDE_SCHEMA}")
        failed = tuple(
            Recorded(case, dtype, name, None, Failure(kind, reason, step))
            for case, dtype, name, kind, reason, step in told["failed"]
        )
        unmet = {str(name): tuple(map(str, lacks)) for name, lacks in told["unmet"].items()}
        return Side(
            str(told["name"]), baseline, dict(told["packages"]), tuple(told["notes"]), unmet, failed,
            dict(told["variables"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ParityError(f"{path}: truncated or altered ({error}); leave out --resume") from None
