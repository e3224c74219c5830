"""An Adam that is not the one a test takes it for, as text for its assertion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from parity.identify.answer import Answer
from parity.report.identity import identity_sentence


def complaints(answers: Mapping[str, Answer], wanted: Mapping[str, object], *, exact: bool) -> Iterator[str]:
    """One line for every choice that is not as wanted, by dtype. exact: bit for bit, or it is none."""
    for dtype, answer in answers.items():
        if answer.verdict == "unexplained":
            yield f"{dtype}: it is not explained"
        elif exact and answer.verdict != "identified":
            yield f"{dtype}: it is the same to within rounding, not bit for bit"
        for name, value in wanted.items():
            found = answer.convention.get(name)
            if found != value:
                yield f"{dtype}: {name} is {found!r}, not {value!r}"


def misidentified_text(
    name: str, answers: Mapping[str, Answer], wanted: Mapping[str, object], reproduce: str, *, exact: bool
) -> str:
    """What does not hold, what it is instead, and how to see more; empty where all holds."""
    found = list(complaints(answers, wanted, exact=exact))
    if not found:
        return ""
    lines = [*found]
    for dtype, answer in answers.items():
        lines.append(identity_sentence(name, dtype, answer))
        lines += [f"  {line}" for line in answer.formula.splitlines()]
        lines += [f"  departs: {cause.family}: {cause.detail}" for cause in answer.causes if not cause.benign]
    return "\n".join([*lines, f"reproduce  {reproduce}"])
