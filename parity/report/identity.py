"""Which Adam a target is, on a terminal: a sentence, the formula, and what was read out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from parity.identify.answer import LEFT_OUT, Answer, Finding

STYLES = {"identified": "green", "explained": "green", "unexplained": "bold red"}
FEW = 4
"""Numbers of evidence, or lines of a choice, that are shown; all of them are in the JSON."""
HYPERPARAMETERS = "hyperparameters"
"""Entry of a convention: the numbers in force by name."""


def identity_parts(name: str, dtype: str, answer: Answer) -> Iterator[Text | Padding | Table]:
    """What there is to say of a target in one dtype, line by line or as a table."""
    yield Text(identity_sentence(name, dtype, answer), STYLES[answer.verdict])
    if answer.formula:
        yield Padding(Text(answer.formula), (0, 0, 0, 2), expand=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for label, told in _rows(answer):
        table.add_row(label, escape(told))
    if table.row_count:
        yield table


def identity_sentence(name: str, dtype: str, answer: Answer) -> str:
    """The answer in one sentence."""
    who = f"{name} in {dtype}"
    if any(cause.family == "nondeterminism" for cause in answer.causes):
        return f"{who} does not answer the same twice; nothing else can be said of it."
    if not answer.convention:
        return f"{who} is no Adam that could be named."
    which = _adam(answer)
    departures = len({cause.family for cause in answer.causes if not cause.benign})
    but = f", with {departures} departure{'s' if departures > 1 else ''}" if departures else ""
    match answer.verdict:
        case "identified":
            return f"{who} is {which}{but}, bit for bit."
        case "explained":
            return f"{who} is {which}{but}, to within rounding."
        case _:
            return f"{who} is not explained; the nearest is {which}{but}."


def _adam(answer: Answer) -> str:
    epsilon = answer.convention.get("epsilon")
    return f"Adam with epsilon {epsilon}" if epsilon else "an Adam"


def _rows(answer: Answer) -> Iterator[tuple[str, str]]:
    choices = dict(answer.convention)
    in_force = choices.pop(HYPERPARAMETERS, {})
    if choices:
        yield "convention", _listed(choices)
    if in_force:
        yield "in force", _listed(in_force)
    for cause in answer.causes:
        yield "rounding" if cause.benign else "departs", _finding(cause)
    residual = dict(answer.residual)
    left_out = residual.pop(LEFT_OUT, {})
    for probe, reason in left_out.items():
        yield "not asked", f"{probe}: {reason}"
    for place, (choice, value) in enumerate(_chosen(answer.arithmetic or {})):
        yield "" if place else "arithmetic", f"{_words(choice)}: {_value(value)}"
    if residual:
        yield "left over", _listed(residual)


def _finding(cause: Finding) -> str:
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
            return "; ".join(lines) if len(lines) <= FEW else f"{len(lines)} numbers, listed by --json"
        case Mapping():
            return f"({_listed(value)})"
        case list() | tuple():
            told = [_value(one) for one in value]
            return "; ".join(told if len(told) <= FEW else [*told[:FEW], "..."])
        case _:
            return str(value)
