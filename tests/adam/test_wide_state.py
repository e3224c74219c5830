"""A state that is wider than its weights: computed in its dtype, and kept as what the case says."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest
from reference import slow_step

import parity
from parity.adam.arithmetic import Setting, plain
from parity.adam.convention import Convention, Epsilon, StepCount
from parity.adam.gradients import Block
from parity.adam.twin import Twin
from parity.comparison.trace import read_trace
from parity.core.hyper import Hyper
from parity.core.layout import Layout, Parameter
from parity.core.stages import Stages, WideState
from parity.core.state import Rows, Start
from parity.explain.running import Adam, free_run
from parity.implementations.registry import shipped_implementations
from parity.numerics.formats import FORMATS

STATES = {
    "none": None,
    "m and v": WideState(m="float32", v="float32"),
    "master": WideState(master="float32"),
    "only m": WideState(m="float32"),
    "only v": WideState(v="float32"),
}
LAYOUT = Layout((Parameter("a", (5, 3)), Parameter("b", (4,))))
STEPS = 9


def slow_orbit(w, gradients, hyper, epsilon, wide):
    """Rows by quantity, step by step and one rounding after another."""
    half, single = w.dtype, np.dtype(np.float32)
    kept = {name: single if wide.of(name) else half for name in ("w", "m", "v", "vmax")}
    convention = Convention(epsilon, step_count=StepCount.GLOBAL)
    names = ("w", "m", "v", "vmax") if hyper.amsgrad else ("w", "m", "v")
    state = {name: np.zeros(w.size, single) for name in names} | {"w": w.astype(single)}
    for t, g in enumerate(gradients, start=1):
        for start, stop in ((0, 15), (15, 19)):
            part = {name: row[start:stop] for name, row in state.items()}
            setting = Setting((stop - start,), 2)
            made = slow_step(
                part, g[start:stop].astype(single), hyper, convention, plain(epsilon), 1e-2, t, None, setting
            )
            for name, row in made.items():
                state[name][start:stop] = row
        shown = {name: row.astype(kept[name]) for name, row in state.items()}
        yield shown
        if not wide.master:
            state = {name: row.astype(single) for name, row in shown.items()}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize(("name", "epsilon"), [*itertools.product([one for one in STATES if STATES[one]], Epsilon)])
def test_from_scratch_and_twin_are_the_slow_version(name, epsilon, amsgrad, dtype):
    wide, random, half = STATES[name], np.random.default_rng(3), FORMATS[dtype].dtype
    hyper = Hyper(lr=1e-2, eps=1e-3, amsgrad=amsgrad, weight_decay=0.1, stages=Stages(state=wide))
    w = random.standard_normal(19).astype(half)
    gradients = random.standard_normal((STEPS, 19)).astype(half)
    expected = list(slow_orbit(w, gradients, hyper, epsilon, wide))
    adam = Adam(hyper, Twin(Convention(epsilon, step_count=StepCount.GLOBAL), plain(epsilon)))
    zeros = [np.zeros(19, half) for _ in range(3)]
    blocks = [Block(range(1, 5), gradients[:4], np.ones((4, 2), bool)),
              Block(range(5, STEPS + 1), gradients[4:], np.ones((STEPS - 4, 2), bool))]  # fmt: skip
    made = [rows for _, rows in free_run(adam, Start(Rows(w, *zeros), np.zeros(2, np.int64)), LAYOUT, blocks)]
    given = ({key: g[place].reshape(one.shape) for (one, place), key in zip(LAYOUT.slices(), "ab", strict=True)}
             for g in gradients)  # fmt: skip
    scratch = shipped_implementations()[f"numpy.adam.{epsilon}"]
    states = scratch.states({key: array.copy() for key, array in LAYOUT.views(w).items()}, given, hyper)
    for step, (state, row) in enumerate(zip(states, expected, strict=True)):
        for quantity, numbers in row.items():
            twin = np.concatenate([one[quantity] for one in made])[step]
            shown = np.concatenate([getattr(state, quantity)[key].ravel() for key in "ab"])
            assert (twin.dtype, shown.dtype) == (numbers.dtype, numbers.dtype)
            assert twin.tobytes() == numbers.tobytes() == shown.tobytes()


@pytest.fixture
def ran(write_case, tmp_path):
    """A run on a weight of 1 with gradients of 1, and the trace of each implementation."""

    def run(name, lr, steps, *implementations, dtype="bfloat16"):
        wide = STATES[name]
        told = {} if wide is None else {key: one for key in ("m", "v", "master") if (one := getattr(wide, key))}
        keys = {"stages": {"state": told}} if told else {}
        case = write_case("ones", dtypes=[dtype], steps=steps, hyper={"lr": lr, "eps": 0.0}, expect=None,
                          weights={"kind": "constant", "value": 1.0}, gradients={"kind": "constant", "value": 1.0},
                          parameters=[{"name": "w", "shape": [2]}, {"name": "b", "shape": [3]}], **keys)  # fmt: skip
        output = tmp_path / name.replace(" ", "-")
        found = parity.run([case], implementations, output=output, options=parity.Options(keep_traces=True))
        folder = output / "traces" / "ones" / dtype
        return found, {one.name: read_trace(one) for one in folder.glob("*") if (one / "trace.json").is_file()}

    return run


MASTER = [1, 0.99609375, 0.99609375, 0.99609375, 0.99609375, 0.9921875]
SCRATCH = ("numpy.adam.outside", "numpy.adam.hat")


def test_the_four_are_told_apart(ran):
    found = {}
    for name in ("none", "m and v", "master", "only m"):
        _, traces = ran(name, 1e-3, 6, *SCRATCH)
        trace = traces["numpy.adam.outside"]
        dtypes = [{one.name for one in trace.formats[quantity]} for quantity in ("w", "m", "v")]
        found[name] = (trace.array("w")[1:, 0].tolist(), *("".join(one) for one in dtypes))
    still = [1.0] * 6
    assert found == {
        "none": (still, "bfloat16", "bfloat16", "bfloat16"),
        "m and v": (still, "bfloat16", "float32", "float32"),
        "master": (MASTER, "bfloat16", "float32", "float32"),
        "only m": (still, "bfloat16", "float32", "bfloat16"),
    }
    assert ran("none", 2e-3, 3, *SCRATCH)[1]["numpy.adam.outside"].array("w")[1:, 0].tolist() == [
        0.99609375, 0.9921875, 0.98828125,
    ]  # fmt: skip


def test_lost_updates_are_told_of_weights_and_not_of_copies(ran):
    lost = "100% of the updates in bfloat16 were lost to rounding"
    assert lost in [one.title for one in ran("m and v", 1e-3, 6, *SCRATCH)[0].findings]
    assert not [one for one in ran("master", 1e-3, 6, *SCRATCH)[0].findings if "lost to rounding" in one.title]


@pytest.mark.thorough
@pytest.mark.frameworks
def test_masters_of_every_framework_are_the_twins_of_float32(ran):
    names = ("numpy.adam.*", "torch.adam*", "keras*", "optax*")
    found, traces = ran("master", 2e-3, 3, *names)
    (cell,) = found.cells
    assert len(traces) >= 29
    assert {tuple(trace.array("w")[1:, 0].tolist()) for trace in traces.values()} == {
        (0.99609375, 0.99609375, 0.9921875)
    }
    assert {one.implementation for one in cell.account.held} == {*traces}
    assert {one.differing for one in cell.account.held} == {0}
    # It takes no eps of 0.
    assert [one.name for one in cell.outcomes if one.failure] == ["torch.adam.sparse"]


@pytest.mark.frameworks
def test_what_a_framework_has_not_is_skipped(ran):
    found, traces = ran("m and v", 1e-3, 3, *SCRATCH, "torch.adam.forloop", "keras.adam.eager", "optax.adam.jit")
    told = "moments have the dtype of their {}; wider ones come with masters alone"
    assert {one.name: one.failure.reason for one in found.cells[0].outcomes if one.failure} == {
        "torch.adam.forloop": "torch.optim: " + told.format("parameter"),
        "keras.adam.eager": "keras: " + told.format("variable"),
        "optax.adam.jit": "optax: mu_dtype is that of the first moment alone; nu has the dtype of the weights",
    }
    found, traces = ran("only m", 1e-3, 3, *SCRATCH, "optax.adam.plain")
    trace = traces["optax.adam.plain"]
    assert [{one.name for one in trace.formats[quantity]} for quantity in "mv"] == [{"float32"}, {"bfloat16"}]
    exact = np.float32(ml_dtypes.bfloat16(1 - 0.9))
    assert trace.array("m")[1, 0] == exact
    found, _ = ran("master", 1e-3, 3, *SCRATCH, dtype="float32")
    assert {one.failure.reason for one in found.cells[0].outcomes} == {
        "a state in float32 is not wider than the weights are"
    }
