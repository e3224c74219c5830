"""Gradients that are handed over as rows: who moves a row that has none, who leaves it alone, and who takes no rows."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from orbits import each, here, orbit

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.stages import Clip, ClipBy, Stages
from parity.implementations.implementation import Implementation, rows_of
from parity.implementations.registry import shipped_implementations
from parity.numerics.formats import FORMATS

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]

ROWS = here(shipped_implementations().values())
HYPER = Hyper(lr=0.5, eps=1e-7, stages=Stages(rows=("w",)))
FIRST_USED, LAZY = 10, "torch.adam.sparse"


def refusal(row: Implementation) -> str:
    """What a row says that takes no gradients as rows; empty where it does."""
    if row.name == "torch.adam.compiled" and shutil.which(os.environ.get("CXX", "g++")) is None:
        return "needs a C.. compiler"
    if row.name.endswith(("zero2", "fsdp2")):
        return "its run takes no stages, which a case with rows needs"
    if row.framework == "torch" and row.name != LAZY:
        return "does not support sparse gradients, please consider SparseAdam instead"
    return {"jax": "no gradient as rows; that of an embedding", "tensorflow": "no Adam kernel"}.get(row.framework, "")


def weights_of(row: Implementation, used: list[list[int]], hyper: Hyper = HYPER) -> np.ndarray:
    """w (steps + 1, rows) in units of lr, of two rows that begin at 0 and have a gradient of 1 where they are used."""
    dtype = FORMATS["float32" if "float32" in row.dtypes else "bfloat16"].dtype
    gradients = [{"w": np.array([[1.0] if place in step else [0.0] for place in (0, 1)], dtype)} for step in used]
    states = orbit(row.states({"w": np.zeros((2, 1), dtype)}, gradients, hyper))
    return np.array([[0.0, 0.0], *(one.w["w"].ravel() for one in states)], np.float64) / hyper.lr


def near(row: Implementation, value: float) -> object:
    return pytest.approx(value, rel=1e-4 if "float32" in row.dtypes else 0.02, abs=1e-5)


@each(ROWS)
def test_a_row_that_is_used_late_moves_by_the_t_of_all_rows(row: Implementation) -> None:
    """0.48443 lr under the t of its tensor; a t of its own would make it 1 lr."""
    used = [[0]] * (FIRST_USED - 1) + [[1]]
    if told := refusal(row):
        with pytest.raises(Unsupported, match=told):
            weights_of(row, used)
        return
    w = weights_of(row, used)
    assert (w[:-1, 1] == 0).all()
    assert -w[-1, 1] == near(row, 0.48443)
    # What has its own t, as a tensor of its own has in torch: its tenth step is its first.
    if row.convention == "outside" and row.framework == "numpy":
        dtype = FORMATS["float32" if "float32" in row.dtypes else "bfloat16"].dtype
        alone = [{"w": None if step < FIRST_USED else np.ones(1, dtype)} for step in range(1, FIRST_USED + 1)]
        *_, last = orbit(row.states({"w": np.zeros(1, dtype)}, alone, replace(HYPER, stages=Stages())))
        assert -last.w["w"][0] / HYPER.lr == near(row, 1.0)


@each(ROWS)
def test_a_row_that_is_not_used_any_more_moves_on_or_waits(row: Implementation) -> None:
    """Used at step 1 and not at step 2: 0.67006 lr where moments decay in all rows, 0 where they wait."""
    if refusal(row):
        return
    w = weights_of(row, [[0], [1]])
    moved = w[1, 0] - w[2, 0]
    if row.name == LAZY:
        assert moved == 0
    else:
        assert moved == near(row, 0.67006)


@pytest.mark.parametrize(
    ("gradient", "rows"),
    [
        (np.zeros((3, 2)), []),
        (np.array([[0, 0], [0, -1], [math.nan, 0]]), [1, 2]),
        (np.array([0.0, 2.0, -0.0]), [1]),
        (np.array(1.0), [0]),
        (np.array(0.0), []),
        (np.zeros((0, 2)), []),
        (np.zeros((2, 0)), []),
    ],
)
def test_rows_are_those_that_are_not_zero_throughout(gradient: np.ndarray, rows: list[int]) -> None:
    assert rows_of(gradient).tolist() == rows


@each(here([shipped_implementations()[name] for name in (LAZY, "keras_torch.adam.eager", "keras_jax.adam.eager")]))
def test_what_takes_no_rows_around_the_step_says_so_in_the_framework_s_own_words(row: Implementation) -> None:
    clipped = replace(HYPER, stages=Stages(rows=("w",), clip=Clip(ClipBy.VALUE, 0.5)))
    with pytest.raises(Unsupported, match=r"with gradients as rows: .*(SparseCPU|BCOO)"):
        weights_of(row, [[0]], clipped)
