"""Moments that are wider than the weights: kept, compared and told as what they are."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pyarrow.parquet as pq
import pytest

import parity
from parity.api.baselines import check_baseline, save_baseline
from parity.baseline.drift import Status
from parity.baseline.entry import restore
from parity.case.catalogue import load_case_file
from parity.comparison.trace import read_trace
from parity.engine.record import read_run
from parity.engine.run import Options
from parity.explain.inputs import Inputs
from parity.numerics.formats import FORMATS, widest

TEXT = """
import numpy as np
from parity import State

def adam(weights, gradients, hyper, m_is=None, v_is=None, master=False):
    kept = {name: w.astype(np.float32) if master else w.copy() for name, w in weights.items()}
    m = {name: np.zeros(w.shape, m_is or kept[name].dtype) for name, w in weights.items()}
    v = {name: np.zeros(w.shape, v_is or kept[name].dtype) for name, w in weights.items()}
    f = np.float32
    for t, gradient in enumerate(gradients, start=1):
        for name, g in gradient.items():
            g = g.astype(np.float32)
            m[name] = (m[name].astype(f) * f(hyper.beta1) + g * f(1 - hyper.beta1)).astype(m[name].dtype)
            v[name] = (v[name].astype(f) * f(hyper.beta2) + g * g * f(1 - hyper.beta2)).astype(v[name].dtype)
            m_hat = m[name].astype(f) / f(1 - hyper.beta1**t)
            v_hat = v[name].astype(f) / f(1 - hyper.beta2**t)
            update = f(hyper.lr) * m_hat / (np.sqrt(v_hat) + f(hyper.eps))
            kept[name] = (kept[name].astype(f) - update).astype(kept[name].dtype)
        yield State({name: w.astype(weights[name].dtype) for name, w in kept.items()}, m, v)

def all_bfloat16(weights, gradients, hyper):
    return adam(weights, gradients, hyper)

def wide(weights, gradients, hyper):
    return adam(weights, gradients, hyper, np.float32, np.float32)

def master(weights, gradients, hyper):
    return adam(weights, gradients, hyper, master=True)

def only_m(weights, gradients, hyper):
    return adam(weights, gradients, hyper, np.float32)

def doubles(weights, gradients, hyper):
    return adam(weights, gradients, hyper, np.float64)

def begun(weights, gradients, hyper, start=None):
    return adam(weights, gradients, hyper, np.float32)

def narrower(weights, gradients, hyper):
    for state in adam(weights, gradients, hyper):
        yield State(state.w, {name: m.astype(np.float16) for name, m in state.m.items()}, state.v)

def changing(weights, gradients, hyper):
    for t, state in enumerate(adam(weights, gradients, hyper, np.float32), start=1):
        yield state if t < 3 else State(state.w, {name: m.astype(np.float64) for name, m in state.m.items()}, state.v)
"""

ONES = {
    "dtypes": ["bfloat16"],
    "steps": 6,
    "hyper": {"lr": 1e-3, "eps": 0.0},
    "expect": None,
    "parameters": [{"name": "w", "shape": [2]}, {"name": "b", "shape": []}],
    "weights": {"kind": "constant", "value": 1.0},
    "gradients": {"kind": "constant", "value": 1.0},
}


@pytest.fixture
def ran(write_case, tmp_path):
    """A run of functions of the text above on weights of 1 and gradients of 1."""
    target = tmp_path / "wide_adam.py"
    target.write_text(TEXT)

    def run(*names, **keys):
        case = write_case("ones", **ONES | keys)
        kept = tmp_path / "run"
        targets = [name if "." in name else f"{target}:{name}" for name in names]
        return parity.run([case], targets, output=kept, options=Options(keep_traces=True)), kept

    return run


def trace_of(kept, name):
    return read_trace(kept / "traces" / "ones" / "bfloat16" / (name if "." in name else f"user.{name}"))


@pytest.mark.parametrize(
    ("lr", "plain", "master"),
    [
        (1e-3, [1, 1, 1, 1, 1, 1], [1, 0.99609375, 0.99609375, 0.99609375, 0.99609375, 0.9921875]),
        (2e-3, [0.99609375, 0.9921875, 0.98828125], [0.99609375, 0.99609375, 0.9921875]),
    ],
)
def test_weights_are_the_copies_that_the_model_sees(ran, lr, plain, master):
    names = ("all_bfloat16", "wide", "only_m", "master")
    _, kept = ran(*names, hyper={"lr": lr, "eps": 0.0}, steps=len(plain))
    found = {name: trace_of(kept, name).array("w")[1:, 0].tolist() for name in names}
    assert found == {"all_bfloat16": plain, "wide": plain, "only_m": plain, "master": master}


def test_a_trace_keeps_every_quantity_in_its_own_format(ran):
    _, kept = ran("all_bfloat16", "only_m", "wide", "doubles")
    formats = {
        name: {quantity: {one.name for one in trace_of(kept, name).formats[quantity]} for quantity in ("w", "m", "v")}
        for name in ("all_bfloat16", "only_m", "wide", "doubles")
    }
    narrow, single = {"bfloat16"}, {"float32"}
    assert formats == {
        "all_bfloat16": {"w": narrow, "m": narrow, "v": narrow},
        "only_m": {"w": narrow, "m": single, "v": narrow},
        "wide": {"w": narrow, "m": single, "v": single},
        "doubles": {"w": narrow, "m": {"float64"}, "v": narrow},
    }
    told = {name: json.loads((trace_of(kept, name).folder / "trace.json").read_text()) for name in formats}
    assert "formats" not in told["all_bfloat16"]
    assert told["only_m"]["formats"] == {"m": ["float32", "float32"]}
    m = np.load(trace_of(kept, "only_m").folder / "m.npy")
    assert (m.dtype, m.shape) == (np.uint32, (7, 3))
    exact = np.float32(1.0) * np.float32(1 - 0.9)
    assert m.view(np.float32)[1, 0] == exact != np.float32(exact.astype(ml_dtypes.bfloat16))


def test_two_dtypes_are_compared_in_the_wider_one_and_a_finding_says_so(ran):
    found, kept = ran("numpy.adam.outside", "only_m", "wide")
    pair = found.pairs()["ones", "bfloat16", "user.only_m", "numpy.adam.outside"]
    distances = {one.quantity: one for one in pair.distances}
    assert {name: one.dtypes for name, one in distances.items()} == {"m": ("float32",), "v": (), "w": ()}
    ours, theirs = (trace_of(kept, name).array("m")[1:].astype(np.float32) for name in ("only_m", "numpy.adam.outside"))
    gaps = np.abs(ours.view(np.int32).astype(np.int64) - theirs.view(np.int32))
    assert distances["m"].worst_max_ulp.value == gaps.max() > 1000
    assert distances["m"].differing == np.count_nonzero(gaps)
    rows = pq.read_table(kept / "divergence.parquet").to_pylist()
    first = next(one for one in rows if (one["quantity"], one["actual"]) == ("m", "user.only_m") and one["step"] == 1)
    assert (float.fromhex(first["actual_value"]), first["max_ulp"]) == (float(ours[0, 0]), gaps[0, 0])
    titles = [one.title for one in found.findings]
    assert "m is bfloat16 in numpy.adam.outside and float32 in user.only_m, user.wide" in titles
    assert "v is bfloat16 in numpy.adam.outside, user.only_m and float32 in user.wide" in titles
    assert not [one for one in found.findings if one.title.startswith("w is")]
    assert "100% of the updates in bfloat16 were lost to rounding" in titles
    # What is read from disk says the same.
    assert read_run(kept).pairs() == found.pairs()


def test_a_moment_of_the_same_numbers_is_the_same_in_any_width(ran):
    """The gradient is 0, and so is all that is kept of it."""
    found, _ = ran("wide", "all_bfloat16", gradients={"kind": "zero"}, hyper={"lr": 1e-3, "eps": 1e-3})
    (verdict,), (cell,) = found.verdicts, found.cells
    assert {one.differing for one in found.pairs()[verdict.place].distances} == {0}
    assert [one.answer for one in cell.account.pairs] == ["identical"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("narrower", r"step 1: m['w'] is float16, the case runs in bfloat16: cast it with .astype"),
        ("changing", r"step 3: m['w'] is float64 where it was float32 before"),
    ],
)
def test_what_is_not_wider_is_one_clear_line(ran, name, told):
    found, _ = ran("numpy.adam.outside", name)
    (verdict,) = found.verdicts
    assert verdict.verdict.reason.startswith(f"user.{name}: {told}")


def test_a_start_stands_before_the_first_step_in_a_wider_file(ran):
    keys = {"start": {"steps": 4, "m": {"kind": "constant", "value": 0.3}, "v": {"kind": "constant", "value": 0.2}}}
    _, kept = ran("numpy.adam.outside", "begun", **keys)
    trace = trace_of(kept, "begun")
    assert {one.name for one in trace.formats["m"]} == {"float32"}
    assert trace.array("m")[0].tolist() == [float(ml_dtypes.bfloat16(0.3))] * 3


def test_every_format_holds_the_narrower_ones():
    assert widest([FORMATS["float16"], FORMATS["bfloat16"]]) is FORMATS["float32"]
    assert widest([FORMATS["bfloat16"]]) is FORMATS["bfloat16"]
    assert widest([FORMATS["float64"], FORMATS["float16"]]) is FORMATS["float64"]


def test_a_baseline_keeps_wide_moments_and_finds_them_the_same(ran, tmp_path):
    ran("only_m")
    case, target = tmp_path / "ones.toml", f"{tmp_path / 'wide_adam.py'}:only_m"
    baseline, failed = save_baseline(tmp_path / "baselines", [case], [target])
    entry = baseline.entries("ones", "bfloat16")["user.only_m"]
    assert (failed, {name: gap.dtype for name, gap in entry.gaps.items()}) == (
        (), {"w": np.uint16, "m": np.uint32, "v": np.uint16},
    )  # fmt: skip
    rows = restore(entry, Inputs(load_case_file(case)[0], FORMATS["bfloat16"]))
    kept = trace_of(tmp_path / "run", "only_m").array("m")[[1, 2, 4, 6]]
    assert np.array_equal(rows["m"].view(np.float32), kept)
    swapped = (tmp_path / "wide_adam.py").read_text().replace("hyper, np.float32)", "hyper, np.float64)")
    (tmp_path / "wide_adam.py").write_text(swapped)
    checked = check_baseline(tmp_path / "baselines", [case], [target])
    (drift,) = [one for one in checked.drifts if one.implementation == "user.only_m"]
    assert (drift.status, drift.change.first_step, drift.change.quantities) == (Status.CHANGED, 0, ("m",))


def test_a_rule_is_read_out_of_a_trace_with_wider_moments(ran, command):
    _, kept = ran("all_bfloat16", "only_m")
    code, out, err = command("identify", trace_of(kept, "only_m").folder)
    assert (code, err) == (0, "")
    assert "m is kept in float32, weights in bfloat16" in " ".join(out.split())


def test_a_rule_is_not_read_out_of_tensors_of_several_dtypes(ran, command):
    mixed = [{"name": "w", "shape": [2]}, {"name": "b", "shape": [3], "dtype": "float32"}]
    _, kept = ran("numpy.adam.outside", "numpy.adam.hat", parameters=mixed)
    folder = trace_of(kept, "numpy.adam.outside").folder
    told = "m, v, w are not in one dtype; a rule is read out of tensors that are alike"
    assert command("identify", folder) == (4, "", f"parity: {folder}: {told}\n")
