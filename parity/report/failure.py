"""A pair that is not as expected, and an Adam that is not the one a test takes it for, as text for an assertion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from parity.case.case import RESTARTED
from parity.comparison.distance import Distance
from parity.comparison.parting import Parting
from parity.engine.pair_answer import PairAnswer
from parity.identify.answer import Answer
from parity.report.figures import steps_text, ulp_text, value_text
from parity.report.identity import identity_sentence

LEAST_SHARE = 0.005


def failure_text(answer: PairAnswer, reproduce: str) -> str:
    """What came out and what was expected, where the sides part, what would let them pass, why, and how to see it.

    reproduce: a command that shows the same.
    """
    return "\n".join(_lines(answer, reproduce))


def _lines(answer: PairAnswer, reproduce: str) -> Iterator[str]:
    verdict = answer.verdict
    wanted = f"{verdict.wanted} was expected"
    instead = "yet not as expected" if verdict.kind is verdict.wanted else f"where {wanted}"
    yield f"{verdict.kind}, {instead}: {answer.actual} against {answer.expected}"
    yield f"case       {answer.case} in {answer.dtype}, {answer.steps:,} steps, {answer.compared:,} elements compared"
    yield f"verdict    {verdict.reason.removeprefix(f'{wanted}; ')}"
    if verdict.because:
        yield f"expected   {verdict.because}" + (f" <{verdict.link}>" if verdict.link else "")
    for parting in answer.partings:
        place = f"{parting.quantity} of {parting.parameter}[{parting.index}]"
        yield f"parts at   step {parting.step}, {place}: {_apart(parting)}"
        yield f"  actual   {value_text(parting.actual)}"
        yield f"  expected {value_text(parting.expected)}"
    for distance in answer.distances:
        if distance.differing:
            yield f"worst      {_worst(distance)}"
    if answer.allowance is not None:
        told = f"none: {answer.allowance.refusal}" if answer.allowance.refusal else _within(answer.allowance.within)
        yield f"would pass {told}"
    if answer.why is not None:
        restarted = answer.actual.endswith(RESTARTED)
        yield f"causes     {answer.why.sentence if restarted else _causes(answer.why.families) or answer.why.answer}"
    yield f"reproduce  {reproduce}"


def _apart(parting: Parting) -> str:
    in_lr = "" if parting.steps is None else f", {steps_text(parting.steps)}"
    return f"abs {parting.abs:.3g}, rel {parting.rel:.3g}, {ulp_text(parting.ulp)}{in_lr}"


def _worst(distance: Distance) -> str:
    steps = distance.worst_max_steps
    in_lr = "" if steps is None else f", {steps_text(steps.value)}"
    worst = distance.worst_max_ulp
    return (
        f"{distance.quantity}: {ulp_text(int(worst.value))} at step {worst.step} in {worst.parameter}; "
        f"abs {distance.worst_max_abs.value:.3g}, rel {distance.worst_max_rel.value:.3g}{in_lr}; "
        f"{distance.differing:,} of {distance.compared:,} differ"
    )


def _within(within: Mapping[str, Mapping[str, float]]) -> str:
    """As it may stand in a case file; numbers with every digit, so that nothing is lost."""
    budgets = (
        f"{quantity} = {{ {', '.join(f'{metric} = {_number(limit)}' for metric, limit in limits.items())} }}"
        for quantity, limits in within.items()
    )
    return f"within = {{ {', '.join(budgets)} }}"


def _number(limit: float) -> str:
    return str(int(limit)) if limit.is_integer() and limit < 1e15 else repr(limit)


def _causes(families: tuple[tuple[str, float | None], ...]) -> str:
    """Those with a share, then those that are only named."""
    shown = [(family, share) for family, share in families if share is None or share >= LEAST_SHARE]
    return ", ".join(family if share is None else f"{family} {share:.0%}" for family, share in shown)


def complaints(
    answers: Mapping[str, Answer], wanted: Mapping[str, object], allowed: Sequence[str] = (), *, exact: bool
) -> Iterator[str]:
    """One line for every choice that is not as wanted, and for every departure that is not allowed, by dtype.

    allowed: families of departures. exact: bit for bit, or it is none.
    """
    for dtype, answer in answers.items():
        if answer.failure:
            yield f"{dtype}: it fails: {answer.failure}"
            continue
        if not answer.convention:
            yield f"{dtype}: it is no Adam that is known"
            continue
        if answer.verdict == "unexplained":
            yield f"{dtype}: it is not explained"
        elif exact and answer.verdict != "identified":
            yield f"{dtype}: it is the same to within rounding, not bit for bit"
        for name, value in wanted.items():
            found = answer.convention.get(name)
            if found != value:
                yield f"{dtype}: {name} is {found!r}, not {value!r}"
        for cause in answer.departures:
            if cause.family not in allowed and answer.convention:
                yield f"{dtype}: departs: {cause.family}: {cause.detail}"


def misidentified_text(
    name: str,
    answers: Mapping[str, Answer],
    wanted: Mapping[str, object],
    allowed: Sequence[str],
    reproduce: str,
    *,
    exact: bool,
) -> str:
    """What does not hold, what it is instead, and how to see more; empty where all holds. allowed: as `complaints`."""
    found = list(complaints(answers, wanted, allowed, exact=exact))
    if not found:
        return ""
    lines = [*found]
    for dtype, answer in answers.items():
        lines.append(identity_sentence(name, dtype, answer))
        lines += [f"  {line}" for line in answer.formula.splitlines()]
        lines += [f"  departs: {cause.family}: {cause.detail}" for cause in answer.causes if not cause.benign]
    return "\n".join([*lines, f"reproduce  {reproduce}"])
