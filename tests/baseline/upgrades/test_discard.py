"""``--discard``: environments pass, what was recorded in them stays, and a killed command goes on."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from parity.api.matrix import matrix
from parity.baseline.environments.installs import READY, SHELF, kept_environments

pytestmark = pytest.mark.thorough


@pytest.fixture
def alone(call, monkeypatch, tmp_path):
    """`call` with a cache of environments that nobody else fills."""
    monkeypatch.setenv("PARITY_CACHE", str(tmp_path / "cache"))
    return call


def standing(folder):
    """Environments that stand in the folder of a command."""
    return sorted(folder.glob(f"{SHELF}/*/{READY}"))


def asked(versions):
    return ("matrix", "--package", "adams", "--versions", versions)


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def test_nothing_is_left_of_an_environment_but_what_was_recorded(alone, adams, tmp_path):
    seen = []
    folder = tmp_path / "runs" / "passing"

    def on_done(name, count, total):
        seen.append((name.partition(":")[0], len(standing(folder)), kept_environments()[1]))

    found = matrix(
        "adams", ["1.3", "2.0", "2.1"], cases=[alone.case], implementations=[adams], output=folder, discard=True,
        on_done=on_done,
    )  # fmt: skip
    # One environment at a time, of which the cache keeps none.
    assert seen == [("adams==2.1", 1, 0), ("adams==1.3", 1, 0), ("adams==2.0", 1, 0)]
    assert not (folder / SHELF).exists()
    assert kept_environments()[1] == 0
    assert not files_of(tmp_path / "uv")
    assert [one.counted("user.adams") for one in found.columns] == [{"changed": 1}, {"identical": 1}]
    # The same without it: the answer does not depend on it, and now the cache has all three.
    code, _, _, answer = alone(*asked("1.3,2.0,2.1"))
    assert code == 1
    passed = json.loads((folder / "matrix.json").read_text().replace(f"{folder}/", "runs/matrix/"))
    assert {**passed, "finished": None, "asked": None} == {**answer, "finished": None, "asked": None}
    assert kept_environments()[1] == 3


def test_one_that_the_cache_has_is_used_and_stays(alone, tmp_path):
    assert alone(*asked("1.0,1.1"))[0] == 0
    shelf, count = kept_environments()
    before = {path: path.stat().st_mtime_ns for path in shelf.glob(f"*/{READY}")}
    assert (count, alone(*asked("1.0,1.3"), "--discard")[0]) == (2, 0)
    assert {path: path.stat().st_mtime_ns for path in shelf.glob(f"*/{READY}")} == before


def test_one_that_cannot_be_used_goes_too(alone, tmp_path):
    """3.0 raises in the middle of every orbit, so that nothing of it can be recorded."""
    code, _, _, answer = alone(*asked("1.0,3.0,3.1"), "--discard")
    assert code == 1
    assert "planted" in answer["releases"]["3.0"]["why"]
    assert not (tmp_path / "runs" / "matrix" / SHELF).exists()


def test_what_gave_no_trace_is_told_with_its_reason_after_a_resumption_too(alone, steady, tmp_path):
    told = []
    for more in ((), ("--resume",)):
        code, _, _, answer = alone(*asked("3.0,3.1"), "--discard", *more, implementations=("adams:run", steady))
        assert code == 1
        told.append(answer)
    (entry,) = [one for one in told[1]["releases"]["3.0"]["held"]["entries"] if one["implementation"] == "user.adams"]
    assert entry["status"] == "missing"
    assert "planted" in entry["detail"]
    assert told[0] == told[1]
    side = tmp_path / "runs" / "matrix" / "releases" / "3.0" / "side.json"
    side.write_text(side.read_text()[:-40])
    code, _, err, _ = alone(*asked("3.0,3.1"), "--discard", "--resume", implementations=("adams:run", steady))
    assert (code, err.count("\n")) == (5, 1)
    assert "side.json: truncated or altered" in err


def test_upgrade_and_bisect_leave_none_either(alone, tmp_path):
    assert alone("upgrade", "--before", "adams==1.3", "--after", "adams==2.0", "--discard")[0] == 1
    assert alone("bisect", "--package", "adams", "--good", "1.0", "--bad", "2.1", "--discard")[0] == 0
    script = tmp_path / "turned.py"
    script.write_text(
        "import importlib.util as u, sys; sys.exit('/ (np.sqrt(v_hat)' not in open(u.find_spec('adams').origin).read())"
    )
    check = f"$PARITY_PYTHON {script}"
    code, _, err, answer = alone(
        "bisect", "--package", "adams", "--good", "1.0", "--bad", "2.1", "--discard", "--check", check, "-o", "checked",
        implementations=(), cases=(),
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert answer["first_changed"] == "2.0"
    for folder in ("runs/upgrade", "runs/bisect", "checked"):
        assert not (tmp_path / folder / SHELF).exists()
    assert kept_environments()[1] == 0
    assert (tmp_path / "runs" / "upgrade" / "before" / "side.json").is_file()


@pytest.mark.timeout(300)
def test_a_killed_command_goes_on_where_it_was(alone, adams, process, tmp_path):
    words = (alone.case, "-i", adams, "-q", "--discard", "-o", "killed")
    started = process(*asked("1.0,1.1,1.3"), *words)
    folder = tmp_path / "killed"
    recorded = folder / "releases" / "1.3" / "side.json"
    # 1.3 is recorded, and the environment of 1.0 is there.
    while not (recorded.is_file() and any('"adams==1.0"' in one.read_text() for one in standing(folder))):
        assert started.poll() is None, started.communicate()
        time.sleep(0.005)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    (left,) = standing(folder)
    built, kept = left.stat().st_mtime_ns, recorded.stat().st_mtime_ns
    assert not json.loads((folder / "matrix.json").read_text())["finished"]
    lines = []
    found = matrix(
        "adams", ["1.0", "1.1", "1.3"], cases=[alone.case], implementations=[adams], output=folder, discard=True,
        resume=True, on_build=lambda what, line: lines.append(what), on_done=lambda name, count, total: built,
    )  # fmt: skip
    assert found.exit_code == 0
    assert recorded.stat().st_mtime_ns == kept
    # 1.0 stood there already, 1.1 was built, 1.3 was not needed again.
    assert {*lines} == {"adams==1.1"}
    assert not (folder / SHELF).exists()
