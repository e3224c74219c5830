"""What a person should know first: the worst place of a finding stands before the others."""

from __future__ import annotations

import parity
from parity.report.reproduction import finding_command

MILD = {"gradients": {"kind": "bell", "scale": 1e-3}}
HARSH = {"gradients": {"kind": "bell", "scale": 1e-6}}


def test_the_worst_place_of_a_finding_comes_first(write_case, write_adam, tmp_path):
    wrong = write_adam(swap=[("f(hyper.eps)", "f(1e-5)")])
    cases = [write_case("mild", **MILD), write_case("harsh", **HARSH)]
    run = parity.run(cases, [wrong, "numpy.adam.outside"], output=tmp_path / "run")
    (finding,) = [one for one in run.findings if one.title.endswith("is not as expected")]
    assert finding.where == ("harsh float32", "mild float32")
    assert finding.detail.startswith("harsh in float32")
    assert finding_command(finding, run).startswith("parity explain harsh")


def test_a_crash_comes_before_any_number(write_case, write_adam, tmp_path):
    crashing = write_adam(first="if hyper.lr == 0.5: raise RuntimeError('planted')", swap=[("f(hyper.eps)", "f(1e-5)")])
    cases = [write_case("harsh", **HARSH), write_case("mild", hyper={"lr": 0.5}, **MILD)]
    run = parity.run(cases, [crashing, "numpy.adam.outside"], output=tmp_path / "run")
    (finding,) = [one for one in run.findings if one.title.endswith("is not as expected")]
    assert finding.where[0] == "mild float32"
