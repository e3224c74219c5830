"""What stands against a certificate, in plain words, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from parity.report.panels.clause import Obstacle

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
