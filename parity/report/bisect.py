"""What a bisection found, in words and as JSON values."""

from __future__ import annotations

from typing import Any

from parity.baseline.bisection import Answer, Bisected, Decision
from parity.baseline.document import Document, head
from parity.report.upgrade import upgraded_to_json


def bisected_to_json(found: Bisected) -> dict[str, Any]:
    """What ``--json`` of ``parity bisect`` writes."""
    return {
        **head(Document.BISECT, found.command),
        "package": found.asked.package,
        "releases": list(found.releases),
        "decisions": [decision_to_json(one) for one in found.decisions],
        "last_same": found.suspects.last,
        "first_changed": found.first,
        "suspects": list(found.suspects.releases),
        "step": None if found.step is None else upgraded_to_json(found.step),
        "exit_code": found.exit_code,
    }


def decision_to_json(one: Decision) -> dict[str, str]:
    """A decision as JSON values."""
    return {"release": one.release, "answer": str(one.answer), "why": one.why}


def decision_line(one: Decision) -> str:
    """A decision in a line."""
    return f"{one.release}: {one.answer} ({one.why})"


def bisected_summary(found: Bisected) -> str:
    """The answer in one line."""
    package, left = found.asked.package, found.suspects
    untold = sum(one.answer is Answer.UNTOLD for one in found.decisions)
    looked = f"{len(found.decisions)} of {len(found.releases)} releases decided, {untold} of them 'cannot tell'"
    if found.first:
        return (
            f"{package} {found.first} is the first release that changes; {left.last} is the last before it ({looked})"
        )
    return (
        f"{package}: one of {', '.join(left.releases)} is the first release that changes, and nobody can tell which; "
        f"{left.last} is the last that is the same ({looked})"
    )
