"""What became of a baseline, as JSON values."""

from __future__ import annotations

from typing import Any

from parity.baseline.check import Checked
from parity.baseline.document import Document, head
from parity.baseline.drift import Drift, Status
from parity.baseline.store import Baseline
from parity.comparison.divergence import Measured
from parity.core.environment import Difference


def checked_to_json(checked: Checked) -> dict[str, Any]:
    """What ``--json`` of ``parity baseline check`` and ``diff`` writes."""
    return {**head(Document.BASELINE, checked.command), **held_to_json(checked)}


def held_to_json(checked: Checked) -> dict[str, Any]:
    """The same as a part of a document."""
    return {
        "baseline": checked.baseline.name,
        "recorded": recorded_to_json(checked.baseline),
        "exit_code": checked.exit_code,
        "compared": checked.compared,
        "counts": {str(status): checked.counts.get(status, 0) for status in Status},
        "environment": [_difference(one) for one in checked.environment],
        "entries": [drift_to_json(one) for one in checked.drifts],
    }


def drift_to_json(one: Drift) -> dict[str, Any]:
    """One entry as JSON values; the divergence table of a change in full."""
    change = one.change
    return {
        "case": one.case,
        "dtype": one.dtype,
        "implementation": one.implementation,
        "status": str(one.status),
        "detail": one.detail,
        "compared": one.compared,
        "environment": [_difference(each) for each in one.environment],
        "change": None
        if change is None
        else {
            "first_step": change.first_step,
            "quantities": list(change.quantities),
            "sentence": change.sentence,
            "explained": change.explained,
            "causes": [{"family": cause.family, "detail": cause.detail} for cause in change.causes],
            "divergence": [_measured(each) for each in change.measured],
        },
    }


def recorded_to_json(one: Baseline) -> dict[str, Any]:
    """How much was recorded, and where."""
    facts = one.environments[0]
    return {"cells": len(one.cells), **{name: facts[name] for name in ("python", "platform", "processor")}}


def _difference(one: Difference) -> dict[str, str]:
    return {"what": one.what, "before": one.before, "after": one.after}


def _measured(one: Measured) -> dict[str, Any]:
    metrics = one.metrics
    return {
        "quantity": one.quantity,
        "parameter": one.parameter,
        "step": int(one.steps[0]),
        "elements": int(metrics.elements[0]),
        "differing": int(metrics.differing[0]),
        "max_abs": float(metrics.max_abs[0]).hex(),
        "max_ulp": int(metrics.max_ulp[0]),
        "max_steps": float(one.max_steps[0]).hex() if one.quantity == "w" else None,
        "worst_index": int(metrics.worst_index[0]),
        "actual_value": one.actual_values[0],
        "expected_value": one.expected_values[0],
    }
