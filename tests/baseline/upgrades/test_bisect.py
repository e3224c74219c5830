"""``parity bisect``: the first release that changes is found among releases that are built for real."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.thorough


PACKAGE = ("--package", "adams")


@pytest.fixture
def bisect(call):
    """Call ``parity bisect`` on the package with more arguments."""

    def run(*arguments, **options):
        return call("bisect", *PACKAGE, *arguments, **options)

    return run


def answers(answer):
    return {one["release"]: one["answer"] for one in answer["decisions"]}


def test_the_first_release_that_changes_is_found_past_one_that_cannot_be_installed(bisect, tmp_path):
    code, out, _, answer = bisect("--good", "1.0", "--bad", "2.1")
    assert code == 0
    assert answer["releases"] == ["1.0", "1.1", "1.2", "1.3", "2.0", "2.1"]
    assert (answer["last_same"], answer["first_changed"]) == ("1.3", "2.0")
    assert answers(answer) == {"1.2": "cannot tell", "1.3": "same", "2.0": "changed"}
    assert "nowhere-to-be-had" in next(one["why"] for one in answer["decisions"] if one["release"] == "1.2")
    assert "adams 2.0 is the first release that changes; 1.3 is the last before it" in out
    # What it changed is told as by an upgrade from the one to the other.
    (entry,) = answer["step"]["entries"]
    assert (entry["status"], entry["change"]["first_step"]) == ("changed", 1)
    kept = tmp_path / "runs" / "bisect"
    assert sorted(one.name for one in (kept / "releases").iterdir()) == ["1.0", "1.3", "2.0", "2.1"]
    assert json.loads((kept / "bisect.json").read_text()) == answer
    page = (kept / "report.html").read_text()
    assert "adams 2.0 is the first release that changes; 1.3 is the last before it." in page
    assert "nowhere-to-be-had" in page
    assert str(tmp_path) not in page


def test_where_nobody_can_tell_a_range_is_said(bisect):
    code, out, _, answer = bisect("--good", "2.0", "--bad", "2.3")
    assert code == 1
    assert (answer["last_same"], answer["first_changed"], answer["suspects"]) == ("2.1", None, ["2.2", "2.3"])
    assert "one of 2.2, 2.3 is the first release that changes, and nobody can tell which" in out


def test_where_what_changes_does_not_come_to_its_end_nobody_can_tell_either(bisect, steady):
    code, _, _, answer = bisect("--good", "2.3", "--bad", "3.1", implementations=("adams:run", steady))
    assert (code, answers(answer), answer["suspects"]) == (1, {"3.0": "cannot tell"}, ["3.0", "3.1"])
    assert "planted" in answer["decisions"][0]["why"]


def test_a_replay_decides_nothing_again(bisect, tmp_path):
    ends = ("--good", "1.0", "--bad", "2.1")
    _, _, _, first = bisect(*ends)
    log = tmp_path / "runs" / "bisect" / "bisect.log"
    kept = log.read_text()
    code, _, err, again = bisect(*ends, "--replay", log)
    assert (code, err, again, log.read_text()) == (0, "", first, kept)
    # A line that says otherwise is believed: the search goes on from there.
    lines = kept.splitlines()
    believed = json.dumps({"release": "1.1", "answer": "changed", "why": "I know it"})
    edited = tmp_path / "edited.log"
    edited.write_text("\n".join([lines[0], believed]))
    _, _, _, other = bisect(*ends, "--replay", edited, "-o", "elsewhere")
    assert (other["last_same"], other["first_changed"]) == ("1.0", "1.1")
    assert [one["why"] for one in other["decisions"]] == ["I know it"]
    assert (tmp_path / "elsewhere" / "bisect.log").read_text().splitlines()[0] == lines[0]


@pytest.fixture(scope="module")
def searched():
    """The lines that one search wrote down, once it was made; {here} for its folder."""
    return []


@pytest.mark.parametrize(
    ("edit", "code", "told"),
    [
        (lambda lines: [lines[0].replace('"bad": "2.1"', '"bad": "2.0"')], 2, "another question: bad '2.0' there"),
        (lambda lines: [lines[0], lines[1][:-9]], 4, "line 2: cannot be understood"),
        (lambda lines: [lines[0], lines[1].replace("cannot tell", "maybe")], 4, "line 2: cannot be understood"),
        (lambda lines: [lines[0], lines[1].replace('"1.2"', '"1.25"')], 4, "did you mean '1.2'?"),
        (lambda lines: [], 4, "is empty"),
    ],
)
def test_a_log_that_is_none_is_refused(bisect, tmp_path, searched, edit, code, told):
    ends = ("--good", "1.0", "--bad", "2.1")
    if not searched:
        bisect(*ends)
        log = (tmp_path / "runs" / "bisect" / "bisect.log").read_text()
        searched.extend(log.replace(str(tmp_path), "{here}").splitlines())
    edited = tmp_path / "edited.log"
    kept = [line.replace("{here}", str(tmp_path)) for line in searched]
    edited.write_text("".join(f"{line}\n" for line in edit(kept)))
    found, _, err, answer = bisect(*ends, "--replay", edited, "-o", "elsewhere")
    assert (found, answer, err.count("\n")) == (code, None, 1)
    assert told in err


@pytest.fixture
def check(tmp_path):
    """A command that ends with these codes by release, else with 1 from 2.0 on and 0 before."""

    def write(**codes):
        by_release = {name[1:].replace("_", "."): code for name, code in codes.items()}
        lines = [
            "import importlib.metadata, sys",
            "release = importlib.metadata.version('adams')",
            f"codes = {by_release!r}",
            "print('looked at', release)",
            "sys.exit(codes.get(release, int(release >= '2')))",
        ]
        script = tmp_path / "check.py"
        script.write_text("\n".join(lines))
        return f'"$PARITY_PYTHON" {script}'

    return write


def test_a_users_own_command_decides(bisect, check, tmp_path):
    ends = ("--good", "1.0", "--bad", "2.1", "--check", check(v1_3=125))
    code, _, _, answer = bisect(*ends, implementations=(), cases=())
    assert answers(answer) == {
        "1.0": "same",
        "2.1": "changed",
        "1.2": "cannot tell",
        "1.3": "cannot tell",
        "1.1": "same",
        "2.0": "changed",
    }
    assert (code, answer["last_same"], answer["suspects"]) == (1, "1.1", ["1.2", "1.3", "2.0"])
    assert "looked at 1.1" in (tmp_path / "runs" / "bisect" / "checks" / "1.1.log").read_text()
    log = tmp_path / "runs" / "bisect" / "bisect.log"
    _, _, _, again = bisect(*ends, "--replay", log, implementations=(), cases=())
    assert again == answer


@pytest.mark.parametrize(
    ("codes", "code", "told"),
    [
        ({"v1_0": 1}, 1, "--check gives exit code 1 on adams==1.0, where it should be 0"),
        ({"v2_1": 0}, 1, "--check gives exit code 0 on adams==2.1"),
        ({"v2_1": 125}, 1, "--check gives exit code 125 on adams==2.1"),
        ({"v1_3": 130}, 2, "ended with 130, which stops the search"),
    ],
)
def test_a_command_that_does_not_turn_or_wants_to_stop(bisect, check, codes, code, told):
    ends = ("--good", "1.0", "--bad", "2.1", "--check", check(**codes))
    found, out, err, answer = bisect(*ends, implementations=(), cases=())
    assert (found, out, answer, err.count("\n")) == (code, "", None, 1)
    assert told in err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--good", "1.0", "--bad", "1.3"), 1, "no change between adams==1.0 and adams==1.3"),
        (("--good", "1.0", "--bad", "2.25"), 4, "did you mean '2.2'?"),
        (("--good", "1.05", "--bad", "2.1"), 4, "--good 1.05: no release of adams for this Python"),
        (("--good", "one", "--bad", "2.1"), 4, "--good 'one': is no release"),
        (("--good", "2.0", "--bad", "1.0"), 4, "--bad 1.0: no release of adams"),
        (("--good", "2.0", "--bad", "2.0"), 2, "has to be the older one"),
        (("--good", "1.2", "--bad", "2.0"), 4, "--package adams==1.2: "),
        (("--good", "1.0", "--bad", "2.2"), 4, "--package adams==2.2: "),
        (("--good", "1.0", "--bad", "2.1", "--check", "true"), 2, "--check decides by itself"),
        (("--good", "1.0", "--bad", "2.1", "--replay", "nowhere"), 4, "--replay nowhere: cannot be read"),
        (("--good", "1.0", "--bad", "2.1", "--package", "adamz"), 4, "adamz"),
        ((), 2, "Missing option '--good'"),
    ],
)
def test_a_mistake_is_one_line(bisect, arguments, code, told):
    found, out, err, answer = bisect(*arguments)
    assert (found, out, answer, err.count("\n")) == (code, "", None, 1), err
    assert told in err


def test_the_releases_are_listed_by_pip_and_uv_alike(call, installer):
    ends = (*PACKAGE, "--good", "1.3", "--bad", "2.1", "--list-only")
    code, _, _, listed = call("bisect", *ends)
    assert (code, listed) == (0, ["1.3", "2.0", "2.1"])
    assert call("bisect", *ends, "--pre")[3] == ["1.3", "2.0rc1", "2.0", "2.1"]
    assert call("bisect", *ends, "--package", "adamz")[0] == 4
