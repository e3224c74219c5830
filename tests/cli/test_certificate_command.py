"""``parity report --certificate A B``: its files, its line, its exit codes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

import parity
from parity.api.run import prepare_output
from parity.engine.record import count, read_run, write_run
from parity.report.html import templates

SAME = ("user.two", "user.one")
OTHER = ("numpy.adam.hat", "numpy.adam.outside")
NEVER = ("user.one", "numpy.adam.hat")


@pytest.fixture
def folder(four_folder, tmp_path):
    """A run directory of its own."""
    return shutil.copytree(four_folder, tmp_path / "run")


def test_an_issued_one_is_0_with_two_files_and_a_line(command, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    code, out, err = command("report", folder, "--certificate", *SAME)
    assert (code, err) == (0, "")
    stem = folder / "certificate-user.two-user.one"
    assert out.splitlines() == [
        f"{stem}.md",
        f"{stem}.html",
        "issued: user.two is equivalent, bit for bit, to user.one on 2 cases in float64 and float32; "
        "every weight is equal",
    ]
    assert stem.with_name(f"{stem.name}.md").read_text().startswith("# Equivalence certificate\n")
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2


def test_a_refused_one_is_1_and_still_written(command, folder, tmp_path):
    code, out, err = command("report", folder, "--certificate", *OTHER, "-o", tmp_path / "out" / "here")
    assert (code, err) == (1, "")
    paths = sorted((tmp_path / "out" / "here").iterdir())
    assert [path.name for path in paths] == [f"certificate-{'-'.join(OTHER)}.{ending}" for ending in ("html", "md")]
    assert paths[1].read_text().startswith("# Equivalence certificate: cannot be issued\n")
    assert out.splitlines()[-1] == (
        "cannot be issued: Not the same formula: 4 of 4 cells "
        "(epsilon stands in another place of the formula (4 cells))"
    )
    assert not list(folder.glob("certificate-*"))


def test_a_pair_that_was_never_compared_is_5(command, folder):
    code, out, _ = command("report", folder, "--certificate", *NEVER)
    assert code == 5
    assert out.splitlines()[-1].startswith("cannot be issued: Never compared, though both were run")
    assert (folder / "certificate-user.one-numpy.adam.hat.md").exists()


def test_a_selection_is_told_and_one_that_holds_is_offered(command, folder):
    code, out, _ = command("report", folder, "--certificate", *SAME, "-d", "float32", "-k", "small")
    assert code == 0
    assert "on 1 case (of 2 in the run) in float32;" in out
    run = read_run(folder)
    verdicts = tuple(
        replace(one, verdict=replace(one.verdict, as_expected=False))
        if (one.case, one.actual, one.expected) == ("small", *SAME)
        else one
        for one in run.verdicts
    )
    counts = count(run.counts.cells_planned, run.cells, verdicts)
    write_run(replace(run, verdicts=verdicts, counts=counts), folder)
    code, out, _ = command("report", folder, "--certificate", *SAME)
    assert code == 1
    assert out.splitlines()[-1] == (
        f"2 of 4 cells can be certified: parity report {folder} --certificate user.two user.one -k wide"
    )
    assert command("report", *out.splitlines()[-1].split()[9:])[0] == 0


def test_json_is_strict_and_on_standard_output_alone(command, folder):
    code, out, err = command("report", folder, "--certificate", *OTHER, "--json", "-")
    assert code == 1
    told = json.loads(out)
    assert told["issued"] is False
    assert told["reasons"][0]["clauses"][0] == ["small", "float64"]
    assert told["reasons"][0]["obstacle"] == "other formula"
    assert told["clauses"][0]["hyper"]["eps"] == 1e-3
    assert "cannot be issued" in err


def test_without_a_name_it_is_the_latest_run(command, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = command("report", "--certificate", *SAME)
    assert (code, out) == (4, "")
    assert err == "parity: runs/latest: no run here, run.json is missing\n"
    (tmp_path / "runs").mkdir()
    shutil.copytree(folder, tmp_path / "runs" / "latest")
    assert command("report", "--certificate", *SAME)[0] == 0
    assert (tmp_path / "runs" / "latest" / "certificate-user.two-user.one.md").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("--certificate", "user.tow", "user.one"), 4, "implementation 'user.tow' is not in this run; allowed: "),
        (("--certificate", "user.one", "user.one"), 2, "takes two implementations, not one twice"),
        (("--certificate", *SAME, "-k", "nowhere"), 5, "no case of the run in any dtype matches -k 'nowhere'"),
        (("--certificate", *SAME, "-k", "small and"), 2, "a word is expected"),
        (("--certificate", *SAME, "-d", "float31"), 4, "did you mean 'float32'"),
        (("--certificate", "user.one"), 2, "--certificate"),
        (("-d", "float32"), 2, "-d belongs to --certificate A B"),
        (("-k", "small"), 2, "-k belongs to --certificate A B"),
        (("-o", "here"), 2, "-o belongs to --certificate A B"),
        (("--json", "-"), 2, "--json belongs to --certificate A B"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(command, folder, arguments, code, line):
    before = sorted(folder.iterdir())
    found, out, err = command("report", folder, *arguments)
    assert (found, out) == (code, "")
    assert line in err
    assert err.count("\n") == 1
    assert sorted(folder.iterdir()) == before


def test_a_file_is_no_folder(command, folder):
    code, _, err = command("report", folder, "--certificate", *SAME, "-o", folder / "run.json")
    assert (code, err) == (2, f"parity: -o {folder / 'run.json'}: is a file, not a folder\n")


def test_without_jinja_there_is_no_page_and_none_of_before(command, folder, monkeypatch):
    command("report", folder, "--certificate", *SAME)
    monkeypatch.setattr(templates, "NEEDED", ("no_such_package",))
    code, out, err = command("report", folder, "--certificate", *SAME)
    assert code == 0
    assert out.splitlines()[0].endswith(".md")
    assert "no page in HTML: no_such_package missing" in err
    assert [path.suffix for path in folder.glob("certificate-*")] == [".md"]


def test_from_python(four_folder):
    assert parity.certificate(four_folder, *SAME).issued
    found = parity.certificate(four_folder, *OTHER, ["float32"], "small")
    assert [one.obstacle for one in found.reasons] == ["other formula"]


@pytest.mark.parametrize("more", [(), ("--resume",)])
def test_a_certificate_does_not_outlive_its_run(command, write_case, tmp_path, more):
    run = ("run", write_case(), "-q", "-i", "numpy.adam.hat", "-i", "numpy.adam.outside", "-o", tmp_path / "run")
    command(*run)
    assert command("report", tmp_path / "run", "--certificate", *OTHER)[0] == 1
    (tmp_path / "run" / "certificate-of-mine.md").write_text("mine")
    command(*run, *more)
    assert [path.name for path in (tmp_path / "run").glob("certificate-*")] == ["certificate-of-mine.md"]


def test_a_certificate_makes_room_before_a_run_begins(folder, command):
    assert command("report", folder, "--certificate", *SAME)[0] == 0
    prepare_output(folder, resume=False)
    assert not list(folder.glob("certificate-*"))
