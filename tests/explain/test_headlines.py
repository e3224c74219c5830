"""Headline pairs: explained at length while a run runs, kept, and chosen for its report."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import parity
from parity.case.catalogue import select_cases
from parity.core.errors import ParityError
from parity.engine.candidates import shipped_candidates
from parity.engine.explanations import read_document
from parity.engine.run import explanations_path
from parity.explain.explain import explain_traces
from parity.explain.explanation import Answer, Explanation
from parity.explain.headlines import LADDERS, Headlines, choose_ladders, read_headlines

PAIR = ("numpy.adam.hat", "numpy.adam.outside")
RESUME = parity.Options(resume=True)
SHARP = {"hyper": {"eps": 1e-3}}


@pytest.fixture
def folder(tmp_path):
    """Where `run_small` leaves its run."""
    return tmp_path / "run"


def kept_in(folder, run, place=0):
    cell = run.cells[place]
    return read_document(explanations_path(folder, f"{cell.case} {cell.dtype}"), cell.account.explanations)


def test_one_implementation_stands_for_every_framework():
    assert {one.name for one in shipped_candidates() if one.representative} == {
        "numpy.adam.outside", "numpy.adam.hat", "numpy.adam.inside", "torch.adam.forloop", "keras.adam.eager",
        "keras_torch.adam.eager", "keras_jax.adam.jit", "tensorflow.adam.kernel", "tf_keras.adam.new", "optax.adam.jit",
    }  # fmt: skip


def test_a_run_keeps_what_explain_says(run_small, folder, tmp_path):
    run = run_small(*PAIR, options=parity.Options(keep_traces=True), **SHARP)
    document = kept_in(folder, run)
    (found,) = map(Explanation.from_json, document.explanations)
    (case,) = select_cases([tmp_path / "small.toml"])
    assert found == explain_traces(*(folder / "traces" / "small" / "float32" / name for name in PAIR), case)
    assert document.reason == ""
    assert found.ladder[0].differing > found.ladder[-1].differing == 0
    assert found.meaning.noise > 0
    assert run.cells[0].account.pairs[0].sentence == found.sentence


@pytest.mark.parametrize("wrong", [False, True])
def test_an_explanation_comes_back_from_json_as_it_was(traced, write_adam, wrong):
    swap = [("1 - hyper.beta1**t", "1 - hyper.beta1**(t + 1)")] if wrong else ()
    inputs, traces = traced(write_adam(swap=swap), "numpy.adam.outside")
    found = explain_traces(*(traces[name].folder for name in ("user.plugin", "numpy.adam.outside")), inputs.case)
    assert found.answer is (Answer.UNEXPLAINED if wrong else Answer.EXPLAINED)
    assert Explanation.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_figures_that_are_no_number_come_back(traced):
    inputs, traces = traced(*PAIR)
    found = explain_traces(*(traces[name].folder for name in PAIR), inputs.case)
    fields = found.to_json()
    fields["split"][0]["rms_ulp"] = "inf"
    assert Explanation.from_json(fields).split[0].rms_ulp == float("inf")


def test_pairs_that_do_not_stand_for_anything_are_not_kept(run_small, folder):
    run = run_small("numpy.adam.hat.store", "numpy.adam.outside", dtypes=["float16"], expect=[
        {"actual": "*.store", "expected": "*", "verdict": "DIVERGED", "because": "Rounding in other places."}
    ])  # fmt: skip
    assert run.cells[0].account.pairs
    assert run.cells[0].account.explanations == ""
    assert not list(folder.glob("parts/*.explanations.json"))
    assert read_headlines(run, folder) == Headlines()


def test_a_plug_in_stands_for_itself(run_small, write_adam, folder):
    run = run_small(write_adam())
    (one,) = kept_in(folder, run).explanations
    assert (one["actual"]["implementation"], one["verdict"]) == ("user.plugin", "explained")


def test_nothing_is_kept_where_nothing_is_explained(write_case, tmp_path):
    run = parity.run([write_case()], PAIR, output=tmp_path / "run", explained=False)
    assert run.cells[0].account.explanations == ""
    assert not list((tmp_path / "run" / "parts").glob("*.explanations.json"))


def test_a_cell_too_large_for_ladders_says_so(run_small, folder, monkeypatch):
    monkeypatch.setattr("parity.explain.account.LARGEST_LADDER", 84)
    document = kept_in(folder, run := run_small(*PAIR, **SHARP))
    assert document.reason.startswith("17 elements x 5 steps are more than 84, so ladders and noise floors")
    (one,) = read_headlines(run, folder).worst
    assert (one.ladder, one.meaning.noise_weights) == ((), None)
    assert not read_headlines(run, folder).ladders
    monkeypatch.setattr("parity.explain.account.LARGEST_LADDER", 85)
    assert kept_in(folder, run_small(*PAIR, **SHARP)).reason == ""


def test_resuming_keeps_them_and_finds_what_was_altered(run_small, folder):
    run = run_small(*PAIR)
    path = explanations_path(folder, "small float32")
    before = path.stat().st_mtime_ns
    assert run_small(*PAIR, options=RESUME) == run
    assert path.stat().st_mtime_ns == before
    path.write_text(path.read_text().replace("explained", "identical"))
    written = (folder / "run.json").stat().st_mtime_ns
    for read in (lambda: run_small(*PAIR, options=RESUME), lambda: read_headlines(run, folder)):
        with pytest.raises(ParityError, match="altered"):
            read()
    assert (folder / "run.json").stat().st_mtime_ns == written


def test_what_answers_another_question_leaves_nothing_behind(write_case, tmp_path):
    for explained in (True, False):
        parity.run([write_case()], PAIR, output=tmp_path / "run", explained=explained, options=RESUME)
    assert not list((tmp_path / "run" / "parts").glob("*.explanations.json"))


def test_of_every_pair_and_dtype_the_case_with_the_largest_difference_is_shown(write_case, tmp_path):
    cases = [write_case(name, hyper={"eps": eps}, dtypes=["float64", "float32"])
             for name, eps in (("a", 1e-6), ("b", 1e-2), ("c", 1e-4))]  # fmt: skip
    run = parity.run(cases, PAIR, output=tmp_path / "run")
    shown = read_headlines(run, tmp_path / "run").worst
    assert [(one.dtype, one.case) for one in shown] == [("float32", "b"), ("float64", "b")]


def test_what_is_not_accounted_for_is_kept_and_not_shown(run_small, write_adam, folder):
    run = run_small(write_adam(swap=[("1 - hyper.beta1**t", "1 - hyper.beta1**(t + 1)")]))
    (one,) = kept_in(folder, run).explanations
    assert one["verdict"] == "unexplained"
    assert read_headlines(run, folder) == Headlines()


@pytest.fixture
def explanation(traced):
    """An explanation with a ladder, as others: `named(actual, expected, dtype, epsilons)`."""
    inputs, traces = traced(*PAIR)
    found = explain_traces(*(traces[name].folder for name in PAIR), inputs.case)

    def named(actual, expected, dtype="float32", epsilons=("hat", "outside")):
        sides = [replace(side, implementation=name, epsilon=epsilon)
                 for side, name, epsilon in zip((found.actual, found.expected), (actual, expected), epsilons,
                                                strict=True)]  # fmt: skip
        return replace(found, actual=sides[0], expected=sides[1], dtype=dtype)

    return named


def test_ladders_of_which_others_are_made_come_first(explanation):
    composed = explanation("torch.adam.forloop", "numpy.adam.hat", epsilons=("outside", "hat"))
    formulas = explanation("numpy.adam.hat", "numpy.adam.outside")
    own = explanation("keras.adam.eager", "numpy.adam.hat", epsilons=("hat", "hat"))
    frameworks = explanation("torch.adam.forloop", "keras.adam.eager", epsilons=("outside", "hat"))
    wide = explanation("torch.adam.forloop", "keras.adam.eager", "float64")
    flat = replace(explanation("optax.adam.jit", "keras.adam.eager"), ladder=())
    assert choose_ladders((composed, formulas, own, flat, frameworks, wide)) == (
        frameworks, own, formulas, composed, wide
    )  # fmt: skip
    assert len(choose_ladders((own,) * 20)) == LADDERS


@pytest.mark.frameworks
def test_from_torch_to_keras_in_a_run(run_small, folder):
    pair = ("torch.adam.forloop", "keras.adam.eager")
    run = run_small(*pair, "torch.adam.fused", **SHARP, expect=[
        {"actual": "torch.*", "expected": "keras.*", "verdict": "DIVERGED", "because": "Epsilon stands elsewhere."}
    ])  # fmt: skip
    assert len(run.cells[0].account.pairs) == 2
    (found,) = read_headlines(run, folder).ladders
    assert (found.actual.implementation, found.expected.implementation) == pair
    assert [rung.choice for rung in found.ladder[:2]] == ["", "epsilon"]
    assert found.ladder[0].differing > 0 == found.ladder[-1].differing
    text = (folder / "report.md").read_text()
    assert "<summary>torch.adam.forloop to keras.adam.eager in float32, small: " in text
