"""Kept traces of small cases."""

from __future__ import annotations

import pytest

from parity.adam.twins import TWINS
from parity.case.catalogue import select_cases
from parity.comparison.trace import read_trace
from parity.engine.run import Options
from parity.explain.inputs import Inputs
from parity.explain.running import Adam
from parity.explain.split import Side
from parity.numerics.formats import FORMATS

WITH_NONE = [
    {"name": "kernel", "shape": [3, 4], "gradients": {"kind": "bell", "scale": 0.1, "none_every": 3}},
    {"name": "bias", "shape": [5]},
]
ALL_PAIRS = {"actual": "*", "expected": "*", "verdict": "DIVERGED", "because": "Only the traces are looked at."}


@pytest.fixture
def traced(run_small, tmp_path):
    """Run implementations on a small case with None-gradients: its inputs and the traces by name, in one dtype."""

    def run(*implementations, dtype="float32", **keys):
        keys = {"steps": 7, "parameters": WITH_NONE, "expect": [ALL_PAIRS], "dtypes": [dtype], **keys}
        run_small(*implementations, options=Options(keep_traces=True), **keys)
        (case,) = select_cases([tmp_path / "small.toml"])
        folders = (tmp_path / "run" / "traces" / "small" / dtype).iterdir()
        traces = {one.name: read_trace(one) for one in folders if one.name != "input"}
        return Inputs(case, FORMATS[dtype]), traces

    return run


@pytest.fixture
def adam_of():
    """The twin of a trace as it is claimed, ready to run."""

    def adam(trace):
        twin = TWINS[trace.implementation][trace.format.name]
        return Adam(twin.in_force(trace.hyper, trace.steps, trace.format), twin)

    return adam


@pytest.fixture
def side_of():
    """The side of a trace as it is claimed."""

    def side(trace):
        twin = TWINS[trace.implementation][trace.format.name]
        return Side(trace, twin.in_force(trace.hyper, trace.steps, trace.format), twin.convention, twin)

    return side
