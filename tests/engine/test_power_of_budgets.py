"""cases/power.json: how many wrong Adams each budget catches, computed and never typed."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

import parity
from parity.case.catalogue import load_catalogue, shipped_cases
from parity.case.expectation import Budget
from parity.core.errors import ParityError
from parity.engine.findings import find
from parity.engine.power import FILE, UNKNOWN_CASE, Power, budget_digest, powers_of, read_power, write_power

sys.path.append(str(Path(__file__).parents[1] / "faults"))
from power import budgets_of, power_of_cell, takes_a_bare_step, wrongs
from wrong_adams import WRONG

CASES = {case.name: case for case in load_catalogue(shipped_cases()) if takes_a_bare_step(case)}
TABLE = read_power(shipped_cases())
REFERENCE = "numpy.adam.outside"
STALE = "the figures are not those of the case: make power"

CHEAP = [
    ("twins", "float64"),
    ("twins", "float32"),
    ("half-precision", "float16"),
    ("half-precision", "bfloat16"),
]


def held(case, dtype="float32", actual="user.plugin"):
    """A plug-in's pair as its budget sees it."""
    return case, dtype, REFERENCE, case.expectation_for(actual, REFERENCE, dtype), (actual, REFERENCE)


def widened(case):
    """The case with a hundred steps to spare in w, in what it expects of a plug-in."""
    wide = {"w": Budget(max_steps=100.0), "m": Budget(max_abs=10.0), "v": Budget(max_abs=10.0)}
    expect = tuple(
        one.model_copy(
            update={"within": wide} if one.speaks_of("user.plugin", "float32") and one.expects(REFERENCE) else {}
        )
        for one in case.expect
    )
    return case.model_copy(update={"expect": expect})


@pytest.mark.parametrize(("case", "dtype"), CHEAP)
def test_the_figures_are_computed(case, dtype):
    found = {name: asdict(figure) for name, figure in power_of_cell(CASES[case], dtype).items()}
    assert found == {name: asdict(figure) for name, figure in TABLE.cases[case].dtypes[dtype].items()}, STALE


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_every_budget_of_a_shipped_case_has_its_figures(case):
    kept = TABLE.cases[case.name]
    assert kept.digest == case.digest(), STALE
    for dtype in case.dtypes:
        figures = kept.dtypes.get(dtype, {}).values()
        asked = {(name, digest) for name, budgets in budgets_of(case, dtype).items() for digest in budgets}
        assert {(one.reference, one.budget) for one in figures} == asked, STALE
        for one in figures:
            missed = one.missed.split()
            assert set(missed) <= set(WRONG), STALE
            assert one.caught + len(missed) == one.applicable <= one.total == len(wrongs(one.reference)), STALE


def test_there_is_nothing_but_shipped_cases_in_it():
    assert set(TABLE.cases) == set(CASES)


def test_a_wider_budget_loses_power_and_is_not_given_the_old_figure():
    case = widened(CASES["twins"])
    (wide,) = [one for one in power_of_cell(case, "float32").values() if one.budget == budget_digest(*held(case)[2:4])]
    (kept,) = powers_of(TABLE, [held(CASES["twins"])])
    assert wide.applicable == kept.applicable
    assert wide.caught < kept.caught / 2
    assert [one.unknown for one in powers_of(TABLE, [held(case)])] == ["budget changed: make power"]


def test_another_question_under_a_shipped_name_is_not_given_its_figures():
    case = CASES["twins"].model_copy(update={"seed": 1})
    assert [one.unknown for one in powers_of(TABLE, [held(case)])] == ["case changed: make power"]


def test_pairs_of_one_budget_are_told_once():
    (power,) = powers_of(TABLE, [held(CASES["twins"]), held(CASES["twins"], actual="torch.adam.forloop")])
    assert power.pairs == 2
    assert power.holds == (("user.plugin", REFERENCE), ("torch.adam.forloop", REFERENCE))
    assert power.caught > 0.8 * power.applicable


def test_a_budget_that_refuses_the_right_adam_has_no_figure():
    case = CASES["twins"]
    tight = tuple(one.model_copy(update={"within": {"v": Budget(max_ulp=0.25)}}) for one in case.expect)
    with pytest.raises(ValueError, match=r"twins float32: .* refuses the right Adam beside numpy\.adam\.outside"):
        power_of_cell(case.model_copy(update={"expect": tight}), "float32")


def test_the_report_and_the_terminal_tell_it(command, tmp_path):
    case = shipped_cases() / "twins.toml"
    code, out, _ = command("run", case, "-d", "float64", "-i", "numpy.adam.*", "-i", "torch.adam.forloop",
                           "--no-explain", "-v", "-o", tmp_path / "run")  # fmt: skip
    assert code == 0
    (power,) = powers_of(TABLE, [held(CASES["twins"], "float64")])
    told = f"catches {power.caught} of {power.applicable} wrong Adams; misses {power.missed[0]}"
    assert told in (tmp_path / "run" / "report.md").read_text().replace("\\_", "_")
    assert f"power twins float64, {power.budget}: {told}" in " ".join(out.split())
    code, out, _ = command("run", case, "-d", "float64", "-i", "numpy.adam.*", "-i", "torch.adam.forloop",
                           "--no-explain", "-o", tmp_path / "run")  # fmt: skip
    weakest = f"of the wrong Adams the weakest budget catches {power.caught} of {power.applicable} in float64"
    assert f"power twins: {weakest}" in " ".join(out.split())


def test_the_power_of_a_case_of_ones_own_is_unknown(write_case, write_adam, tmp_path):
    targets = [write_adam(), "numpy.adam.outside"]
    run = parity.run([write_case()], targets, output=tmp_path / "run", explained=False)
    assert [one.unknown for one in run.powers] == [UNKNOWN_CASE]
    assert f"- *Power* of its budgets: unknown ({UNKNOWN_CASE})." in (tmp_path / "run" / "report.md").read_text()


def test_budgets_that_catch_little_are_found():
    powers = [
        Power("easy", "float32", "operations", 1, caught=9, applicable=10),
        Power("hard", "float16", "operations", 1, caught=4, applicable=10),
        Power("harder", "float16", "moments", 1, caught=3, applicable=10),
        Power("own", "float16", "moments", 1, unknown=UNKNOWN_CASE),
        Power("all-zero", "float64", "operations", 1),
    ]
    (finding,) = find([], [], powers)
    assert finding.title == "2 of 2 budgets in float16 let most wrong Adams pass"
    assert "of harder (moments), catches 3 of 10 wrong Adams" in finding.detail
    assert finding.where == ("harder float16", "hard float16")


def test_the_half_types_are_found_in_the_shipped_cases(tmp_path):
    case = shipped_cases() / "constant.toml"
    run = parity.run([case], ["numpy.adam.*"], output=tmp_path / "run", explained=False)
    titles = [finding.title for finding in run.findings if "let most wrong Adams pass" in finding.title]
    assert [title.split()[5] for title in titles] == ["float16", "bfloat16"]


def doctored(folder, change):
    content = json.loads((shipped_cases() / FILE).read_text(encoding="utf-8"))
    change(content)
    (folder / FILE).write_text(json.dumps(content), encoding="utf-8")
    return folder


def more_caught(content):
    figures = content["cases"]["twins"]["dtypes"]["float64"]
    figure = next(one for one in figures.values() if one["missed"])
    figure["caught"], figure["missed"] = figure["applicable"], ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (more_caught, "altered by hand; its figures are computed: make power writes it anew"),
        (lambda content: content["cases"].pop("twins"), "altered by hand; its figures are computed"),
        (lambda content: content.pop("seal"), "damaged, or of another schema; make power writes it anew"),
        (lambda content: content.update(more=1), "damaged, or of another schema"),
        (lambda content: content.update(schema=99), "schema 99; this parity reads schema 2"),
    ],
)
def test_a_table_that_was_touched_is_refused(tmp_path, change, told):
    with pytest.raises(ParityError) as caught:
        read_power(doctored(tmp_path, change))
    assert str(caught.value).startswith(f"{tmp_path / FILE}: {told}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_table_is_refused(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ParityError, match="damaged, or of another schema"):
        read_power(tmp_path)


def test_a_run_refuses_it_before_it_begins(command, tmp_path, monkeypatch, write_case):
    folder = doctored(tmp_path, more_caught)
    monkeypatch.setattr("parity.api.run.shipped_cases", lambda: folder)
    code, _, err = command("run", write_case(), "-i", "numpy.adam.*", "-o", tmp_path / "run")
    assert code != 0
    assert len(err.strip().splitlines()) == 1
    assert "altered by hand" in err
    assert not (tmp_path / "run").exists()


def test_without_a_table_every_power_is_unknown(tmp_path):
    (power,) = powers_of(read_power(tmp_path), [held(CASES["twins"])])
    assert power.unknown


def test_what_is_written_is_read_again_and_no_case(tmp_path):
    write_power(tmp_path / FILE, TABLE.cases, TABLE.names)
    assert read_power(tmp_path) == TABLE
    assert (tmp_path / FILE).read_bytes() == (shipped_cases() / FILE).read_bytes()
    assert "power" not in CASES
    with pytest.raises(ParityError, match="no case file"):
        load_catalogue(tmp_path)
