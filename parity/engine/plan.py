"""What is going to be run: cells of one case in one dtype, each with its implementations and pairs."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from parity.case.case import RESTARTED, Case, unmatched_expectations, unused_base_expectations
from parity.case.expectation import Expectation
from parity.case.replay import RECORDED
from parity.core.errors import NothingCompared, ParityError
from parity.core.hyper import Hyper
from parity.implementations.registry import PREFIX, framework_of
from parity.numerics.formats import FORMATS, format_named

LOCAL = " in this process"
"""What the worker of an implementation is called in which no other process has a part."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An implementation as the engine knows it, without having imported it.

    name: dotted, as in every table. target: what the worker resolves. worker: the process that
    serves it; plug-ins get one of their own. python: the interpreter of that process, empty for this one.
    representative: stands for its framework, or, a plug-in, for itself. restart: steps after which it saves, and goes
    on in a new process. roots: a plug-in whose framework can be asked for its square root. sources: digest of all that
    a plug-in is made of; empty where some of it may change without a trace. imports: what its process may have imported
    before it is loaded, as `parity.engine.sources.imports_first` tells.
    """

    name: str
    target: str
    worker: str
    dtypes: tuple[str, ...]
    convention: str | None
    defaults: Hyper
    plugin: bool = False
    python: str = ""
    representative: bool = False
    restart: tuple[int, ...] = ()
    roots: bool = False
    sources: str = ""
    imports: str = ""

    @property
    def framework(self) -> str:
        """What its process is forked with."""
        return self.imports or framework_of(self.worker)

    @property
    def local(self) -> bool:
        """Whether it is run in this process, which no restart can end."""
        return self.worker.endswith(LOCAL)

    @property
    def home(self) -> str:
        """The worker of what it is, restarted or not."""
        return self.worker.removesuffix(f" {RESTARTED}")


@dataclass(frozen=True, slots=True)
class Cell:
    """One case in one dtype; pairs are (actual, expected) by name, each with an expectation."""

    case: Case
    dtype: str
    candidates: tuple[Candidate, ...]
    pairs: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """As shown while it runs."""
        return f"{self.case.name} {self.dtype}"

    @property
    def headlines(self) -> tuple[tuple[str, str], ...]:
        """The pairs of which both sides stand for their framework: those that are explained at length."""
        standing = {candidate.name for candidate in self.candidates if candidate.representative}
        return tuple(pair for pair in self.pairs if standing.issuperset(pair))


@dataclass(frozen=True, slots=True)
class Plan:
    """All cells, and expectations that no pair of the catalogue answers to."""

    cells: tuple[Cell, ...]
    stale: tuple[str, ...]

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every implementation that takes part, once."""
        return tuple({candidate.name: candidate for cell in self.cells for candidate in cell.candidates}.values())


def plan_cells(
    cases: Sequence[Case],
    candidates: Sequence[Candidate],
    dtypes: Iterable[str],
    known: Sequence[str],
    *,
    whole: bool = False,
    asked: Sequence[str] = (),
) -> Plan:
    """Cells for cases x dtypes with the pairs that expectations name among the candidates.

    known: names of all implementations there are, selected or not; an expectation of a case that
    matches no pair of them is stale. whole: the cases are whole catalogues, so that an expectation of
    a base file that no case comes to is stale too. asked: names in the order in which they were asked for, of which a
    case without expectations holds all others against the first; none for that of the candidates. NothingCompared
    where no pair is left.
    """
    wanted = [format_named(dtype).name for dtype in dtypes]
    names = [candidate.name for candidate in candidates]
    _check_unique("implementations", names)
    _check_unique("cases", [case.name for case in cases])
    cells = []
    named = {candidate.name: candidate for candidate in candidates}
    cases = [_reported(case, [named[name] for name in asked or names]) for case in cases]
    for case in cases:
        for dtype in (dtype for dtype in FORMATS if dtype in wanted and dtype in case.dtypes):
            parties = parties_of(case, candidates, dtype)
            pairs = pairs_of(case, [one.name for one in parties], dtype)
            taking_part = {name for pair in pairs for name in pair}
            if pairs:
                chosen = tuple(candidate for candidate in parties if candidate.name in taking_part)
                cells.append(Cell(case, dtype, chosen, pairs))
    alone = len(names) < 2 and any(not (case.restart or case.recorded) for case in cases)
    if not cells or alone:
        raise NothingCompared(_why_nothing(cases, names, wanted))
    _check_plugins(candidates, cells)
    return Plan(tuple(cells), stale_expectations(cases, [*known, *names], whole))


def _reported(case: Case, parties: Sequence[Candidate]) -> Case:
    """A case without any expectation, with one for each: all others are held against the first and reported."""
    if case.expect or len(parties) < 2:
        return case
    first, *others = parties
    reported = (
        Expectation(
            actual=glob.escape(one.name),
            expected=glob.escape(first.name),
            # What is shipped for some dtypes only is not asked in the others; a user's own says so in a row.
            dtypes=tuple(FORMATS) if one.plugin else one.dtypes,  # type: ignore[arg-type]
            verdict="ANY",
            rounding="operations",
            because="No expectation is stated: all are held against the first, and have to be explained.",
        )
        for one in others
    )
    return case.model_copy(update={"expect": tuple(reported)})


def parties_of(case: Case, candidates: Sequence[Candidate], dtype: str) -> tuple[Candidate, ...]:
    """The candidates, with what happened where the case is a recording, and each restarted where it says so."""
    return (*_recorded(case, dtype), *candidates, *_restarted(case, candidates, dtype))


def _recorded(case: Case, dtype: str) -> tuple[Candidate, ...]:
    """What happened, where the case is a recording."""
    if not case.recorded:
        return ()
    target = f"{PREFIX}{case.recorded}"
    return (Candidate(RECORDED, target, RECORDED, (dtype,), None, Hyper(), representative=True),)


def _restarted(case: Case, candidates: Sequence[Candidate], dtype: str) -> tuple[Candidate, ...]:
    """Every implementation once more, as it is restarted; in processes that can end without anybody else."""
    return tuple(
        replace(
            one,
            name=one.name + RESTARTED,
            worker=f"{one.worker} {RESTARTED}",
            representative=False,
            restart=case.restart,
        )
        for one in candidates
        if case.restart and dtype in one.dtypes and not one.local
    )


def pairs_of(case: Case, names: Sequence[str], dtype: str) -> tuple[tuple[str, str], ...]:
    """Pairs for which the case states an expectation; a pair stands once, never turned round.

    What is restarted is held against itself without a stop, and nothing else.
    """
    pairs: dict[tuple[str, str], None] = {}
    for actual in names:
        others = (one for one in names if one != actual and not one.endswith(RESTARTED))
        own = [one for one in others if actual.removesuffix(RESTARTED) in (actual, one)]
        pairs |= {(actual, one): None for one in case.compared_with(actual, own, dtype) if (one, actual) not in pairs}
    return tuple(pairs)


def stale_expectations(cases: Sequence[Case], known: Sequence[str], whole: bool = False) -> tuple[str, ...]:
    """One line for every case without expectations, and every expectation that no known pair answers to."""
    names = list(dict.fromkeys([*known, RECORDED]))
    pairs = [(actual, expected) for actual in names for expected in names if actual != expected]
    restarts = [(name + RESTARTED, name) for name in known]
    silent = tuple(
        f"{case.name}: no expectation is stated, so nothing of it is compared" for case in cases if not case.expect
    )
    own = [
        (case.name, entry)
        for case in cases
        for entry in unmatched_expectations(case, [*pairs, *(restarts if case.restart else ())], case.dtypes)
    ]
    base = [("base file", entry) for entry in unused_base_expectations(tuple(cases), pairs)] if whole else []
    return silent + tuple(
        f"{place}: the expectation {entry.actual} / {entry.expected} ({entry.verdict}) matches no pair"
        for place, entry in own + base
    )


def _check_unique(what: str, names: Sequence[str]) -> None:
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise ParityError(f"two {what} are called {twice[0]!r}; give one of them another name")


def _check_plugins(candidates: Sequence[Candidate], cells: Sequence[Cell]) -> None:
    """NothingCompared where a user's own implementation would be left out without a word."""
    compared = {candidate.name for cell in cells for candidate in cell.candidates}
    for candidate in candidates:
        if candidate.plugin and candidate.name not in compared:
            raise NothingCompared(
                f"nothing to compare {candidate.name} with: no expectation pairs it with "
                f"{', '.join(other.name for other in candidates if other is not candidate)}"
            )


def _why_nothing(cases: Sequence[Case], names: Sequence[str], dtypes: Sequence[str]) -> str:
    if not cases:
        return "nothing to compare: no case is selected"
    if len(names) < 2:
        return f"nothing to compare: only {names[0] if names else 'no implementation'} is selected; it takes two"
    return (
        f"nothing to compare: no expectation of {len(cases)} case(s) names a pair of "
        f"{', '.join(names)} in {', '.join(dtypes) or 'no dtype'}"
    )
