"""When two Adams are certified to be equivalent, and what a certificate tells."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

import parity
from parity.case.expectation import Kind
from parity.core.errors import NothingCompared, ParityError, UsageError
from parity.report.panels.certificate import Ground, Obstacle
from parity.report.panels.certifying import certify

sys.path.append(str(Path(__file__).parent))
from altered import CELL, NEAR, OTHER, SAME, changed, judged, nothing, of_side, of_weights, power, unexplained


def test_equal_bits_are_certified(four):
    found = certify(four, *SAME)
    assert found.issued
    assert found.exit_code == 0
    assert found.reasons == found.left_out == ()
    assert found.cells == (4, 4)
    assert found.cases == (2, 2)
    assert {one.ground for one in found.clauses} == {Ground.IDENTICAL}
    pairs = [four.pair(one) for one in four.verdicts if (one.actual, one.expected) == SAME]
    assert found.compared == sum(one.compared for pair in pairs for one in pair.distances) == 1020
    for bound in found.bounds:
        assert (bound.cases, bound.differing, bound.lr.value) == (2, 0, 0.0)
        assert [name for name, _ in bound.ulp] == ["w", "m", "v"]
        assert not any(largest.value for _, largest in bound.ulp)


def test_rounding_with_a_cause_for_every_bit_is_certified_with_its_bound(four):
    found = certify(four, *NEAR)
    assert found.issued
    assert {one.ground for one in found.clauses} == {Ground.SAME_FORMULA}
    assert all(one.families == ("operation-order",) for one in found.clauses)
    pairs = [four.pair(one) for one in four.verdicts if (one.actual, one.expected, one.dtype) == (*NEAR, "float64")]
    weights = [one for pair in pairs for one in pair.distances if one.quantity == "w"]
    (bound,) = [one for one in found.bounds if one.dtype == "float64"]
    assert bound.lr.value == max(one.worst_max_steps.value for one in weights) > 0
    assert dict(bound.ulp)["w"].value == max(one.worst_max_ulp.value for one in weights)
    assert bound.differing == sum(one.differing for pair in pairs for one in pair.distances)
    assert found.settings[0].hyper.eps == 1e-3
    assert [setting.cases for setting in found.settings] == [("small",), ("wide",)]


def test_the_other_way_round_is_the_same_but_for_the_names(four):
    one, other = certify(four, *SAME), certify(four, *reversed(SAME))
    assert (one.turned, other.turned) == (False, True)
    assert one.bounds == other.bounds
    assert other.issued
    assert (other.actual.name, other.expected.name) == tuple(reversed(SAME))


def test_a_budget_is_a_ground_where_it_catches_wrong_adams(four):
    run = power(unexplained(four), caught=3, applicable=5)
    found = certify(run, *NEAR)
    assert found.issued
    grounds = {(one.case, one.dtype): one for one in found.clauses}
    assert grounds[CELL].ground is Ground.WITHIN
    assert (grounds[CELL].power.caught, grounds[CELL].power.applicable) == (3, 5)
    assert [bound.weakest for bound in found.bounds] == [None, grounds[CELL].power]


def test_zeros_of_another_sign_are_told_and_have_other_bits(four):
    run = changed(four, of_side("user.two", digests={"w": "0", "m": "0", "v": "0"}))
    found = certify(changed(run, of_weights(opposite_zeros=2), SAME), *SAME)
    assert found.issued
    assert sum(bound.zeros for bound in found.bounds) == 2


def test_hidden_moments_are_told(four):
    for run in (
        changed(four, nothing("m"), SAME),
        changed(four, of_side("user.one", quantities=("m", "vmax", "v", "w"))),
    ):
        found = certify(run, *SAME)
        assert found.issued
        assert sum(bound.partial for bound in found.bounds) == 1


def test_a_selection_says_what_it_leaves_out_and_how_that_stands(four):
    run = judged(four, SAME, cell=("wide", "float64"), kind=Kind.SKIPPED, reason="cannot")
    assert not certify(run, *SAME).issued
    found = certify(run, *SAME, ["float32"], "small")
    assert found.issued
    assert (found.cases, found.cells) == ((1, 2), (1, 4))
    assert {(one.case, one.dtype) for one in found.left_out} == {
        ("small", "float64"), ("wide", "float32"), ("wide", "float64"),
    }  # fmt: skip
    (reason,) = found.left_out_reasons
    assert (reason.obstacle, reason.details) == (Obstacle.SKIPPED, (("cannot", 1),))


def test_a_dtype_that_the_run_has_not_is_fewer_than_asked(four):
    found = certify(four, *SAME, ["float32", "bfloat16"])
    (reason,) = found.reasons
    assert (reason.obstacle, reason.details) == (Obstacle.NO_SUCH_DTYPE, (("bfloat16", 1),))


def test_names_and_selections_that_mean_nothing_are_one_line(four):
    with pytest.raises(ParityError, match=r"'user.tow' is not in this run; allowed: .*; did you mean 'user.two'\?"):
        certify(four, "user.tow", "user.one")
    with pytest.raises(UsageError, match="takes two implementations, not one twice"):
        certify(four, "user.one", "user.one")
    with pytest.raises(NothingCompared, match="no case of the run in float32 matches -k 'nowhere'"):
        certify(four, *SAME, ["float32"], "nowhere")
    with pytest.raises(ParityError, match="did you mean 'float32'"):
        certify(four, *SAME, ["float31"])


def test_a_digest_is_of_what_is_certified_and_of_nothing_else(four):
    first = certify(four, *SAME).digest
    assert first == certify(four, *SAME).digest
    assert len(first) == 32
    told = {first, certify(four, *SAME, ["float32"]).digest, certify(four, *reversed(SAME)).digest}
    told.add(certify(changed(four, lambda cell: replace(cell, input_digest="0")), *SAME).digest)
    told.add(certify(changed(four, of_weights(opposite_zeros=1), SAME), *SAME).digest)
    told.add(certify(replace(four, version="0"), *SAME).digest)
    states = {"w": "0", "m": "0", "v": "0"}
    other = changed(changed(four, of_side("user.one", digests=states)), of_side("user.two", digests=states))
    told.add(certify(other, *SAME).digest)
    assert len(told) == 7
    assert certify(changed(four, of_side("numpy.adam.hat", digests=states)), *SAME).digest == first
    assert certify(judged(four, OTHER, as_expected=False), *SAME).digest == first
    alone = replace(four, powers=tuple(replace(one, pairs=1, holds=(NEAR,)) for one in four.powers))
    assert certify(alone, *NEAR).digest == certify(four, *NEAR).digest


def test_both_sides_have_the_versions_of_what_they_need(four):
    found = certify(four, *NEAR)
    assert found.expected.packages == (("numpy", four.workers["numpy"]["packages"]["numpy"]),)
    assert dict(found.actual.packages) == four.workers["user.one"]["packages"]
    assert found.actual.python == four.workers["user.one"]["python"]


def test_parts_of_a_package_are_told_and_alternatives_that_did_not_run_are_not(four):
    names = {"user.two": "optax.adam.jit", "user.one": "tf_keras.adam.new"}

    def named(one, *fields):
        return replace(one, **{field: names.get(getattr(one, field), getattr(one, field)) for field in fields})

    packages = {"jax": "1", "jaxlib": "2", "keras": "3", "numpy": "4", "optax": "5", "tensorflow-cpu": "6"}
    facts = {**four.environment, "packages": packages}
    run = replace(
        four,
        cells=tuple(
            replace(
                one,
                outcomes=tuple(named(each, "name") for each in one.outcomes),
                pairs=tuple(named(each, "actual", "expected") for each in one.pairs),
            )
            for one in four.cells
        ),
        verdicts=tuple(named(one, "actual", "expected") for one in four.verdicts),
        workers={"jax": facts, "tf_keras": {**facts, "packages": {**packages, "tf_keras": "7"}}},
    )
    found = certify(run, "optax.adam.jit", "tf_keras.adam.new")
    assert found.issued
    assert found.actual.packages == (("jax", "1"), ("jaxlib", "2"), ("optax", "5"))
    assert found.expected.packages == (("tensorflow-cpu", "6"), ("tf_keras", "7"))


def test_a_budget_is_found_by_the_pairs_that_rest_on_it(four, four_folder, tmp_path):
    assert four.powers == ()
    targets = [str(four_folder.parent / f"{name}.py:{name}") for name in ("one", "two")]
    case = four_folder.parent / "small.toml"
    run = parity.run([case], [*targets, "numpy.adam.outside"], ["float32"], tmp_path / "run", explained=False)
    (found,) = run.powers
    assert found.holds == (NEAR, ("user.two", "numpy.adam.outside"))
    assert found.pairs == 2
