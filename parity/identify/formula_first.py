"""The formula of a side that no twin has, read out before anything of its difference is called rounding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from parity.case.case import Case
from parity.comparison.trace import Trace
from parity.core.errors import ParityError
from parity.engine.plan import Candidate
from parity.explain.causes import Cause, Family
from parity.explain.explanation import Explanation
from parity.identify.answer import Answer, Finding
from parity.identify.from_trace import observation_from_trace
from parity.identify.identify import answers
from parity.identify.probed import Probed
from parity.identify.probes import Observation
from parity.identify.probing import probe

LARGEST = 1 << 22
"""Elements of all steps of a case up to which a rule is held against it."""


def formula_first(
    explanation: Explanation,
    traces: Mapping[str, Trace],
    case: Case,
    candidates: Mapping[str, Candidate],
    timeout: float | None = 300.0,
    asked: dict[tuple[str, str], Probed] | None = None,
) -> Explanation:
    """The explanation with what `identify` reads of every side whose difference has no named cause.

    A side is asked its probes; the rule that is read out has to explain what it did in the case as well, every step
    from the state before it, to within rounding. Its departures then take the place of the cause without a name; those
    that both sides have make no difference. What does something around the step, or begins with a state, is left as
    it is: no probe asks for that. asked: the answers of a candidate in a dtype, which are not asked for twice. Where
    nothing can be read, the cause says why.
    """
    asked = {} if asked is None else asked
    unnamed = {str(one.evidence.get("implementation", "")): one for one in explanation.causes
               if one.family is Family.UNEXPLAINED}  # fmt: skip
    read: dict[str, tuple[Answer, tuple[Finding, ...]]] = {}
    failed: dict[str, str] = {}
    for name in unnamed:
        trace = traces.get(name)
        if trace is None or set(case.around().names) - {"schedule"} or case.steps * trace.layout.size > LARGEST:
            continue
        try:
            shown = observation_from_trace(trace, case=case)
            dtype = trace.format.name
            if (name, dtype) not in asked:
                asked[name, dtype] = probe(candidates[name], [dtype], timeout)[dtype]
            answer = answers(candidates[name], {dtype: asked[name, dtype]}, timeout, beside={dtype: shown})[dtype]
        except ParityError as error:
            failed[name] = str(error)
            continue
        if answer.convention and answer.verdict != "unexplained":
            read[name] = answer, tuple(_at_work(answer, shown))
    if failed:
        causes = tuple(_not_read(one, failed) for one in explanation.causes)
        explanation = replace(explanation, causes=causes)
    if not read:
        return explanation
    details = [{one.detail for one in departures} for _, departures in read.values()]
    alike = set.intersection(*details) if len(read) == 2 else set()
    causes = tuple(
        new
        for cause in explanation.causes
        for new in _named(cause, read.get(str(cause.evidence.get("implementation", ""))), alike)
    )
    sides = (
        replace(told, formula=read[told.implementation][0].formula) if told.implementation in read else told
        for told in (explanation.actual, explanation.expected)
    )
    actual, expected = sides
    ordered = tuple(sorted(causes, key=lambda cause: -(cause.share or 0.0)))
    return replace(explanation, actual=actual, expected=expected, causes=ordered)


def _at_work(answer: Answer, shown: Observation) -> Iterator[Finding]:
    """The departures for which a case gives an occasion."""
    probe = shown.probe
    occasion = {
        Family.AMSGRAD: probe.hyper.amsgrad,
        Family.NONE_GRADIENT: bool(probe.none),
        Family.WEIGHT_DECAY: probe.hyper.weight_decay != 0,
        Family.NON_FINITE: not np.isfinite(probe.gradients.astype(np.float64)).all(),
    }
    return (one for one in answer.departures if occasion.get(Family(one.family), True))


def _not_read(cause: Cause, failed: Mapping[str, str]) -> Cause:
    reason = failed.get(str(cause.evidence.get("implementation", "")))
    if cause.family is not Family.UNEXPLAINED or reason is None:
        return cause
    return replace(cause, detail=f"{cause.detail}; its formula could not be read: {reason}")


def _named(cause: Cause, read: tuple[Answer, tuple[Finding, ...]] | None, alike: set[str]) -> Iterator[Cause]:
    if cause.family is not Family.UNEXPLAINED or read is None:
        yield cause
        return
    name = cause.evidence["implementation"]
    own = [one for one in read[1] if one.detail not in alike]
    for one in own:
        share = cause.share if len(own) == 1 and not alike else None
        yield Cause(Family(one.family), f"{name}: {one.detail}", share, {**one.evidence, "implementation": name})
    if not own:
        told = f"{name} follows its rule to within rounding" + (
            f", as the other side does: {'; '.join(alike)}" * bool(alike)
        )
        yield Cause(Family.ROUNDING, told, None if alike else cause.share, cause.evidence)
