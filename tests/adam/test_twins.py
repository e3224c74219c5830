"""Every claim of `parity.adam.twins` on every shipped case: 0 differing bits of m, v, vmax and w at every step."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import parity
from parity.adam.twins import TWINS
from parity.case.catalogue import select_cases
from parity.core.hyper import Hyper
from parity.implementations.registry import shipped_implementations
from parity.numerics.formats import FORMATS

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(2400), pytest.mark.thorough]

LONG_STEPS = 1000

NEVER_COMPARED = {
    "numpy.adam.hat.store", "numpy.adam.inside.store",
    *(name for name, one in shipped_implementations().items() if one.on_request),
}  # fmt: skip
"""Rows that no shipped case names: they are there for a user's own; and those that run where they are named only."""


COMPILED = "torch.adam.compiled"
"""What takes seconds to compile for every case: one of many steps asks for it."""

BRIEF = (
    "keras.adamw.eager", "keras.adamw.function", "keras.adamw.xla", "keras_jax.adam.eager", "torch.adamw.forloop",
    "torch.adamw.foreach", "torch.adamw.fused", "optax.adamw.plain", "optax.adamw.jit",
)  # fmt: skip
"""Rows for which no shipped case asks over so many steps: another one of the same code stands in for them."""

SOME = (
    "none-gradients or sizes or weight-decay-strong or amsgrad or half-precision or epsilon-zero or "
    "weight-decay-decoupled or groups"
)
"""What `make test` asks of every implementation: decay, AMSGrad, tails, missing gradients, subnormal numbers."""


@pytest.fixture(scope="module", params=[SOME, pytest.param("", marks=pytest.mark.exhaustive)], ids=["some", "all"])
def run(request, tmp_path_factory):
    """Shipped cases on all shipped implementations."""
    if request.param:
        folder = tmp_path_factory.mktemp("twins") / "run"
        run = parity.run(output=folder, keyword=request.param, options=parity.Options(timeout=900, jobs=2))
    else:
        run, _ = request.getfixturevalue("whole_catalogue")
    assert len({cell.case for cell in run.cells}) >= 6
    assert is_whole(run) == (not request.param)
    return run


@cache
def catalogue():
    return {case.name: case for case in select_cases()}


def bare(name):
    """Whether nothing stands around the step of a case, and all its tensors have one dtype."""
    case = catalogue()[name]
    return not case.hyper_for(Hyper()).stages.names and not case.layout().mixed


def unclaimed(cell):
    """Of whom nothing is claimed in a cell, for the reason that it tells."""
    return {one.implementation for one in cell.account.held if one.covered}


def is_whole(run):
    return {cell.case for cell in run.cells} == {*catalogue()}


def held(run, name, dtype):
    return [
        (cell, one)
        for cell in run.cells
        if cell.dtype == dtype
        for one in cell.account.held
        if one.implementation == name
    ]


def test_every_implementation_has_a_claim_in_every_dtype():
    for name, implementation in shipped_implementations().items():
        assert set(implementation.dtypes) <= set(TWINS[name])


def test_everything_was_explained(run):
    assert run.exit_code == 0
    assert [cell.account.reason for cell in run.cells if cell.account.reason] == []


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_every_bit(run, name, dtype):
    left_out = name in NEVER_COMPARED or (name == COMPILED and not is_whole(run))
    if dtype not in shipped_implementations()[name].dtypes or left_out:
        assert not held(run, name, dtype)
        return
    found = held(run, name, dtype)
    broken = [
        f"{cell.case}: {one.differing} of {one.compared}, up to {one.max_ulp} ULP"
        for cell, one in found
        if one.differing and not one.covered
    ]
    assert broken == []
    assert {one.source for _, one in found if not one.covered} == {"claimed"}
    closed = [(cell, one) for cell, one in found if not one.differing]
    assert closed
    assert max(cell.steps for cell, _ in closed) >= LONG_STEPS or not is_whole(run) or name in BRIEF
    assert any(cell.elements % 2 for cell, _ in closed)
    assert all(one.compared >= 3 * cell.steps * cell.elements for cell, one in found)


@pytest.mark.exhaustive
def test_what_no_long_case_asks_for_has_every_bit_as_long(tmp_path, case_text):
    case = tmp_path / "long-decay.toml"
    keys = {"lr": 0.003, "eps": 1e-7, "beta2": 0.95, "weight_decay": 0.1, "decoupled": True}
    shapes = [{"name": "kernel", "shape": [7, 5]}, {"name": "scale", "shape": []}]
    case.write_text(case_text(steps=LONG_STEPS, dtypes=list(FORMATS), hyper=keys, parameters=shapes, expect=None))
    run = parity.run([case], ["numpy.adam.hat", *BRIEF], output=tmp_path / "run")
    for name in BRIEF:
        for dtype in FORMATS:
            ((_, one),) = held(run, name, dtype)
            assert (one.source, one.differing) == ("claimed", 0), (name, dtype)
            assert one.compared == 3 * LONG_STEPS * 36


def test_what_is_left_open_is_left_open_for_a_reason_and_nothing_of_a_bare_step_is(run):
    """What stands around a step is held against the frameworks in `tests/explain/test_twins_around.py`."""
    opened = [(cell, one) for cell in run.cells for one in cell.account.held if one.differing]
    assert all(one.covered for _, one in opened)
    assert [(cell.case, one.implementation) for cell, one in opened if bare(cell.case)] == []


def test_no_right_adam_is_called_another_formula(run):
    """float64 and float32: variants of one framework differ by rounding only, and are said to."""
    formula = {"epsilon-placement", "epsilon-value", "bias-correction", "step-count", "weight-decay", "unexplained"}
    variants = [
        why
        for cell in run.cells
        if cell.dtype in ("float64", "float32") and cell.case != "epsilon-zero"
        for why in cell.account.pairs
        if not unclaimed(cell) & {why.actual, why.expected}
        and why.actual.rpartition(".")[0] == why.expected.rpartition(".")[0] != "numpy.adam"
        and "legacy" not in why.actual
    ]
    assert len(variants) > (50 if is_whole(run) else 10)
    for why in variants:
        assert not {family for family, _ in why.families} & formula, why


def test_a_changed_bit_is_a_broken_claim(tmp_path):
    """An Adam that claims to be torch's and has one operation in another order is found out, and named."""
    plugin = tmp_path / "other.py"
    plugin.write_text(
        "from dataclasses import replace\n"
        "from parity.implementations.torch_ import IMPLEMENTATIONS\n"
        "import numpy as np\n"
        "from parity import State\n"
        "def run(weights, gradients, hyper):\n"
        "    for step, state in enumerate(IMPLEMENTATIONS[2].states(weights, gradients, hyper), start=1):\n"
        "        if step == 7:\n"
        "            v = {name: array.copy() for name, array in state.v.items()}\n"
        "            v['bias'].view(np.uint32)[5] ^= 1\n"
        "            state = State(state.w, state.m, v)\n"
        "        yield state\n"
    )
    run = parity.run(
        implementations=[f"{plugin}:run", "numpy.adam.outside"],
        dtypes=["float32"],
        keyword="same",
        output=tmp_path / "run",
    )
    (cell,) = run.cells
    (one,) = [one for one in cell.account.held if one.implementation == "user.other"]
    assert one.differing
    (why,) = cell.account.pairs
    assert why.answer == "unexplained"
    assert np.isfinite(one.error_ulp)
