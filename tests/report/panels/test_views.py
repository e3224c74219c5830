"""What is looked at closely, and what is concluded of a pair, from real runs of small cases."""

from __future__ import annotations

from dataclasses import replace

import pytest

import parity
from parity.core.errors import ParityError
from parity.engine.record import read_run
from parity.report.panels.panels import read_panels
from parity.report.panels.view import PairViews, read_cells, read_views

HAT = ("numpy.adam.hat", "numpy.adam.outside")
SEEN = {"eps": 1e-3}


@pytest.fixture
def panels(run_small, tmp_path):
    """Run implementations; (run, panels)."""

    def made(*implementations, **keys):
        run_small(*implementations, **keys)
        run = read_run(tmp_path / "run")
        return run, read_panels(run, tmp_path / "run")

    return made


def test_a_view_has_the_figures_of_the_run(panels):
    run, found = panels(*HAT, hyper=SEEN, dtypes=["float32", "float64"])
    views = found.views[HAT].views
    assert [view.judged.dtype for view in views] == ["float32", "float64"]
    for view in views:
        weights = next(one for one in view.distances if one.quantity == "w")
        curve = next(one for one in view.curves.curves if (one.quantity, one.metric) == ("w", "max_ulp"))
        assert view.curves.first == weights.first.step == 1
        assert max(curve.values) == pytest.approx(weights.worst_max_ulp.value, rel=5e-3)
        assert view.size == weights.worst_max_steps.value == view.explanation.meaning.largest
    assert run.counts.pairs == 2


def test_the_worst_element_is_that_of_the_run_with_both_values(panels):
    _, found = panels(*HAT, hyper=SEEN)
    (view,) = found.views[HAT].views
    weights = next(one for one in view.distances if one.quantity == "w")
    element = view.elements[0]
    assert (element.quantity, element.ulp) == ("w", weights.worst_max_ulp.value)
    assert (element.step, element.parameter) == (weights.worst_max_ulp.step, weights.worst_max_ulp.parameter)
    assert {one.parameter for one in view.elements} == {"kernel", "bias"}
    assert element.absolute == abs(float.fromhex(element.actual) - float.fromhex(element.expected))


def test_another_formula_is_told_with_the_place_of_epsilon(panels):
    _, found = panels(*HAT, hyper=SEEN)
    (one,) = found.conclusions
    (told,) = one.by_dtype
    assert one.headline
    assert one.epsilon == ("hat", "outside")
    assert (told.cases, told.differing, told.since) == (1, 1, 1)
    assert told.two_formulas
    assert told.other_formula == (("epsilon-placement", 1),)
    assert told.typical == told.largest
    assert told.largest.case == "small"


def test_a_plugin_beside_the_paper_is_the_same_formula(panels, write_adam):
    _, found = panels(write_adam())
    (one,) = found.conclusions
    (told,) = one.by_dtype
    assert not told.two_formulas
    assert told.formula == ()
    assert told.differing == told.cases - told.identical


def test_without_explanations_all_pairs_of_a_small_run_are_looked_at(write_case, tmp_path):
    run = parity.run([write_case(hyper=SEEN)], HAT, output=tmp_path / "run", explained=False)
    found = read_panels(run, tmp_path / "run")
    (view,) = found.views[HAT].views
    assert view.explanation is None
    assert view.curves.first == 1
    assert found.conclusions[0].by_dtype[0].unexplained == 1
    assert not found.accuracy.rows


def test_nan_on_one_side_leaves_no_number(panels, write_adam):
    _, found = panels(write_adam(after="w['bias'][:] = np.float32('nan')"))
    (views,) = found.views.values()
    (told,) = found.conclusions[0].by_dtype
    assert (told.nonfinite, told.typical, told.largest) == (1, None, None)
    assert found.heat.spots[0].heat == 5
    assert any(None in curve.values for curve in views.views[0].curves.curves)


def test_a_skipped_side_has_no_view(panels, write_adam):
    run, found = panels(write_adam(first="raise Unsupported('not today')"), *HAT, hyper=SEEN)
    assert set(found.views) == {HAT}
    assert {spot.kind for spot in found.heat.spots if spot.actual == "user.plugin"} == {"SKIPPED"}
    assert found.heat.fields["user.plugin", "numpy.adam.outside", "float32"].median is None
    assert [(one.actual, one.expected) for one in found.conclusions] == [HAT]
    assert run.exit_code == 1


def test_equal_bits_need_no_view(panels, write_adam):
    expect = [{"actual": "user.one", "expected": "user.two", "verdict": "IDENTICAL", "because": "The same text."}]
    _, found = panels(write_adam("one"), write_adam("two"), expect=expect)
    assert found.views == {("user.one", "user.two"): PairViews((), None)}
    assert found.conclusions[0].by_dtype[0].differing == 0
    assert found.heat.spots[0].heat == 0


def test_cells_come_whole_whatever_the_batches_are(run_small, tmp_path, monkeypatch):
    run = run_small(*HAT, hyper=SEEN, dtypes=["float32", "float64"])
    whole = {(one.case, one.dtype): one.table.num_rows for one in read_cells(tmp_path / "run")}
    assert sum(whole.values()) == run.counts.rows
    monkeypatch.setattr("parity.report.panels.view.ROWS_IN_MEMORY", 7)
    assert {(one.case, one.dtype): one.table.num_rows for one in read_cells(tmp_path / "run")} == whole


def test_a_table_that_is_gone_is_one_clear_line(run_small, tmp_path):
    run = run_small(*HAT, hyper=SEEN)
    (tmp_path / "run" / "divergence.parquet").write_bytes(b"nothing")
    with pytest.raises(ParityError, match=r"divergence\.parquet: missing, altered or truncated"):
        read_views(run, tmp_path / "run")


def test_equal_bits_in_one_dtype_do_not_hide_a_difference_in_another(panels):
    _, found = panels(*HAT, hyper=SEEN, dtypes=["float32", "float64"])
    first, second = found.conclusions[0].by_dtype
    equal = replace(first, identical=first.cases)
    assert replace(found.conclusions[0], by_dtype=(equal, second)).main == second
    assert replace(found.conclusions[0], by_dtype=(equal,)).main == equal
