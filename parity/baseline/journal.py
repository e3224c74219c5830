"""The log of a bisection: what was asked, then one line for every decision. It may be edited, and replayed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from parity.baseline.bisection import Answer, Decision
from parity.core.errors import ParityError, UsageError, nearest


def start_journal(path: Path, question: Mapping[str, Any], decided: Iterable[Decision]) -> None:
    """Write the question, and what is known already."""
    path.write_text(_line(question), encoding="utf-8")
    for decision in decided:
        append(path, decision)


def append(path: Path, decision: Decision) -> None:
    """Add a decision."""
    with path.open("a", encoding="utf-8") as file:
        file.write(_line({"release": decision.release, "answer": str(decision.answer), "why": decision.why}))


def read_journal(path: Path, question: Mapping[str, Any], releases: Iterable[str]) -> tuple[Decision, ...]:
    """The decisions of a log; of a release that is decided twice the last one counts.

    UsageError where the log is of another question; ParityError where it cannot be read.
    """
    allowed = tuple(releases)
    decided: dict[str, Decision] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ParityError(f"--replay {path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    for number, line in enumerate(lines, start=1):
        try:
            told: dict[str, Any] = json.loads(line)
            if number == 1:
                other = [key for key, value in question.items() if told.get(key) != value]
                if other:
                    key = other[0]
                    raise UsageError(
                        f"--replay {path}: is the log of another question: {key} {told.get(key)!r} there, "
                        f"{question[key]!r} here"
                    )
                continue
            decision = Decision(str(told["release"]), Answer(told["answer"]), str(told["why"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ParityError(f"--replay {path}, line {number}: cannot be understood ({error})") from None
        if decision.release not in allowed:
            raise ParityError(f"--replay {path}, line {number}: {nearest(decision.release, allowed)}")
        decided[decision.release] = decision
    if not lines:
        raise ParityError(f"--replay {path}: is empty")
    return tuple(decided.values())


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True) + "\n"
