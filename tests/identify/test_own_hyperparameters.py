"""Tensors with hyperparameters of their own, and betas that change: what is taken, what departs, what is ignored."""

from __future__ import annotations

import json

import numpy as np
import pytest

import parity
from parity.case.catalogue import load_case_file
from parity.engine.candidates import describe_plugin
from parity.identify.fit import fit
from parity.identify.from_trace import read_observation
from parity.identify.identify import identify, identify_observation
from parity.identify.probes import probes
from parity.numerics.formats import FORMATS
from parity.report.identity import answer_rows

pytestmark = pytest.mark.thorough


OWN = [
    ("f = g.dtype.type\n", "f = g.dtype.type\n            own = {of}; beta1, beta2 = {betas}\n"),
    ("hyper.beta1", "beta1"),
    ("hyper.beta2", "beta2"),
    ("hyper.eps", "own.eps"),
    ("hyper.lr_at", "own.lr_at"),
]
TAKEN = {"of": "hyper.of(name)", "betas": "own.betas_at(t)"}
BY_PRODUCT = [
    ("beta1**t", "(p1 := products[0][name])"),
    ("beta2**t", "(p2 := products[1][name])"),
    ("m_hat =", "products = bs.setdefault('b', ({}, {}))\n            "
                "products[0][name] = products[0].get(name, 1) * beta1\n            "
                "products[1][name] = products[1].get(name, 1) * beta2\n            m_hat ="),
]  # fmt: skip


def swaps(extra=(), **changed):
    """An Adam that takes each tensor's own at every step, with one thing changed."""
    return [(old, new.format(**{**TAKEN, **changed}) if "{of}" in new else new) for old, new in OWN] + list(extra)


@pytest.fixture
def found(tmp_path, write_adam):
    """What is said of a plug-in that knows no decay and no maximum."""
    first = "if hyper.weight_decay or hyper.amsgrad: raise Unsupported('plain Adam only')\nbs = {}"

    def identified(dtype="float32", **lines):
        target = describe_plugin(str(write_adam(**{"first": first, **lines})), tmp_path / "logs", 60)
        return identify(target, [dtype])[dtype]

    return identified


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_who_takes_both_has_no_departure(found, dtype):
    answer = found(dtype, swap=swaps())
    assert answer.departures == ()
    assert {"groups", "betas"} <= set(answer.asked)
    assert "ignored" not in answer.residual
    assert not {"groups", "betas"} & set(answer.residual["left_out"])
    assert answer.sound


def test_the_arithmetic_that_was_found_is_held_against_both(found):
    taken, ignored = found(swap=swaps()), found(swap=swaps(of="hyper", betas="own.betas_at(1)"))
    assert (taken.verdict, ignored.verdict) == ("identified", "identified")
    asked = {one.name: one.gradients.size for one in probes(FORMATS["float32"])}
    # m, v and w of both.
    more = 3 * (asked["groups"] + asked["betas"])
    assert taken.residual["elements"] - ignored.residual["elements"] == more > 0
    assert taken.residual["differing"] == 0
    # Who takes no decay, whatever is asked, takes these all the same.
    careless = found(first="bs = {}", swap=swaps()), found(first="bs = {}", swap=swaps(of="hyper"))
    assert [one.verdict for one in careless] == ["identified", "identified"]
    assert careless[0].residual["elements"] - careless[1].residual["elements"] == 3 * asked["groups"]


OTHERS = {
    "lr in force is 2 times what was asked": {"extra": [("f(own.lr_at(t))", "f(2 * own.lr_at(t))")]},
    "eps in force is 10 times what was asked": {"extra": [("own.eps", "10 * own.eps")]},
    "eps in force is 1e-07, whatever is asked": {"extra": [("own.eps", "1e-7")]},
    "beta1 in force is 0.79 where 0.8 was asked, 0.89 where 0.9 was asked": {
        "betas": "(own.betas_at(t)[0] - 0.01, own.betas_at(t)[1])"
    },
}
"""Departures in every tensor and at every step, by what is said of them."""


@pytest.mark.parametrize(
    ("told", "dtype"),
    [
        pytest.param(*one, marks=pytest.mark.exhaustive if place % 2 else ())
        for place, one in enumerate(zip(OTHERS, FORMATS, strict=True))
    ],
)
def test_it_is_held_against_both_beside_other_numbers_in_force(found, told, dtype):
    usual, answer = found(dtype, swap=swaps()), found(dtype, swap=swaps(**OTHERS[told]))
    assert [one.detail for one in answer.departures] == [told]
    assert answer.verdict == usual.verdict
    assert answer.residual["elements"] == usual.residual["elements"]
    assert (answer.residual["differing"], "left_open" in answer.residual) == (0, False)


@pytest.mark.parametrize("where", ["isinstance(hyper.beta1, tuple)", "own is not hyper and own != hyper"])
def test_who_rounds_otherwise_there_is_not_said_to_be_known_bit_for_bit(found, where):
    usual = "m[name] = f(beta1) * m[name] + f(1 - beta1) * g"
    other = f"m[name] = m[name] + f(1 - beta1) * (g - m[name]) if {where} else {usual.partition(' = ')[2]}"
    answer = found(swap=swaps([(usual, other)]))
    name = "betas" if "tuple" in where else "groups"
    assert (answer.verdict, answer.departures, answer.sound) == ("explained", (), True)
    left = answer.residual["left_open"]
    assert list(left) == [name]
    assert 0 < left[name]["differing"] == answer.residual["differing"] < left[name]["elements"]
    assert left[name]["reason"] == "it rounds otherwise there"
    (told,) = [text for key, text in answer_rows(answer) if key == "left open"]
    assert told.startswith(f"{name}: {left[name]['differing']:,} of {left[name]['elements']:,} elements differ; ")


def test_who_takes_no_notice_of_a_tensor_of_its_own_is_said_to(found):
    answer = found(swap=swaps(of="hyper"))
    assert answer.residual["ignored"] == {"groups": "those of all are taken for every tensor"}
    assert ("ignored", "groups: those of all are taken for every tensor") in list(answer_rows(answer))
    assert answer.departures == ()
    assert json.loads(json.dumps(answer.to_json()))["residual"]["ignored"]


def test_who_takes_the_betas_of_the_first_step_is_said_to(found):
    answer = found(swap=swaps(betas="own.betas_at(1)"))
    assert answer.residual["ignored"] == {"betas": "those of the first step are taken at every step"}
    assert answer.departures == ()


def test_who_knows_nothing_of_betas_by_step_takes_none(found):
    answer = found()
    assert answer.residual["left_out"]["betas"] == "takes no betas that change: raises ValueError (plugin.py:18)"
    assert answer.residual["ignored"] == {"groups": "those of all are taken for every tensor"}
    assert "failed" not in answer.residual


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_a_step_size_of_a_tensor_that_is_taken_as_a_factor_is_named(found, dtype):
    """Absolute 0.03, or 0.03 times that of all."""
    factor = [("f(own.lr_at(t))", "f(own.lr_at(t) * (hyper.lr_at(t) if own.lr != hyper.lr else 1))")]
    answer = found(dtype, swap=swaps(factor))
    (departure,) = answer.departures
    assert departure.detail.startswith("where one tensor has hyperparameters of its own, ")
    assert departure.family == "parameter-groups"
    assert "0.01 times what was asked for 'second'" in departure.detail


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_a_bias_that_is_corrected_by_the_product_of_the_betas_is_named(found, dtype):
    answer = found(dtype, swap=swaps(BY_PRODUCT))
    (departure,) = answer.departures
    assert departure.family == "bias-correction"
    assert departure.detail == (
        "where betas change, the bias is corrected by the product of the betas so far, not by the power of that of the "
        "step"
    )
    assert answer.convention["epsilon"] == "outside"


def test_what_follows_no_rule_where_betas_change_is_not_sound(found):
    answer = found(
        swap=swaps([("f(own.lr_at(t))", "f(own.lr_at(t) * (1 + isinstance(hyper.beta1, tuple) * np.sin(g * 9)))")])
    )
    (departure,) = answer.departures
    assert departure.detail == "where betas change, weights follow no rule that is known"
    assert not answer.sound


def test_a_tensor_that_takes_the_numbers_of_another_is_not_sound(found):
    """Own hyperparameters for the wrong tensor: neither those of all nor its own."""
    answer = found(swap=swaps(of="hyper.of({'first': 'second', 'second': 'first'}.get(name, name))"))
    assert answer.departures
    assert "ignored" not in answer.residual


SEEN = {"by its own": (swaps(), (1.0, 0.76316, 0.70813)), "by their product": (swaps(BY_PRODUCT), (1.0, 1.0, 1.0))}


@pytest.mark.parametrize("way", SEEN)
def test_three_steps_with_other_betas_as_they_were_seen(way, write_adam, write_case, tmp_path):
    """beta1 = 0.95, 0.9, 0.85 and g = 1: m = 0.05, 0.145, 0.27325; m_hat by the beta of the step, or by the product."""
    swap, expected = SEEN[way]
    name = write_adam(first="bs = {}", swap=swap)
    case = write_case(
        expect=None, steps=3, dtypes=["float64"], gradients={"kind": "constant", "value": 1.0},
        hyper={"beta1": [0.95, 0.9, 0.85], "eps": 0.0, "lr": 0.01},
        parameters=[{"name": "kernel", "shape": [4, 40]}],
    )  # fmt: skip
    options = parity.Options(keep_traces=True)
    parity.run([case], [name, "numpy.adam.outside"], output=tmp_path / "run", options=options)
    (folder,) = (tmp_path / "run" / "traces").rglob("user.plugin")
    observed = read_observation(folder, case=load_case_file(case)[0])[1]
    assert observed.m[1:, 0] == pytest.approx([0.05, 0.145, 0.27325], rel=1e-12)
    m_hat = -np.diff(observed.w[:, 0]) / 0.01
    assert m_hat == pytest.approx(expected, abs=1e-5)
    found = fit({"trace": observed}, "outside")
    assert found.verdict == "explained"
    told = "; ".join(one.detail for one in found.causes)
    assert ("product of the betas" in told) == (way == "by their product")


KEPT = {
    "groups": {
        "hyper": {"lr": 0.01, "weight_decay": 0.1, "decoupled": True},
        "parameters": [
            {"name": "kernel", "shape": [7, 5]},
            {"name": "bias", "shape": [33], "hyper": {"weight_decay": 0.0}},
            {"name": "head", "shape": [65], "hyper": {"lr": 0.05, "beta1": 0.8}},
        ],
    },
    "betas": {"hyper": {"lr": 0.01, "beta1": [0.95, 0.9, 0.85, 0.9, 0.95], "beta2": [0.999, 0.99, 0.98, 0.99, 0.999]}},
}  # fmt: skip


@pytest.mark.parametrize("name", ["numpy.adam.outside", "torch.adam.forloop"])
@pytest.mark.parametrize("keys", KEPT.values(), ids=KEPT)
def test_a_trace_with_hyperparameters_of_its_own_is_identified_bit_for_bit(keys, name, write_case, tmp_path):
    case = write_case(expect=None, **keys)
    options = parity.Options(keep_traces=True)
    parity.run([case], [name, "numpy.adam.hat"], output=tmp_path / "run", options=options)
    (folder,) = (tmp_path / "run" / "traces").rglob(name)
    observed = read_observation(folder, case=load_case_file(case)[0])[1]
    answer = identify_observation(observed, name)
    assert (answer.verdict, answer.departures, answer.residual["differing"]) == ("identified", (), 0)


def test_a_tensor_that_decays_though_its_own_decay_is_0_follows_no_rule(write_adam, write_case, tmp_path):
    """Its points are those of a plain Adam, of which none decays."""
    ignoring = "w = {n: one if gradient[n] is None else one * one.dtype.type(0.99) for n, one in w.items()}"
    name = write_adam(before=ignoring)
    case = write_case(expect=None, **KEPT["groups"] | {"parameters": KEPT["groups"]["parameters"][:2]})
    options = parity.Options(keep_traces=True)
    parity.run([case], [name, "numpy.adam.hat"], output=tmp_path / "run", options=options)
    (folder,) = (tmp_path / "run" / "traces").rglob("user.plugin")
    answer = identify_observation(read_observation(folder, case=load_case_file(case)[0])[1], "user.plugin")
    assert answer.verdict == "unexplained"
    assert not answer.sound
