"""What stands around the step, through a whole run: what ignores it is red, and what holds is green bit for bit."""

from __future__ import annotations

import pytest

import parity
from parity.case.expectation import Kind

pytestmark = [pytest.mark.frameworks, pytest.mark.thorough]

KEYS = {
    "hyper": {"lr": 0.01},
    "gradients": {"kind": "bell", "scale": 0.3},
    "parameters": [{"name": "kernel", "shape": [5, 4]}, {"name": "head", "shape": [7], "hyper": {"lr": 0.05}}],
    "expect": [
        {
            "actual": "*",
            "expected": "numpy.adam.outside",
            "verdict": "EXPLAINED",
            "because": "Each equals its twin bit for bit, and what is left is rounding.",
        }
    ],
}

OWN = """
import torch  # its square root is asked for
from parity.implementations.torch_ import run as whole

def run(weights, gradients, hyper, start=None):
    {change}
    yield from whole(weights, gradients, hyper, start, foreach=False, fused=False)
"""


@pytest.fixture
def ran(tmp_path, write_case):
    def ran(change):
        (tmp_path / "mine.py").write_text(OWN.format(change=change))
        targets = [f"{tmp_path / 'mine.py'}:run", "numpy.adam.outside"]
        return parity.run([write_case(**KEYS)], targets, output=tmp_path / "run")

    return ran


def verdict(run, actual="user.mine"):
    (found,) = [one for one in run.verdicts if one.actual == actual]
    return found.verdict


def test_one_that_knows_groups_is_explained(ran):
    run = ran("pass")
    assert (verdict(run).kind, run.exit_code) == (Kind.EXPLAINED, 0)
    assert "both sides equal their twins bit for bit" in verdict(run).reason


@pytest.mark.parametrize("change", [
    "from dataclasses import replace; hyper = replace(hyper, groups=())",
    "from dataclasses import replace; hyper = replace(hyper, groups=(('head', replace(hyper.of('head'), lr=0.0005)),))",
], ids=["ignored", "a factor"])  # fmt: skip
def test_one_that_does_not_is_red(ran, change):
    run = ran(change)
    assert (verdict(run).kind, run.exit_code) == (Kind.DIVERGED, 1)
    assert "EXPLAINED was expected" in verdict(run).reason
