"""What a certificate says, in sentences of plain text."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence

from parity.explain.causes import Family
from parity.explain.explanation import sentence_of
from parity.explain.headlines import FIRST
from parity.report.certified_rows import MISSED_SHOWN, place_of
from parity.report.figures import power_text, steps_text
from parity.report.obstacles import ADVICE, EXPLAINABLE, TITLES
from parity.report.panels.certificate import Bound, Certificate, Reason
from parity.report.panels.clause import Clause, Ground, Obstacle
from parity.report.reproduction import explain_command

RUN_DIRECTORY = "RUN_DIRECTORY"


PLUGIN = "user."

CASES_SHOWN = 4
DETAILS_SHOWN = 3

LIMITS = (
    "Nothing about other hyperparameters, cases, shapes, steps, versions, processors or devices than these.",
    "Nothing about training: equal optimizers on other gradients (data order, initialisation, loss) give other curves.",
    "Nothing about speed, memory, or how either is called.",
)

UNITS = (
    "lr is the unit of one full optimizer step. One ULP is the distance from a number to its neighbour in the stored "
    "dtype; numbers near zero lie many ULP apart that are nearly equal."
)

GROUNDS = {
    Ground.IDENTICAL: "with every element equal",
    Ground.SAME_FORMULA: "of the same formula, with every differing bit accounted for by rounding",
    Ground.WITHIN: "within the case's budget for rounding",
}

PHRASES = {
    Obstacle.STANDS_STILL: "{} stood still",
    Obstacle.NOT_RUN: "{} did not take part",
    Obstacle.BLIND: "the budget of {}",
    Obstacle.UNEXPLAINED: "why they differ was {}",
}


def claim(one: Certificate) -> str:
    """The sentence of an issued certificate, after both names."""
    # NaN, and zero, have several bits that count as equal.
    if any(bound.differing or bound.nonfinite or bound.zeros for bound in one.bounds):
        return "is equivalent to"
    return "is equivalent, bit for bit, to"


def terms(one: Certificate) -> str:
    """Under what it holds."""
    return f"under the hyperparameters and to the bound stated here, on {scope(one)}."


def scope(one: Certificate) -> str:
    """The cases and dtypes that were selected."""
    cases, held = one.cases
    dtypes = list(dict.fromkeys(clause.dtype for clause in one.clauses))
    return f"{_cases(cases)}{'' if cases == held else f' (of {held:,} in the run)'} in {_and(dtypes)}"


def by_dtype(one: Certificate) -> Iterator[tuple[str, str]]:
    """Dtypes, and what holds in them."""
    told: dict[str, list[str]] = {}
    for bound in one.bounds:
        told.setdefault(_holds(bound), []).append(bound.dtype)
    for text, dtypes in told.items():
        yield _and(dtypes), text


def _holds(bound: Bound) -> str:
    if not bound.differing:
        quantities = _and([name for name, _ in bound.ulp])
        return f"all {bound.compared:,} elements of {quantities} are equal after every step"
    counted = ", ".join(f"{_cases(count)} {GROUNDS[ground]}" for ground, count in bound.grounds)
    if not bound.lr.value:
        return f"{counted}; every weight is equal"
    return f"{counted}; weights differ by at most {steps_text(bound.lr.value)} ({place_of(bound.lr)})"


def notes(one: Certificate) -> Iterator[str]:
    """What has to be read with the bound."""
    unmoved = [f"{bound.unmoved:,} of {_cases(bound.cases)} in {bound.dtype}" for bound in one.bounds if bound.unmoved]
    partial = [f"{bound.partial:,} of {_cases(bound.cases)} in {bound.dtype}" for bound in one.bounds if bound.partial]
    nonfinite = [f"{bound.nonfinite:,} in {bound.dtype}" for bound in one.bounds if bound.nonfinite]
    zeros = [f"{bound.zeros:,} in {bound.dtype}" for bound in one.bounds if bound.zeros]
    far = [bound.dtype for bound in one.bounds if bound.lr.value > 1]
    if far:
        yield f"In {_and(far)} rounding takes weights more than a full step apart: is that near enough for you?"
    for bound in one.bounds:
        if bound.weakest is not None:
            told = power_text(bound.weakest, MISSED_SHOWN)
            yield f"Of the budgets that are a ground in {bound.dtype} the weakest ({bound.weakest.case}) {told}."
    if unmoved:
        yield f"No weight moved on either side in {_and(unmoved)}: equality says little there."
    if partial:
        yield f"A side hides m, v or vmax in {_and(partial)}: nothing is said of what is hidden."
    if nonfinite:
        yield f"Elements that are NaN or inf, on both sides alike: {_and(nonfinite)}."
    if zeros:
        yield f"Zeros that differ in sign, and count as equal: {_and(zeros)}."


def left_out(one: Certificate) -> str:
    """What the run holds of the pair and was not asked for; empty where that is nothing."""
    if not one.left_out:
        return ""
    asked = [f"-d {dtype}" for dtype in one.dtypes] + ([f"-k {shlex.quote(one.keyword)}"] if one.keyword else [])
    return (
        f"Left out, as {' '.join(asked)} asks: {len(one.left_out):,} of the {one.cells[1]:,} cells of the run "
        f"(a case in a dtype), {where(one.left_out)}"
    )


def reason_title(reason: Reason, of: int) -> str:
    """What stands against it, and in how many cells."""
    title = TITLES[reason.obstacle]
    return f"{title}: {len(reason.clauses):,} of {of:,} cells" if reason.clauses else title


def reason_detail(reason: Reason) -> str:
    """The details of a reason, the most frequent ones; empty where the title says it all."""
    told = [_detail(reason, detail, count) for detail, count in reason.details if detail]
    if reason.obstacle is Obstacle.TOO_FAR:
        worst = max(reason.clauses, key=lambda clause: clause.lr)
        moved = steps_text(float(worst.reach))
        told.append(
            f"{worst.case} in {worst.dtype}: weights are {steps_text(worst.lr)} apart, one side moved by {moved}"
        )
    more = len(told) - DETAILS_SHOWN
    return "; ".join(told[:DETAILS_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _detail(reason: Reason, detail: str, count: int) -> str:
    if reason.obstacle is Obstacle.OTHER_FORMULA:
        return f"{sentence_of(Family(detail))} ({count:,} cells)"
    return PHRASES.get(reason.obstacle, "{}").format(detail)


def reason_where(reason: Reason) -> str:
    """In which cases; empty for a reason of the whole run."""
    return where(reason.clauses) if reason.clauses else ""


def where(clauses: Sequence[Clause]) -> str:
    """Cases with their dtypes where they are few, else numbers by dtype."""
    cases: dict[str, list[str]] = {}
    for clause in clauses:
        cases.setdefault(clause.case, []).append(clause.dtype)
    if len(cases) <= CASES_SHOWN:
        return "; ".join(f"{case} ({', '.join(dtypes)})" for case, dtypes in cases.items())
    dtypes = [dtype for row in cases.values() for dtype in row]
    return _and([f"{_cases(dtypes.count(dtype))} in {dtype}" for dtype in dict.fromkeys(dtypes)])


def advice(one: Certificate, reason: Reason) -> tuple[str, str]:
    """What to do about it, and the command that shows it, empty where there is none."""
    if reason.obstacle not in EXPLAINABLE:
        return ADVICE[reason.obstacle], ""
    typical = _typical(reason.clauses)
    # Where nothing was compared any case will do.
    case = typical.case if typical.apart else "CASE"
    targets = [_target(side.name) for side in (one.actual, one.expected)]
    return ADVICE[reason.obstacle], explain_command(case, targets, typical.dtype)


def _target(name: str) -> str:
    """What a command takes: a run does not keep the file of a plug-in."""
    return f"FILE.py:{name.removeprefix(PLUGIN)}" if name.startswith(PLUGIN) else name


def _typical(clauses: Sequence[Clause]) -> Clause:
    """That of median size; in float32 and of finite size where there is one."""
    choice = [one for one in clauses if one.dtype == FIRST] or list(clauses)
    choice = [one for one in choice if one.lr < math.inf] or choice
    return sorted(choice, key=lambda one: one.lr)[len(choice) // 2]


def narrowing_command(one: Certificate, run_directory: str = RUN_DIRECTORY) -> str:
    """The selection that can be certified as a command; empty where there is none."""
    narrow = one.narrowing
    if narrow is None:
        return ""
    words = ["parity", "report", run_directory, "--certificate", one.actual.name, one.expected.name]
    words += [word for dtype in narrow.dtypes for word in ("-d", dtype)]
    return shlex.join([*words, *(["-k", narrow.keyword] if narrow.keyword else [])])


def summary(one: Certificate) -> str:
    """One line for a terminal."""
    if one.issued:
        farthest = max(one.bounds, key=lambda bound: bound.lr.value)
        equal = not farthest.lr.value
        told = "every weight is equal" if equal else f"weights differ by at most {steps_text(farthest.lr.value)}"
        place = "" if equal else f" ({farthest.lr.case} in {farthest.dtype})"
        return f"issued: {one.actual.name} {claim(one)} {one.expected.name} on {scope(one)}; {told}{place}"
    first, *others = one.reasons
    titles = [reason_line(first, one.cells[0]), *(reason_title(reason, one.cells[0]) for reason in others)]
    return f"cannot be issued: {'. '.join(titles)}"


def reason_line(reason: Reason, of: int) -> str:
    """A reason with its details, in one line."""
    detail = reason_detail(reason)
    return f"{reason_title(reason, of)}" + (f" ({detail})" if detail else "")


def _cases(count: int) -> str:
    return f"{count:,} case" if count == 1 else f"{count:,} cases"


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
