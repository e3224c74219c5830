"""From names on a command line to candidates."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from parity.comparison.trace import hyper_from_json
from parity.core.digest import digest_of
from parity.core.errors import TargetError
from parity.engine.plan import Candidate
from parity.engine.process import WorkerFailed, WorkerProcess
from parity.engine.sources import imports_first, sources_of
from parity.implementations.registry import (
    check_target,
    installed_plugins,
    is_plugin,
    shipped_implementations,
)
from parity.numerics.formats import format_named

REFERENCE = "numpy.adam.outside"
"""What a plug-in is held against where no other implementation is selected: Algorithm 1 of the paper."""


def shipped_candidates() -> tuple[Candidate, ...]:
    """Every implementation of parity's own, from the registry alone."""
    return tuple(
        Candidate(
            name=implementation.name,
            target=implementation.name,
            worker=implementation.framework,
            dtypes=implementation.dtypes,
            convention=implementation.convention,
            defaults=implementation.defaults,
            representative=implementation.representative,
        )
        for implementation in shipped_implementations().values()
    )


def usual_candidates() -> tuple[Candidate, ...]:
    """The same without those that are run on request only."""
    shipped = shipped_implementations()
    return tuple(one for one in shipped_candidates() if not shipped[one.name].on_request)


def shipped_named(target: str) -> dict[str, Candidate]:
    """Those that a name or a pattern chooses; of a pattern, what is run on request only where nothing else fits."""
    found = {one.name: one for one in shipped_candidates() if fnmatchcase(one.name, target)}
    usual = {one.name: one for one in usual_candidates() if one.name in found}
    return found if target in found or not usual else usual


def select_candidates(targets: Sequence[str], logs: Path, timeout: float | None = None) -> tuple[Candidate, ...]:
    """The candidates that targets name: shipped names, patterns of them, entry points, plug-ins.

    No target: all that is shipped but for what is run on request only. Where there is a plug-in, the reference joins. A
    plug-in is described by a worker, so that its code never runs in the engine; ParityError where it cannot be loaded,
    or not in `timeout` seconds.
    """
    shipped = {candidate.name: candidate for candidate in shipped_candidates()}
    if not targets:
        return usual_candidates()
    chosen: dict[str, Candidate] = {}
    plugins: list[str] = []
    for target in targets:
        matching = shipped_named(target)
        if matching:
            chosen.update(matching)
        else:
            check_target(target)
            plugins.append(target)
    described = [describe_plugin(target, logs, timeout) for target in dict.fromkeys(plugins)]
    if described:
        chosen[REFERENCE] = shipped[REFERENCE]
    ordered = [shipped[name] for name in shipped if name in chosen]
    return (*ordered, *described)


def asked_for(targets: Sequence[str], candidates: Sequence[Candidate]) -> list[str]:
    """Names of what targets name, in their order; a user's own that is alone comes after the reference it joins."""
    found = dict.fromkeys(
        one.name
        for target in targets
        for one in candidates
        if one.target == target or (not one.plugin and one.name in shipped_named(target))
    )
    names = list(found)
    joined = len(names) == 1 and any(one.plugin for one in candidates)
    return [REFERENCE, *names] if joined and REFERENCE not in names else names


def under(candidate: Candidate, python: str) -> Candidate:
    """The same implementation as another interpreter has it, in a process of its own."""
    return replace(candidate, worker=f"{candidate.worker}-{digest_of(python.encode())[:8]}", python=python)


def known_names() -> list[str]:
    """Names of all implementations there are, without loading a plug-in; 'user.*' stands for those to come."""
    return [*shipped_implementations(), *(f"user.{name}" for name in installed_plugins()), "user.plugin"]


def candidate_of(target: str, timeout: float | None = None) -> Candidate:
    """The one implementation that a target names; ParityError where it names none."""
    shipped = {candidate.name: candidate for candidate in shipped_candidates()}
    if target in shipped:
        return shipped[target]
    check_target(target)
    with tempfile.TemporaryDirectory(prefix="parity-") as logs:
        return describe_plugin(target, Path(logs), timeout)


def describe_plugin(target: str, logs: Path, timeout: float | None = None, python: str = "") -> Candidate:
    """What a plug-in says of itself, asked in a process of its own; python: its interpreter, empty for this one."""
    assert is_plugin(target)
    log, imports = logs / "describe.log", imports_first(target)
    try:
        worker = WorkerProcess("describe", log, python, framework=imports)
        try:
            answer = worker.ask({"op": "describe", "target": target}, timeout)
        finally:
            worker.close()
    except WorkerFailed as failure:
        # What it said before it went is all there is to show.
        said = log.read_text(errors="replace") if log.exists() else ""
        raise TargetError(f"implementation {target!r} cannot be loaded: {failure.reason}", said) from None
    try:
        return replace(_described(answer, target), imports=imports)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        wrong = f"its worker's answer cannot be understood ({type(error).__name__}: {error})"
        raise TargetError(f"implementation {target!r} cannot be loaded: {wrong}") from None


def _described(answer: Mapping[str, Any], target: str) -> Candidate:
    if not answer["ok"]:
        reason = str(answer["reason"])
        told = reason if repr(target) in reason else f"implementation {target!r} cannot be loaded: {reason}"
        raise TargetError(told, str(answer.get("traceback", "")))
    return Candidate(
        name=str(answer["name"]),
        target=target,
        worker=str(answer["name"]),
        dtypes=tuple(format_named(one).name for one in answer["dtypes"]),
        convention=answer["convention"],
        defaults=hyper_from_json(answer["defaults"]),
        plugin=True,
        representative=True,
        roots=bool(answer.get("square_root")),
        sources=sources_of(target).digest,
    )
