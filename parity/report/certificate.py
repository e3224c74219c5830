"""The certificate of a pair, in sentences, tables and Markdown."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from parity.core.digest import digest_of
from parity.core.hyper import Hyper
from parity.explain.causes import Family
from parity.explain.explanation import sentence_of
from parity.explain.headlines import FIRST
from parity.report.figures import power_text, steps_text, ulp_text
from parity.report.markup import escape, printable, table
from parity.report.panels.certificate import (
    Bound,
    Certificate,
    Clause,
    Ground,
    Largest,
    Obstacle,
    Reason,
    Setting,
    Side,
)
from parity.report.reproduction import explain_command

MISSED_SHOWN = 4
DIGEST_SHOWN = 12

Figure = tuple[str, str]
"""What a field of a table says, and where that is."""


def bound_rows(one: Certificate) -> tuple[list[str], list[list[Figure]]]:
    """Head and rows of the bound: the largest differences by dtype."""
    quantities = [
        name for name in ("w", "m", "v", "vmax", "average") if any(name in dict(bound.ulp) for bound in one.bounds)
    ]
    head = ["dtype", "w in lr", *(f"{name} in ULP" for name in quantities), "cases", "elements", "differ"]
    return head, [list(_bound_row(bound, quantities)) for bound in one.bounds]


def _bound_row(bound: Bound, quantities: Sequence[str]) -> Iterator[Figure]:
    yield bound.dtype, ""
    yield steps_text(bound.lr.value), place_of(bound.lr)
    ulp = dict(bound.ulp)
    for name in quantities:
        yield (ulp_text(int(ulp[name].value)), place_of(ulp[name])) if name in ulp else ("", "")
    for count in (bound.cases, bound.compared, bound.differing):
        yield f"{count:,}", ""


def place_of(largest: Largest) -> str:
    """Case and step; empty where nothing differs."""
    return f"{largest.case}, step {largest.step:,}" if largest.value else ""


def side_rows(one: Certificate) -> Iterator[tuple[str, str]]:
    """Both sides with what they ran on, then the machine."""
    for side in (one.actual, one.expected):
        yield side.name, _packages(side)
    facts = one.environment
    flags = " ".join(facts["cpu_flags"])
    yield "processor", f"{facts['processor']}, {facts['platform']}" + (f" ({flags})" if flags else "")
    if facts["variables"]:
        yield "variables", " ".join(f"{name}={value}" for name, value in facts["variables"].items())


def _packages(side: Side) -> str:
    return ", ".join([*(f"{package} {version}" for package, version in side.packages), f"Python {side.python}"])


SETTINGS_HEAD = ("cases", "lr", "beta1", "beta2", "eps", "weight decay", "AMSGrad")


def setting_rows(settings: Sequence[Setting]) -> Iterator[list[str]]:
    """Cases, and the hyperparameters that they ask for, each number as the shortest decimal that is exactly it."""
    for setting in settings:
        names = ", ".join(setting.cases)
        if setting.hyper is None:
            yield [names, "not recorded", "", "", "", "", ""]
        else:
            yield [names, *_numbers(setting.hyper)]


def _numbers(hyper: Hyper) -> list[str]:
    lr = f"{hyper.lr}"
    if isinstance(hyper.lr, tuple):
        lr = f"{len(hyper.lr):,} values from {min(hyper.lr)} to {max(hyper.lr)}"
    kind = ("decoupled" if hyper.decoupled else "L2") if hyper.weight_decay else ""
    decay = f"{hyper.weight_decay} {kind}" if kind else "0"
    betas = [f"{one[0]} to {one[-1]}" if isinstance(one, tuple) else f"{one}" for one in (hyper.beta1, hyper.beta2)]
    return [lr, *betas, f"{hyper.eps}", decay, "yes" if hyper.amsgrad else "no"]


CLAUSE_HEAD = (
    "case", "dtype", "ground", "steps", "elements", "differ", "w, lr", "w, ULP", "m, ULP", "v (vmax), ULP", "inputs",
)  # fmt: skip


def clause_rows(clauses: Sequence[Clause]) -> Iterator[list[str]]:
    """A row for every case and dtype; of the digest of the inputs, what tells them apart."""
    for one in clauses:
        apart = {each.quantity: ulp_text(each.ulp).removesuffix(" ULP") for each in one.apart}
        maximum = f" ({apart['vmax']})" if "vmax" in apart else ""
        yield [
            one.case,
            one.dtype,
            ground_text(one),
            f"{one.steps:,}",
            f"{one.compared:,}",
            f"{one.differing:,}",
            steps_text(one.lr).removesuffix(" lr") if one.apart else "",
            *(apart.get(name, "") for name in ("w", "m")),
            apart.get("v", "") + maximum,
            one.input_digest[:DIGEST_SHOWN],
        ]


def ground_text(one: Clause) -> str:
    """The ground of a clause, with its causes or the power of its budget; else what stands against it."""
    if one.obstacle is not None:
        return f"NONE: {one.obstacle}"
    if one.ground is Ground.SAME_FORMULA:
        return f"same formula: {', '.join(one.families)}"
    if one.ground is Ground.WITHIN and one.power is not None:
        return f"within the budget, which {power_text(one.power, MISSED_SHOWN)}"
    return "identical"


TITLES: Mapping[Obstacle, str] = MappingProxyType(
    {
        Obstacle.INCOMPLETE: "The run is not complete",
        Obstacle.STALE: "The run has stale expectations",
        Obstacle.NO_SUCH_DTYPE: "The run holds nothing in a dtype that was asked for",
        Obstacle.NOTHING_MOVED: "No weight ever moved by a finite number",
        Obstacle.NOT_RUN: "Not run",
        Obstacle.NOT_COMPARED: "Never compared, though both were run: no case states what is expected of this pair",
        Obstacle.CRASHED: "One side did not come to its end",
        Obstacle.NOT_COMPARABLE: "Nothing could be compared",
        Obstacle.NOT_AS_EXPECTED: "The verdict is not the one that the case expects",
        Obstacle.OTHER_HYPERPARAMETERS: "Not the same hyperparameters",
        Obstacle.OTHER_FORMULA: "Not the same formula",
        Obstacle.NONFINITE: "NaN or inf on one side only",
        Obstacle.STANDS_STILL: "One side never moved a weight, the other did",
        Obstacle.CONTRADICTION: "run.json contradicts itself: every step is equal, the last states are not",
        Obstacle.TOO_FAR: "An optimizer that never steps would be as near",
        Obstacle.UNEXPLAINED: "The difference is not accounted for, and inside no budget",
        Obstacle.BLIND: "The budget would admit an optimizer that never steps",
        Obstacle.NO_POWER: "The budget is not known to catch a wrong Adam",
        Obstacle.SKIPPED: "A framework cannot do what the case asks",
    }
)

ADVICE: Mapping[Obstacle, str] = MappingProxyType(
    {
        Obstacle.INCOMPLETE: "Finish it: 'parity run --resume' with the same selection.",
        Obstacle.STALE: "Mend the case file: it expects something of a pair that there is not.",
        Obstacle.NO_SUCH_DTYPE: "Run the cases in it, or leave the dtype out.",
        Obstacle.NOTHING_MOVED: "Select cases in which weights move: equality of what stands still says nothing.",
        Obstacle.NOT_RUN: "Run both on the same cases, or leave these out.",
        Obstacle.NOT_COMPARED: "State in a case file what is expected of the pair, and run it; or look at both now:",
        Obstacle.CRASHED: "The logs of its process stand in logs/ of the run directory.",
        Obstacle.NOT_COMPARABLE: "Leave these cases out.",
        Obstacle.NOT_AS_EXPECTED: "Find out which of both changed:",
        Obstacle.OTHER_HYPERPARAMETERS: "Give both sides the same numbers, or leave these cases out.",
        Obstacle.OTHER_FORMULA: "No bound measured here holds for other gradients. The difference step by step:",
        Obstacle.NONFINITE: "See which side breaks, and where:",
        Obstacle.STANDS_STILL: "Its updates are lost in rounding; use a wider dtype, or other hyperparameters:",
        Obstacle.CONTRADICTION: "It was altered. Run it again.",
        Obstacle.TOO_FAR: "Rounding alone takes both apart by more than either moved; no bound says anything then:",
        Obstacle.UNEXPLAINED: "Find the causes:",
        Obstacle.BLIND: "Explain the difference, or state a tighter budget in the case:",
        Obstacle.NO_POWER: "Explain the difference; equal bits and named causes need no budget:",
        Obstacle.SKIPPED: "Leave these cases out, and say so.",
    }
)

EXPLAINABLE = frozenset(
    {
        Obstacle.NOT_COMPARED,
        Obstacle.NOT_AS_EXPECTED,
        Obstacle.OTHER_FORMULA,
        Obstacle.NONFINITE,
        Obstacle.STANDS_STILL,
        Obstacle.TOO_FAR,
        Obstacle.UNEXPLAINED,
        Obstacle.BLIND,
        Obstacle.NO_POWER,
    }
)
"""Those of which 'parity explain' shows more."""


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


MARK = "Equivalence certificate"
"""Stands at the top of every certificate, so that one can be told from another file."""

STEM = "certificate-"

LONGEST_NAME = 80


def file_stem(one: Certificate) -> str:
    """The name of its files without the ending; names that a file cannot bear get a digest."""
    return f"{STEM}{_safe(one.actual.name)}-{_safe(one.expected.name)}"


def _safe(name: str) -> str:
    kept = re.sub(r"[^A-Za-z0-9._]", "_", name)[:LONGEST_NAME]
    return kept if kept == name else f"{kept}_{digest_of(name.encode())[:8]}"


def render_certificate(one: Certificate) -> str:
    """The page, with every case folded at its end."""
    sections = _issued(one) if one.issued else _refused(one)
    return "\n\n".join(filter(None, sections)) + "\n"


def _issued(one: Certificate) -> Iterator[str]:
    yield f"# {MARK}"
    pair = f"{escape(one.actual.name)} {claim(one)} {escape(one.expected.name)}"
    yield f"**{pair}** {escape(terms(one))}"
    yield "\n".join(f"- **{dtype}**: {escape(text)}." for dtype, text in by_dtype(one))
    yield f"## To this bound\n\n{_bounds(one)}\n\n{UNITS}"
    yield "\n".join(f"- {escape(note)}" for note in notes(one))
    yield _left_out(one)
    yield f"## Under these hyperparameters\n\n{_settings(one)}"
    yield f"## With these versions\n\n{_sides(one)}"
    yield "## What it does not say\n\n" + "\n".join(f"- {line}" for line in LIMITS)
    yield f"Digest of all that is certified: `{one.digest}`. Made by parity {escape(one.version)} from one run."
    yield _clauses(one)


def _refused(one: Certificate) -> Iterator[str]:
    yield f"# {MARK}: cannot be issued"
    pair = f"{escape(one.actual.name)} and {escape(one.expected.name)}"
    yield f"**{pair}** cannot be called equivalent on {escape(scope(one))}."
    yield "\n".join(_reason(one, reason) for reason in one.reasons)
    yield _narrowing(one)
    if one.narrowing is not None:
        yield f"## What holds all the same\n\n{_bounds(one)}\n\n{UNITS}"
    yield _left_out(one)
    yield f"## With these versions\n\n{_sides(one)}"
    yield f"Made by parity {escape(one.version)} from one run."
    yield _clauses(one)


def _reason(one: Certificate, reason: Reason) -> str:
    detail, where = reason_detail(reason), reason_where(reason)
    told, command = advice(one, reason)
    parts = [f"**{reason_title(reason, one.cells[0])}.**", f"{escape(detail)}." if detail else ""]
    parts += [f"Where: {escape(where)}." if where else "", escape(told), f"`{_code(command)}`" if command else ""]
    return "- " + " ".join(filter(None, parts))


def _narrowing(one: Certificate) -> str:
    command = narrowing_command(one)
    if not command or one.narrowing is None:
        return ""
    told = f"{one.narrowing.cells:,} of the {one.narrowing.of:,} cells (a case in a dtype) can be certified:"
    return f"## What can be certified\n\n{told}\n\n```console\n$ {_code(command)}\n```"


def _bounds(one: Certificate) -> str:
    head, rows = bound_rows(one)
    return table(head, _escaped([f"{text} ({place})" if place else text for text, place in row] for row in rows))


def _settings(one: Certificate) -> str:
    return table(SETTINGS_HEAD, _escaped(setting_rows(one.settings)))


def _sides(one: Certificate) -> str:
    return table(["of", "what ran"], _escaped(list(row) for row in side_rows(one)))


def _left_out(one: Certificate) -> str:
    told = left_out(one)
    if not told:
        return ""
    refused = [f"- {escape(reason_line(reason, len(one.left_out)))}" for reason in one.left_out_reasons]
    tail = "Of them these could not be certified:\n\n" + "\n".join(refused) if refused else "All of them could be."
    return f"{escape(told)}. {tail}"


def _clauses(one: Certificate) -> str:
    head = f"<details><summary>Every case and dtype ({len(one.clauses):,})</summary>"
    rows = _escaped(clause_rows(one.clauses))
    return f"{head}\n\n{table(CLAUSE_HEAD, rows)}\n\n</details>"


def _escaped(rows: Iterable[list[str]]) -> list[list[str]]:
    return [[escape(text) for text in row] for row in rows]


def _code(command: str) -> str:
    """A command that cannot end the code it stands in."""
    return " ".join(printable(command).replace("`", "'").split())
