"""Releases recorded by the workers of a cluster: what comes of it is what this machine makes of them, byte for byte."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("distributed") is None, reason="needs distributed, of the extra cluster"
    ),
    pytest.mark.timeout(300),
    pytest.mark.thorough,
]


def kept(folder):
    """Every file by its path, and the bytes in it."""
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


@pytest.fixture
def both(call, steady, tmp_path):
    """Call a command here, then with its releases recorded by two workers; what either told and left."""

    def ask(name, *arguments):
        found = []
        for more in ([], ["--cluster", "local:2"]):
            told = call(name, *arguments, *more, "-o", "kept", implementations=("adams:run", steady))
            found.append((told, kept(tmp_path / "kept")))
            shutil.rmtree(tmp_path / "kept")
        return found

    return ask


def test_a_matrix(both):
    here, there = both("matrix", "--package", "adams", "--versions", "2.1,1.0,1.2,2.0")
    assert here[0][0] == 1
    assert here[0][3]["releases"]["1.0"]["counts"] == {"user.steady": {"identical": 1}, "user.adams": {"changed": 1}}
    assert "nowhere-to-be-had" in here[0][3]["releases"]["1.2"]["why"]
    assert there == here
    assert sum(name.startswith("releases/") for name in here[1]) == 3 * 3


def test_a_search(both):
    here, there = both("bisect", "--package", "adams", "--good", "1.0", "--bad", "2.1")
    assert (here[0][0], here[0][3]["first_changed"]) == (0, "2.0")
    assert there == here


def some(counts):
    return {status: count for status, count in counts.items() if count}


def test_an_upgrade(both):
    here, there = both("upgrade", "--before", "adams==1.3", "--after", "adams==2.0")
    assert here[0][0] == 1
    assert some(here[0][3]["counts"]) == {"identical": 1, "changed": 1}
    assert there == here
    assert {"before/side.json", "after/side.json"} < here[1].keys()


def test_an_upgrade_to_what_raises(both):
    here, there = both("upgrade", "--before", "adams==1.3", "--after", "adams==3.0")
    assert some(here[0][3]["counts"]) == {"identical": 1, "failed": 1}
    assert there == here


@pytest.mark.parametrize("after", [["--after-baseline", "none"], ["--after-env", "OMP_NUM_THREADS=1"]])
def test_a_side_of_this_machine_stays_here(call, after):
    code, _, err, _ = call("upgrade", "--before", "adams==1.3", *after, "--cluster", "local:1")
    assert code == 2
    assert "--cluster local:1: only a side with pins is recorded elsewhere, and not both have them" in err


def test_what_a_side_lacks_is_the_line_that_it_is_here(call):
    asked = ("upgrade", "--before", "adams==1.3", "--after", "adams==2.2")
    here, there = call(*asked), call(*asked, "--cluster", "local:1")
    assert here[0] == 4
    assert "nowhere-to-be-had" in here[2]
    assert there == here


def test_what_the_newest_lacks_is_the_line_that_it_is_here(call):
    asked = ("matrix", "--package", "adams", "--versions", "1.0,2.2")
    here, there = call(*asked), call(*asked, "--cluster", "local:1")
    assert here[0] == 4
    assert "nowhere-to-be-had" in here[2]
    assert there == here


def test_a_command_of_this_machine_stays_here(call):
    arguments = ("--package", "adams", "--good", "1.0", "--bad", "2.1", "--check", "true", "--cluster", "local:1")
    code, _, err, _ = call("bisect", *arguments, implementations=(), cases=())
    assert (code, err) == (2, "parity: --check runs a command of this machine: leave out --cluster\n")
