"""``parity upgrade``: two releases, each in an environment that is built for real, held against each other."""

from __future__ import annotations

import json
import sys

import pytest

from parity.core.errors import ParityError
from parity.report.panels.documents import read_document

pytestmark = pytest.mark.thorough


@pytest.fixture
def upgrade(call):
    """Call ``parity upgrade`` with more arguments."""

    def run(*arguments, **options):
        return call("upgrade", *arguments, **options)

    run.case = call.case
    return run


def by_name(answer):
    return {one["implementation"]: one for one in answer["entries"]}


def test_the_same_bits_are_identical_whatever_else_is_new(upgrade):
    code, out, _, answer = upgrade("--before", "adams==1.0", "--after", "adams==1.1")
    assert code == 0
    # 5 steps, the initial state and the whole, of w, m and v.
    assert "1 identical; 18 digests compared, adams==1.0 against adams==1.1" in out
    assert answer["environment"] == [{"what": "adams", "before": "1.0", "after": "1.1"}]
    assert answer["before"]["packages"]["adams"] == "1.0"


def test_a_change_is_told_with_its_step_and_its_size_and_everything_is_kept(upgrade, command, tmp_path):
    summary = tmp_path / "page.md"
    code, _, _, answer = upgrade("--before", "adams==1.3", "--after", "adams==2.0", "--markdown", summary)
    found = by_name(answer)["user.adams"]
    assert (code, found["status"]) == (1, "changed")
    assert (found["change"]["first_step"], found["change"]["quantities"]) == (1, ["w"])
    assert "w by up to" in found["detail"]
    # The package claims nothing: what it computes on either side is found among the known forms.
    assert found["change"]["explained"], found["detail"]
    assert "epsilon-placement" in [cause["family"] for cause in found["change"]["causes"]]
    kept = tmp_path / "runs" / "upgrade"
    assert json.loads((kept / "upgrade.json").read_text()) == {**answer, "finished": True}
    assert (kept / "summary.md").read_text() == summary.read_text()
    text = summary.read_text()
    assert text.startswith("### Adam before and after the upgrade: 1 changed\n\n- before: adams==1.3\n")
    assert "| adams | 1.3 | 2.0 |" in text
    assert "Exit code 1." in text
    # The page is there, and is made again from what is kept.
    page = (kept / "report.html").read_bytes()
    assert b"adams 1.3 to 2.0: 1 of 1 entry changed." in page
    assert command("report", kept) == (0, f"{kept / 'report.html'}\n", "")
    assert (kept / "report.html").read_bytes() == page
    assert str(tmp_path).encode() not in page
    # The sides are baselines like any other.
    assert command("baseline", "diff", kept / "before", kept / "after", "-q")[0] == 1
    assert command("baseline", "diff", kept / "after", kept / "after", "-q")[0] == 0


def test_both_the_same(upgrade):
    code, _, _, answer = upgrade("--before", "adams==2.0", "--after", "adams==2.0")
    assert (code, answer["environment"]) == (0, [])


def test_an_interpreter_stands_for_a_side_and_a_baseline_too(upgrade, steady, tmp_path):
    mine = (steady,)
    code, _, _, answer = upgrade(
        "--before", "adams==1.0", "--after-python", sys.executable, "-o", "first", implementations=mine
    )
    assert (code, answer["counts"]["identical"]) == (0, 1)
    # Of what the baseline holds only what is asked for is looked at.
    upgrade("--before", "adams==1.0", "--after", "adams==1.1", "-o", "first", implementations=(*mine, "adams:run"))
    saved = ("--before-baseline", tmp_path / "first" / "before")
    code, _, _, answer = upgrade(*saved, "--after", "adams==2.0", implementations=mine)
    assert (code, answer["counts"]["identical"], len(answer["entries"])) == (0, 1, 1)
    code, out, err, _ = upgrade(*saved, "--after", "adams==2.0", "-o", "first", implementations=mine)
    assert (code, out) == (2, "")
    assert "holds" in err
    assert "which is to be read" in err
    assert (tmp_path / "first" / "before").exists()


def test_nothing_of_an_earlier_upgrade_stays_where_one_fails(upgrade, tmp_path):
    kept = tmp_path / "runs" / "upgrade"
    assert upgrade("--before", "adams==1.0", "--after", "adams==1.1")[0] == 0
    assert (kept / "report.html").exists()
    assert upgrade("--before", "adams==1.0", "--after", "adams==1.2")[0] == 4
    assert [one.name for one in kept.iterdir()] == ["upgrade.json"]
    with pytest.raises(ParityError, match="parity upgrade did not come to its end"):
        read_document(kept)


def test_what_only_one_side_has_is_told_with_the_reason(upgrade, steady):
    both = ("adams:run", steady)
    lost = upgrade("--before", "adams==1.0", "--after", "young==2.0", implementations=both)
    new = upgrade("--before", "young==2.0", "--after", "adams==1.0", implementations=both)
    for (code, _, _, answer), status, told in ((lost, "failed", "only before: "), (new, "missing", "only after: ")):
        found = by_name(answer)
        assert code == 1
        assert found["user.steady"]["status"] == "identical"
        assert found["user.adams"]["status"] == status
        assert found["user.adams"]["detail"].startswith(told)
        assert "there is no module 'adams'" in found["user.adams"]["detail"]


def test_one_that_no_longer_ends_fails(upgrade, steady):
    both = ("adams:run", steady)
    code, _, _, answer = upgrade("--before", "adams==2.1", "--after", "adams==3.0", implementations=both)
    found = by_name(answer)["user.adams"]
    assert (code, found["status"]) == (1, "failed")
    assert "planted" in found["detail"]


def test_a_pin_that_stands_against_what_others_ask_for_is_said(upgrade, steady, command):
    pins = ("--before", "demanding==1.0", "--before", "young==1.0", "--after-python", sys.executable)
    _, _, _, answer = upgrade(*pins, implementations=[steady])
    assert answer["before"]["notes"] == ["demanding 1.0 asks for young>=2.0, and young 1.0 is there"]
    code, out, _ = command("upgrade", upgrade.case, "-i", steady, *pins)
    assert code == 0
    assert "note: before: demanding 1.0 asks for young>=2.0, and young 1.0 is there" in out


AFTER = ("--after", "adams==1.0")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--before", "adams==1.2", *AFTER), 4, "--before adams==1.2: "),
        (("--before", "adams==9.9", *AFTER), 4, "--before adams==9.9: "),
        (("--before", "adams=1", *AFTER), 4, "no requirement"),
        (("--before-python", "/bin/cat", *AFTER), 4, "--before-python /bin/cat: is no Python interpreter"),
        (("--before-python", "nowhere", *AFTER), 4, "--before-python nowhere: there is no such file"),
        (("--before-baseline", "nowhere", *AFTER), 4, "nowhere: no baseline here"),
        (AFTER, 2, "this side is not given; give one of --before, --before-python, --before-baseline"),
        (("--before", "adams==1.0", "--before-python", "python", *AFTER), 2, "is given 2 times"),
        (("--before", "adams==1.0", "--with", "adams==1.1", *AFTER), 4, "pinned twice"),
        (("--before-python", "PYTHON", "--after-python", "PYTHON", "--with", "adams==1.1"), 2, "neither side has pins"),
        (("--before", "adams==1.0", *AFTER, "-k", "nothing-is-called-so"), 5, "nothing to record"),
        (("--before", "adams==1.0", *AFTER, "-i", "keras.adam.eager"), 4, "keras.adam.eager can run on no side"),
        (("--before", "adams==1.0", *AFTER, "-i", "numpy.adam.hatt"), 4, "did you mean 'numpy.adam.hat'?"),
        (("--before", "adams==1.0", *AFTER, "-o", "full"), 2, "-o full: holds files, and no upgrade.json"),
        (
            ("--before", "adams==1.0", "--after", "young==2.0"),
            5,
            "young==2.0: no implementation can run there: user.adams: ",
        ),
    ],
)
def test_a_mistake_is_one_line(upgrade, tmp_path, arguments, code, told):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("two years")
    arguments = [sys.executable if word == "PYTHON" else word for word in arguments]
    found, out, err, answer = upgrade(*arguments)
    assert (found, out, answer, err.count("\n")) == (code, "", None, 1), err
    assert told in err
    assert (tmp_path / "full" / "thesis.txt").exists()


def test_of_two_baselines_nothing_is_run(upgrade, tmp_path):
    upgrade("--before", "adams==1.0", "--after", "adams==1.1", "-o", "first")
    sides = ("--before-baseline", tmp_path / "first" / "before", "--after-baseline", tmp_path / "first" / "after")
    code, _, err, _ = upgrade(*sides)
    assert code == 2
    assert "'parity baseline diff' holds them against each other" in err
