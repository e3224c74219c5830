"""Headline pairs in report.md: what they come to, and the ladders, rung by rung."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parity.engine.record import read_run
from parity.explain.causes import Family
from parity.explain.headlines import Headlines, read_headlines
from parity.report.markdown import headlines_section, render

PAIR = ("numpy.adam.hat", "numpy.adam.outside")


@pytest.fixture
def found(run_small, tmp_path):
    """(run, explanation) of a pair of which the place of epsilon is the only difference that shows."""
    run = run_small(*PAIR, hyper={"eps": 1e-3}, dtypes=["float32", "float64"])
    return run, read_headlines(run, tmp_path / "run")


def test_a_ladder_is_told_rung_by_rung(found):
    _, headlines = found
    one = headlines.ladders[0]
    text = headlines_section(Headlines(headlines.worst, (one,)))
    size = f"{one.meaning.largest:.3g} lr"
    assert f"<details><summary>numpy.adam.hat to numpy.adam.outside in float32, small: {size}</summary>\n\n" in text
    assert "Not the same Adam; every differing bit is accounted for by epsilon-placement (100%)" in text
    assert f"w differs by up to {size} at step {one.meaning.step}, which is " in text
    assert f"| nothing: numpy.adam.hat as it is |  | {one.ladder[0].differing:,} |" in text
    assert "| epsilon: hat -&gt; outside | epsilon-placement | 0 | 0 ULP | 0 lr |" in text
    assert "Changes no bit here: step count." in text
    assert text.endswith("</details>")


def test_a_text_of_a_case_stays_text(found):
    _, headlines = found
    one = replace(headlines.ladders[0], case="a|b</details>")
    text = headlines_section(Headlines((one,), (one,)))
    assert "a\\|b&lt;/details&gt;" in text
    assert text.count("</details>") == 1


def test_every_pair_has_a_row_and_every_dtype_a_column(found):
    _, headlines = found
    text = headlines_section(headlines)
    assert "| pair | float32 | float64 |" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| numpy.adam.hat<br>numpy.adam.outside |")]
    assert row.count("noise floor") == row.count("<br>in small") == 2


def test_without_noise_and_ladder_there_is_no_word_of_them(found):
    _, headlines = found
    one = headlines.worst[0]
    bare = replace(one, ladder=(), meaning=replace(one.meaning, noise_weights=None, noise_gradient=None))
    text = headlines_section(Headlines((bare,)))
    assert "noise floor 0" not in text
    assert "<details>" not in text
    assert "**ladder**" not in text
    assert headlines_section(Headlines()) == ""


def test_a_form_stays_text(found):
    _, headlines = found
    one = headlines.ladders[0]
    rungs = (one.ladder[0], replace(one.ladder[1], choice="first_moment", family=Family.FMA, detail="a * b -> c"))
    text = headlines_section(Headlines((one,), (replace(one, ladder=rungs),)))
    assert "| first moment: a \\* b -&gt; c | fma |" in text


def test_it_stands_in_the_report_after_the_causes_and_before_the_cases(found, command, tmp_path):
    run, headlines = found
    text = (tmp_path / "run" / "report.md").read_text()
    assert text == render(run, headlines)
    places = [text.index(title) for title in ("## Why they differ", "### From one Adam to another", "## Cases")]
    assert places == sorted(places)
    assert "### From one Adam to another" not in render(run)
    assert command("report", tmp_path / "run")[0] == 0
    again = (tmp_path / "run" / "report.md").read_text()
    assert again[again.index("### From one") : again.index("## Epsilon")] in text
    assert read_run(tmp_path / "run") == run
