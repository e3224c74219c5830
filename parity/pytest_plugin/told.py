"""What a test tells of a pair beside passing, and how it fails."""

from __future__ import annotations

import pytest

from parity.engine.pair_answer import PairAnswer


class NotAsExpected(pytest.fail.Exception):  # type: ignore[misc, name-defined]
    """A pair that is not as expected; its text says all, so no traceback is shown."""

    __module__ = "builtins"  # As pytest's own outcomes: a summary then shows the text, not the place of this class.

    def __init__(self, text: str) -> None:
        super().__init__(text, pytrace=False)


def properties(answer: PairAnswer) -> list[tuple[str, object]]:
    """For JUnit's XML; pytest-xdist carries them too."""
    told: list[tuple[str, object]] = [
        ("parity_pair", f"{answer.case} {answer.dtype} {answer.actual} / {answer.expected}"),
        ("parity_verdict", str(answer.verdict.kind)),
        ("parity_expected", str(answer.verdict.wanted)),
        ("parity_compared", answer.compared),
    ]
    if answer.partings:
        told.append(("parity_first_step", answer.partings[0].step))
    for distance in answer.distances:
        told.append((f"parity_max_ulp_{distance.quantity}", int(distance.worst_max_ulp.value)))
        if distance.worst_max_steps is not None:
            told.append(("parity_max_steps", float(distance.worst_max_steps.value)))
    return told
