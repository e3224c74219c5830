"""A divergence held against an expectation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from parity.case.expectation import ANY, Budget, Expectation, Kind
from parity.comparison.distance import Distance, Reach, Worst
from parity.core.shown import Shown


@dataclass(frozen=True, slots=True)
class Verdict(Shown):
    """How a pair stands, what was expected of it, and why.

    kind: what came out. reason: the figures behind it, one line. wanted: the kind the case expects,
    None where it states none. because: the case's reason. as_expected: whether the run may be green.
    blind: quantities for which WITHIN says nothing, as an optimizer that never steps would be, too.
    """

    kind: Kind
    reason: str
    wanted: Kind | None
    because: str
    link: str | None
    as_expected: bool
    blind: tuple[str, ...] = ()


def judge(
    distances: Sequence[Distance],
    moved: tuple[bool, bool],
    expectation: Expectation | None,
    *,
    reaches: Sequence[Reach] = (),
    one_sided: Sequence[str] = (),
    formula: Sequence[str] | None = None,
    suspected: Sequence[str] = (),
    unexplained: str = "",
) -> Verdict:
    """The verdict on a pair that ran to its end.

    distances: one per quantity that both sides show. moved: whether a weight ever left its initial
    value, for actual and expected. reaches: of the expected side, by which a stated budget is held to
    mean something. one_sided: quantities that only one side shows. formula: where both sides equal their
    twins bit for bit, the families of causes that are more than rounding; unexplained: else why nobody says so, and
    suspected: such families that were found on a sample.
    Without an expectation nothing but IDENTICAL is as expected.
    """
    kind, reason = _kind(distances, moved, expectation, formula, suspected)
    if kind is Kind.WITHIN and expectation is not None and expectation.verdict == ANY and _blind(reaches, expectation):
        # A budget that an optimizer passes which never steps says of nobody that it is the same Adam.
        kind, reason = _kind(distances, moved, expectation.model_copy(update={"within": None}), formula, ())
    if one_sided:
        reason += f"; not compared, as one side hides it: {', '.join(one_sided)}"
    surprise = _surprise(kind, distances, moved, expectation, unexplained)
    blind = _blind(reaches, expectation) if kind is Kind.WITHIN and expectation is not None else {}
    if expectation is not None and not expectation.rounding:
        # How wide a derived budget is says theory; how wide a stated one is, the author of the case.
        surprise = surprise or _void(blind)
    verdict = _verdict(kind, f"{surprise}; {reason}" if surprise else reason, expectation, not surprise)
    return replace(verdict, blind=tuple(blind))


def judge_failure(kind: Kind, reason: str, expectation: Expectation | None) -> Verdict:
    """The verdict on a pair one side of which crashed or was skipped."""
    expected = expectation is not None and (expectation.verdict == kind or (kind is Kind.SKIPPED and expectation.skips))
    return _verdict(kind, reason, expectation, expected)


def _verdict(kind: Kind, reason: str, expectation: Expectation | None, as_expected: bool) -> Verdict:
    if expectation is None:
        return Verdict(kind, reason, None, "", None, as_expected)
    wanted = None if expectation.verdict == ANY else Kind(expectation.verdict)
    return Verdict(kind, reason, wanted, expectation.because, expectation.link, as_expected)


def _kind(
    distances: Sequence[Distance],
    moved: tuple[bool, bool],
    expectation: Expectation | None,
    formula: Sequence[str] | None,
    suspected: Sequence[str],
) -> tuple[Kind, str]:
    if not any(distance.compared for distance in distances):
        return Kind.NOT_COMPARABLE, "no element was compared"
    differing = [distance for distance in distances if distance.differing]
    nonfinite = sum(distance.nonfinite for distance in distances)
    if not differing:
        if nonfinite and not (expectation and expectation.nonfinite):
            return Kind.NOT_COMPARABLE, f"equal, but {nonfinite} elements are NaN or inf on both sides"
        if not any(moved) and (expectation is None or expectation.moves):
            return Kind.NOT_COMPARABLE, "equal, but neither side ever moved a weight"
        return Kind.IDENTICAL, _identical(distances)
    if expectation is not None and expectation.within is not None:
        excess = _excess(distances, expectation)
        if nonfinite and not expectation.nonfinite:
            excess.insert(0, f"{nonfinite} elements are NaN or inf")
        unbounded = _unbounded(differing, expectation)
        other = _other_formula(expectation, suspected if formula is None else formula)
        if other:
            excess.append(f"another formula: {', '.join(other)}")
        if not excess and formula is None and not unbounded:
            return Kind.WITHIN, _measured(differing)
        if expectation.verdict != ANY and (excess or formula is None):
            limitless = f"rounding sets {', '.join(unbounded)} no limit here; {_measured(differing)}"
            return Kind.DIVERGED, "; ".join(excess) or limitless
        explains = formula is not None
    else:
        explains = formula is not None and expectation is not None and expectation.verdict in (Kind.EXPLAINED, ANY)
    if explains:
        return Kind.EXPLAINED, f"{_measured(differing)}; both sides equal their twins bit for bit"
    return Kind.DIVERGED, _measured(differing)


def _other_formula(expectation: Expectation, formula: Sequence[str] | None) -> list[str]:
    """Causes that part a pair of which the case says that it differs by rounding alone.

    Where a budget is stated, or holds for m and v only, formulas may differ.
    """
    if expectation.verdict == ANY or expectation.rounding in (None, "moments"):
        return []
    return [family for family in formula or () if family not in expectation.causes]


def _surprise(
    kind: Kind,
    distances: Sequence[Distance],
    moved: tuple[bool, bool],
    expectation: Expectation | None,
    unexplained: str,
) -> str:
    """What is not as expected, in words; empty where all is."""
    if expectation is None:
        return "" if kind is Kind.IDENTICAL else "no expectation is stated for this pair"
    if expectation.verdict == ANY:
        # Where nothing could be compared, or NaN was that nobody allowed, there is nothing to report.
        nonfinite = sum(distance.nonfinite for distance in distances)
        if nonfinite and not expectation.nonfinite:
            return f"{nonfinite} elements are NaN or inf"
        if kind is Kind.DIVERGED and expectation.rounding is not None:
            return f"not explained: {unexplained}" if unexplained else "not explained"
        return "a comparison was expected" if kind is Kind.NOT_COMPARABLE else ""
    wanted = Kind(expectation.verdict)
    if kind is not wanted and not _excused(kind, wanted, distances, expectation):
        return f"{wanted} was expected" + (f", and {unexplained}" if wanted is Kind.EXPLAINED and unexplained else "")
    if kind is Kind.NOT_COMPARABLE:
        return ""
    if expectation.moves and not all(moved):
        side = "actual" if moved[1] else "expected" if moved[0] else "either side"
        return f"{side} never moved a weight"
    if not expectation.moves and all(moved):
        return "the expectation is stale: it says that a side stands still, and both moved"
    nonfinite = sum(distance.nonfinite for distance in distances)
    if nonfinite and not expectation.nonfinite:
        return f"{nonfinite} elements are NaN or inf, which the expectation does not allow"
    return ""


def _excused(kind: Kind, wanted: Kind, distances: Sequence[Distance], expectation: Expectation) -> bool:
    """Whether a pair that should be WITHIN or EXPLAINED may also come out as this kind."""
    if kind is Kind.IDENTICAL:
        return wanted in (Kind.WITHIN, Kind.EXPLAINED)
    if kind is Kind.EXPLAINED:
        return wanted is Kind.WITHIN
    without_limit = kind is Kind.DIVERGED and bool(expectation.unbounded)
    return wanted is Kind.WITHIN and without_limit and not _excess(distances, expectation)


def _blind(reaches: Sequence[Reach], expectation: Expectation) -> dict[str, str]:
    """Quantities whose budget would admit an optimizer that never steps, each with that budget in words."""
    found = {}
    for reach in reaches:
        budget = _budget(expectation, reach.quantity)
        if budget is None or not reach.differing:
            continue
        limits = {metric: (getattr(reach, metric), limit) for metric, limit in budget.limits().items()}
        if all(value is not None and value <= limit for value, limit in limits.values()):
            found[reach.quantity] = ", ".join(f"{metric} {limit:g}" for metric, (_, limit) in limits.items())
    return found


def _void(blind: dict[str, str]) -> str:
    return "; ".join(
        f"the budget of {quantity} ({budget}) would admit an optimizer that never steps"
        for quantity, budget in blind.items()
    )


def _identical(distances: Sequence[Distance]) -> str:
    compared = sum(distance.compared for distance in distances)
    zeros = sum(distance.opposite_zeros for distance in distances)
    names = ", ".join(distance.quantity for distance in distances)
    text = f"all {compared:,} elements of {names} are equal"
    return f"{text}; {zeros:,} zeros differ in sign" if zeros else text


def _measured(differing: Sequence[Distance]) -> str:
    first = min((distance.first for distance in differing if distance.first), key=lambda first: first.step)
    parts = [f"{distance.quantity} {_figure(distance)}" for distance in differing]
    return f"from step {first.step} ({first.parameter}[{first.index}]): " + ", ".join(parts)


def _figure(distance: Distance) -> str:
    text = f"{distance.worst_max_ulp.value:,} ULP"
    steps = distance.worst_max_steps
    return f"{text} = {steps.value:.2g} lr" if steps is not None else text


def _unbounded(differing: Sequence[Distance], expectation: Expectation) -> list[str]:
    """Quantities that differ and have no limit."""
    return [distance.quantity for distance in differing if distance.quantity in expectation.unbounded]


def _budget(expectation: Expectation, quantity: str) -> Budget | None:
    """That of a quantity, or the one for all that are not named."""
    budgets: dict[str, Budget] = dict(expectation.within or {})  # type: ignore[arg-type]
    return budgets.get(quantity) or budgets.get("*")


def _excess(distances: Sequence[Distance], expectation: Expectation) -> list[str]:
    """One phrase for every limit that does not hold, and for every quantity that should have one."""
    phrases = []
    for distance in distances:
        budget = _budget(expectation, distance.quantity)
        if budget is None:
            if distance.quantity not in expectation.unbounded:
                phrases.append(f"{distance.quantity} has no budget")
            continue
        for metric, limit in budget.limits().items():
            worst = distance.worst(metric)
            if worst is None:
                phrases.append(f"{distance.quantity} has no {metric} (only w is measured in units of lr)")
            elif not worst.value <= limit:
                phrases.append(_over(distance.quantity, metric, worst, limit))
    return phrases


def _over(quantity: str, metric: str, worst: Worst, limit: float) -> str:
    value = f"{worst.value:,}" if isinstance(worst.value, int) else f"{worst.value:.3g}"
    return f"{quantity}: {metric} {value} > {limit:g} at step {worst.step} in {worst.parameter}"
