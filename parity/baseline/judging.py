"""How the search for a release goes on: an answer for one release after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from parity.baseline.bisection import Answer, Decision, Suspects, next_release, suspects
from parity.baseline.drift import Status
from parity.baseline.side import Where
from parity.baseline.upgrade import Upgraded
from parity.core.errors import ParityError, UsageError

Judge = Callable[[str], Decision]
"""Decides on a release; ParityError where its environment cannot be had, UsageError where all is to stop."""

OnDecided = Callable[[Decision, int], None]
"""Called with a decision, and how many releases were suspected before it."""


class NoChange(ParityError):
    """The ends of a search do not differ, so that there is nothing to search."""

    exit_code = 1


def changed_places(held: Upgraded) -> tuple[Where, ...]:
    """The entries that changed."""
    return tuple(
        (one.case, one.dtype, one.implementation) for one in held.checked.drifts if one.status is Status.CHANGED
    )


def decide(release: str, changed: Sequence[Where], held: Upgraded) -> Decision:
    """Whether a release, held against the good one, changed any of those entries that the bad one changes.

    One that lacks some of them and has the others as they were cannot tell.
    """
    found = {(one.case, one.dtype, one.implementation): one for one in held.checked.drifts}
    there = [found[where] for where in changed if where in found]
    for one in there:
        if one.status is Status.CHANGED:
            return Decision(release, Answer.CHANGED, f"{one.implementation} on {one.case} in {one.dtype}: {one.detail}")
    for one in there:
        if one.status is not Status.IDENTICAL:
            return Decision(release, Answer.UNTOLD, f"{one.implementation} on {one.case} in {one.dtype}: {one.detail}")
    return Decision(release, Answer.SAME, f"{len(there)} entries, every bit")


def search(
    releases: Sequence[str], known: Sequence[Decision], judge: Judge, on_decided: OnDecided
) -> tuple[Decision, ...]:
    """Decide on releases until it is known where the change is; with what was known before."""
    decisions = {one.release: one for one in known}
    while True:
        answers = {name: one.answer for name, one in decisions.items()}
        release = next_release(releases, answers)
        if release is None:
            return tuple(decisions.values())
        suspected = len(suspects(releases, answers).releases)
        try:
            decision = judge(release)
        except UsageError:
            raise
        except ParityError as error:
            decision = Decision(release, Answer.UNTOLD, str(error))
        decisions[release] = decision
        on_decided(decision, suspected)


def standing(releases: Sequence[str], decisions: Sequence[Decision]) -> Suspects:
    """Where the search stands after decisions."""
    return suspects(releases, {one.release: one.answer for one in decisions})
