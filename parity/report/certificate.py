"""What a certificate says of a pair, in sentences and tables."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from parity.core.hyper import Hyper
from parity.report.figures import power_text, steps_text, ulp_text
from parity.report.panels.certificate import Bound, Certificate, Clause, Ground, Largest, Setting, Side

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


CASES_SHOWN = 4

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
    return f"{cases_text(cases)}{'' if cases == held else f' (of {held:,} in the run)'} in {joined(dtypes)}"


def by_dtype(one: Certificate) -> Iterator[tuple[str, str]]:
    """Dtypes, and what holds in them."""
    told: dict[str, list[str]] = {}
    for bound in one.bounds:
        told.setdefault(_holds(bound), []).append(bound.dtype)
    for text, dtypes in told.items():
        yield joined(dtypes), text


def _holds(bound: Bound) -> str:
    if not bound.differing:
        quantities = joined([name for name, _ in bound.ulp])
        return f"all {bound.compared:,} elements of {quantities} are equal after every step"
    counted = ", ".join(f"{cases_text(count)} {GROUNDS[ground]}" for ground, count in bound.grounds)
    if not bound.lr.value:
        return f"{counted}; every weight is equal"
    return f"{counted}; weights differ by at most {steps_text(bound.lr.value)} ({place_of(bound.lr)})"


def notes(one: Certificate) -> Iterator[str]:
    """What has to be read with the bound."""
    unmoved = [_part(bound, bound.unmoved) for bound in one.bounds if bound.unmoved]
    partial = [_part(bound, bound.partial) for bound in one.bounds if bound.partial]
    nonfinite = [f"{bound.nonfinite:,} in {bound.dtype}" for bound in one.bounds if bound.nonfinite]
    zeros = [f"{bound.zeros:,} in {bound.dtype}" for bound in one.bounds if bound.zeros]
    far = [bound.dtype for bound in one.bounds if bound.lr.value > 1]
    if far:
        yield f"In {joined(far)} rounding takes weights more than a full step apart: is that near enough for you?"
    for bound in one.bounds:
        if bound.weakest is not None:
            told = power_text(bound.weakest, MISSED_SHOWN)
            yield f"Of the budgets that are a ground in {bound.dtype} the weakest ({bound.weakest.case}) {told}."
    if unmoved:
        yield f"No weight moved on either side in {joined(unmoved)}: equality says little there."
    if partial:
        yield f"A side hides m, v or vmax in {joined(partial)}: nothing is said of what is hidden."
    if nonfinite:
        yield f"Elements that are NaN or inf, on both sides alike: {joined(nonfinite)}."
    if zeros:
        yield f"Zeros that differ in sign, and count as equal: {joined(zeros)}."


def _part(bound: Bound, count: int) -> str:
    return f"{count:,} of {cases_text(bound.cases)} in {bound.dtype}"


def left_out(one: Certificate) -> str:
    """What the run holds of the pair and was not asked for; empty where that is nothing."""
    if not one.left_out:
        return ""
    asked = [f"-d {dtype}" for dtype in one.dtypes] + ([f"-k {shlex.quote(one.keyword)}"] if one.keyword else [])
    return (
        f"Left out, as {' '.join(asked)} asks: {len(one.left_out):,} of the {one.cells[1]:,} cells of the run "
        f"(a case in a dtype), {where(one.left_out)}"
    )


def where(clauses: Sequence[Clause]) -> str:
    """Cases with their dtypes where they are few, else numbers by dtype."""
    cases: dict[str, list[str]] = {}
    for clause in clauses:
        cases.setdefault(clause.case, []).append(clause.dtype)
    if len(cases) <= CASES_SHOWN:
        return "; ".join(f"{case} ({', '.join(dtypes)})" for case, dtypes in cases.items())
    dtypes = [dtype for row in cases.values() for dtype in row]
    return joined([f"{cases_text(dtypes.count(dtype))} in {dtype}" for dtype in dict.fromkeys(dtypes)])


def cases_text(count: int) -> str:
    """How many cases."""
    return f"{count:,} case" if count == 1 else f"{count:,} cases"


def joined(words: Sequence[str]) -> str:
    """Words as a sentence has them."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
