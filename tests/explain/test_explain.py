"""Explanations of Adams that nobody claimed anything of, and of equal ones."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from parity.case.expectation import Formula
from parity.core.errors import UsageError
from parity.explain.causes import FORMULA, SENTENCES, Family
from parity.explain.explain import explain_traces, shown_steps
from parity.explain.explanation import Answer, percent

REFERENCE = "numpy.adam.outside"
STEADY = [{"name": "kernel", "shape": [3, 4]}, {"name": "bias", "shape": [5]}]
WRONG = (("1 - hyper.beta1**t", "1 - hyper.beta1**(t + 1)"),)


@pytest.fixture
def explained(traced):
    """Explain the first of two targets against the other."""

    def explain(target, name="user.plugin", against=REFERENCE, **keys):
        inputs, traces = traced(target, against, **keys)
        return explain_traces(traces[name].folder, traces[against].folder, inputs.case)

    return explain


def test_a_port_that_orders_otherwise_is_found_among_the_known_forms(explained, write_adam):
    found = explained(write_adam(), parameters=STEADY)
    assert (found.answer, found.actual.source) == (Answer.EXPLAINED, "found")
    assert [cause.family for cause in found.causes] == [Family.OPERATION_ORDER]
    assert found.causes[0].share == 1.0
    assert "(c2 * g) * g -> v = b2 * v + c2 * (g * g)" in found.causes[0].detail
    assert found.ladder[-1].differing == 0


def test_a_port_that_counts_otherwise_is_told(explained, write_adam):
    """Its t goes on where a gradient is missing."""
    found = explained(write_adam())
    assert (found.answer, found.actual.step_count) == (Answer.EXPLAINED, "global")
    assert found.causes[0].family is Family.STEP_COUNT
    assert found.sentence.startswith("not the same Adam")


def test_a_wrong_adam_is_never_explained_away(explained, write_adam):
    found = explained(write_adam(swap=WRONG))
    assert (found.answer, found.actual.source) == (Answer.UNEXPLAINED, "nearest")
    assert found.causes[0].family is Family.UNEXPLAINED
    assert found.causes[0].share > 0.5
    assert "user.plugin" in found.sentence
    assert "unexplained" in found.sentence
    assert not found.ladder
    worst = found.causes[0].evidence["residual"]["w"]
    assert 0 < worst["differing"] <= worst["compared"]


def test_equal_traces_are_identical(explained):
    found = explained("numpy.adam.hat", name="numpy.adam.hat", gradients={"kind": "zero"}, parameters=[
        {"name": "kernel", "shape": [3]}])  # fmt: skip
    assert found.answer is Answer.IDENTICAL
    assert not found.causes
    assert found.meaning.largest == 0


def test_other_hyperparameters_are_named_with_their_values(explained, write_adam):
    defaults = 'plugin = Implementation("plugin", plugin, defaults=Hyper(eps=1e-3), convention="outside")'
    target = write_adam()
    path = target.rpartition(":")[0]
    with open(path, "a") as file:
        file.write(defaults + "\n")
    found = explained(target, hyper={"eps": "default"})
    assert found.answer is Answer.EXPLAINED
    first = found.causes[0]
    assert (first.family, first.detail) == (Family.EPSILON_VALUE, "eps 0.001 -> 1e-08")
    assert {row.term for row in found.split} >= {"values", "formula", "total"}
    assert found.sentence.startswith("not the same Adam")


def test_the_answer_is_plain_json(explained, write_adam):
    answer = json.loads(json.dumps(explained(write_adam()).to_json()))
    assert answer["verdict"] == "explained"
    assert set(answer) == {"case", "dtype", "verdict", "explained", "sentence", "actual", "expected", "causes", "split",
                           "errors", "ladder", "meaning", "spread"}  # fmt: skip
    assert answer["ladder"][-1]["left"]["differing"] == 0
    assert {row["step"] for row in answer["split"]} == {1, 2, 4, 7}


def test_two_traces_of_one_implementation_are_refused(traced):
    inputs, traces = traced(REFERENCE, "numpy.adam.hat")
    folder = traces[REFERENCE].folder
    with pytest.raises(UsageError, match="traces of one implementation"):
        explain_traces(folder, folder, inputs.case)


def test_every_family_has_its_sentence():
    assert set(SENTENCES) == set(Family)


@pytest.mark.parametrize(("steps", "shown"), [(1, [1]), (2, [1, 2]), (7, [1, 2, 4, 7]), (8, [1, 2, 4, 8])])
def test_steps_shown(steps, shown):
    assert shown_steps(steps) == shown


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0%"), (1e-9, "<1%"), (0.25, "25%"), (1 - 1e-9, ">99%"), (1.0, "100%")]
)
def test_a_share_is_never_rounded_to_all_or_nothing(share, text):
    assert percent(share) == text


def test_a_case_names_causes_in_the_words_of_an_explanation():
    assert set(get_args(Formula)) == {str(family) for family in FORMULA}
