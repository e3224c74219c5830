"""From a run to the certificate of a pair."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from pydantic import TypeAdapter

from parity.core.digest import digest_of
from parity.core.errors import NothingCompared, ParityError, UsageError, nearest
from parity.core.selection import matcher
from parity.core.state import QUANTITIES
from parity.engine.power import Power
from parity.engine.record import Run
from parity.explain.causes import BENIGN
from parity.implementations.registry import shipped_implementations
from parity.numerics.formats import FORMATS, format_named
from parity.report.panels.certificate import Bound, Certificate, Largest, Reason, Setting, Side
from parity.report.panels.clause import Clause, Ground, Obstacle
from parity.report.panels.narrowing import narrowing
from parity.report.panels.weighing import clauses_of

_SIDE = TypeAdapter(Side)
_CLAUSES = TypeAdapter(tuple[Clause, ...])


def certify(run: Run, actual: str, expected: str, dtypes: Sequence[str] = (), keyword: str = "") -> Certificate:
    """Weigh a pair of a run. dtypes, keyword: what to look at, all where they are empty.

    UsageError for a pair of one, ParityError for a name or dtype that is unknown, NothingCompared where nothing is
    selected.
    """
    _check_names(run, actual, expected)
    wanted = tuple(dict.fromkeys(format_named(dtype).name for dtype in dtypes))
    chosen = matcher(keyword)
    every = clauses_of(run, actual, expected)
    asked: list[Clause] = []
    left_out: list[Clause] = []
    for one in every:
        (asked if chosen(one.case) and (not wanted or one.dtype in wanted) else left_out).append(one)
    if not asked:
        raise NothingCompared(f"no case of the run in {', '.join(wanted) or 'any dtype'} matches -k {keyword!r}")
    reasons = (*_reasons_of_run(run, asked, wanted), *reasons_of(asked))
    sides = _side(run, actual), _side(run, expected)
    return Certificate(
        *sides,
        dtypes=wanted,
        keyword=keyword,
        cases=(len({one.case for one in asked}), len({one.case for one in every})),
        cells=(len(asked), len(every)),
        turned=any((one.actual, one.expected) == (expected, actual) for one in run.verdicts),
        reasons=reasons,
        bounds=tuple(_bounds(asked)),
        settings=tuple(_settings(asked)),
        clauses=tuple(asked),
        left_out=tuple(left_out),
        left_out_reasons=reasons_of(left_out),
        environment=run.environment,
        version=run.version,
        digest="" if reasons else _digest(run, sides, asked),
        narrowing=narrowing(every, asked, keyword) if reasons and run.complete and not run.stale else None,
    )


def _check_names(run: Run, actual: str, expected: str) -> None:
    known = sorted({outcome.name for cell in run.cells for outcome in cell.outcomes})
    for name in (actual, expected):
        if name not in known:
            raise ParityError(f"implementation {name!r} is not in this run; {nearest(name, known)}")
    if actual == expected:
        raise UsageError(f"--certificate {actual} {expected}: takes two implementations, not one twice")


def _reasons_of_run(run: Run, asked: Sequence[Clause], dtypes: Sequence[str]) -> Iterator[Reason]:
    if not run.complete or run.stopped:
        done = f"{run.counts.cells} of {run.counts.cells_planned} cells were run"
        yield Reason(Obstacle.INCOMPLETE, ((f"{run.stopped}; {done}" if run.stopped else done, 1),))
    if run.stale:
        yield Reason(Obstacle.STALE, tuple((line, 1) for line in run.stale))
    lacking = [dtype for dtype in dtypes if all(one.dtype != dtype for one in asked)]
    if lacking:
        yield Reason(Obstacle.NO_SUCH_DTYPE, tuple((dtype, 1) for dtype in lacking))
    if not any(one.obstacle or one.moved for one in asked):
        yield Reason(Obstacle.NOTHING_MOVED, (("", len(asked)),), tuple(asked))


def reasons_of(clauses: Sequence[Clause]) -> tuple[Reason, ...]:
    """What stands against clauses, by obstacle, the most frequent first; causes of a formula are counted one by one."""
    found = []
    for obstacle in Obstacle:
        group = tuple(one for one in clauses if one.obstacle is obstacle)
        if group:
            details = [one.detail for one in group] if obstacle is not Obstacle.OTHER_FORMULA else _formulas(group)
            found.append(Reason(obstacle, tuple(Counter(details).most_common()), group))
    return tuple(sorted(found, key=lambda reason: -len(reason.clauses)))


def _formulas(clauses: Sequence[Clause]) -> list[str]:
    return [family for one in clauses for family in one.families if family not in BENIGN]


def _bounds(asked: Sequence[Clause]) -> Iterator[Bound]:
    for dtype in FORMATS:
        granted = [one for one in asked if one.dtype == dtype and one.ground is not None]
        if granted:
            grounds = [one.ground for one in granted]
            yield Bound(
                dtype=dtype,
                cases=len(granted),
                grounds=tuple((ground, grounds.count(ground)) for ground in Ground if ground in grounds),
                compared=sum(one.compared for one in granted),
                differing=sum(one.differing for one in granted),
                lr=_largest_lr(granted),
                ulp=tuple((name, found) for name in ("w", *QUANTITIES[:-1]) if (found := _largest_ulp(granted, name))),
                unmoved=sum(not one.moved for one in granted),
                partial=sum(bool(one.hidden) or not _shows_moments(one) for one in granted),
                nonfinite=sum(one.nonfinite for one in granted),
                zeros=sum(one.zeros for one in granted),
                weakest=_weakest(granted),
            )


def _shows_moments(clause: Clause) -> bool:
    return {"m", "v"} <= {one.quantity for one in clause.apart}


def _weakest(granted: Sequence[Clause]) -> Power | None:
    held = [one.power for one in granted if one.ground is Ground.WITHIN and one.power is not None]
    return min(held, key=lambda power: power.caught / power.applicable, default=None)


def _largest_lr(granted: Sequence[Clause]) -> Largest:
    found = [
        Largest(apart.lr, one.case, apart.lr_step) for one in granted for apart in one.apart if apart.lr is not None
    ]
    return max(found, key=lambda largest: largest.value)


def _largest_ulp(granted: Sequence[Clause], quantity: str) -> Largest | None:
    found = [
        Largest(apart.ulp, one.case, apart.ulp_step)
        for one in granted
        for apart in one.apart
        if apart.quantity == quantity
    ]
    return max(found, key=lambda largest: largest.value, default=None)


def _settings(asked: Sequence[Clause]) -> Iterator[Setting]:
    """Those of most cases first; a clause that was not compared asks for nothing."""
    cases: dict[object, list[str]] = {}
    for one in asked:
        if one.apart:
            cases.setdefault(one.hyper, []).append(one.case)
    for hyper, names in sorted(cases.items(), key=lambda item: -len(set(item[1]))):
        yield Setting(hyper, tuple(dict.fromkeys(names)))  # type: ignore[arg-type]


def _side(run: Run, name: str) -> Side:
    """What surrounded an implementation: the process of its framework, that of its own for a plug-in."""
    shipped = shipped_implementations().get(name)
    facts = run.workers.get(name if shipped is None else shipped.framework, run.environment)
    installed = facts["packages"]
    needed = installed if shipped is None else tuple(_packages(shipped.needs, tuple(installed)))
    return Side(
        name, facts["python"], tuple((package, installed[package]) for package in installed if package in needed)
    )


def _packages(needs: Sequence[str], installed: Sequence[str]) -> Iterator[str]:
    """Those of the first alternative of every need that is there, with their parts: jaxlib of jax, tensorflow-cpu."""
    for need in needs:
        for alternative in need.split("|"):
            module = alternative.partition(">")[0].partition("<")[0]
            found = [package for package in installed if package.startswith(module)]
            if found:
                yield from found
                break


def _digest(run: Run, sides: Sequence[Side], clauses: Sequence[Clause]) -> str:
    told = [
        run.version,
        run.environment,
        [_SIDE.dump_python(side, mode="json") for side in sides],
        [run.cases[one.case].get("digest", "") for one in clauses],
        _CLAUSES.dump_python(tuple(clauses), mode="json"),
    ]
    return digest_of(json.dumps(told, sort_keys=True).encode())
