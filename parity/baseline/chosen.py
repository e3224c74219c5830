"""Which implementations an upgrade is about, and which of them can run where."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from parity.baseline.environments.pins import TENSORFLOWS, is_exact
from parity.core.errors import ParityError
from parity.engine.candidates import describe_plugin, shipped_candidates
from parity.engine.plan import Candidate
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
    shipped = {candidate.name: candidate for candidate in shipped_candidates()}
    chosen: dict[str, Candidate] = {}
    for target in dict.fromkeys(targets):
        matching = {name: one for name, one in shipped.items() if fnmatchcase(name, target)}
        if not matching:
            check_target(target)
            plugin = _plugin(target, pythons)
            matching = {plugin.name: plugin}
        chosen.update(matching)
    return tuple(chosen.values())


def standing_on(pins: Sequence[str]) -> tuple[Candidate, ...]:
    """The shipped implementations whose framework a pin names; all but NumPy's where no pin names one."""
    asked = tuple(map(Requirement, pins))
    standing = tuple(one for one in shipped_candidates() if _stands(one.name, asked))
    frameworks = {one.worker for one in standing}
    if frameworks - {RULER}:
        return tuple(one for one in standing if one.worker != RULER)
    return standing or tuple(one for one in shipped_candidates() if one.worker != RULER)


def able(candidates: Sequence[Candidate], unmet: Unmet) -> tuple[Candidate, ...]:
    """Those that lack nothing."""
    return tuple(one for one in candidates if not unmet[one.name])


def able_somewhere(
    candidates: Sequence[Candidate], targets: Sequence[str], unmets: Sequence[Unmet], saved: Collection[str]
) -> tuple[Candidate, ...]:
    """Those that can run on a side, or of which a baseline has entries.

    saved: names in baselines. ParityError where nothing is left, or where one that is named in full is not.
    """
    left = tuple(one for one in candidates if one.name in saved or any(not unmet[one.name] for unmet in unmets))
    named = [one for one in candidates if one not in left and (one.plugin or one.name in targets)]
    for one in named or ([] if left else candidates):
        lacks = " and ".join(dict.fromkeys(why for unmet in unmets for why in unmet[one.name])) or "is in no baseline"
        more = "" if left else f" (and {len(candidates) - 1} more cannot run either)" if len(candidates) > 1 else ""
        raise ParityError(f"{one.name} can run on no side: {lacks}{more}")
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
