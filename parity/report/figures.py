"""How figures are written: no more digits than mean something, units always there."""

from __future__ import annotations

from parity.engine.matrix import Entry
from parity.engine.power import Power
from parity.explain.spread import NONE
from parity.numerics.ulp import NO_DISTANCE


def counted(number: int, noun: str) -> str:
    """A number of things, in the singular or the plural."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def ulp_text(ulp: int) -> str:
    """A distance in ULP; large ones with an exponent, the mark of NaN or inf in words."""
    if ulp == NO_DISTANCE:
        return "NaN/inf"
    return f"{ulp:,} ULP" if ulp < 1_000_000 else f"{ulp:.1e} ULP"


def class_text(distance: int) -> str:
    """A class of distances as `parity.explain.spread.Spread` has it, in ULP."""
    if distance == NONE:
        return "NaN/inf"
    low, high = (1 << distance) // 2, (1 << distance) - 1
    if low == high:
        return str(low)
    return f"{low:,} to {high:,}" if high < 1000 else f"{low:,} on" if high < 1_000_000 else f"{low:.0e} on"


def steps_text(steps: float) -> str:
    """A difference of weights in units of lr."""
    return f"{steps:.1e} lr" if 0 < steps < 1e-3 else f"{steps:.3g} lr"


def number_text(value: float | None) -> str:
    """A measured figure: two digits of it, more where it is a number that one can read."""
    if not value:
        return "0"
    if 100 <= value < 100_000:
        return f"{value:,.0f}"
    return f"{value:.2g}" if 1e-3 <= value < 100 else f"{value:.1e}"


def choice_text(choice: str) -> str:
    """What a rung of a ladder switched."""
    return choice.replace("_", " ") or "A as it is"


def value_text(hexadecimal: str) -> str:
    """A stored value in decimal and hex."""
    return f"{float.fromhex(hexadecimal):.9g} ({hexadecimal})"


def power_text(power: Power, names: int) -> str:
    """What a budget catches; missed wrong Adams by name, at most so many."""
    if power.unknown:
        return f"power unknown ({power.unknown})"
    if not power.applicable:
        return "no wrong Adam shows here"
    told = f"catches {power.caught} of {power.applicable} wrong Adams"
    if not power.missed:
        return told
    more = len(power.missed) - names
    return f"{told}; misses {', '.join(power.missed[:names])}" + (f" and {more} more" if more > 0 else "")


def entry_lines(entry: Entry) -> list[str]:
    """What a cell of the matrix says, line by line."""
    lines = [", ".join(f"{count} {kind}" for kind, count in entry.kinds)]
    if entry.first_step is not None:
        lines.append(f"from step {entry.first_step}")
        lines.append(f"{ulp_text(entry.worst_ulp)}, {steps_text(entry.worst_steps)}")
        if entry.worst_case:
            lines.append(f"in {entry.worst_case}")
    if entry.as_expected < entry.cases:
        lines.append(f"{entry.cases - entry.as_expected} NOT AS EXPECTED")
    return lines
