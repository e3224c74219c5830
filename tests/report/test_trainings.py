"""Two trainings on paper: JSON, Markdown and the page say the same, and names stay text."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

import parity
from parity.explain.shares import Step
from parity.report.html.documents import render_trainings_page
from parity.report.panels.trainings import MOST_POINTS, chart_of, spread
from parity.report.trainings import render_trainings, trainings_to_json

NASTY = "</td><script>alert('a & b')</script>|`[x]"


def numbers(names=("0.weight", "0.bias"), steps=8):
    random = np.random.default_rng(3)
    shapes = [(4, 5), *[(5,)] * (len(names) - 1)]
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in zip(names, shapes, strict=True)}
    gradients = [
        {name: random.normal(size=one.shape).astype(np.float32) for name, one in weights.items()} for _ in range(steps)
    ]
    return weights, gradients


@pytest.fixture
def told(tmp_path, write_recording):
    """Compare a training with one whose gradients are scaled, or whose optimizer is another; the answer."""

    def compare(scale=1.0, names=("0.weight", "0.bias"), change=None, folder=".", **keys):
        weights, gradients = numbers(names)
        one = write_recording(f"{folder}/one", weights, gradients)
        scaled = [{name: one * np.float32(scale) for name, one in step.items()} for step in gradients]
        two = write_recording(f"{folder}/two", weights, change(scaled) if change else scaled, **keys)
        return parity.compare_trainings(two, one, output=tmp_path / "told")

    return compare


def test_all_four_files_are_written_and_agree(told, tmp_path):
    found = told(hyper=parity.Hyper(lr=2e-3))
    folder = tmp_path / "told"
    assert {one.name for one in folder.iterdir()} == {
        "divergence.parquet",
        "trainings.json",
        "report.md",
        "report.html",
    }
    answer = json.loads((folder / "trainings.json").read_text())
    # The gradients are the same, so that what the weights are apart by is what the step size makes.
    apart = f"{found.curve[-1].lr:.2g}"
    assert found.sentence == f"the optimizer: lr is 0.002 and 0.001 ({apart} lr); set lr=0.001: 0 lr are left"
    assert answer["sentence"] == found.sentence
    assert (answer["mode"], answer["actual"]["name"], answer["expected"]["name"]) == ("closed", "two", "one")
    assert [one["number"] for one in answer["curve"]] == [*range(1, 9)]
    told_of = f"{found.sentence[:1].upper()}{found.sentence[1:]}."
    assert told_of in (folder / "report.md").read_text()
    assert told_of in (folder / "report.html").read_text()


def test_a_page_of_an_earlier_comparison_does_not_stay(told, tmp_path, monkeypatch):
    told()
    assert (tmp_path / "told" / "report.html").exists()
    monkeypatch.setattr("parity.report.html.documents.missing", lambda: ("jinja2",))
    (tmp_path / "one").rename(tmp_path / "before-one")
    (tmp_path / "two").rename(tmp_path / "before-two")
    told(32.0)
    assert not (tmp_path / "told" / "report.html").exists()
    assert "by a factor of 32" in (tmp_path / "told" / "report.md").read_text()


def test_names_stay_text(told):
    found = told(names=("0.weight", NASTY))
    page, paper = render_trainings_page(found), render_trainings(found)
    assert "<script>" not in page
    assert "alert(&#39;a &amp; b&#39;)" in page
    assert "<script>" not in paper
    assert all(line.count("|") - line.count("\\|") in (0, *range(4, 9)) for line in paper.splitlines())


def test_json_has_no_number_that_is_none(told):
    """A gradient against none at all, and NaN: what has no figure comes as text."""

    def broken(gradients):
        return [*gradients[:4], {**gradients[4], "0.bias": np.full(5, np.nan, np.float32)}, *gradients[5:]]

    found = told(change=broken)
    text = json.dumps(trainings_to_json(found), allow_nan=False)
    assert "not finite" in text
    page = render_trainings_page(found)
    assert "NaN or inf from step 5 on, first in gradients of 0.bias, in actual alone" in " ".join(page.split())
    assert 'role="alert"' in page


def test_a_factor_is_told_with_what_it_usually_comes_from(told):
    line = "factor of 1/32 in every tensor: as between a sum over 32 and their mean (a batch, a sequence, devices)"
    found = told(1 / 32)
    assert line in render_trainings(found)
    assert line in " ".join(render_trainings_page(found).split())
    one = told(
        32.0, change=lambda gradients: [{**step, "0.bias": step["0.bias"] / 2} for step in gradients], folder="b"
    )
    assert "in every tensor" not in render_trainings(one)


def curve(lrs, gradients=None):
    shares = gradients or [0.5] * len(lrs)
    return [
        Step(n, lr / 1000, lr, 1 - share if lr else 0.0, share if lr else 0.0, 1e-5)
        for n, (lr, share) in enumerate(zip(lrs, shares, strict=True), start=1)
    ]


def points(path):
    return [tuple(map(float, one.split())) for one in path.strip("MZ ").split(" L")]


def test_shares_fill_the_field_and_sizes_lie_in_it():
    chart = chart_of(curve([0.5, 1.0, 2.0], [0.0, 0.25, 1.0]))
    optimizer, gradients = (dict(chart.shares.paths)[name] for name in ("optimizer", "gradients"))
    assert [one[1] for one in points(gradients)[:3]] == [100.0, 75.0, 0.0]
    assert points(gradients)[3:] == [(100.0, 100.0), (0.0, 100.0)]
    assert points(optimizer)[3:] == [(100.0, 0.0), (0.0, 0.0)]
    for _, path in chart.sizes.paths:
        assert all(0 <= y <= 100 for _, y in points(path))
    heights = [y for _, y in points(dict(chart.sizes.paths)["apart"])]
    assert heights == sorted(heights, reverse=True)
    assert min(y for _, y in points(dict(chart.sizes.paths)["floor"])) > max(heights)
    assert chart.apart
    assert not chart.over


def test_steps_at_which_nothing_differs_have_no_share_and_a_place_below():
    chart = chart_of(curve([0.0, 0.0, 1.0, 2.0]))
    assert next(x for x, _ in points(dict(chart.shares.paths)["gradients"])) == pytest.approx(79.25, abs=0.01)
    assert chart.sizes.ticks[0][1] == "0"
    lone = chart_of(curve([0.0, 0.0, 0.0]))
    assert not lone.apart
    assert dict(lone.shares.paths) == {"optimizer": "", "gradients": ""}


def test_a_share_outside_is_cut_and_told():
    chart = chart_of(curve([1.0, 1.0], [1.4, -0.3]))
    assert chart.over
    assert [y for _, y in points(dict(chart.shares.paths)["gradients"])[:2]] == [0.0, 100.0]


@pytest.mark.parametrize("last", [1, 2, 7, 100, 1234, 100_000])
def test_labels_of_steps_do_not_lie_on_each_other(last):
    chart = chart_of(curve([1.0] * last))
    places = [place for place, _ in chart.ticks]
    assert places == sorted(places)
    assert all(later - earlier > 6 for earlier, later in pairwise(places))
    assert last < 3 or places[-1] - places[-2] > 14
    assert chart.ticks[-1][1] == f"{last:,}"
    assert len(chart.ticks) <= 9


def test_long_curves_are_thinned_to_what_can_be_seen():
    kept = spread(100_000, MOST_POINTS)
    assert (kept[0], kept[-1]) == (0, 99_999)
    assert len(kept) <= MOST_POINTS
    assert kept == sorted(set(kept))
