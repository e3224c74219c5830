"""Names of cases, files, parameters and plug-ins that are no good: they stay text, and lead nowhere."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parity.core.digest import digest_of_file
from parity.engine.record import count, read_run, write_run

PAIR = ("-i", "numpy.adam.hat", "-i", "numpy.adam.outside")
SCRIPT = "<script>alert(1)<"
NAMES = (SCRIPT, "a b", "a__b", "..", 'it\'s "quoted" & |piped| `ticked`', "ünïcode-日本語", "a\nb", "$(touch x)")


def contents(folder):
    return {path.relative_to(folder) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, case_text):
    """A run of cases with such names and parameters, with its traces."""
    from parity.cli.main import exit_code

    folder = tmp_path_factory.mktemp("hostile")
    (folder / "cases").mkdir()
    parameters = [{"name": name, "shape": [2]} for name in (f"{SCRIPT}/script>", "../../x", "a\n|b`")]
    for name in NAMES:
        text = case_text(steps=2, parameters=parameters, hyper={"eps": 1e-3})
        (folder / "cases" / f"{name}.toml").write_text(text)
    before = contents(folder)
    assert exit_code(["run", str(folder / "cases"), *PAIR, "--keep-traces", "-q", "-o", str(folder / "run")]) == 0
    assert {path.parts[0] for path in contents(folder) - before} == {"run"}
    return folder / "run"


def test_every_case_keeps_its_own_files(hostile):
    run = read_run(hostile)
    assert set(run.cases) == set(NAMES)
    assert run.counts.cells == len(NAMES)
    assert len(list((hostile / "parts").glob("*.parquet"))) == len(NAMES)
    assert {path.name for path in hostile.iterdir()} == {"divergence.parquet", "logs", "parts",
                                                         "report.md", "run.json", "traces"}  # fmt: skip
    assert len(list((hostile / "traces").iterdir())) == len(NAMES)


def test_reports_have_them_as_text(command, hostile, tmp_path):
    assert command("report", hostile)[0] == 0
    assert command("report", hostile, hostile, "-o", tmp_path)[0] == 0
    pages = [hostile / "report.html", tmp_path / "comparison.html"]
    for path in (*pages, hostile / "report.md", tmp_path / "comparison.md"):
        assert "<script>alert" not in path.read_text()
    assert "&lt;script&gt;alert(1)&lt;" in (hostile / "report.html").read_text()
    text = (hostile / "report.md").read_text()
    assert "### a b\n" in text
    assert "### it's \"quoted\" &amp; \\|piped\\| 'ticked'" in text


def test_a_record_that_names_a_place_elsewhere_reads_nothing_there(command, hostile, tmp_path):
    run = read_run(hostile)
    name = "../../../elsewhere"
    cell = next(one for one in run.cells if one.case == SCRIPT)
    cells = (replace(cell, case=name),)
    verdicts = tuple(replace(one, case=name) for one in run.verdicts if one.case == SCRIPT)
    folder = tmp_path / "run"
    folder.mkdir()
    rows = pq.read_table(hostile / "divergence.parquet")
    rows = rows.filter(pa.compute.equal(rows["case"], SCRIPT))
    named = pa.array([name] * rows.num_rows).dictionary_encode()
    pq.write_table(rows.set_column(0, rows.schema.field("case"), named), folder / "divergence.parquet")
    (tmp_path / "elsewhere__float32.explanations.json").write_text("{}")
    table = digest_of_file(folder / "divergence.parquet")
    only = replace(run, cases={name: run.cases[SCRIPT]}, cells=cells, verdicts=verdicts, table=table)
    write_run(replace(only, counts=count(len(cells), cells, verdicts)), folder)
    code, _, err = command("report", folder)
    inside = folder / "parts" / "..%2F..%2F..%2Felsewhere__float32.explanations.json"
    assert (code, err) == (4, f"parity: {inside}: missing, though the run says that it was written\n")


def test_no_control_sequence_reaches_a_terminal(command, write_case, write_adam, tmp_path):
    crashing = write_adam(first="raise RuntimeError('\\x1b[2J\\x1b[31mred')")
    case = write_case("a\x1b[2Jb")
    code, out, err = command("run", case, "-i", crashing, "-i", "numpy.adam.outside", "-v", "-o", tmp_path / "run")
    assert code == 1
    assert "red" in out
    assert "?[2J" in out
    assert "\x1b[2J" not in out + err
    _, out, err = command("run", case, "-i", "numpy.adam.\x1b[2J", "-o", tmp_path / "other")
    assert "\x1b" not in out + err
    assert "2J" in err
