"""Wrong Adams in pairs: two stages of one Adam exchanged at once, made by program, and how many Adams are named."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from itertools import combinations
from pathlib import Path

import numpy as np

from parity.engine.candidates import candidate_of
from parity.engine.power import Asked, Naming
from parity.identify.fit import fit
from parity.identify.identify import identify
from parity.identify.probes import BETAS, GROUPS, WIDE, Observation, Probe, probes
from parity.numerics.formats import FORMATS

sys.path.append(str(Path(__file__).parent))
from benign_adams import BENIGN
from exchangeable_adam import Adam
from shipped_adams import DEPARTURES
from wrong_adams import WRONG

TWO_RUNS = {"noisy"}
"""Flips of a last bit show only where two runs are compared."""

SAME_NUMBERS = {"correction_without_power": "step-count"}
"""1 - beta at every step is also t = 1 at every step: no measurement tells them apart."""

SAMPLE = 240
"""Pairs that `make power` asks for."""

LEAST = {Asked.ONE_FAULT: 0.97, Asked.TWO_FAULTS: 0.9, Asked.RIGHT: 1.0, Asked.SHIPPED: 1.0}
"""Shares that have to be named; nothing may be named falsely."""

ROUNDING = 1e-15
"""Of a long double, whose unit is 5e-20: what differs by less in it is one formula."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two wrong Adams as one. names: theirs."""

    names: tuple[str, str]
    run: Adam

    @property
    def families(self) -> set[str]:
        """Of both faults."""
        return {family_of(name) for name in self.names}


def family_of(name: str) -> str:
    """What a fault is called."""
    return SAME_NUMBERS.get(name, WRONG[name].family)


def stages(adam: Adam) -> dict[str, object]:
    """Those that are exchanged."""
    return {one.name: getattr(adam, one.name) for one in fields(Adam) if getattr(adam, one.name) is not one.default}


def pairs() -> list[Pair]:
    """All of them, in an order without a pattern: two other stages, or two changes of what is asked."""
    found = []
    for one, other in combinations(sorted(set(WRONG) - TWO_RUNS), 2):
        first, second = stages(WRONG[one].run), stages(WRONG[other].run)
        if not first.keys() & second.keys():
            found.append(Pair((one, other), Adam(**first, **second)))
        elif "asked" in first and "asked" in second:
            found.append(Pair((one, other), Adam(asked=partial(_both, first["asked"], second["asked"]))))
    return sorted(found, key=lambda pair: hashlib.sha256(" ".join(pair.names).encode()).digest())


def _both(first, second, hyper):
    return second(first(hyper))


def observed(run, probe: Probe, hidden: Iterable[str] = (), dtype: object = None) -> Observation:
    """What a plug-in shows on a probe. dtype: wider than the probe's, in which all is computed and shown."""
    dtype = np.dtype(dtype or probe.format.dtype)
    rows = {name: np.zeros((probe.steps + 1, probe.layout.size), dtype) for name in ("w", "m", "v", "vmax")}
    weights, given = probe.weights.astype(dtype), probe.gradients.astype(dtype)
    weights.flags.writeable = given.flags.writeable = False
    rows["w"][0] = weights

    def gradients() -> Iterator[Mapping[str, np.ndarray | None]]:
        for step, row in enumerate(given, start=1):
            yield probe.layout.views(row) | dict.fromkeys(probe.none.get(step, ()))

    shown = set(rows) - set(hidden)
    for step, state in enumerate(run(probe.layout.views(weights), gradients(), probe.hyper), start=1):
        for name in sorted(shown):
            table = getattr(state, name)
            if table is None:
                shown.discard(name)
            else:
                for parameter, place in probe.layout.slices():
                    rows[name][step, place] = table[parameter.name].reshape(-1)
    return Observation(probe, **{name: rows[name] if name in shown else None for name in rows})


def orbits(run, dtype: str, hidden: Iterable[str] = (), wide: object = None) -> dict[str, Observation]:
    """What a plug-in shows on every probe but the one that is only run twice, and those of stages, of groups and of
    betas that change, of which it knows nothing."""
    asked = [
        one for one in probes(FORMATS[dtype]) if one.name not in (WIDE, GROUPS, BETAS) and not one.hyper.stages.names
    ]
    return {one.name: observed(run, one, hidden, wide) for one in asked}


@cache
def _of_single(name: str, dtype: str, wide: bool) -> dict[str, tuple[np.ndarray, ...]]:
    run = WRONG[name].run if name else Adam()
    return {
        probe: (one.w, one.m, one.v) for probe, one in orbits(run, dtype, (), np.longdouble if wide else None).items()
    }


def tells(pair: Pair, dtype: str) -> bool:
    """Whether the pair is another formula than each of its faults alone, and shows another bit."""
    for wide in (False, True):
        both = orbits(pair.run, "float64" if wide else dtype, (), np.longdouble if wide else None)
        for name in pair.names:
            one = _of_single(name, "float64" if wide else dtype, wide)
            if not any(_apart(both[probe], rows, ROUNDING if wide else 0.0) for probe, rows in one.items()):
                return False
    return True


def _apart(found: Observation, rows: tuple[np.ndarray, ...], least: float) -> bool:
    with np.errstate(all="ignore"):
        return any(
            bool((np.abs(a - b) > least * (np.abs(a) + np.abs(b))).any() or (np.isnan(a) != np.isnan(b)).any())
            for a, b in zip((found.w, found.m, found.v), rows, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Named:
    """What is said of an Adam. right: all families, no other, nothing left; false: families of what it does not do."""

    names: tuple[str, ...]
    dtype: str
    right: bool
    false: tuple[str, ...]
    seconds: float

    @property
    def families(self) -> set[str]:
        """Of its faults."""
        return {family_of(name) for name in self.names if name in WRONG}


def named(names: tuple[str, ...], run, dtype: str) -> Named:
    """Held against what was planted."""
    shown = orbits(run, dtype)
    start = time.perf_counter()
    answer = fit(shown, "outside")
    seconds = time.perf_counter() - start
    families = {family_of(name) for name in names}
    told = {one.family for one in answer.causes}
    false = tuple(sorted({one.family for one in answer.causes if not one.benign} - families - {"unexplained"}))
    right = told >= families and not false and answer.verdict == "explained" and answer.residual.get("differing") == 0
    return Named(names, dtype, right, false, seconds)


def of_single(job: tuple[str, str]) -> Named | None:
    """One fault by name, in a dtype; None where it changes no bit there."""
    name, dtype = job
    with np.errstate(all="ignore"):
        right = _of_single("", dtype, wide=False)
        if not any(_apart(one, right[probe], 0.0) for probe, one in orbits(WRONG[name].run, dtype).items()):
            return None
        return named((name,), WRONG[name].run, dtype)


def of_pair(job: tuple[int, str]) -> Named | None:
    """One pair by its place in `pairs()`, in a dtype; None where it tells no more than one fault."""
    index, dtype = job
    pair = pairs()[index]
    with np.errstate(all="ignore"):
        return named(pair.names, pair.run, dtype) if tells(pair, dtype) else None


def of_right(job: tuple[str, str]) -> Named:
    """One that rounds elsewhere, by name, in a dtype."""
    name, dtype = job
    with np.errstate(all="ignore"):
        return replace(named((), BENIGN[name], dtype), names=(name,))


def of_shipped(job: tuple[str, str]) -> Named | None:
    """A shipped implementation in processes of its own, probes included; None where it does not run in that dtype."""
    name, dtype = job
    candidate = candidate_of(name)
    if dtype not in candidate.dtypes:
        return None
    start = time.perf_counter()
    answer = identify(candidate, [dtype])[dtype]
    departs = {(one.family, one.detail) for one in answer.causes if not one.benign}
    known = DEPARTURES[name].get(dtype, set())
    right = departs == known and answer.verdict in ("identified", "explained")
    false = tuple(sorted(family for family, _ in departs - known))
    return Named((name,), dtype, right, false, time.perf_counter() - start)


def figures(jobs: int, sample: int = SAMPLE) -> list[Naming]:
    """How many Adams are named, by kind, dtype and family of their faults."""
    singles = sorted(set(WRONG) - TWO_RUNS)
    found = []
    with ProcessPoolExecutor(jobs) as pool:
        for dtype in ("float64", "float32"):
            for kind, ask, asked in (
                (Asked.ONE_FAULT, of_single, singles),
                (Asked.TWO_FAULTS, of_pair, range(sample)),
                (Asked.RIGHT, of_right, BENIGN),
                (Asked.SHIPPED, of_shipped, DEPARTURES),
            ):
                told = [one for one in pool.map(ask, [(which, dtype) for which in asked]) if one is not None]
                for family in ("", *sorted({family for one in told for family in one.families})):
                    found.append(counted(kind, family, [one for one in told if not family or family in one.families]))
    return found


def counted(kind: Asked, family: str, told: Sequence[Named]) -> Naming:
    """What is said of Adams of a kind, in numbers."""
    return Naming(
        kind,
        told[0].dtype,
        family,
        asked=len(told),
        named=sum(one.right for one in told),
        falsely=sum(bool(one.false) for one in told),
        seconds=round(sum(one.seconds for one in told) / len(told), 2),
    )


def enough(names: Iterable[Naming]) -> bool:
    """Whether as many are named as have to be, and none falsely."""
    return all(not one.falsely and one.named >= LEAST[one.kind] * one.asked for one in names if not one.family)
