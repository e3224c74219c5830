"""Two dtypes in one model: every tensor is what its own dtype makes of it, in any order."""

from __future__ import annotations

import numpy as np
import pytest

import parity
from parity.comparison.trace import read_trace
from parity.numerics.formats import FORMATS

pytestmark = pytest.mark.thorough


OWN = {
    "half": {"name": "half", "shape": [4, 3], "dtype": "bfloat16"},
    "usual": {"name": "usual", "shape": [5]},
    "small": {"name": "small", "shape": [37], "dtype": "float16"},
}
OPEN = "where float64 is switched on, optax forms 1 - beta**t of every tensor in it"


@pytest.fixture
def ran(write_case, tmp_path):
    """A run on tensors in that order, and the folder of its traces."""

    def run(order, *implementations, **keys):
        parameters = [OWN[name] for name in order]
        case = write_case("mixed", **{"parameters": parameters, "expect": None, **keys})
        options = parity.Options(keep_traces=True)
        return parity.run(
            [case], implementations, output=tmp_path / "run", options=options
        ), tmp_path / "run" / "traces"

    return run


def moves(traces, name, dtype="float32"):
    """The tensors that ever move."""
    trace = read_trace(traces / "mixed" / dtype / name)
    rows = trace.array("w")
    return {one.name for one, place in trace.layout.slices() if (rows[1:, place] != rows[0, place]).any()}


def test_a_trace_keeps_each_tensor_exactly_and_says_its_dtype(ran):
    found, traces = ran(["half", "usual"], "numpy.adam.outside", "numpy.adam.hat")
    trace = read_trace(traces / "mixed" / "float32" / "numpy.adam.outside")
    assert [one.dtype for one in trace.layout.parameters] == ["bfloat16", ""]
    assert {tuple(one.name for one in formats) for formats in trace.formats.values()} == {("bfloat16", "float32")}
    m = trace.array("m")[-1]
    kept = m[:12].astype(FORMATS["bfloat16"].dtype).astype(np.float32)
    assert (m.dtype, np.array_equal(m[:12], kept)) == (np.float32, True)
    (pair,) = found.pairs().values()
    assert {one.quantity: one.dtypes for one in pair.distances} == dict.fromkeys(("m", "v", "w"), ("bfloat16",))
    # What differs by one number of bfloat16 is 1 ULP, not 65,536.
    v = next(one for one in pair.distances if one.quantity == "v")
    assert v.differing == 0
    w = next(one for one in pair.distances if one.quantity == "w")
    assert w.differing
    assert w.worst_max_ulp.value < 1 << 14


def test_the_rows_are_wide_enough_whatever_the_dtype_of_the_case(ran):
    _, traces = ran(["small", "half", "usual"], "numpy.adam.outside", "numpy.adam.hat", dtypes=["float16"])
    trace = read_trace(traces / "mixed" / "float16" / "numpy.adam.outside")
    assert trace.stored("w") is FORMATS["float32"]
    assert [one.name for one in trace.formats["w"]] == ["float16", "bfloat16", "float16"]


@pytest.mark.frameworks
def test_keras_on_torch_takes_the_scalars_of_the_first(ran):
    names = ("keras_torch.adam.eager", "keras.adam.eager", "keras_jax.adam.eager")
    found, traces = ran(["half", "usual"], *names)
    assert {name: moves(traces, name) for name in names} == {
        "keras_torch.adam.eager": set(), "keras.adam.eager": {"usual"}, "keras_jax.adam.eager": {"usual"},
    }  # fmt: skip
    assert "keras_torch.adam.eager never moved a weight in float32" in [one.title for one in found.findings]
    why = next(one for one in found.cells[0].account.pairs if "keras_torch.adam.eager" in (one.actual, one.expected))
    assert (why.answer, "beta-power" in dict(why.families)) == ("explained", True)
    found, traces = ran(["usual", "half"], *names)
    assert {name: moves(traces, name) for name in names} == {
        "keras_torch.adam.eager": {"usual", "half"}, "keras.adam.eager": {"usual"}, "keras_jax.adam.eager": {"usual"},
    }  # fmt: skip
    assert {one.differing for one in found.cells[0].account.held} == {0}


@pytest.mark.frameworks
@pytest.mark.parametrize("order", [("half", "usual", "small"), ("usual", "small", "half"), ("small", "half", "usual")])
def test_every_tensor_is_the_twin_of_its_own_dtype(ran, order):
    names = ("numpy.adam.*", "torch.adam*", "keras*", "tensorflow*", "tf_keras*", "optax*")
    found, _ = ran(order, *names, steps=40, dtypes=["float64", "float32"], hyper={"lr": 1e-2, "eps": 1e-3})
    for cell in found.cells:
        held = {one.implementation: one for one in cell.account.held}
        assert len(held) >= 30
        assert {name for name, one in held.items() if one.source != "claimed"} == set()
        left = {name for name, one in held.items() if one.differing}
        assert {held[name].covered for name in left} <= {OPEN}
        assert all(name.startswith("optax.") and cell.dtype == "float64" for name in left)


@pytest.mark.frameworks
def test_the_first_is_the_first_that_has_a_gradient(ran):
    """bfloat16 leads at some steps, float32 at others."""
    parameters = [{**OWN["half"], "gradients": {"kind": "bell", "scale": 0.1, "none_every": 2}}, OWN["usual"]]
    found, traces = ran([], "keras_torch.adam.eager", "keras.adam.eager", parameters=parameters, hyper={"eps": 1e-3})
    assert {one.differing for one in found.cells[0].account.held} == {0}
    assert moves(traces, "keras_torch.adam.eager") == {"usual"}
