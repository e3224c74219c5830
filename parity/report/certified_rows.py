"""The tables of a certificate, as rows of plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parity.core.hyper import Hyper
from parity.report.figures import power_text, steps_text, ulp_text
from parity.report.panels.certificate import Bound, Certificate, Largest, Setting, Side
from parity.report.panels.clause import Clause, Ground

MISSED_SHOWN = 4
DIGEST_SHOWN = 12

Figure = tuple[str, str]
"""What a field of a table says, and where that is."""


def bound_rows(one: Certificate) -> tuple[list[str], list[list[Figure]]]:
    """Head and rows of the bound: the largest differences by dtype."""
    quantities = [name for name in ("w", "m", "v", "vmax") if any(name in dict(bound.ulp) for bound in one.bounds)]
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
    return [lr, f"{hyper.beta1}", f"{hyper.beta2}", f"{hyper.eps}", decay, "yes" if hyper.amsgrad else "no"]


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
