"""Adams whose moments are wider than the weights, as mixed precision has them: read, named, and found bit for bit."""

from __future__ import annotations

import json

import pytest

from parity.adam.convention import Epsilon

pytestmark = [pytest.mark.timeout(600), pytest.mark.thorough]

WIDE = """
import numpy as np
from parity import State

def run(weights, gradients, hyper):
    own, f = next(iter(weights.values())).dtype, np.{wide}
    w = {{name: array.copy() for name, array in weights.items()}}
    m, v = ({{name: np.zeros(array.shape, f) for name, array in w.items()}} for _ in range(2))
    wide = {{name: array.astype(f) for name, array in w.items()}}
    random = np.random.default_rng(0)
    for t, given in enumerate(gradients, 1):
        for name, g in given.items():
            if g is None:
                continue
            g = g.astype(f)
            m[name] = f(hyper.beta1) * m[name] + f(1 - hyper.beta1) * g
            v[name] = f({beta2}) * v[name] + f(1 - {beta2}) * g * g
            c1, c2 = f({c1}), f(1 - {beta2}**t)
            update = f({lr}) * (m[name] / c1) / (np.sqrt(v[name] / c2) + f(hyper.eps))
            wide[name] = {wider}
            w[name] = {kept}
        yield State(w=w, m={m}, v=v)
"""

USUAL = {
    "wide": "float32",
    "beta2": "hyper.beta2",
    "c1": "1 - hyper.beta1**t",
    "lr": "hyper.lr_at(t)",
    "wider": "w[name].astype(f) - update",
    "kept": "wide[name].astype(own)",
    "m": "m",
}

TORCH = """
import numpy as np
import torch
from parity import State

def run(weights, gradients, hyper):
    own = next(iter(weights.values())).dtype
    wide = {name: torch.nn.Parameter(torch.from_numpy(array.astype(np.float32))) for name, array in weights.items()}
    kind = torch.optim.AdamW if hyper.decoupled else torch.optim.Adam
    asked = dict(eps=hyper.eps, weight_decay=hyper.weight_decay, amsgrad=hyper.amsgrad, foreach=False)
    optimizer = kind(wide.values(), lr=hyper.lr_at(1), betas=(hyper.beta1, hyper.beta2), **asked)
    none = {name: np.zeros(array.shape, np.float32) for name, array in weights.items()}
    for t, given in enumerate(gradients, 1):
        optimizer.param_groups[0]["lr"] = hyper.lr_at(t)
        for name, g in given.items():
            wide[name].grad = None if g is None else torch.from_numpy(g.astype(np.float32))
        optimizer.step()
        w = {name: one.detach().numpy().astype(own) for name, one in wide.items()}
        for name, one in wide.items():
            one.data.copy_(torch.from_numpy(w[name].astype(np.float32)))
        def shown(key):
            state = ((name, optimizer.state.get(one)) for name, one in wide.items())
            return {name: held[key].numpy() if held else none[name] for name, held in state}
        maximum = shown("max_exp_avg_sq") if hyper.amsgrad else None
        yield State(w=w, m=shown("exp_avg"), v=shown("exp_avg_sq"), vmax=maximum)
"""


@pytest.fixture
def answer(command, tmp_path):
    """Of an Adam with some lines of its own, in a dtype."""

    def ask(dtype, source=None, **lines):
        target = tmp_path / "wide_moments.py"
        target.write_text(source or WIDE.format(**{**USUAL, **lines}))
        told = tmp_path / "told.json"
        code, out, err = command("identify", f"{target}:run", "-d", dtype, "--json", told)
        assert code in (0, 1), err
        return json.loads(told.read_text()), code, out

    return ask


def departures(found):
    return {one["detail"] for one in found["causes"] if not one["benign"]}


NO_DECAY = "there is no decay, or its factor rounds to 1"
NOT_DONE = {NO_DECAY, "AMSGrad is asked for and not done"}


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [("bfloat16", "float32"), ("float16", "float32"), ("float32", "float64"), ("bfloat16", "float64")],
)
def test_its_rule_is_read_and_what_is_wider_is_said(answer, dtype, wide):
    found, code, _ = answer(dtype, wide=wide)
    # NumPy rounds a double to bfloat16 by way of float32, which is twice.
    assert (found["verdict"], code) == ("explained" if (dtype, wide) == ("bfloat16", "float64") else "identified", 0)
    assert found["convention"]["epsilon"] == Epsilon.OUTSIDE
    assert departures(found) == {*NOT_DONE, f"m and v are kept in {wide}, weights in {dtype}"}


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ({"beta2": "0.99"}, "beta2 in force is 0.99 where 0.95 was asked"),
        ({"c1": "1.0"}, "m is used without bias correction"),
        ({"lr": "2 * hyper.lr_at(t)"}, "lr in force is 2 times what was asked"),
    ],
    ids=["beta2", "correction", "lr"],
)
@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.exhaustive)])
def test_a_wrong_one_is_named(answer, dtype, lines, told):
    found, _, out = answer(dtype, **lines)
    assert found["verdict"] == "identified"
    assert departures(found) > {*NOT_DONE, f"m and v are kept in float32, weights in {dtype}"}, out
    assert told in " ".join(departures(found)), departures(found)


def test_only_what_is_wide_is_said_to_be(answer):
    found, _, _ = answer("bfloat16", m="{name: array.astype(own) for name, array in m.items()}")
    assert "v is kept in float32, weights in bfloat16" in departures(found)


@pytest.mark.parametrize(
    ("dtype", "shown", "which"),
    [("float32", "float64", "mv"), ("bfloat16", "float32", "mv"), ("float16", "float64", "v")],
)
def test_what_is_only_shown_in_a_wider_dtype_is_computed_in_its_own(write_adam, command, tmp_path, dtype, shown, which):
    command("identify", write_adam(), "-d", dtype, "--json", tmp_path / "own.json")
    own = json.loads((tmp_path / "own.json").read_text())
    wide = f"np.{shown}"
    swap = [("State(w=w, m=m, v=v)", "State(" + ", ".join(
        f"{one}={{n: a.astype({wide}) for n, a in {one}.items()}}" if one in which else f"{one}={one}" for one in "wmv"
    ) + ")")]  # fmt: skip
    told = tmp_path / "told.json"
    code, out, err = command("identify", write_adam(swap=swap), "-d", dtype, "--json", told)
    found = json.loads(told.read_text())
    assert found["verdict"] in ("identified", "explained")
    assert (found["verdict"], found["residual"]["differing"], code) == (own["verdict"], 0, 0), (out, err)
    assert departures(found) == departures(own)
    (cause,) = [one["detail"] for one in found["causes"] if one["family"] == "state-storage"]
    what = "m and v are" if which[1:] else "v is"
    assert cause == f"{what} shown in {shown}, and hold{'s' * (not which[1:])} numbers of {dtype} only"


def test_a_maximum_that_alone_is_shown_wider_is_told(write_adam, command, tmp_path):
    """The plainest question has none."""
    first = "if hyper.weight_decay: raise Unsupported('no decay')\nx = {n: np.zeros_like(a) for n, a in w.items()}"
    swap = [
        ("m_hat =", "x[name] = np.maximum(x[name], v[name])\n            m_hat ="),
        ("v_hat = v[name]", "v_hat = (x if hyper.amsgrad else v)[name]"),
        (
            "State(w=w, m=m, v=v)",
            "State(w, m, v, {n: a.astype('f8') for n, a in x.items()} if hyper.amsgrad else None)",
        ),
    ]
    told = tmp_path / "told.json"
    code, out, err = command("identify", write_adam(first=first, swap=swap), "-d", "float32", "--json", told)
    found = json.loads(told.read_text())
    assert (found["verdict"], code, departures(found)) == ("identified", 0, set()), (out, err)
    (cause,) = [one["detail"] for one in found["causes"] if one["family"] == "state-storage"]
    assert cause == "vmax is shown in float64, and holds numbers of float32 only"


def test_an_update_that_is_narrowed_before_it_is_taken_off_is_explained_too(answer):
    found, _, _ = answer("bfloat16", kept="w[name] - update.astype(own)")
    assert (found["verdict"], found["arithmetic"]) == ("explained", None)


STOCHASTIC = """(
                (wide[name].view(np.uint32) + random.integers(0, 1 << 16, wide[name].shape, np.uint32))
                & np.uint32(0xFFFF0000)
            ).view(f).astype(own)"""


COPIES = {"wider": "wide[name] - update"}
EITHER_WAY = {"wider": "np.asarray(w[name].astype(f) - update, f)", "kept": STOCHASTIC}
CUT_OFF = EITHER_WAY | {"kept": "(wide[name].view(np.uint32) & np.uint32(0xFFFF0000)).view(f).astype(own)"}


@pytest.mark.parametrize(
    ("lines", "way"),
    [
        (COPIES, "copies of wider ones, which it goes on from"),
        (EITHER_WAY, "rounded up or down, not always to nearest"),
        (CUT_OFF, "rounded up or down, not always to nearest"),
    ],
    ids=["copies", "stochastic", "cut-off"],
)
@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"c1": "1.0"}, {"m is used without bias correction"}),
        pytest.param({}, set(), marks=pytest.mark.exhaustive, id="none"),
    ],
)
def test_weights_that_are_narrowed_otherwise_are_read_through(answer, lines, way, more, told):
    found, _, _ = answer("bfloat16", **lines, **more)
    assert (found["verdict"], found["arithmetic"]) == ("explained", None)
    wide = {f"weights are {way}", "m and v are kept in float32, weights in bfloat16"}
    # Where a weight is off by a whole spacing, its decay is not seen.
    unseen = "decay is not in the gradient where L2 is asked for, and of the weights none is seen"
    decay = {NO_DECAY} if lines is COPIES else {NO_DECAY, unseen}
    assert departures(found) & decay
    assert departures(found) - decay == {*NOT_DONE, *wide, *told} - decay


def test_weights_that_are_off_by_more_are_explained_by_nothing(answer):
    found, code, _ = answer("bfloat16", kept="(np.round(wide[name].astype(f) * 64) / 64).astype(own)")
    assert (found["verdict"], code) == ("unexplained", 1)


@pytest.mark.frameworks
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_arithmetic_that_is_known_is_found_bit_for_bit(answer, dtype):
    found, code, _ = answer(dtype, TORCH)
    assert (found["verdict"], found["residual"]["differing"], code) == ("identified", 0, 0)
    assert departures(found) == {f"m, v and vmax are kept in float32, weights in {dtype}"}
    assert found["arithmetic"]["first_moment"] == "m = lerp(m, g, c1)"
