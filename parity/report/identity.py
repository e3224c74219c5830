"""Which Adam a target is, on a terminal: a sentence, the formula, and what was read out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from parity.identify.answer import FAILED, IGNORED, LEFT_OPEN, LEFT_OUT, NEVER_ASKED, Answer, Finding
from parity.numerics.ulp import NO_DISTANCE
from parity.report.markup import on_screen

STYLES = {"identified": "green", "explained": "green", "unexplained": "bold red"}
FEW = 4
"""Numbers of evidence, or lines of a choice, that are shown; all of them are in the JSON."""
HYPERPARAMETERS = "hyperparameters"
"""Entry of a convention: the numbers in force by name."""

IN_FORMULA = ("weight_decay", "amsgrad")
"""Entries of a convention that are lines of the formula."""

LONG = 1_000_000
"""From so many ULPs on, only their order of magnitude is shown."""


def identity_parts(name: str, dtype: str, answer: Answer) -> Iterator[Text | Padding | Table]:
    """What there is to say of a target in one dtype, line by line or as a table."""
    yield Text(identity_sentence(name, dtype, answer), STYLES[answer.verdict])
    if answer.formula:
        yield Padding(Text(answer.formula), (0, 0, 0, 2), expand=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for label, told in answer_rows(answer):
        table.add_row(label, on_screen(told))
    if table.row_count:
        yield table


def identity_sentence(name: str, dtype: str, answer: Answer) -> str:
    """The answer in one sentence."""
    return sentence_about(f"{name} in {dtype}", answer)


def sentence_about(who: str, answer: Answer) -> str:
    """The same of a target without a name."""
    if answer.failure:
        return f"{who} fails: {answer.failure}"
    if answer.verdict == "unexplained" and any(one.family == "nondeterminism" for one in answer.causes):
        return f"{who} does not answer the same twice; nothing else can be said of it."
    if not answer.convention:
        stranger = _stranger(answer)
        if stranger is not None:
            return f"{who} is {stranger.detail}."
        return f"{who} is not recognised{_nearest(answer.residual.get('nearest'))}."
    which = _adam(answer)
    departures = len({cause.family for cause in answer.causes if not cause.benign})
    but = f", with {departures} departure{'s' if departures > 1 else ''}" if departures else ""
    match answer.verdict:
        case "identified":
            return f"{who} is {which}{but}, bit for bit."
        case "explained" if LEFT_OPEN in answer.residual:
            return f"{who} is {which}{but}, bit for bit but for what is left open."
        case "explained":
            return f"{who} is {which}{but}, to within rounding."
        case _:
            return f"{who} is not explained; the nearest is {which}{but}."


def _stranger(answer: Answer) -> Finding | None:
    """What is said of an optimizer that is no Adam."""
    found = [one for one in answer.causes if one.detail.startswith("not an Adam") and not answer.convention]
    return found[0] if found and "nearest" not in answer.residual else None


def _nearest(nearest: Mapping[str, Any] | None) -> str:
    """The rule that is nearest, and where it is farthest."""
    if not nearest:
        return ""
    index = ", ".join(map(str, nearest["index"]))
    place = f"{nearest['parameter']}{f'[{index}]' if index else ''}, step {nearest['step']}"
    return f"; the nearest rule is {nearest['rule']}, which is up to {nearest['distance']:.3g} lr away ({place})"


def _adam(answer: Answer) -> str:
    epsilon = answer.convention.get("epsilon")
    return f"Adam with epsilon {epsilon}" if epsilon else "an Adam"


def answer_rows(answer: Answer) -> Iterator[tuple[str, str]]:
    """What was read out, each with what it is; a row that goes on has an empty one."""
    choices = {name: value for name, value in answer.convention.items() if name not in IN_FORMULA}
    in_force = choices.pop(HYPERPARAMETERS, {})
    if choices:
        yield "convention", _listed(choices)
    if in_force:
        yield "in force", _listed(in_force)
    if answer.asked:
        yield "asked", ", ".join(answer.asked)
        yield "never asked", "; ".join(NEVER_ASKED)
    yield from _alike("law", answer.laws)
    yield from _alike("not finite", answer.not_finite)
    stranger = _stranger(answer)
    for cause in answer.causes:
        # That it is no Adam is the sentence; what is left over has a row of its own.
        if cause is not stranger:
            yield "rounding" if cause.benign else "departs", _finding(cause)
    yield from _refused("refused", answer.residual.get(LEFT_OUT, {}))
    yield from _refused("ignored", answer.residual.get(IGNORED, {}))
    if not answer.failure:
        yield from _refused("failed", answer.residual.get(FAILED, {}))
    for place, (choice, value) in enumerate(_chosen(answer.arithmetic or {})):
        yield "" if place else "arithmetic", f"{_words(choice)}: {_value(value)}"
    yield from _compared(answer)


def _refused(label: str, reasons: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Probes without an answer, those of one reason together."""
    for reason in dict.fromkeys(reasons.values()):
        yield label, f"{', '.join(probe for probe, one in reasons.items() if one == reason)}: {reason}"


def _alike(label: str, told: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What came of several questions, those with one answer together."""
    for words in dict.fromkeys(told.values()):
        yield label, f"{', '.join(name for name, one in told.items() if one == words)}: {words}"


def _compared(answer: Answer) -> Iterator[tuple[str, str]]:
    """How much was compared, and what of it no rule explains."""
    residual = answer.residual
    open_probes = residual.get(LEFT_OPEN, {})
    for place, (probe, left) in enumerate(open_probes.items()):
        told = f"{probe}: {left['differing']:,} of {left['elements']:,} elements differ; {left['reason']}"
        yield "" if place else "left open", told
    elements, differing = residual.get("elements"), residual.get("differing", 0)
    if elements is None:
        return
    if answer.arithmetic is not None:
        yield "compared", f"{elements:,} elements, {differing:,} {'differs' if differing == 1 else 'differ'}"
    elif not differing:
        yield "compared", f"{elements:,} elements, 0 differ by more than rounding"
    else:
        yield "left over", f"{differing:,} of {elements:,} elements"
        where = residual.get("where", {})
        for quantity, distance in residual.get("max_ulp", {}).items():
            yield "", f"{quantity} by up to {_ulp(distance)}{_place(where.get(quantity))}"


def _ulp(distance: int) -> str:
    if distance == NO_DISTANCE:
        return "NaN or infinity"
    return f"{distance:,} ULP" if distance < LONG else f"{distance:.1e} ULP"


def _place(where: Mapping[str, Any] | None) -> str:
    if where is None:
        return ""
    index = ", ".join(map(str, where["index"]))
    return f" (probe {where['probe']!r}, step {where['step']}, {where['parameter']}{f'[{index}]' if index else ''})"


def _finding(cause: Finding) -> str:
    if cause.family == "unexplained" and "differing" in cause.evidence:
        return f"{cause.family}: {cause.detail}"
    numbers = {name: value for name, value in cause.evidence.items() if isinstance(value, int | float | str)}
    shown = _listed(dict(list(numbers.items())[:FEW]))
    return f"{cause.family}: {cause.detail}" + (f" ({shown})" if shown else "")


def _chosen(choices: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Those that say something: not None, and not the empty place of an exception."""
    return [(name, value) for name, value in choices.items() if _says(value)]


def _says(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_says, value.values()))
    return value is not None and value != () and value != []


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{_words(name)} {_value(value)}" for name, value in _chosen(values))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.6g}"
        case str():
            lines = [line.strip() for line in value.splitlines() if line.strip()]
            lines = [_words(line) if line.isidentifier() else line for line in lines]
            return "; ".join(lines) if len(lines) <= FEW else f"{len(lines)} numbers, listed by --json"
        case Mapping():
            return f"({_listed(value)})"
        case list() | tuple():
            told = [_value(one) for one in value]
            return "; ".join(told if len(told) <= FEW else [*told[:FEW], "..."])
        case _:
            return str(value)
