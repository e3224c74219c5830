"""Scripts of findings that need no parity: what they say when they are run is what the finding says."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import pytest

from parity.engine.findings import Finding, Severity, Topic
from parity.report.reproduction import finding_script, own_script

HAT = ("numpy.adam.hat", "numpy.adam.outside")
LEGACY, NEW, KERNEL = "tf_keras.adam.legacy", "tf_keras.adam.new", "tensorflow.adam.kernel"
TORCH, KERAS, OPTAX = "torch.adam.fused", "keras.adam.xla", "optax.adam.jit"

# Runs each of some scripts, read as JSON, in a namespace of its own; prints what they print between lines of their own.
RUN_ALL = """
import json, sys
for name, text in json.load(sys.stdin).items():
    print("##", name)
    exec(compile(text, name, "exec"), {})
"""


@pytest.fixture
def recorded(run_small):
    """A run whose one cell bears a name and dtype and has these implementations, each with an eps of its own."""

    def make(place, dtype, given, places=None, **hyper):
        run = run_small(*HAT)
        (cell,) = run.cells
        model = cell.outcomes[0]
        outcomes = tuple(
            replace(model, name=name, hyper={**model.hyper, "eps": eps.hex(), **hyper}) for name, eps in given.items()
        )
        cell = replace(cell, case=place, dtype=dtype, outcomes=outcomes)
        return replace(run, cells=(cell,), conventions=places or {})

    return make


def finding(topic, names, where, between=", "):
    return Finding(Severity.WARNING, between.join(names), "title", "detail", (where,), topic)


def formula(recorded):
    run = recorded("a case", "float64", {TORCH: 1e-2, KERAS: 1e-2})
    return own_script(finding(Topic.FORMULA, [TORCH, KERAS], "a case float64", " / "), run)


def values(recorded):
    run = recorded("a case", "float64", {LEGACY: 1e-7, KERNEL: 1e-8})
    return own_script(finding(Topic.FORMULA, [LEGACY, KERNEL], "a case float64", " / "), run)


def still(recorded):
    names = [KERAS, NEW, KERNEL]
    return own_script(
        finding(Topic.STILL, names, "constant bfloat16"), recorded("constant", "bfloat16", dict.fromkeys(names, 1e-8))
    )


def nonfinite(recorded):
    names = [*HAT, TORCH.replace("fused", "forloop"), KERAS, NEW, LEGACY, KERNEL, OPTAX]
    return own_script(
        finding(Topic.NONFINITE, names, "all-zero float16"), recorded("all-zero", "float16", dict.fromkeys(names, 1e-8))
    )


def defaults(recorded):
    run = recorded("a case", "float64", dict.fromkeys([TORCH, KERAS, LEGACY, NEW, KERNEL, OPTAX], 1e-8))
    return own_script(finding(Topic.DEFAULTS, ["a case"], "a case float64"), run)


@pytest.mark.thorough
@pytest.mark.frameworks
def test_a_script_shows_what_its_finding_says(recorded):
    import json

    made = {one.__name__: one(recorded) for one in (formula, values, still, nonfinite, defaults)}
    assert all("parity" not in text for text in made.values())
    ended = subprocess.run(
        [sys.executable, "-c", RUN_ALL], input=json.dumps(made), capture_output=True, text=True, timeout=280
    )
    assert ended.returncode == 0, ended.stderr
    told = {}
    for line in ended.stdout.splitlines():
        if line.startswith("## "):
            told[line[3:]] = here = {}
        else:
            name, _, value = line.removesuffix(" lr").partition(": ")
            here[name] = float(value)
    hat = -1 / (1 + 0.001**-0.5)
    assert told["formula"] == {"torch": pytest.approx(-0.5), "keras": pytest.approx(hat, rel=1e-4)}
    assert told["values"][LEGACY] == pytest.approx(hat, rel=1e-4)
    assert told["values"]["tensorflow"] == pytest.approx(-1 / (1 + 0.1 * 0.001**-0.5), rel=1e-4)
    assert told["still"].pop("torch") == pytest.approx(-3e-3, rel=0.02)
    assert told["still"] == {"keras": 0, NEW: 0, "tensorflow": 0}
    assert set(told["nonfinite"]) == {"torch", "keras", NEW, LEGACY, "tensorflow", "optax"}
    assert all(math.isnan(value) for value in told["nonfinite"].values())
    keras_eps = {"keras": 1e-7, NEW: 1e-7, LEGACY: 1e-7}
    assert told["defaults"] == {"torch": 1e-8, "tensorflow": 1e-8, "optax": 1e-8, **keras_eps}


def test_what_one_step_would_not_show_has_no_script_of_its_own(recorded):
    asked = finding(Topic.FORMULA, [TORCH, KERAS], "a case float64", " / ")
    given = {TORCH: 1e-8, KERAS: 1e-8}
    same_place = {TORCH: "hat", KERAS: "hat"}
    assert own_script(asked, recorded("a case", "float64", given, same_place)) == ""
    assert own_script(asked, recorded("a case", "float64", given, amsgrad=True)) == ""
    assert own_script(asked, recorded("a case", "float64", given, beta2=(0.95).hex())) == ""
    assert own_script(asked, recorded("another", "float64", given)) == ""
    assert own_script(replace(asked, topic=Topic.OTHER), recorded("a case", "float64", given)) == ""
    huge = finding(Topic.NONFINITE, [KERAS], "huge float32")
    assert own_script(huge, recorded("huge", "float32", {KERAS: 1e-8})) == ""
    assert "import parity" in finding_script(asked, recorded("a case", "float64", given, same_place))
    assert "import parity" not in finding_script(asked, recorded("a case", "float64", given))
