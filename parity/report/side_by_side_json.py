"""Two runs side by side as JSON values: everything, nothing folded."""

from __future__ import annotations

import math
from typing import Any

from parity.core.environment import Difference
from parity.engine.record import Run
from parity.report.panels.beside import Beside, Course, Standing
from parity.report.panels.side_by_side import Only, SideBySide
from parity.report.side_by_side import SIDES, sentence, warnings


def side_by_side_to_json(found: SideBySide) -> dict[str, Any]:
    """What ``--json`` of ``parity report A B`` writes; figures that are inf come as text."""
    orbits, moved = found.ended
    return {
        "sentence": sentence(found),
        "same": found.same,
        "warnings": list(warnings(found)),
        "runs": {side: _run(run) for side, run in zip(SIDES, (found.before, found.after), strict=True)},
        "counts": {
            "pairs": found.asked,
            "in_both": found.held,
            "verdicts_changed": found.judged_otherwise,
            "other_causes": found.other_causes,
            "orbits": orbits,
            "orbits_moved": moved,
            **{one.name.lower(): found.count(one) for one in Course},
        },
        "changes": [_row(one) for one in found.rows],
        "orbits": [
            {"implementation": one.implementation, "dtype": one.dtype, "cases": one.cases, "moved": list(one.moved)}
            for one in found.orbits
        ],
        "other_inputs": [
            {"case": one.case, "dtype": one.dtype, "what": one.what, "pairs": one.pairs} for one in found.other_inputs
        ],
        "only": {side: _only(only) for side, only in zip(SIDES, found.only, strict=True)},
        "environment": [_difference(one) for one in found.environment],
        "processes": [
            {"names": list(one.names), "differences": [_difference(each) for each in one.differences]}
            for one in found.processes
        ],
    }


def _run(run: Run) -> dict[str, Any]:
    counts = run.counts
    return {
        "parity": run.version,
        "complete": run.complete,
        "stopped": run.stopped,
        "exit_code": run.exit_code,
        "pairs": counts.pairs,
        "as_expected": counts.as_expected,
        "cells": counts.cells,
        "cells_planned": counts.cells_planned,
        "elements": counts.elements,
    }


def _row(one: Beside) -> dict[str, Any]:
    return {
        "case": one.case,
        "dtype": one.dtype,
        "actual": one.actual,
        "expected": one.expected,
        "change": str(one.course),
        "verdict_changed": one.judged_otherwise,
        "moved": list(one.moved),
        **{side: _standing(each) for side, each in zip(SIDES, (one.before, one.after), strict=True)},
    }


def _standing(one: Standing) -> dict[str, Any]:
    return {
        "verdict": str(one.verdict.kind),
        "as_expected": one.verdict.as_expected,
        "reason": one.verdict.reason,
        "first_step": one.first,
        "max_ulp": one.ulp,
        "max_lr": one.lr if math.isfinite(one.lr) else str(one.lr),
        "causes": None if one.why is None else list(one.families),
    }


def _only(only: Only) -> dict[str, Any]:
    return {
        "cases": list(only.cases),
        "implementations": list(only.implementations),
        "dtypes": list(only.dtypes),
        "pairs": [
            {"actual": actual, "expected": expected, "dtype": dtype, "cases": list(cases)}
            for (actual, expected, dtype), cases in only.pairs.items()
        ],
    }


def _difference(one: Difference) -> dict[str, str]:
    return {"what": one.what, **dict(zip(SIDES, (one.before, one.after), strict=True))}
