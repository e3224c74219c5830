"""A norm of a long tensor is summed up in an order that nobody knows, and the claim says so instead of breaking."""

from __future__ import annotations

import pytest

from parity.case.expectation import Kind

pytestmark = pytest.mark.frameworks


@pytest.mark.parametrize("size", [31, 1000])
def test_a_long_norm_is_left_open(run_small, size):
    run = run_small(
        "numpy.adam.hat", "keras.adam.eager", dtypes=["float64"], gradients={"kind": "bell", "scale": 0.3},
        stages={"clip": {"by": "global_norm", "limit": 0.1}}, parameters=[{"name": "kernel", "shape": [size]}],
        expect=None,
    )  # fmt: skip
    (held,) = [one for one in run.cells[0].account.held if one.implementation == "keras.adam.eager"]
    assert (held.differing > 0) == (size > 31)
    assert ("kernel are summed up is known up to 31 elements" in held.covered) == (size > 31)
    assert not any("is not the Adam it is known to be" in finding.title for finding in run.findings)
    (one,) = run.verdicts
    assert one.verdict.kind in (Kind.EXPLAINED, Kind.WITHIN, Kind.DIVERGED)
