"""The explanations that a report shows at length: one case for every headline pair and dtype, a few ladders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.engine.explanations import read_document
from parity.engine.record import Run
from parity.engine.run import explanations_path
from parity.explain.explanation import Answer, Explanation
from parity.numerics.formats import FORMATS

LADDERS = 8
"""Ladders that are shown rung by rung; all others stand in the files."""

FIRST = "float32"

DTYPES = tuple(sorted(FORMATS, key=lambda dtype: dtype != FIRST))
"""In the order in which people ask about them: float32, then by precision."""

_FROM_SCRATCH = "numpy"


@dataclass(frozen=True, slots=True)
class Headlines:
    """worst: of every pair and dtype, of the cases whose difference is accounted for that with the largest one in
    units of lr, float32 first. ladders: those of them to show rung by rung."""

    worst: tuple[Explanation, ...] = ()
    ladders: tuple[Explanation, ...] = ()


def read_headlines(run: Run, folder: Path) -> Headlines:
    """Choose from what a run directory keeps; ParityError where a file is missing, altered or of another schema."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in _kept(run, folder):
        key = (one["dtype"], one["actual"]["implementation"], one["expected"]["implementation"])
        if key not in found or _size(one) > _size(found[key]):
            found[key] = one
    worst = tuple(Explanation.from_json(one) for dtype in DTYPES for key, one in found.items() if key[0] == dtype)
    return Headlines(worst, choose_ladders(worst))


def _kept(run: Run, folder: Path) -> Iterator[dict[str, Any]]:
    for cell in run.cells:
        if cell.account.explanations:
            path = explanations_path(folder, f"{cell.case} {cell.dtype}")
            for one in read_document(path, cell.account.explanations).explanations:
                if one["verdict"] == Answer.EXPLAINED:
                    yield one


def _size(one: Mapping[str, Any]) -> tuple[bool, float]:
    """What was too large for a ladder comes last."""
    return bool(one["ladder"]), float(one["meaning"]["largest"])


def choose_ladders(worst: tuple[Explanation, ...]) -> tuple[Explanation, ...]:
    """The first `LADDERS`, dtype by dtype as they come, those first that no other ones are made of.

    From torch to Keras, from a framework to the from-scratch Adam of its own formula, from one formula to another:
    together these are what lies between any two.
    """
    dtypes = list(dict.fromkeys(one.dtype for one in worst))
    ladders = sorted((one for one in worst if one.ladder), key=lambda one: (dtypes.index(one.dtype), _rank(one)))
    return tuple(ladders[:LADDERS])


def _rank(one: Explanation) -> int:
    own = [side.implementation.partition(".")[0] != _FROM_SCRATCH for side in (one.actual, one.expected)]
    if all(own):
        return 0
    if one.actual.epsilon == one.expected.epsilon:
        return 1
    return 3 if any(own) else 2
