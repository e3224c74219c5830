"""What two files of a user do differently is named: of no formula is it said that it rounds."""

from __future__ import annotations

import pytest

from parity.api.explain import explain
from parity.explain.causes import Family
from parity.explain.explanation import Answer
from parity.report.explanation import blocks

pytestmark = pytest.mark.thorough


ADAM = """\
import numpy as np
from parity import State

def {name}(weights, gradients, hyper):
    w = {{name: array.copy() for name, array in weights.items()}}
    kind = {{name: np.dtype({state}) for name, array in weights.items()}}
    m, v = ({{name: np.zeros(one.shape, kind[name]) for name, one in w.items()}} for _ in range(2))
    for t, given in enumerate(gradients, 1):
        for name, g in given.items():
            d, f = w[name].dtype.type, kind[name].type
            if g is None:
                {missing}
                continue
            {before}
            if hyper.weight_decay and not hyper.decoupled:
                g = g + d(hyper.weight_decay) * w[name]
            {after}
            g = g.astype(kind[name])
            m[name] = f(hyper.beta1) * m[name] + f(1 - hyper.beta1) * g
            v[name] = f(hyper.beta2) * v[name] + f(1 - hyper.beta2) * g * g
            lr = hyper.lr_at(t) * {factor}
            if hyper.decoupled:
                w[name] = w[name] * d(1 - lr * hyper.weight_decay)
            m_hat, v_hat = m[name] / f(1 - hyper.beta1**t), v[name] / f(1 - hyper.beta2**t)
            w[name] = (w[name] - f(lr) * m_hat / (np.sqrt(v_hat) + f(hyper.eps))).astype(w[name].dtype)
        yield State(w=w, m=m, v=v)
"""
CLIP = "g = np.clip(g, d(-0.05), d(0.05))"
PLAIN = {"state": "array.dtype", "missing": "pass", "before": "pass", "after": "pass", "factor": "1"}
L2 = {"lr": 0.01, "weight_decay": 0.1}
DECOUPLED = {**L2, "decoupled": True}
MISSING = {"kind": "bell", "scale": 0.1, "none_steps": [3, 4]}


@pytest.fixture
def explained(tmp_path, write_case):
    """The explanation of two Adams, each given by what it does otherwise than the plain one."""

    def explain_two(one, other, dtype="float32", **keys):
        targets = []
        for name, changed in (("one", one), ("other", other)):
            path = tmp_path / f"{name}.py"
            path.write_text(ADAM.format(name=name, **{**PLAIN, **changed}))
            targets.append(f"{path}:{name}")
        case = write_case(steps=30, dtypes=[dtype], expect=None, **keys)
        (found,) = explain(case, *targets)
        return found

    return explain_two


def named(found):
    return {(str(one.family), one.detail) for one in found.causes if one.family is not Family.HYPERPARAMETER_ROUNDING}


def screen(found):
    return "\n".join(str(one) for one in blocks(found) if isinstance(one, str))


def test_where_a_gradient_is_clipped_is_named_on_both_sides(explained):
    found = explained({"before": CLIP}, {"after": CLIP}, hyper=L2)
    limits = "gradients are clipped to [-0.05, 0.05]"
    assert named(found) == {
        ("gradient-scale", f"user.one: {limits}, before weight_decay * w is added"),
        ("gradient-scale", f"user.other: {limits}, after weight_decay * w is added"),
    }
    assert sum(one.share for one in found.causes) == pytest.approx(1)
    assert found.answer is Answer.UNEXPLAINED
    assert found.sentence.startswith("not the same Adam: gradient-scale (")
    before, after = (one.formula.splitlines() for one in (found.actual, found.expected))
    clip, decay = "g = clip(g, -0.05, 0.05)", "if not decoupled: g = g + weight_decay * w"
    assert before[:3] == [clip, decay, "m = beta1 * m + (1 - beta1) * g"]
    assert after[:2] == [decay, "m = beta1 * m + (1 - beta1) * clip(g, -0.05, 0.05)"]
    # Neither is an Adam that rounds by 20 lr, and neither is near to the truth of a convention that is not its own.
    assert "Who is nearer" not in screen(found)


@pytest.mark.parametrize(
    ("changed", "keys", "family", "detail"),
    [
        ({"factor": "min(1, t / 10)"}, {}, "schedule", "lr grows in proportion to t by step 10: a warm-up"),
        (
            {"missing": "w[name] = w[name] * d(1 - hyper.lr_at(t) * hyper.weight_decay)"},
            {"hyper": DECOUPLED, "gradients": MISSING},
            "none-gradient",
            "weights move at steps without a gradient, the moments do not",
        ),
    ],
)
def test_what_one_side_does_otherwise_has_its_share(explained, changed, keys, family, detail):
    found = explained({}, changed, **{"hyper": {"lr": 0.01}, **keys})
    (cause,) = [one for one in found.causes if one.family not in (Family.ROUNDING, Family.HYPERPARAMETER_ROUNDING)]
    assert (str(cause.family), cause.detail) == (family, f"user.other: {detail}")
    assert cause.share > 0.99
    assert found.actual.formula == ""
    assert "w = w - lr * (m / c1) / (sqrt(v / c2) + eps)" in found.expected.formula


def test_what_a_case_gives_no_occasion_for_is_no_cause(explained):
    """No gradient is missing here: that it would be treated otherwise makes no difference."""
    found = explained({}, {"factor": "1.001", "missing": "w[name] = w[name] * d(0.5)"}, hyper={"lr": 0.01})
    assert {str(one.family) for one in found.causes if one.share is None or one.share > 0.01} == {
        "hyperparameter-value"
    }


def test_what_both_sides_do_makes_no_difference(explained):
    warm = {"factor": "min(1, t / 10)"}
    other = {**warm, "before": "g = g * d(1 / 3) + g * d(2 / 3)"}
    found = explained(warm, other, dtype="float64", hyper={"lr": 0.01})
    assert {one.family for one in found.causes} == {Family.ROUNDING}
    alike = "as the other side does: lr grows in proportion to t by step 10: a warm-up"
    assert all(one.detail.endswith(alike) and one.share is None for one in found.causes)


def test_what_is_no_adam_stays_without_a_name(explained):
    found = explained({}, {"factor": "(1 + 0.1 * (g.size == 12) * (t % 3 == 0) * np.sign(m[name].flat[0]))"}, hyper=L2)
    assert Family.UNEXPLAINED in {one.family for one in found.causes}
    assert found.expected.formula == ""
    assert "'parity identify' says which Adam user.other is." in screen(found)


def test_moments_in_a_wider_dtype_are_named_and_leave_no_bit(explained):
    found = explained({}, {"state": "np.float32"}, dtype="bfloat16", hyper={"lr": 0.01})
    assert found.answer is Answer.EXPLAINED
    assert found.expected.residual.differing == 0
    assert ("state-storage", "user.one keeps m and v in bfloat16; user.other keeps m and v in float32") in named(found)


def test_why_a_formula_cannot_be_read_is_said(explained):
    """It answers the case, and raises at the first question."""
    found = explained({}, {"factor": "1.5 * (1 / (sorted(weights) == ['bias', 'kernel']))"}, hyper={"lr": 0.01})
    (cause,) = [one for one in found.causes if one.family is Family.UNEXPLAINED]
    assert (
        "; its formula could not be read: user.other in float32, probe 'main': step 1: ZeroDivisionError"
        in cause.detail
    )


def test_of_a_sweep_each_side_is_asked_its_questions_once(write_case, tmp_path):
    heard = tmp_path / "heard"
    lines = f"open({str(heard)!r}, 'a').write('.') if 'query' in weights and t == 1 and name == 'kernel' else None"
    targets = []
    for name, changed in (("one", {}), ("other", {"factor": "min(1, t / 10)", "before": lines})):
        (tmp_path / f"{name}.py").write_text(ADAM.format(name=name, **{**PLAIN, **changed}))
        targets.append(f"{tmp_path / name}.py:{name}")
    one = write_case(steps=30, dtypes=["float32"], expect=None)
    explain(one, *targets)
    once = heard.stat().st_size
    swept = write_case("swept", steps=30, dtypes=["float32"], expect=None, sweep={"lr": [0.01, 0.02]})
    found = explain(swept, *targets)
    assert len(found) == 2
    assert all("schedule" in {str(cause.family) for cause in each.causes} for each in found)
    assert heard.stat().st_size == 2 * once > 0
