"""Everything that a page shows beside the record of the run; the conclusion of a pair over all its cases."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from parity.engine.accounts import families_of
from parity.engine.record import PairVerdict, Run
from parity.engine.result import SAMPLED, PairResult, Why
from parity.explain.causes import FORMULA
from parity.explain.explanation import Answer
from parity.explain.headlines import DTYPES
from parity.report.panels.around import NO_STAGES, Around, around
from parity.report.panels.changes import Changes
from parity.report.panels.maps import Accuracy, EpsilonMap, HeatMap, accuracy, epsilon_maps, heat_map
from parity.report.panels.side_by_side import UNCOMPARED
from parity.report.panels.view import PairViews, read_views

OTHER_FORMULA = 0.5
"""Share of the cases that differ from which on a pair counts as two formulas, not as one with exceptions."""

LATER = 3
"""The rank from which on nobody asks about a pair first."""


@dataclass(frozen=True, slots=True)
class Size:
    """A largest difference of w in units of lr, and the case that has it."""

    lr: float
    case: str


@dataclass(frozen=True, slots=True)
class InDtype:
    """A pair in one dtype.

    cases: those compared; identical: of them without a differing bit. formula: cases whose causes are more than
    arithmetic; unexplained: cases of which some bits, or all, have no named cause. since: the earliest step with a
    difference in any quantity. typical, largest: of the cases whose weights differ by a number, None where there is
    none; nonfinite: cases in which NaN or inf on one side leaves no number.
    families: of causes, the most frequent first; other_formula: those that are more than arithmetic, each with the
    number of cases that it has a part in.
    """

    dtype: str
    cases: int
    identical: int
    formula: tuple[str, ...]
    unexplained: int
    since: int | None
    typical: Size | None
    largest: Size | None
    nonfinite: int
    families: tuple[str, ...]
    other_formula: tuple[tuple[str, int], ...]

    @property
    def differing(self) -> int:
        """Cases in which some bit differs."""
        return self.cases - self.identical

    @property
    def two_formulas(self) -> bool:
        """Whether another formula is the rule among the cases that differ, not the exception."""
        return bool(self.formula) and len(self.formula) >= OTHER_FORMULA * self.differing


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A pair in every dtype, float32 first. epsilon: where either side has it, empty where nobody wrote it down.

    headline: whether it is one of those that people ask about first.
    """

    actual: str
    expected: str
    epsilon: tuple[str, str]
    by_dtype: tuple[InDtype, ...]
    headline: bool

    @property
    def main(self) -> InDtype:
        """The dtype to speak of: the first in which something differs, so that equal bits elsewhere do not hide it."""
        return next((one for one in self.by_dtype if one.differing), self.by_dtype[0])


def conclusions(run: Run, views: Mapping[tuple[str, str], PairViews]) -> tuple[Conclusion, ...]:
    """Every pair that was looked at closely: two frameworks first, then a framework beside the from-scratch Adam."""
    whys = {(cell.case, cell.dtype, why.actual, why.expected): why for cell in run.cells for why in cell.account.pairs}
    pairs = run.pairs()
    groups: dict[tuple[str, str], dict[str, list[PairVerdict]]] = defaultdict(lambda: defaultdict(list))
    for one in run.verdicts:
        if one.verdict.kind not in UNCOMPARED and (not views or (one.actual, one.expected) in views):
            groups[one.actual, one.expected][one.dtype].append(one)
    found: list[tuple[int, Conclusion]] = []
    for pair, by_dtype in groups.items():
        epsilon = _epsilon(views.get(pair))
        rank = _rank(pair, epsilon)
        told = tuple(_in_dtype(by_dtype[dtype], pairs, whys) for dtype in DTYPES if dtype in by_dtype)
        found.append((rank, Conclusion(*pair, epsilon, told, rank < LATER)))
    found.sort(key=lambda one: one[0])
    if found and found[0][0] >= LATER:
        # Where no pair is of the kind that people ask about, all of them are.
        return tuple(replace(one, headline=True) for _, one in found)
    return tuple(one for _, one in found)


def _rank(pair: tuple[str, str], epsilon: tuple[str, str]) -> int:
    """Two frameworks; a framework and the Adam of the paper; one and the Adam of its own formula; what is left."""
    framework = [not name.startswith("numpy.") for name in pair]
    if all(framework):
        return 0
    if any(framework):
        return 1 if pair[1] == "numpy.adam.outside" else 2 if epsilon[0] == epsilon[1] else LATER
    return LATER + 1


def _epsilon(views: PairViews | None) -> tuple[str, str]:
    told = [] if views is None else [view.explanation for view in views.views if view.explanation is not None]
    return (told[0].actual.epsilon, told[0].expected.epsilon) if told else ("", "")


Key = tuple[str, str, str, str]


def _in_dtype(verdicts: Sequence[PairVerdict], pairs: Mapping[Key, PairResult], whys: Mapping[Key, Why]) -> InDtype:
    keys = [(one.case, one.dtype, one.actual, one.expected) for one in verdicts]
    differing = [key for key in keys if any(one.differing for one in pairs[key].distances)]
    explained = {key[0]: whys[key] for key in differing if key in whys}
    other = {case: tuple(_more_than_arithmetic(why)) for case, why in explained.items()}
    firsts = [one.first.step for key in differing for one in pairs[key].distances if one.first is not None]
    sized = sorted((_size(key[0], pairs[key]) for key in differing), key=lambda size: size.lr)
    sizes = [size for size in sized if 0 < size.lr < math.inf]
    return InDtype(
        dtype=verdicts[0].dtype,
        cases=len(keys),
        identical=len(keys) - len(differing),
        formula=tuple(case for case, families in other.items() if families),
        unexplained=sum(
            key[0] not in explained or explained[key[0]].answer in (Answer.UNEXPLAINED, SAMPLED) for key in differing
        ),
        since=min(firsts, default=None),
        typical=sizes[len(sizes) // 2] if sizes else None,
        largest=sizes[-1] if sizes else None,
        nonfinite=sum(size.lr == math.inf for size in sized),
        families=families_of(list(explained.values())),
        other_formula=tuple(Counter(family for families in other.values() for family in families).most_common()),
    )


def _is_explained(why: Why) -> bool:
    """Whether it is, every element of it."""
    return why.answer not in (Answer.UNEXPLAINED, SAMPLED)


def _more_than_arithmetic(why: Why) -> Iterator[str]:
    for family, share in why.families:
        if share != 0 and family in FORMULA:
            yield family


def _size(case: str, pair: PairResult) -> Size:
    worst = None if pair.weights is None else pair.weights.worst_max_steps
    value = 0.0 if worst is None else float(worst.value)
    return Size(math.inf if math.isnan(value) else value, case)


@dataclass(frozen=True, slots=True)
class Panels:
    """What a page shows, section by section.

    views: by pair; changes: of documents that are shown with the run; around: of what stands around the step.
    """

    conclusions: tuple[Conclusion, ...]
    heat: HeatMap
    views: dict[tuple[str, str], PairViews]
    epsilon: tuple[EpsilonMap, ...]
    accuracy: Accuracy
    changes: tuple[Changes, ...] = ()
    around: Around = NO_STAGES


def read_panels(run: Run, folder: Path, changes: tuple[Changes, ...] = ()) -> Panels:
    """From a run and its directory; ParityError where a file of it is missing, altered or of another schema."""
    views = read_views(run, folder)
    return Panels(conclusions(run, views), heat_map(run), views, epsilon_maps(), accuracy(run), changes, around(run))
