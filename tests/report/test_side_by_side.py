"""Two runs side by side as people see them: the sentence, Markdown, HTML, JSON and the command."""

from __future__ import annotations

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import parity
from parity.core.digest import digest_of_file
from parity.engine.record import read_run, write_run
from parity.report.html.documents import render_comparison
from parity.report.panels.side_by_side import side_by_side
from parity.report.side_by_side import (
    MOST_GROUPS,
    MOST_ROWS,
    render_side_by_side,
    sentence,
    side_by_side_to_json,
    warnings,
)

OUTSIDE = "numpy.adam.outside"
WRONG = [("1 - hyper.beta2**t", "1.0")]
NASTY = "</td><script>alert('a & b')</script>|`[x]"


@pytest.fixture(scope="module")
def folders(tmp_path_factory, case_text, adam_text):
    """Two run directories, of a right plug-in and of a wrong one."""
    found = []
    for swap in ((), WRONG):
        folder = tmp_path_factory.mktemp("beside")
        (folder / "small.toml").write_text(case_text())
        (folder / "plugin.py").write_text(adam_text("plugin", swap=swap))
        targets = [f"{folder / 'plugin.py'}:plugin", OUTSIDE]
        parity.run([folder / "small.toml"], targets, output=folder / "run", explained=False)
        found.append(folder / "run")
    return found


@pytest.fixture
def changed(folders):
    """Both runs side by side."""
    return side_by_side(*map(read_run, folders))


def test_the_answer_is_a_sentence(changed, folders):
    assert sentence(changed) == (
        "1 of 1 pair stands in both runs with the same inputs: 1 verdict changed; 1 pair got farther apart. "
        "Of the last states, 1 of 2 orbits end in other bits"
    )
    run = read_run(folders[0])
    assert sentence(side_by_side(run, run)) == (
        "Both runs are the same: the pair has the same verdict and figures, and all 2 orbits end in the same bits"
    )


def test_figures_of_both_sides_stand_in_adjacent_columns(changed):
    text = render_side_by_side(changed)
    (row,) = [line for line in text.splitlines() if line.startswith("| small |")]
    cells = [one.strip() for one in row.strip("|").split("|")]
    assert cells[:4] == ["small", "▲", "WITHIN", "DIVERGED, not as expected"]
    one = changed.groups[0].rows[0]
    assert cells[4:6] == ["0", f"{one.after.ulp:.1e}"]
    assert cells[-1] == "user.plugin"
    assert text.index("## What changed") < text.index("## Orbits that end in other bits") < text.index("## Environment")


def test_the_page_says_the_same_and_fetches_nothing(changed):
    text = render_comparison(changed)
    assert sentence(changed) in text
    assert "<strong>DIVERGED, not as expected</strong>" in text
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert "src=" not in text


def test_the_same_runs_give_the_same_bytes(changed, folders):
    again = side_by_side(*map(read_run, folders))
    assert render_comparison(again) == render_comparison(changed)
    assert render_side_by_side(again) == render_side_by_side(changed)
    for text in (render_comparison(changed), render_side_by_side(changed)):
        assert str(folders[0].parent) not in text


def test_every_name_stays_text(changed):
    (group,) = changed.groups
    row = replace(group.rows[0], case=NASTY, actual=NASTY, moved=(NASTY,))
    orbits = tuple(replace(one, implementation=NASTY, moved=(NASTY,)) for one in changed.orbits)
    only = replace(changed.only[0], cases=(NASTY,), pairs={(NASTY, NASTY, "float32"): (NASTY,)})
    nasty = replace(
        changed,
        groups=(replace(group, actual=NASTY, rows=(row,)),),
        orbits=orbits,
        only=(only, changed.only[1]),
        before=replace(changed.before, stale=(NASTY,)),
    )
    page, text = render_comparison(nasty), render_side_by_side(nasty)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8
    assert "<script" not in text
    assert all(line.count("|") - line.count("\\|") in (0, 4, 5, 14) for line in text.splitlines())


def test_what_has_to_be_known_of_a_run_comes_first(changed):
    cut = replace(changed.after, complete=False, stopped="interrupted", stale=("a pattern",))
    found = replace(changed, after=replace(cut, counts=replace(cut.counts, cells_planned=3)))
    lines = list(warnings(found))
    assert lines == ["Run B is not complete (interrupted): 1 of 3 cells were run.",
                     "Run B has a stale expectation: a pattern"]  # fmt: skip
    page, text = render_comparison(found), render_side_by_side(found)
    for line in lines:
        assert page.index(line) < page.index('class="lead')
        assert text.index(line) < text.index("1 of 1 pair")


def test_thousands_of_changes_are_folded_and_stand_in_the_json(changed):
    (group,) = changed.groups
    rows = tuple(replace(group.rows[0], case=f"case-{number}") for number in range(50))
    groups = tuple(replace(group, actual=f"user.a{number}", rows=rows) for number in range(MOST_GROUPS + 100))
    found = replace(changed, groups=groups, held=50 * len(groups))
    page, text = render_comparison(found), render_side_by_side(found)
    assert len(page) < 8_000_000
    assert page.count('<th scope="row">case-') == text.count("\n| case-") == MOST_GROUPS * MOST_ROWS
    assert "And 30\nmore cases" in page
    assert "And 100 more\npairs and dtypes" in page
    assert "And 30 more cases" in text
    assert len(side_by_side_to_json(found)["changes"]) == 50 * len(groups)


def test_the_command_writes_both_and_prints_paths_and_the_sentence(command, folders, tmp_path):
    out = tmp_path / "deep" / "out"
    code, told, err = command("report", *folders, "-o", out)
    assert (code, err) == (0, "")
    lines = told.splitlines()
    assert lines[:2] == [str(out / "comparison.md"), str(out / "comparison.html")]
    assert lines[2].startswith("1 of 1 pair stands in both runs")
    assert {path.name for path in out.iterdir()} == {"comparison.md", "comparison.html"}


def test_without_a_folder_the_second_run_keeps_it_until_it_is_run_again(command, run_small, tmp_path):
    run_small("numpy.adam.hat", OUTSIDE)
    run = tmp_path / "run"
    assert command("report", run, run)[0] == 0
    assert (run / "comparison.md").exists()
    assert (run / "comparison.html").exists()
    run_small("numpy.adam.hat", OUTSIDE, options=parity.Options(resume=True))
    assert not (run / "comparison.md").exists()
    assert not (run / "comparison.html").exists()


def test_the_json_has_every_change_with_both_sides(command, folders, tmp_path):
    code, out, err = command("report", *folders, "-o", tmp_path, "--json", "-")
    answer = json.loads(out)
    assert code == 0
    assert str(tmp_path / "comparison.md") in err
    assert not answer["same"]
    assert answer["counts"]["verdicts_changed"] == answer["counts"]["farther"] == 1
    (change,) = answer["changes"]
    assert (change["change"], change["moved"]) == ("farther apart", ["user.plugin"])
    assert (change["A"]["verdict"], change["B"]["verdict"]) == ("WITHIN", "DIVERGED")
    assert change["A"]["max_ulp"] < change["B"]["max_ulp"]


def test_two_runs_with_nothing_in_common_are_no_comparison(command, folders, tmp_path):
    run = read_run(folders[0])
    other = tmp_path / "other"
    other.mkdir()
    rows = pq.read_table(folders[0] / "divergence.parquet")
    names = pa.array(["other"] * rows.num_rows).dictionary_encode()
    pq.write_table(rows.set_column(0, rows.schema.field("case"), names), other / "divergence.parquet")
    named = replace(
        run,
        cases={"other": run.cases["small"]},
        cells=tuple(replace(one, case="other") for one in run.cells),
        verdicts=tuple(replace(one, case="other") for one in run.verdicts),
        table=digest_of_file(other / "divergence.parquet"),
    )
    write_run(named, other)
    code, out, err = command("report", folders[0], other, "-o", tmp_path / "out")
    assert (code, out) == (5, "")
    assert err == "parity: nothing to compare: no pair, case and dtype stands in both runs\n"
    assert not (tmp_path / "out").exists()


def test_without_jinja_the_markdown_stands_alone(command, folders, tmp_path, monkeypatch):
    (tmp_path / "comparison.html").write_text("of other runs")
    monkeypatch.setattr("parity.report.html.templates.NEEDED", ("no_such_package",))
    code, out, err = command("report", *folders, "-o", tmp_path)
    assert code == 0
    assert out.splitlines()[0] == str(tmp_path / "comparison.md")
    assert "no comparison.html: no_such_package missing" in err
    assert not (tmp_path / "comparison.html").exists()


@pytest.mark.parametrize("words", [("-o", "out"), ("--json", "-")])
def test_what_belongs_to_two_runs_is_refused_with_one(command, folders, words):
    code, _, err = command("report", folders[0], *words)
    assert code == 2
    assert err == f"parity: {words[0]} belongs to --certificate A B, or to two run directories\n"


def test_a_file_is_no_folder_to_write_into(command, folders, tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    assert command("report", *folders, "-o", path) == (2, "", f"parity: -o {path}: is a file, not a folder\n")
