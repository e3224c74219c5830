"""``parity matrix``: implementations by releases, each in an environment that is built for real."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.thorough


@pytest.fixture
def matrix(call):
    """Call ``parity matrix`` on the package with these releases and more arguments."""

    def run(versions, *arguments, **options):
        return call("matrix", "--package", "adams", "--versions", versions, *arguments, **options)

    run.case = call.case
    return run


def test_every_release_stands_against_the_newest(matrix, steady, command, tmp_path):
    page = tmp_path / "page.md"
    code, out, _, answer = matrix("2.1,1.0,1.2,2.0", "--markdown", page, implementations=("adams:run", steady))
    assert code == 1
    assert "1 of 3 releases of adams are the same as adams==2.1; " in out
    assert list(answer["releases"]) == ["1.0", "1.2", "2.0"]
    assert answer["releases"]["1.0"]["counts"] == {"user.steady": {"identical": 1}, "user.adams": {"changed": 1}}
    assert answer["releases"]["2.0"]["counts"] == {"user.steady": {"identical": 1}, "user.adams": {"identical": 1}}
    assert answer["releases"]["1.2"]["held"] is None
    assert "nowhere-to-be-had" in answer["releases"]["1.2"]["why"]
    # 5 steps and the initial state, of w, m and v: two implementations, two releases.
    assert answer["compared"] == 2 * 2 * 18
    kept = tmp_path / "runs" / "matrix"
    written = json.loads((kept / "matrix.json").read_text())
    assert written.pop("asked")["package"] == "adams"
    assert written == {**answer, "finished": True}
    assert (kept / "summary.md").read_text() == page.read_text()
    assert "| implementation | 1.0 | 1.2 | 2.0 |" in page.read_text()
    assert "| user.adams | 1 changed | - | 1 identical |" in page.read_text()
    assert written["order"] == ["1.0", "1.2", "2.0"]
    text = (kept / "report.html").read_text()
    assert "adams: 1 of 3 releases is the same as 2.1 (2.0); 1.0 changed; of 1.2 nothing can be told." in text
    assert "nowhere-to-be-had" in text
    assert str(tmp_path) not in text


def test_releases_that_are_all_the_same(matrix):
    code, _, _, answer = matrix("1.0,1.1,1.3")
    assert (code, answer["reference"], list(answer["releases"])) == (0, "adams==1.3", ["1.0", "1.1"])


def test_a_release_of_which_nothing_is_known_is_not_green(matrix):
    code, _, _, answer = matrix("1.1,1.2,1.3")
    assert (code, [one["held"] is None for one in answer["releases"].values()]) == (1, [False, True])


def test_a_matrix_goes_on_where_it_stopped(matrix, call, write_case, tmp_path):
    """What is kept is not recorded again; a release that is added is; another question is refused."""
    assert matrix("1.0,1.1")[0] == 0
    kept = tmp_path / "runs" / "matrix" / "releases"
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("baseline.json")}
    assert len(before) == 2
    code, _, _, answer = matrix("1.0,1.1,1.3", "--resume")
    assert (code, list(answer["releases"]), answer["reference"]) == (0, ["1.0", "1.1"], "adams==1.3")
    after = {path: path.stat().st_mtime_ns for path in kept.rglob("baseline.json")}
    assert before.items() < after.items()
    assert len(after) == 3
    write_case(seed=8)
    for changed, told in (((), "cases"), (("--with", "adams==1.0"), "with and cases")):
        code, _, err, _ = matrix("1.0,1.1", "--resume", *changed)
        assert (code, err.count("\n")) == (2, 1)
        assert f"--resume: runs/matrix answers to other {told}; leave out --resume" in err
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("baseline.json")} == after
    code, _, err, _ = matrix("1.0,1.1", "--resume", "-o", "elsewhere")
    assert (code, err) == (2, "parity: --resume: elsewhere/matrix.json is missing, so there is nothing to go on from\n")
    (kept.parent / "matrix.json").write_text('{"finished"')
    code, _, err, _ = matrix("1.0,1.1", "--resume")
    assert (code, err) == (4, "parity: runs/matrix/matrix.json: truncated or altered; leave out --resume\n")


def test_against_a_baseline(matrix, call, steady, tmp_path):
    call(
        "upgrade",
        "--before",
        "adams==1.0",
        "--after",
        "adams==1.1",
        "-o",
        "first",
        implementations=("adams:run", steady),
    )
    saved = tmp_path / "first" / "before"
    code, _, _, answer = matrix("1.3,2.0", "--baseline", saved)
    counts = {release: one["counts"] for release, one in answer["releases"].items()}
    # The baseline also has an Adam that was not asked for.
    assert (code, counts) == (1, {"1.3": {"user.adams": {"identical": 1}}, "2.0": {"user.adams": {"changed": 1}}})
    assert matrix("1.3", "--baseline", saved)[0] == 0


def test_the_table_of_a_terminal(matrix, command, adams):
    code, out, _ = command("matrix", matrix.case, "-i", adams, "--package", "adams", "--versions", "1.3,2.0,2.1")
    assert code == 1
    shown = [" ".join(line.split()) for line in out.replace("│", " ").splitlines()]
    assert "user.adams 1 changed 1 identical" in shown
    assert any(
        line.startswith("1.3: user.adams in float32: 1 of 1 changed: small, from step 1; most in small, w by")
        for line in shown
    )


@pytest.mark.parametrize(
    ("versions", "arguments", "code", "told"),
    [
        ("1.0", (), 2, "it takes at least 2"),
        ("", (), 2, "it takes at least 2"),
        ("1.0,1.0.0", (), 2, "names a release twice"),
        ("1.0,new", (), 4, "--versions 'new': is no release"),
        ("1.0,2.2", (), 4, "--package adams==2.2: "),
        ("1.2,2.1", (), 5, "nothing was compared with adams==2.1: --package adams==1.2: "),
        ("1.0,1.1", ("--baseline", "nowhere"), 4, "nowhere: no baseline here"),
        ("1.0,1.1", ("-k", "nothing-is-called-so"), 5, "nothing to record"),
    ],
)
def test_a_mistake_is_one_line(matrix, versions, arguments, code, told):
    found, out, err, answer = matrix(versions, *arguments)
    assert (found, out, answer, err.count("\n")) == (code, "", None, 1), err
    assert told in err
