"""What the shipped cases catch: every wrong Adam, every other optimizer, and no right one."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import parity
from parity.case.case import RESTARTED
from parity.case.catalogue import select_cases, shipped_cases
from parity.case.expectation import Kind
from parity.core.hyper import Hyper
from parity.numerics.formats import FORMATS

sys.path.append(str(Path(__file__).parent))
from benign_adams import BENIGN
from exchangeable_adam import Adam
from other_optimizers import OTHERS
from power import takes_a_bare_step
from wrong_adams import WRONG

pytestmark = [pytest.mark.timeout(1200), pytest.mark.thorough]

FAULTS = Path(__file__).parent

BARE = tuple(dict.fromkeys(case.name.partition("[")[0] for case in select_cases() if takes_a_bare_step(case)))

FAMILIES = {
    "epsilon-placement",
    "epsilon-value",
    "epsilon-underflow",
    "bias-correction",
    "step-count",
    "hyperparameter-value",
    "hyperparameter-rounding",
    "beta-power",
    "weight-decay",
    "gradient-scale",
    "amsgrad",
    "sparse-rows",
    "none-gradient",
    "state-storage",
    "partial-update",
    "subnormal-flush",
    "nondeterminism",
    "unexplained",
}
AT_ONCE = 12
"""Wrong Adams in one run: each has a process of its own."""

BAD = {
    "raises": r"step 3: RuntimeError: planted (bad_targets.py:",
    "hangs": "step 3: no answer in 5 s (--timeout); the process was ended",
    "yields_too_few": "step 3: yielded 2 states for 12 gradients: too few",
    "mutates_gradients": "step 1: wrote into its gradients",
    "mutates_weights": "step 1: wrote into the initial weights it was given",
    "promoted": "step 1: w['query'] is float64, the case runs in float32",
    "transposed": "step 1: w['query'] has shape (4, 3), the case has (3, 4)",
    "not_a_number": "WITHIN was expected; 360 elements are NaN or inf",
    "views_of_inputs": "WITHIN was expected; m: ",
}
"""Bad targets, and what the reason of each verdict begins with."""


def cells() -> dict[str, list[str]]:
    """Wrong Adams by the cell that exposes them, a few at a time."""
    together: dict[tuple[str, str], list[str]] = {}
    for one in WRONG.values():
        together.setdefault((one.case, one.dtype), []).append(one.name)
    return {
        f"{case} {dtype} {start // AT_ONCE}": names[start : start + AT_ONCE]
        for (case, dtype), names in together.items()
        for start in range(0, len(names), AT_ONCE)
    }


def run(folder, file, names, cases=(), dtypes=(), options=None):
    """A run of plug-ins of one file on shipped cases; all cases where none is named."""
    paths = [shipped_cases() / f"{case}.toml" for case in cases]
    return parity.run(paths, [f"{FAULTS / file}.py:{name}" for name in names], dtypes, folder / "run", options=options)


@pytest.mark.parametrize("cell", cells())
def test_the_cheapest_cell_exposes_a_wrong_adam(tmp_path, cell):
    names = cells()[cell]
    case, dtype, _ = cell.split()
    found = run(tmp_path, "wrong_adams", names, [case], [dtype])
    assert found.exit_code == 1
    green = [one.actual for one in found.verdicts if one.verdict.as_expected]
    assert green == []
    assert {one.actual for one in found.verdicts} == {f"user.{name}" for name in names}
    assert {one.verdict.kind for one in found.verdicts} == {Kind.DIVERGED}


@pytest.mark.parametrize(
    ("dtype", "cases"),
    [
        *((dtype, ("same-hyperparameters", "decades", "amsgrad")) for dtype in ("float32", "bfloat16")),
        *(pytest.param(dtype, BARE, marks=pytest.mark.exhaustive) for dtype in FORMATS),
    ],
)
def test_a_right_adam_is_green_in_all_cases_however_it_rounds(tmp_path, dtype, cases):
    """Where tensors are asked alike and nothing stands around the step, which is all that these know."""
    found = run(tmp_path, "benign_adams", BENIGN, cases, dtypes=[dtype])
    red = {(one.case, one.actual) for one in found.verdicts if not one.verdict.as_expected}
    # What this case expects of user.* is that eps = 1e-8 is 0 in float16, which a wider computation avoids.
    assert red == ({("all-zero", "user.at_store")} if dtype == "float16" and "all-zero" in cases else set())
    # They take no start, so that what restarts is SKIPPED for them; the reference restarts beside them.
    own = [one for one in found.verdicts if one.actual.startswith("user.")]
    assert {one.actual.removesuffix(RESTARTED) for one in own} == {f"user.{name}" for name in BENIGN}
    assert len(own) == found.counts.cells * len(BENIGN)
    assert {one.case for one in own if one.verdict.kind is Kind.SKIPPED} == {"restart"} & {*cases}


STRICT = """\
extends = "{}"
summary = "What is not explained to the last bit is red."
why = "In half precision budgets alone let most wrong Adams pass."

[hyper]
lr = 1e-2
eps = 1e-3
weight_decay = 1e-2
amsgrad = true

[[parameters]]
name = "steady"
shape = [7, 5]

[[parameters]]
name = "missing"
shape = [65]
gradients = {{ kind = "bell", scale = 0.1, none_steps = [2, 5, 9] }}

[[expect]]
actual = "user.*"
expected = "numpy.adam.outside"
verdict = "EXPLAINED"
rounding = "operations"
nonfinite = true
causes = [{}]
because = "All are Algorithm 1."
"""


@pytest.mark.parametrize(
    "dtype",
    ["bfloat16", *(pytest.param(one, marks=pytest.mark.exhaustive) for one in ("float64", "float32", "float16"))],
)
def test_where_every_bit_has_to_be_explained_a_wrong_adam_that_changes_one_is_red(tmp_path, dtype):
    """Held against the right Adam of the same text: whoever ends in other bits than that is not explained."""
    underflows = '"epsilon-underflow"' if dtype == "float16" else ""
    case = tmp_path / "strict.toml"
    case.write_text(STRICT.format(shipped_cases() / "_base.toml", underflows))
    names = [*(f"{FAULTS / 'wrong_adams'}.py:{name}" for name in WRONG), f"{FAULTS / 'benign_adams'}.py:correct"]
    found = parity.run([case], names, [dtype], tmp_path / "run")
    ended = {one.name: one.digests for one in found.cells[0].outcomes}
    changed = {f"user.{name}" for name in WRONG if ended[f"user.{name}"] != ended["user.correct"]}
    red = {one.actual for one in found.unexpected}
    assert "user.correct" not in red
    assert len(changed) >= 40
    assert changed <= red


def test_another_optimizer_is_red(tmp_path):
    found = run(tmp_path, "other_optimizers", OTHERS, ["same-hyperparameters"], ["float64"])
    assert found.exit_code == 1
    assert {one.actual: one.verdict.kind for one in found.unexpected} == dict.fromkeys(
        (f"user.{name}" for name in OTHERS), Kind.DIVERGED
    )
    assert any("user.no_op never moved a weight" in finding.title for finding in found.findings)


def test_a_bad_target_is_red_with_one_reason(tmp_path):
    found = run(tmp_path, "bad_targets", BAD, ["twins"], ["float32"], parity.Options(timeout=5.0))
    assert found.exit_code == 1
    assert {one.actual for one in found.unexpected} == {f"user.{name}" for name in BAD}
    for one in found.verdicts:
        reason = one.verdict.reason.removeprefix(f"{one.actual}: ")
        assert reason.startswith(BAD[one.actual.removeprefix("user.")]), one


def test_the_command_line_says_the_same(command, tmp_path):
    case = shipped_cases() / "constant.toml"
    for target, code in (("benign_adams.py:correct", 0), ("wrong_adams.py:uncorrected", 1)):
        output = tmp_path / target.partition(":")[2]
        assert command("run", case, "-d", "float32", "-i", FAULTS / target, "-o", output)[0] == code


def test_every_family_of_causes_has_a_wrong_adam():
    assert {one.family for one in WRONG.values()} == FAMILIES
    assert all(one.detail.endswith(".") and one.dtype in ("float64", "float32") for one in WRONG.values())


@pytest.mark.parametrize("one", WRONG.values(), ids=lambda one: one.name)
def test_a_wrong_adam_is_one_stage_away_from_the_right_one(one):
    exchanged = [field.name for field in fields(Adam) if getattr(one.run, field.name) is not field.default]
    assert len(exchanged) == 1


def orbit(implementation, dtype):
    """Three states on read-only inputs of several shapes, with a None and under AMSGrad with decay."""
    draws = np.random.default_rng(0)
    shapes = {"matrix": (2, 3), "twin": (2, 3), "empty": (0,), "scalar": ()}

    def tensors(step):
        made = {name: np.asarray(draws.standard_normal(shape)).astype(dtype) for name, shape in shapes.items()}
        for array in made.values():
            array.flags.writeable = False
        return made | ({"twin": None} if step == 2 else {})

    hyper = Hyper(lr=(1e-2, 1e-3, 1e-3), weight_decay=1e-2, amsgrad=True)
    return shapes, list(implementation(tensors(0), map(tensors, (1, 2, 3)), hyper))


PLUGINS = {name: one.run for name, one in WRONG.items()} | BENIGN | {name: one.run for name, one in OTHERS.items()}


@pytest.mark.parametrize("name", PLUGINS)
def test_it_runs_in_this_process_in_every_dtype(name):
    for dtype in (one.dtype for one in FORMATS.values()):
        shapes, states = orbit(PLUGINS[name], dtype)
        assert len(states) == 3
        for table in (table for state in states for table in state if table is not None):
            assert {key: (a.shape, a.dtype) for key, a in table.items()} == {
                key: (shape, dtype) for key, shape in shapes.items()
            }
