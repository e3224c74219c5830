"""The plots beside report.md: the same bytes every time, whole whatever is drawn, and nothing but what it shows."""

from __future__ import annotations

import html
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

import parity
from parity.api.report import report
from parity.api.run import prepare_output
from parity.engine.record import read_run
from parity.explain.headlines import read_headlines
from parity.report.markdown import render
from parity.report.markup import image
from parity.report.panels.curve import Curve, Curves
from parity.report.panels.maps import HeatMap
from parity.report.panels.panels import read_panels
from parity.report.plots import draw as drawing
from parity.report.plots.canvas import look, one_line, slim
from parity.report.plots.difference import decades_of, draw_difference
from parity.report.plots.draw import MOST_PAIRS, draw
from parity.report.plots.maps import MOST_ROWS
from parity.report.plots.plot import Plots, Section, remove_plots

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")

HAT = ("numpy.adam.hat", "numpy.adam.outside")
SEEN = {"eps": 1e-3}
SVG = "{http://www.w3.org/2000/svg}"
NASTY = "</text><script>alert('a & b')</script>../../x $\\frac{1}$ ]](x) *{stroke-linejoin \\"

LARGEST = 60_000


@pytest.fixture
def made(run_small, tmp_path):
    """Run implementations; (run, panels) as a report has them."""

    def make(*implementations, **keys):
        run_small(*implementations, **keys)
        run = read_run(tmp_path / "run")
        return run, read_panels(run, tmp_path / "run")

    return make


@pytest.fixture(scope="module")
def kept():
    """The run that most tests draw, once it is made: (folder, run, panels)."""
    return []


@pytest.fixture
def common(kept, made, tmp_path):
    """A run of two Adams in two dtypes that nothing is changed in: (folder, run, panels)."""
    if not kept:
        kept.extend([tmp_path / "run", *made(*HAT, hyper=SEEN, dtypes=["float32", "float64"])])
    return kept


@pytest.fixture
def copied(common, tmp_path):
    """The folder of that run, to write in."""
    return shutil.copytree(common[0], tmp_path / "copied")


def texts(svg):
    """Every text of a picture; that it is well-formed."""
    return [one.text for one in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def linked(folder):
    """The files that report.md shows."""
    return re.findall(r"^!\[.+\]\((\S+)\)$", (folder / "report.md").read_text(), re.MULTILINE)


def drawn(plots, section):
    return [one for one in plots.drawn if one.section is section]


def test_report_md_shows_every_plot_with_what_it_shows_in_its_section(copied):
    report(copied)
    shown = linked(copied)
    assert shown == [f"plots/{name}.svg" for name in ("accuracy", "matrix", "difference-1", "epsilon-1", "epsilon-2")]
    assert sorted(path.name for path in (copied / "plots").iterdir()) == sorted(
        one.removeprefix("plots/") for one in shown
    )
    text = (copied / "report.md").read_text()
    places = [text.index(part) for part in (
        "## Each implementation against its twin", "(plots/accuracy.svg)", "## Matrix", "(plots/matrix.svg)",
        "## Difference by step", "(plots/difference-1.svg)", "## Why they differ", "## Epsilon",
        "(plots/epsilon-1.svg)", "## Cases",
    )]  # fmt: skip
    assert places == sorted(places)
    assert "numpy.adam.hat against numpy.adam.outside, small float32: difference by step." in text


def test_a_plot_has_the_figures_of_the_panels(common):
    _, _, panels = common
    plots = draw(panels)
    (matrix,) = drawn(plots, Section.MATRIX)
    spot = panels.heat.spots[-1]
    assert spot.dtype == "float32"
    assert {"numpy.adam.hat", "float32", "≠ 1 DIVERGED", f"{spot.lr:.2g}  |  {spot.lr:.2g}"} <= set(texts(matrix.svg))
    (difference,) = drawn(plots, Section.DIFFERENCE)
    view = panels.views[HAT].views[0]
    told = texts(difference.svg)
    assert "dotted: first difference, step 1" in told
    assert f"dashed: noise floor, {view.explanation.meaning.noise:.1e} lr" in told
    assert {"w", "m", "v", "w, in lr", "in ULP", "5"} <= set(told)
    (accuracy,) = drawn(plots, Section.ACCURACY)
    for name in HAT:
        assert f"{panels.accuracy.rows[name]['float32'].twins.error_ulp:.2g} ULP" in texts(accuracy.svg)
    epsilon = drawn(plots, Section.EPSILON)
    assert len(epsilon) == len(panels.epsilon) == 2
    assert "0.7" in texts(epsilon[0].svg)


def test_every_plot_is_small_well_formed_and_asks_for_nothing(common):
    _, _, panels = common
    for plot in draw(panels).drawn:
        root = ElementTree.fromstring(plot.svg)
        assert len(plot.svg.encode()) < LARGEST
        assert root.find(f"{SVG}title").text == " ".join(plot.alternative.split())
        assert not [one for one in root.iter() if one.tag in (f"{SVG}script", f"{SVG}image", f"{SVG}foreignObject")]
        assert all(
            value.startswith("#") for one in root.iter() for name, value in one.attrib.items() if name.endswith("href")
        )


def test_the_same_panels_give_the_same_bytes_in_another_process_with_other_settings(common, copied, tmp_path):
    _, _, panels = common
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "matplotlibrc").write_text("text.usetex: True\nfont.size: 30\nsvg.fonttype: path\n")
    code = (
        "import sys, pathlib\n"
        "from parity.api.report import report\n"
        f"report(pathlib.Path({str(copied)!r}))\n"
        "print('pyplot:', 'matplotlib.pyplot' in sys.modules)\n"
    )
    variables = {**os.environ, "PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(tmp_path / "settings")}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables)
    assert ended.stdout == "pyplot: False\n", ended.stderr
    for plot in draw(panels).drawn:
        assert (copied / "plots" / plot.name).read_text() == plot.svg


def test_drawing_leaves_the_settings_of_a_user_alone(common):
    _, _, panels = common
    with matplotlib.rc_context({"font.size": 17.0, "svg.hashsalt": "mine"}):
        before = dict(matplotlib.rcParams)
        draw(panels)
        assert dict(matplotlib.rcParams) == before


def test_nobody_but_a_report_loads_matplotlib():
    code = "import sys, parity.api.run, parity.report.plots.draw; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1e-3, 1.0], ["0.001", "0.01", "0.1", "1"]),
        ([0.0, 2e-5], ["0", "1e-5", "1e-4"]),
        ([3.0, 3.0], ["1", "10"]),
        ([0.0, 0.0], ["0"]),
        ([None, 5.0, math.inf, math.nan], ["1", "10", "NaN/inf"]),
        ([None], ["NaN/inf"]),
        ([5e-324, 1.7e308, 0.0, None], ["0", "1e-324", "1e-218", "1e-112", "1e-6", "1e100", "1e206", "NaN/inf"]),
    ],
)
def test_zero_and_nan_have_places_below_and_above_all_numbers(values, labels):
    axis = decades_of(values)
    ticks = list(axis.ticks())
    assert [label for _, label in ticks] == labels
    places = [place for place, _ in ticks]
    assert places == sorted(set(places))
    low, high = axis.limits
    assert all(low < axis.place(value) < high for value in values)
    numbers = [axis.place(value) for value in values if value and math.isfinite(value)]
    assert all(axis.place(0.0) < place < axis.place(None) for place in numbers)


@pytest.mark.parametrize(
    ("values", "told", "untold"),
    [
        ((1e-3, 0.0, None, 2.0), {"0", "NaN/inf", "0.001", "10"}, set()),
        ((0.0, 0.0, 0.0, 0.0), {"0"}, {"NaN/inf", "1"}),
        ((None, None, None, None), {"NaN/inf"}, {"0"}),
        ((2.0, 2.0, 2.0, 2.0), {"1", "10"}, {"0", "NaN/inf"}),
    ],
)
def test_gaps_zeros_and_equal_values_are_drawn(common, values, told, untold):
    _, _, panels = common
    view = panels.views[HAT].views[0]
    curves = Curves((1, 2, 700, 90_000), 2, (Curve("w", "max_steps", values), Curve("w", "max_ulp", values)))
    with look():
        svg = draw_difference(replace(view, curves=curves, explanation=None), 1).svg
    # Steps have the labels of their own axis, on the last panel.
    labels = [one for one in texts(svg) if one not in ("100", "1000", "1e4", "90,000")]
    assert told <= set(labels)
    assert not untold & set(labels[: labels.index("w, in lr")][1:])
    assert "nan" not in re.sub(r"<title>.*</title>", "", svg)


def test_a_line_is_broken_where_there_is_no_number(common):
    _, _, panels = common
    view = panels.views[HAT].views[0]
    curves = Curves((1, 2, 3, 4, 5), 1, (Curve("w", "max_steps", (1.0, 2.0, None, 4.0, 5.0)),))
    with look():
        broken = draw_difference(replace(view, curves=curves), 1).svg
    (line,) = [
        one.get("d")
        for one in ElementTree.fromstring(broken).iter(f"{SVG}path")
        if "fill: none; stroke: #0072b2" in one.get("style", "")
    ]
    assert [len(re.findall("[ML]", part)) for part in line.split("M")[1:]] == [1, 1]


@pytest.mark.parametrize(
    "keys",
    [
        {"steps": 1},
        {"parameters": [{"name": "one", "shape": [1]}]},
        {"parameters": [{"name": "scalar", "shape": []}], "steps": 1, "dtypes": ["bfloat16"]},
        {"gradients": {"kind": "constant", "value": 0.0}, "hyper": {"eps": 1e-3}},
    ],
)
def test_the_smallest_runs_are_drawn(made, keys):
    run, panels = made(*HAT, **keys)
    plots = draw(panels)
    for plot in plots.drawn:
        assert texts(plot.svg)
    assert bool(drawn(plots, Section.DIFFERENCE)) != any(place is Section.DIFFERENCE for place, _ in plots.left_out)
    assert "plots/matrix.svg" in render(run, plots=plots)


def test_equal_bits_and_nan_are_drawn(made, write_adam):
    expect = [{"actual": "user.one", "expected": "user.*", "verdict": "IDENTICAL", "because": "The same text."}]
    lost = write_adam("lost", after="w['bias'][:] = np.float32('nan')")
    run, panels = made(write_adam("one"), write_adam("two"), lost, expect=expect)
    plots = draw(panels)
    (matrix,) = drawn(plots, Section.MATRIX)
    assert {"= 1 IDENTICAL", "≠ 1 DIVERGED", "1 UNEXPECTED"} <= set(texts(matrix.svg))
    (difference,) = drawn(plots, Section.DIFFERENCE)
    assert "NaN/inf" in texts(difference.svg)
    assert "w by NaN/inf at most" in difference.alternative
    assert "Equal in every bit, so without a plot: user.one / user.two." in render(run, plots=plots)


def test_what_is_not_drawn_is_told(write_case, tmp_path):
    parity.run([write_case(hyper=SEEN)], HAT, output=tmp_path / "run", explained=False)
    report(tmp_path / "run")
    assert "plots/accuracy.svg" not in linked(tmp_path / "run")
    assert "No plot of the errors: nothing was explained." in (tmp_path / "run" / "report.md").read_text()


def test_many_pairs_are_cut_and_it_is_said_how_many(common):
    _, run, panels = common
    names = [(f"user.{number}", HAT[1]) for number in range(MOST_ROWS + 5)]
    matrix, fields = panels.heat.matrix, panels.heat.fields
    found = {(*pair, dtype): fields[*HAT, dtype] for pair in names for dtype in matrix.dtypes}
    heat = HeatMap(replace(matrix, rows=dict.fromkeys(names, matrix.rows[HAT])), found, panels.heat.spots)
    concluded = tuple(replace(panels.conclusions[0], actual=actual, expected=expected) for actual, expected in names)
    views = dict.fromkeys(names, panels.views[HAT])
    plots = draw(replace(panels, heat=heat, conclusions=concluded, views=views))
    assert sum(one.startswith("user.") for one in texts(drawn(plots, Section.MATRIX)[0].svg)) == MOST_ROWS
    assert len(drawn(plots, Section.DIFFERENCE)) == MOST_PAIRS
    told = render(run, plots=plots)
    assert f"The plot has the first {MOST_ROWS} of {MOST_ROWS + 5} pairs; the table has all of them." in told
    assert f"Plots of the first {MOST_PAIRS} of {MOST_ROWS + 5} pairs; report.html has all of them." in told
    assert told.count("](plots/difference-") == MOST_PAIRS
    assert f"<details><summary>{MOST_PAIRS - 3} more plots</summary>" in told


def hostile(panels):
    """The same panels with a nasty name for everything that a user names."""
    pair = (NASTY, NASTY[::-1])
    heat, (views,) = panels.heat, panels.views.values()
    judged = replace(views.views[0].judged, case=NASTY, actual=pair[0], expected=pair[1])
    return replace(
        panels,
        conclusions=tuple(replace(one, actual=pair[0], expected=pair[1]) for one in panels.conclusions),
        heat=replace(
            heat,
            matrix=replace(heat.matrix, rows={pair: heat.matrix.rows[HAT]}),
            fields={(*pair, dtype): heat.fields[*HAT, dtype] for dtype in heat.matrix.dtypes},
        ),
        views={pair: replace(views, views=tuple(replace(one, judged=judged) for one in views.views))},
        accuracy=replace(panels.accuracy, rows={NASTY: panels.accuracy.rows[HAT[0]]}),
    )


def test_a_hostile_name_stays_text_and_in_the_folder(common):
    _, run, panels = common
    plain, nasty = draw(panels), draw(hostile(panels))
    assert [one.name for one in nasty.drawn] == [one.name for one in plain.drawn]
    assert all(re.fullmatch(r"[a-z]+(-\d+)?\.svg", one.name) for one in nasty.drawn)
    for one, other in zip(nasty.drawn, plain.drawn, strict=True):
        assert set(tags(one.svg)) == set(tags(other.svg))
        assert "Verdana" in ElementTree.fromstring(one.svg).find(f".//{SVG}style").text
    (matrix,) = drawn(nasty, Section.MATRIX)
    assert one_line(NASTY, 24) in texts(matrix.svg)
    told = render(run, plots=nasty)
    assert "<script" not in told
    shown = MarkdownIt().enable("table").render(told)
    assert re.findall(r'<img src="([^"]+)"', shown) == [f"plots/{one.name}" for one in nasty.drawn]
    assert shown.count(html.escape(NASTY, quote=False)) == 2


def tags(svg):
    return [one.tag for one in ElementTree.fromstring(svg).iter()]


def test_letters_that_the_font_lacks_are_no_warning_and_dollars_no_formula(common):
    _, _, panels = common
    (errors,) = [replace(panels.accuracy, rows={"亚当\n\x07 $\\frac$": panels.accuracy.rows[HAT[0]]})]
    plots = draw(replace(panels, accuracy=errors))
    assert "亚当 ? $\\frac$" in texts(drawn(plots, Section.ACCURACY)[0].svg)


def test_the_text_of_an_image_cannot_end_it():
    assert image("a ](x) \\\n![b<i>", "plots/a.svg") == "![a \\](x) \\\\ \\!\\[b&lt;i&gt;](plots/a.svg)"


def test_a_long_name_loses_its_middle():
    assert one_line("user." + "x" * 40 + ".end", 12) == "user.…xx.end"
    assert one_line("short", 12) == "short"


def test_slimming_keeps_text_and_drops_what_nothing_shows():
    text = '<g id="text_1">\n   <text transform="rotate(-0 1 2)" x="1.23456">id="text_1" x="1.23456"</text>\n  </g>'
    assert slim(text) == '<g>\n<text x="1.23">id="text_1" x="1.23456"</text></g>'


def test_plots_of_an_earlier_run_do_not_stay(run_small, tmp_path):
    folder = tmp_path / "run"
    run_small(*HAT, hyper=SEEN)
    for options in (parity.Options(resume=True), parity.Options()):
        report(folder)
        assert (folder / "plots" / "matrix.svg").exists()
        run_small(*HAT, hyper=SEEN, options=options)
        assert linked(folder) == []
        assert not (folder / "plots").exists()


def test_of_plots_only_ours_are_removed(copied):
    report(copied)
    (copied / "plots" / "mine.svg").write_text("mine")
    (copied / "plots" / "difference-9.svg").write_text("of a larger run")
    report(copied)
    assert not (copied / "plots" / "difference-9.svg").exists()
    prepare_output(copied, resume=False)
    assert [path.name for path in (copied / "plots").iterdir()] == ["mine.svg"]


def test_plots_do_not_follow_a_link_out_of_the_folder(copied, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "matrix.svg").write_text("another one's")
    (copied / "plots").symlink_to(elsewhere)
    remove_plots(copied)
    assert (elsewhere / "matrix.svg").exists()
    report(copied)
    assert [path.name for path in elsewhere.iterdir()] == ["matrix.svg"]
    assert (elsewhere / "matrix.svg").read_text() == "another one's"
    assert not (copied / "plots").is_symlink()


def test_without_matplotlib_the_report_says_what_to_install_and_links_to_nothing(copied, monkeypatch):
    report(copied)
    monkeypatch.setattr(drawing, "NEEDED", "no_such_package")
    report(copied)
    assert linked(copied) == []
    assert not (copied / "plots").exists()
    assert (copied / "report.md").read_text().count("No plots: no_such_package is missing; 'pip install") == 1


def test_a_report_without_plots_is_what_a_run_writes(common):
    folder, run, _ = common
    told = render(run, read_headlines(run, folder), Plots())
    assert told == (folder / "report.md").read_text()
