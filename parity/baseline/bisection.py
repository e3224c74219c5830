"""The search for the first release that changes: its values, its log, a user's own test, and how it goes on."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from parity.baseline.drift import Status
from parity.baseline.side import Where
from parity.baseline.upgrade import Upgraded
from parity.core.errors import ParityError, UsageError, nearest
from parity.core.shown import Shown


class Answer(StrEnum):
    """What is said of a release, held against the good one."""

    SAME = "same"
    CHANGED = "changed"
    UNTOLD = "cannot tell"


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer, and in a few words why."""

    release: str
    answer: Answer
    why: str


@dataclass(frozen=True, slots=True)
class Suspects:
    """The last release that is the same, and those after it up to the first that changed: one of them changes."""

    last: str
    releases: tuple[str, ...]


def suspects(releases: Sequence[str], answers: Mapping[str, Answer]) -> Suspects:
    """Where the search stands.

    releases: oldest first; the first is the same, the last changed. answers: by release, of some or all of them.
    """
    end = len(releases) - 1
    first = next(place for place in range(1, end + 1) if place == end or answers.get(releases[place]) is Answer.CHANGED)
    last = max(place for place in range(first) if not place or answers.get(releases[place]) is Answer.SAME)
    return Suspects(releases[last], tuple(releases[last + 1 : first + 1]))


def next_release(releases: Sequence[str], answers: Mapping[str, Answer]) -> str | None:
    """The undecided suspect nearest to their middle, None where there is none."""
    among = suspects(releases, answers).releases
    middle = (len(among) - 2) / 2
    open_ones = [(abs(place - middle), place) for place, one in enumerate(among[:-1]) if one not in answers]
    return among[min(open_ones)[1]] if open_ones else None


@dataclass(frozen=True, slots=True)
class Range:
    """What is searched: releases of a package.

    package: its name on an index. good, bad: versions of it, the ends. beside: pins that stand with every release, as
    ``package==version``. pre: pre-releases too.
    """

    package: str
    good: str
    bad: str
    beside: tuple[str, ...] = ()
    pre: bool = False


@dataclass(frozen=True, slots=True)
class Bisected(Shown):
    """What was found.

    releases: from good to bad. decisions: in the order in which they were made. suspects: one where the first release
    that changes is known, several where nobody could tell of those before the last of them. step: the last that is
    the same held against the last suspect, None where a user's own test decided. command: the words that ask it again.
    """

    asked: Range
    releases: tuple[str, ...]
    decisions: tuple[Decision, ...]
    suspects: Suspects
    step: Upgraded | None
    command: tuple[str, ...] = ()

    @property
    def first(self) -> str | None:
        """The first release that changes, None where it is not known."""
        return self.suspects.releases[0] if len(self.suspects.releases) == 1 else None

    @property
    def exit_code(self) -> int:
        """0 where the release was found."""
        return 0 if self.first else 1


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


VARIABLE = "PARITY_PYTHON"
"""Has the path of the interpreter to be tested."""

_CANNOT_TELL = 125
_ABORT = 128


def run_check(command: str, python: str, log: Path) -> tuple[Answer, str]:
    """Run a command by the shell; exit codes as in `git bisect run`.

    0 is the same, 125 cannot tell, others to 127 changed. log: gets what it says. UsageError where it ends with
    another code, or by a signal: it wants all to stop.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        ended = subprocess.run(
            command,
            shell=True,
            env={**os.environ, VARIABLE: python},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    code = ended.returncode
    if code < 0 or code >= _ABORT:
        raise UsageError(f"--check {command!r}: ended with {code}, which stops the search; it said: {log}")
    answer = Answer.SAME if code == 0 else Answer.UNTOLD if code == _CANNOT_TELL else Answer.CHANGED
    return answer, f"exit code {code}"


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
