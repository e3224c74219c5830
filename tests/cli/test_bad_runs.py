"""``parity report`` of a run directory that is not as it was written: one line, and nothing is written."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import parity
from parity.core.digest import SEAL, digest_of_file, seal_of

PAIR = ("numpy.adam.hat", "numpy.adam.outside")
TABLE = "divergence.parquet"


@pytest.fixture(scope="module")
def good(tmp_path_factory, case_text):
    """A sound run directory."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "small.toml").write_text(case_text(dtypes=["float32", "float64"]))
    parity.run([folder / "small.toml"], PAIR, output=folder / "run")
    return folder / "run"


def altered(name, change):
    """A change of the bytes of one file."""

    def alter(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return alter


def record(**values):
    """Values of run.json that are not those that were written."""
    return altered("run.json", lambda content: json.dumps(json.loads(content) | values).encode())


def table(change):
    """A change of the divergence table."""

    def alter(folder):
        pq.write_table(change(pq.read_table(folder / TABLE)), folder / TABLE)

    return alter


def farther(rows):
    """The same rows, one of them an ULP farther apart."""
    place = rows.schema.get_field_index("max_ulp")
    values = rows["max_ulp"].to_pylist()
    return rows.set_column(place, rows.schema.field(place), pa.array([values[0] + 1, *values[1:]], pa.uint64()))


def without(change, *keys):
    """A change, and a record that has no such keys."""
    without_keys = altered("run.json", lambda content: json.dumps(
        {name: value for name, value in json.loads(content).items() if name not in keys}).encode())  # fmt: skip

    def alter(folder):
        change(folder)
        without_keys(folder)

    return alter


def other_rows(folder):
    """A table that fits its digest in a record that counts other rows."""
    table(lambda rows: rows.slice(1))(folder)
    content = json.loads((folder / "run.json").read_text()) | {"table": digest_of_file(folder / TABLE)}
    (folder / "run.json").write_text(json.dumps(content | {SEAL: seal_of(content)}))


EXPLANATIONS = "parts/small__float32.explanations.json"
WHOLE = {
    "newer": (record(schema=5), "run.json: schema 5; this parity reads schema 4; parity '"),
    "older": (record(schema=3), "run.json: schema 3; this parity reads schema 4; parity '"),
    "truncated": (altered("run.json", lambda content: content[:-300]), "run.json: truncated or altered"),
    "no record": (lambda folder: (folder / "run.json").unlink(), "run.json is missing, as where a run was killed"),
    "altered": (record(stopped="never"), "run.json: altered after it was written"),
    "no table": (lambda folder: (folder / TABLE).unlink(), f"{TABLE}: missing; 'parity run --resume'"),
    "truncated table": (altered(TABLE, lambda content: content[:-100]), f"{TABLE}: altered, truncated or of another"),
    "fewer rows": (table(lambda rows: rows.slice(0, rows.num_rows - 1)), f"{TABLE}: altered, truncated or of another"),
    "a cell less": (table(lambda rows: rows.filter(pa.compute.equal(rows["dtype"], "float32"))),
                    f"{TABLE}: altered, truncated or of another"),
    "another figure": (table(farther), f"{TABLE}: altered, truncated or of another"),
    "no seal": (without(table(lambda rows: rows.slice(1)), "table", "seal"), "run.json: altered after it was written"),
    "other rows than recorded": (other_rows, f"{TABLE}: altered or of another run ("),
    "no explanation": (lambda folder: (folder / EXPLANATIONS).unlink(), f"{EXPLANATIONS}: missing"),
    "another explanation": (altered(EXPLANATIONS, lambda content: content.replace(b"explained", b"identical")),
                            f"{EXPLANATIONS}: altered or truncated"),
    "empty": (lambda folder: (shutil.rmtree(folder), folder.mkdir()), "no run here, run.json is missing"),
    "gone": (shutil.rmtree, "no run here, run.json is missing"),
    "a file": (lambda folder: (shutil.rmtree(folder), folder.write_text("x")), "a file, not the directory of a run"),
}  # fmt: skip


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} if folder.is_dir() else {}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_not_as_it_was_written_is_one_line_and_nothing_is_written(command, good, tmp_path, name):
    damage, told = WHOLE[name]
    folder = shutil.copytree(good, tmp_path / "run")
    damage(folder)
    before = contents(folder)
    # Two runs side by side are a view of the records; explanations are not part of it.
    together = [] if name.endswith("explanation") else [(folder, good), (good, folder)]
    for runs in [(folder,), *together]:
        out = ["-o", tmp_path / "out"] if len(runs) == 2 else []
        code, printed, err = command("report", *runs, *out)
        assert (code, printed) == (4, "")
        assert told in err
        assert err.startswith(f"parity: {folder}")
        assert err.count("\n") == 1
    assert contents(folder) == before
    assert not (tmp_path / "out").exists()


def test_a_report_that_cannot_be_written_names_the_file(command, good, tmp_path):
    folder = shutil.copytree(good, tmp_path / "run")
    (folder / "report.md").unlink()
    (folder / "report.md").mkdir()
    assert command("report", folder) == (4, "", f"parity: {folder / 'report.md'}: Is a directory\n")
    (tmp_path / "out" / "comparison.md").mkdir(parents=True)
    code, _, err = command("report", folder, good, "-o", tmp_path / "out")
    assert (code, err) == (4, f"parity: {tmp_path / 'out' / 'comparison.md'}: Is a directory\n")


def test_two_runs_in_which_nothing_was_compared_are_no_comparison(command, run_small, write_adam, tmp_path):
    run_small(write_adam(first="raise Unsupported('not today')"), PAIR[1])
    code, out, err = command("report", tmp_path / "run", tmp_path / "run")
    assert (code, out) == (5, "")
    assert err == "parity: nothing to compare: in neither run a pair came to its end on both sides\n"


@pytest.mark.parametrize("planted", [{"first": "raise Unsupported('not today')"}, {"first": "raise ValueError('no')"}])
@pytest.mark.parametrize("verdict", ["SKIPPED", "CRASHED"])
def test_a_run_in_which_nothing_was_compared_is_never_green(command, run_small, write_adam, tmp_path, planted, verdict):
    expect = [{"actual": "user.*", "expected": "*", "verdict": verdict, "because": "It cannot."}]
    assert run_small(write_adam(**planted), PAIR[1], expect=expect).exit_code in (1, 5)
    assert command("report", tmp_path / "run")[0] == 0
    text, page = ((tmp_path / "run" / name).read_text() for name in ("report.md", "report.html"))
    assert text.splitlines()[2].startswith("**Nothing was compared**")
    assert "is as expected" not in text
    assert '<p class="lead alarm">' in page
    assert "✕ Nothing was compared:" in page
    assert "is as expected" not in page


def test_interrupted_before_the_first_cell_is_not_green_either(command, run_small, tmp_path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("parity.engine.run.wait", interrupt)
        assert run_small(*PAIR).exit_code == 2
    assert command("report", tmp_path / "run")[0] == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.index("This run is not complete") < page.index("✕ Nothing was compared:")
    assert "✓" not in page[page.index('id="answer"') : page.index('id="findings"')]
