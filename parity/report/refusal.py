"""What stands against a certificate, in which cells, and what to do about it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from parity.explain.causes import Family
from parity.explain.explanation import sentence_of
from parity.explain.headlines import FIRST
from parity.report.certificate import where
from parity.report.figures import steps_text
from parity.report.panels.certificate import Certificate, Clause, Obstacle, Reason
from parity.report.reproduction import explain_command

TITLES: Mapping[Obstacle, str] = MappingProxyType(
    {
        Obstacle.INCOMPLETE: "The run is not complete",
        Obstacle.STALE: "The run has stale expectations",
        Obstacle.NO_SUCH_DTYPE: "The run holds nothing in a dtype that was asked for",
        Obstacle.NOTHING_MOVED: "No weight ever moved by a finite number",
        Obstacle.NOT_RUN: "Not run",
        Obstacle.NOT_COMPARED: "Never compared, though both were run: no case states what is expected of this pair",
        Obstacle.CRASHED: "One side did not come to its end",
        Obstacle.NOT_COMPARABLE: "Nothing could be compared",
        Obstacle.NOT_AS_EXPECTED: "The verdict is not the one that the case expects",
        Obstacle.OTHER_HYPERPARAMETERS: "Not the same hyperparameters",
        Obstacle.OTHER_FORMULA: "Not the same formula",
        Obstacle.NONFINITE: "NaN or inf on one side only",
        Obstacle.STANDS_STILL: "One side never moved a weight, the other did",
        Obstacle.CONTRADICTION: "run.json contradicts itself: every step is equal, the last states are not",
        Obstacle.TOO_FAR: "An optimizer that never steps would be as near",
        Obstacle.UNEXPLAINED: "The difference is not accounted for, and inside no budget",
        Obstacle.BLIND: "The budget would admit an optimizer that never steps",
        Obstacle.NO_POWER: "The budget is not known to catch a wrong Adam",
        Obstacle.SKIPPED: "A framework cannot do what the case asks",
    }
)

ADVICE: Mapping[Obstacle, str] = MappingProxyType(
    {
        Obstacle.INCOMPLETE: "Finish it: 'parity run --resume' with the same selection.",
        Obstacle.STALE: "Mend the case file: it expects something of a pair that there is not.",
        Obstacle.NO_SUCH_DTYPE: "Run the cases in it, or leave the dtype out.",
        Obstacle.NOTHING_MOVED: "Select cases in which weights move: equality of what stands still says nothing.",
        Obstacle.NOT_RUN: "Run both on the same cases, or leave these out.",
        Obstacle.NOT_COMPARED: "State in a case file what is expected of the pair, and run it; or look at both now:",
        Obstacle.CRASHED: "The logs of its process stand in logs/ of the run directory.",
        Obstacle.NOT_COMPARABLE: "Leave these cases out.",
        Obstacle.NOT_AS_EXPECTED: "Find out which of both changed:",
        Obstacle.OTHER_HYPERPARAMETERS: "Give both sides the same numbers, or leave these cases out.",
        Obstacle.OTHER_FORMULA: "No bound measured here holds for other gradients. The difference step by step:",
        Obstacle.NONFINITE: "See which side breaks, and where:",
        Obstacle.STANDS_STILL: "Its updates are lost in rounding; use a wider dtype, or other hyperparameters:",
        Obstacle.CONTRADICTION: "It was altered. Run it again.",
        Obstacle.TOO_FAR: "Rounding alone takes both apart by more than either moved; no bound says anything then:",
        Obstacle.UNEXPLAINED: "Find the causes:",
        Obstacle.BLIND: "Explain the difference, or state a tighter budget in the case:",
        Obstacle.NO_POWER: "Explain the difference; equal bits and named causes need no budget:",
        Obstacle.SKIPPED: "Leave these cases out, and say so.",
    }
)

EXPLAINABLE = frozenset(
    {
        Obstacle.NOT_COMPARED,
        Obstacle.NOT_AS_EXPECTED,
        Obstacle.OTHER_FORMULA,
        Obstacle.NONFINITE,
        Obstacle.STANDS_STILL,
        Obstacle.TOO_FAR,
        Obstacle.UNEXPLAINED,
        Obstacle.BLIND,
        Obstacle.NO_POWER,
    }
)
"""Those of which 'parity explain' shows more."""


RUN_DIRECTORY = "RUN_DIRECTORY"

PLUGIN = "user."

DETAILS_SHOWN = 3

PHRASES = {
    Obstacle.STANDS_STILL: "{} stood still",
    Obstacle.NOT_RUN: "{} did not take part",
    Obstacle.BLIND: "the budget of {}",
    Obstacle.UNEXPLAINED: "why they differ was {}",
}


def reason_title(reason: Reason, of: int) -> str:
    """What stands against it, and in how many cells."""
    title = TITLES[reason.obstacle]
    return f"{title}: {len(reason.clauses):,} of {of:,} cells" if reason.clauses else title


def reason_detail(reason: Reason) -> str:
    """The details of a reason, the most frequent ones; empty where the title says it all."""
    told = [_detail(reason, detail, count) for detail, count in reason.details if detail]
    if reason.obstacle is Obstacle.TOO_FAR:
        worst = max(reason.clauses, key=lambda clause: clause.lr)
        moved = steps_text(float(worst.reach))
        told.append(
            f"{worst.case} in {worst.dtype}: weights are {steps_text(worst.lr)} apart, one side moved by {moved}"
        )
    more = len(told) - DETAILS_SHOWN
    return "; ".join(told[:DETAILS_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _detail(reason: Reason, detail: str, count: int) -> str:
    if reason.obstacle is Obstacle.OTHER_FORMULA:
        return f"{sentence_of(Family(detail))} ({count:,} cells)"
    return PHRASES.get(reason.obstacle, "{}").format(detail)


def reason_where(reason: Reason) -> str:
    """In which cases; empty for a reason of the whole run."""
    return where(reason.clauses) if reason.clauses else ""


def reason_line(reason: Reason, of: int) -> str:
    """A reason with its details, in one line."""
    detail = reason_detail(reason)
    return f"{reason_title(reason, of)}" + (f" ({detail})" if detail else "")


def advice(one: Certificate, reason: Reason) -> tuple[str, str]:
    """What to do about it, and the command that shows it, empty where there is none."""
    if reason.obstacle not in EXPLAINABLE:
        return ADVICE[reason.obstacle], ""
    typical = _typical(reason.clauses)
    # Where nothing was compared any case will do.
    case = typical.case if typical.apart else "CASE"
    targets = [_target(side.name) for side in (one.actual, one.expected)]
    return ADVICE[reason.obstacle], explain_command(case, targets, typical.dtype)


def _target(name: str) -> str:
    """What a command takes: a run does not keep the file of a plug-in."""
    return f"FILE.py:{name.removeprefix(PLUGIN)}" if name.startswith(PLUGIN) else name


def _typical(clauses: Sequence[Clause]) -> Clause:
    """That of median size; in float32 and of finite size where there is one."""
    choice = [one for one in clauses if one.dtype == FIRST] or list(clauses)
    choice = [one for one in choice if one.lr < math.inf] or choice
    return sorted(choice, key=lambda one: one.lr)[len(choice) // 2]


def narrowing_command(one: Certificate, run_directory: str = RUN_DIRECTORY) -> str:
    """The selection that can be certified as a command; empty where there is none."""
    narrow = one.narrowing
    if narrow is None:
        return ""
    words = ["parity", "report", run_directory, "--certificate", one.actual.name, one.expected.name]
    words += [word for dtype in narrow.dtypes for word in ("-d", dtype)]
    return shlex.join([*words, *(["-k", narrow.keyword] if narrow.keyword else [])])
