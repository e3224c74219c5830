"""When two Adams are certified to be equivalent, and everything for which they are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

import parity
from parity.case.expectation import Kind
from parity.comparison.distance import First, Worst
from parity.core.errors import NothingCompared, ParityError, UsageError
from parity.engine.power import Power
from parity.numerics.ulp import NO_DISTANCE
from parity.report.panels.certificate import Ground, Obstacle
from parity.report.panels.certifying import certify

SAME = ("user.two", "user.one")
NEAR = ("user.one", "numpy.adam.outside")
OTHER = ("numpy.adam.hat", "numpy.adam.outside")
NEVER = ("user.one", "numpy.adam.hat")
CELL = ("small", "float32")


def changed(run, change, pair=None, cell=CELL):
    """The run with one thing of one cell, or of one of its pairs, changed: a function from value to value."""
    cells = []
    for one in run.cells:
        if (one.case, one.dtype) != cell:
            cells.append(one)
        elif pair is None:
            cells.append(change(one))
        else:
            pairs = tuple(change(each) if (each.actual, each.expected) == pair else each for each in one.pairs)
            cells.append(replace(one, pairs=pairs))
    return replace(run, cells=tuple(cells))


def judged(run, pair, cell=CELL, **fields):
    """The run with another verdict on a pair in one cell."""
    return replace(
        run,
        verdicts=tuple(
            replace(one, verdict=replace(one.verdict, **fields))
            if (one.case, one.dtype, one.actual, one.expected) == (*cell, *pair)
            else one
            for one in run.verdicts
        ),
    )


def of_side(name, **fields):
    """Changes the outcome of an implementation."""
    return lambda cell: replace(
        cell, outcomes=tuple(replace(one, **fields) if one.name == name else one for one in cell.outcomes)
    )


def of_why(pair, **fields):
    """Changes why a pair differs; without fields nothing was explained."""
    return lambda cell: replace(
        cell,
        account=replace(
            cell.account,
            pairs=tuple(
                replace(one, **fields) if (one.actual, one.expected) == pair else one
                for one in cell.account.pairs
                if fields or (one.actual, one.expected) != pair
            ),
        ),
    )


def of_weights(**fields):
    """Changes the distance of w."""
    return lambda pair: replace(
        pair,
        distances=tuple(replace(one, **fields) if one.quantity == "w" else one for one in pair.distances),
    )


def power(run, **fields):
    """The run with the power of the budget that holds the pair of the paper in one cell."""
    return replace(run, powers=(Power(*CELL, "operations", 1, holds=(NEAR,), **fields),))


def unexplained(run):
    return changed(run, of_why(NEAR))


def the_obstacle(run, pair, **selection):
    """What stands against a pair, which has to be one thing in one cell."""
    found = certify(run, *pair, **selection)
    assert not found.issued
    assert found.exit_code == 1
    assert found.digest == ""
    (reason,) = found.reasons
    (clause,) = reason.clauses
    assert (clause.case, clause.dtype) == CELL
    return reason


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


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"caught": 0, "applicable": 5}, "it catches none of 5 wrong Adams"),
        ({"unknown": "no shipped case of this name"}, "no shipped case of this name"),
        (None, "the run does not say what the budget catches"),
    ],
)
def test_a_budget_that_catches_nothing_is_none(four, fields, detail):
    run = replace(unexplained(four), powers=()) if fields is None else power(unexplained(four), **fields)
    reason = the_obstacle(run, NEAR)
    assert (reason.obstacle, reason.details) == (Obstacle.NO_POWER, ((detail, 1),))


def test_a_budget_that_admits_an_optimizer_that_never_steps_is_none(four):
    run = judged(power(unexplained(four), caught=5, applicable=5), NEAR, blind=("m", "w"))
    reason = the_obstacle(run, NEAR)
    assert (reason.obstacle, reason.details) == (Obstacle.BLIND, (("m, w", 1),))


def test_another_formula_is_not_certified_and_nothing_narrower_is_offered(four):
    found = certify(four, *OTHER)
    assert not found.issued
    (reason,) = found.reasons
    assert reason.obstacle is Obstacle.OTHER_FORMULA
    assert reason.details == (("epsilon-placement", 4),)
    assert found.bounds == ()
    assert found.narrowing is None


def test_another_formula_is_not_certified_however_small_its_share_or_near_the_weights(four):
    run = changed(four, of_why(NEAR, families=(("rounding", 1.0), ("epsilon-value", 0.0)), formula=("epsilon-value",)))
    reason = the_obstacle(power(run, caught=5, applicable=5), NEAR)
    assert (reason.obstacle, reason.details) == (Obstacle.OTHER_FORMULA, (("epsilon-value", 1),))


def nothing(quantity):
    """Changes the distance of one quantity to one of which no element was compared."""
    return lambda pair: replace(pair, distances=tuple(one for one in pair.distances if one.quantity != quantity))


REFUSED = {
    "crashed": (lambda run: judged(run, SAME, kind=Kind.CRASHED), Obstacle.CRASHED),
    "skipped": (lambda run: judged(run, SAME, kind=Kind.SKIPPED), Obstacle.SKIPPED),
    "not comparable": (lambda run: judged(run, SAME, kind=Kind.NOT_COMPARABLE), Obstacle.NOT_COMPARABLE),
    "weights hidden": (lambda run: changed(run, nothing("w"), SAME), Obstacle.NOT_COMPARABLE),
    "fewer elements": (lambda run: changed(run, of_weights(compared=84), SAME), Obstacle.NOT_COMPARABLE),
    "not as expected": (lambda run: judged(run, SAME, as_expected=False), Obstacle.NOT_AS_EXPECTED),
    "one stands still": (lambda run: changed(run, of_side("user.two", moved=False)), Obstacle.STANDS_STILL),
    "last states differ": (
        lambda run: changed(run, of_side("user.two", digests={"w": "0", "m": "0", "v": "0"})),
        Obstacle.CONTRADICTION,
    ),
    "not in the cell": (
        lambda run: replace(
            run,
            cells=tuple(
                replace(one, outcomes=tuple(each for each in one.outcomes if each.name != "user.two"))
                if (one.case, one.dtype) == CELL
                else one
                for one in run.cells
            ),
            verdicts=tuple(one for one in run.verdicts if (one.case, one.dtype, one.actual) != (*CELL, "user.two")),
        ),
        Obstacle.NOT_RUN,
    ),
    "no verdict": (
        lambda run: replace(
            run,
            verdicts=tuple(
                one for one in run.verdicts if (one.case, one.dtype, one.actual, one.expected) != (*CELL, *SAME)
            ),
        ),
        Obstacle.NOT_COMPARED,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_cell_without_a_ground_refuses_the_whole(four, name):
    change, obstacle = REFUSED[name]
    assert the_obstacle(change(four), SAME).obstacle is obstacle


def test_other_hyperparameters_are_told_by_name(four):
    hyper = {**four.cells[0].outcome("user.two").hyper, "eps": (1e-7).hex()}
    reason = the_obstacle(changed(four, of_side("user.two", hyper=hyper)), SAME)
    assert reason.obstacle is Obstacle.OTHER_HYPERPARAMETERS
    assert reason.details == (("eps 1e-07 against 0.001", 1),)
    reason = the_obstacle(changed(four, of_side("user.two", hyper=hyper)), tuple(reversed(SAME)))
    assert reason.details == (("eps 0.001 against 1e-07", 1),)


def test_hyperparameters_of_which_nothing_is_known_are_said_to_be_so(four):
    run = changed(changed(four, of_side("user.one", hyper={})), of_side("user.two", hyper={}))
    found = certify(run, *SAME)
    assert found.issued
    assert [setting.cases for setting in found.settings if setting.hyper is None] == [("small",)]
    reason = the_obstacle(changed(four, of_side("user.one", hyper={})), SAME)
    assert reason.details == (("not recorded on one side", 1),)


def test_nan_on_one_side_is_refused_and_on_both_told(four):
    first = First(3, "bias", 0, "nan", "0x1p-3")
    lost = of_weights(differing=1, nonfinite=1, first=first, worst_max_ulp=Worst(NO_DISTANCE, 3, "bias"))
    assert the_obstacle(changed(four, lost, NEAR), NEAR).obstacle is Obstacle.NONFINITE
    both = certify(changed(four, of_weights(nonfinite=4), SAME), *SAME)
    assert both.issued
    assert sum(bound.nonfinite for bound in both.bounds) == 4


def test_a_distance_that_an_optimizer_that_never_steps_has_too_is_no_bound(four):
    (clause,) = [one for one in certify(four, *NEAR).clauses if (one.case, one.dtype) == CELL]
    assert 1 < clause.reach < 6
    near, far = (
        changed(four, of_weights(differing=1, worst_max_steps=Worst(size, 5, "bias")), NEAR)
        for size in (0.9 * clause.reach, clause.reach)
    )
    assert certify(near, *NEAR).issued
    assert the_obstacle(far, NEAR).obstacle is Obstacle.TOO_FAR


def test_a_difference_without_causes_and_budget_is_refused(four):
    run = judged(changed(four, of_why(NEAR, answer="unexplained")), NEAR, kind=Kind.DIVERGED)
    assert the_obstacle(run, NEAR).obstacle is Obstacle.UNEXPLAINED


def test_zeros_of_another_sign_are_told_and_have_other_bits(four):
    run = changed(four, of_side("user.two", digests={"w": "0", "m": "0", "v": "0"}))
    found = certify(changed(run, of_weights(opposite_zeros=2), SAME), *SAME)
    assert found.issued
    assert sum(bound.zeros for bound in found.bounds) == 2


def test_what_stands_still_on_both_sides_says_nothing_alone_and_is_told_beside_others(four):
    still = four
    for cell in four.cells:
        for name in SAME:
            still = changed(still, of_side(name, moved=False), cell=(cell.case, cell.dtype))
    (reason,) = certify(still, *SAME).reasons
    assert reason.obstacle is Obstacle.NOTHING_MOVED
    one = changed(changed(four, of_side("user.one", moved=False)), of_side("user.two", moved=False))
    found = certify(one, *SAME)
    assert found.issued
    assert sum(bound.unmoved for bound in found.bounds) == 1


def test_weights_that_all_became_nan_did_not_move(four):
    lost = changed(four, of_side("user.one", nonfinite=four.cells[0].elements))
    assert not any(bound.unmoved for bound in certify(lost, *SAME).bounds)
    lost = changed(lost, of_side("user.two", nonfinite=four.cells[0].elements))
    assert sum(bound.unmoved for bound in certify(lost, *SAME).bounds) == 1


def test_hidden_moments_are_told(four):
    for run in (
        changed(four, nothing("m"), SAME),
        changed(four, of_side("user.one", quantities=("m", "vmax", "v", "w"))),
    ):
        found = certify(run, *SAME)
        assert found.issued
        assert sum(bound.partial for bound in found.bounds) == 1


@pytest.mark.parametrize(
    ("fields", "obstacle", "detail"),
    [
        ({"complete": False, "stopped": "interrupted"}, Obstacle.INCOMPLETE, "interrupted; 4 of 4 cells were run"),
        ({"complete": False}, Obstacle.INCOMPLETE, "4 of 4 cells were run"),
        ({"stale": ("small: nothing",)}, Obstacle.STALE, "small: nothing"),
    ],
)
def test_a_run_that_is_not_whole_certifies_nothing(four, fields, obstacle, detail):
    found = certify(replace(four, **fields), *SAME)
    assert not found.issued
    (reason,) = found.reasons
    assert (reason.obstacle, reason.details) == (obstacle, ((detail, 1),))
    assert found.narrowing is None


def test_a_pair_that_nobody_compared_is_exit_code_5(four):
    found = certify(four, *NEVER)
    (reason,) = found.reasons
    assert reason.obstacle is Obstacle.NOT_COMPARED
    assert len(reason.clauses) == 4
    assert found.exit_code == 5


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


@pytest.mark.parametrize(
    ("refused", "dtypes", "keyword", "cells"),
    [
        ([("small", "float32")], (), "wide", 2),
        ([("small", "float32"), ("wide", "float32")], ("float64",), "", 2),
        ([("small", "float32"), ("small", "float64")], (), "wide", 2),
        ([("small", "float32"), ("wide", "float64")], ("float64",), "small", 1),
    ],
)
def test_what_can_be_certified_is_offered_and_holds(four, refused, dtypes, keyword, cells):
    run = four
    for cell in refused:
        run = judged(run, SAME, cell=cell, kind=Kind.SKIPPED)
    offered = certify(run, *SAME).narrowing
    assert (offered.cells, offered.of) == (cells, 4)
    assert (offered.dtypes, offered.keyword) == (dtypes, keyword)
    found = certify(run, *SAME, offered.dtypes, offered.keyword)
    assert found.issued
    assert found.cells == (cells, 4)


def test_names_that_no_expression_tells_apart_get_no_offer(four):
    """One name is a part of the other, and the other cannot be written as a word."""
    names = {"small": "a b", "wide": "a b c"}
    run = judged(judged(four, SAME, kind=Kind.SKIPPED), SAME, cell=("small", "float64"), kind=Kind.SKIPPED)
    run = replace(
        run,
        cells=tuple(replace(one, case=names[one.case]) for one in run.cells),
        verdicts=tuple(replace(one, case=names[one.case]) for one in run.verdicts),
        cases={names[name]: told for name, told in run.cases.items()},
    )
    assert certify(run, *SAME).narrowing is None


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
