"""What ``-o`` may replace: a run of parity, and nothing else."""

from __future__ import annotations

import csv

import pyarrow.parquet as pq
import pytest

PAIR = ("-q", "-i", "numpy.adam.hat", "-i", "numpy.adam.outside")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "files",
    [
        ["notes.txt"],
        ["report.md"],
        ["report.md", "logs/mine.log", "traces/mine.npy"],
        ["divergence.csv", "notes.txt"],
        ["run.json", "logs/mine.log"],
        ["parts/mine.txt"],
    ],
)
def test_a_folder_of_other_things_stays_as_it_is(command, write_case, tmp_path, files):
    folder = tmp_path / "mine"
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    before = contents(folder)
    for more in ((), ("--resume",)):
        code, _, err = command("run", write_case(), *PAIR, "-o", folder, *more)
        assert code == 2
        assert err == f"parity: -o {folder}: holds files that are no run of parity; name an empty or a new folder\n"
    assert contents(folder) == before


def test_a_file_is_no_folder(command, write_case):
    case = write_case()
    code, _, err = command("run", case, *PAIR, "-o", case)
    assert (code, err) == (2, f"parity: -o {case}: is a file, not a folder\n")


def test_a_folder_that_cannot_be_made_is_one_line(command, write_case):
    case = write_case()
    code, _, err = command("run", case, *PAIR, "-o", case / "run")
    assert code == 4
    assert err.startswith(f"parity: {case}")
    assert err.count("\n") == 1


def test_an_earlier_run_makes_room_and_what_a_user_put_beside_it_stays(command, write_case, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    assert command("run", write_case("a"), *PAIR, "--keep-traces", "-o", folder)[0] == 0
    (folder / "notes.txt").write_text("mine")
    assert command("run", write_case("b"), *PAIR, "-o", folder)[0] == 0
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / "traces").exists()
    suffixes = ("explanations.json", "json", "parquet")
    assert sorted(path.name for path in (folder / "parts").iterdir()) == [f"b__float32.{suffix}" for suffix in suffixes]


def test_a_bad_selection_leaves_an_earlier_run_as_it_is(command, write_case, tmp_path):
    folder = tmp_path / "run"
    command("run", write_case(), *PAIR, "-o", folder)
    before = contents(folder)
    assert command("run", write_case(), *PAIR, "-d", "float31", "-o", folder)[0] == 4
    assert command("run", write_case(), *PAIR, "-k", "other", "-o", folder)[0] == 5
    assert contents(folder) == before


def test_a_report_is_rendered_again_from_the_record(command, write_case, tmp_path):
    folder = tmp_path / "run"
    command("run", write_case(), *PAIR, "-o", folder)
    written = (folder / "report.md").read_text()
    (folder / "report.md").unlink()
    code, out, _ = command("report", folder)
    assert (code, out) == (0, f"{folder / 'report.md'}\n{folder / 'report.html'}\n")
    # With plots beside it, which a run leaves out.
    again = contents(folder)
    assert set(written.splitlines()) <= set((folder / "report.md").read_text().splitlines())
    command("report", folder)
    assert contents(folder) == again


def test_the_table_is_text_only_where_it_is_asked_for_and_none_stays_of_an_earlier_run(command, write_case, tmp_path):
    folder = tmp_path / "run"
    case = write_case()
    assert command("run", case, *PAIR, "--csv", "-o", folder)[0] == 0
    told = list(csv.DictReader((folder / "divergence.csv").read_text().splitlines()))
    rows = pq.read_table(folder / "divergence.parquet").to_pylist()
    assert [one["actual_value"] for one in told] == [one["actual_value"] or "" for one in rows]
    assert [(one["quantity"], int(one["max_ulp"]), float(one["max_abs"])) for one in told] == [
        (one["quantity"], one["max_ulp"], one["max_abs"]) for one in rows
    ]
    for more in (("--resume",), ()):
        (folder / "divergence.csv").write_text("of an earlier run")
        assert command("run", case, *PAIR, *more, "-o", folder)[0] == 0
        assert not (folder / "divergence.csv").exists()
