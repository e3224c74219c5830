"""A user's mistake is one line on standard error, with the nearest match, before anything is run."""

from __future__ import annotations

import importlib
import re

import pytest

PAIR = ("-i", "numpy.adam.hat", "-i", "numpy.adam.outside")


@pytest.fixture
def refused(command, tmp_path, monkeypatch):
    """Exit code and the one line of a command that must not get as far as making its run directory."""

    def call(*arguments):
        monkeypatch.chdir(tmp_path)
        code, out, err = command(*arguments)
        assert out == ""
        assert re.fullmatch(r"parity: [^\n]+\n", err)
        assert not (tmp_path / "runs").exists()
        return code, err.removeprefix("parity: ").rstrip("\n")

    return call


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["rnu"], 2, "command 'rnu' is unknown; .*did you mean 'run'\\?"),
        (["run", "--dtyp", "float32"], 2, "No such option '?--dtyp'?.*--dtype.*"),
        (["run", "-j", "0"], 2, ".*-j.* 0 is not in the range.*"),
        (["run", "--timeout", "0"], 2, ".*--timeout.*"),
        (["run", "--color", "sometimes"], 2, ".*--color.*always.*"),
        (["run", "-k", "long and"], 2, "-k 'long and': a word is expected before its end"),
        (["run", "-d", "float31"], 4, "dtype 'float31' is unknown; .*did you mean 'float32'\\?"),
        (
            ["run", "-i", "torch.adam.fusd"],
            4,
            "implementation 'torch.adam.fusd' .*did you mean 'torch.adam.fused'\\?",
        ),
        (
            ["run", "-i", "nowhere.py:run"],
            4,
            "implementation 'nowhere.py:run': there is no file 'nowhere.py'",
        ),
        (
            ["run", "-i", "numpy.adam.hat"],
            5,
            "nothing to compare: only numpy.adam.hat is selected; it takes two",
        ),
        (["run", "-k", "no_such_case"], 5, "nothing to compare: no case is selected"),
        (
            ["run", "nowhere"],
            4,
            r"there is no case file or folder 'nowhere'; no case file \(\*\.toml\) is in \.; "
            "shipped cases are chosen by -k, 'parity list cases'",
        ),
        (["list", "casses"], 2, "list 'casses' is unknown; .*did you mean 'cases'\\?"),
        (["list", "metrics", "x.toml"], 2, "list metrics: takes no CASE, and 'x.toml' was given"),
        (["list", "cases", "-k", "("], 2, "-k '\\(': .*"),
        (["compare", "a"], 2, "Missing argument 'EXPECTED'.*"),
        (["compare", "a", "b"], 4, "a: no trace here, trace.json is missing"),
        (["compare", "a", "b", "--within", "w"], 2, "--within 'w': allowed: QUANTITY:METRIC=LIMIT, .*"),
        (
            ["compare", "a", "b", "--within", "w:max_upl=1"],
            2,
            "--within 'w:max_upl=1': 'max_upl' .*did you mean 'max_ulp'\\?",
        ),
        (
            ["compare", "a", "b", "--within", "wmax:max_ulp=1"],
            2,
            ".*'wmax' is unknown; .*did you mean 'vmax'\\?",
        ),
        (
            ["compare", "a", "b", "--within", "w:max_ulp=few"],
            2,
            "--within 'w:max_ulp=few': 'few' is not a number",
        ),
        (
            ["compare", "a", "b", "--within", "w:max_ulp=-1"],
            2,
            "--within w.max_ulp: .*greater than or equal to 0",
        ),
        (["compare", "a", "b", "--within", "w:max_ulp=nan"], 2, "--within w.max_ulp: .*finite.*"),
        (["report", "nowhere"], 4, "nowhere: no run here, run.json is missing"),
    ],
)
def test_a_mistake_is_one_line(refused, arguments, code, told):
    answer = refused(*arguments)
    assert answer[0] == code
    assert re.fullmatch(told, answer[1])


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"stepps": 5}, "unknown key 'stepps'; .*did you mean 'steps'\\?"),
        ({"steps": 0}, "steps: .*"),
        ({"dtypes": ["float31"]}, "dtypes.*: 'float31' is not allowed; .*did you mean 'float32'\\?"),
        ({"hyper": {"beta2": 1.0}}, "hyper.beta2: .*"),
        (
            {"gradients": {"kind": "bel", "scale": 0.1}},
            "gradients.kind: 'bel' is not allowed; .*did you mean 'bell'\\?",
        ),
    ],
)
def test_a_mistake_in_a_case_names_file_and_key(refused, write_case, keys, told):
    path = write_case("wrong", **keys)
    code, line = refused("run", path, *PAIR)
    assert code == 4
    assert line.startswith(f"{path}: ")
    assert re.fullmatch(told, line.removeprefix(f"{path}: "))


def test_a_case_file_that_does_not_exist_names_the_nearest(refused, write_case):
    path = write_case("constant")
    code, line = refused("run", path.with_name("constnt.toml"), *PAIR)
    assert code == 4
    assert line.endswith("did you mean 'constant.toml'?")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (broken.py:1)"),
        ("def run(:", "SyntaxError: invalid syntax"),
        ("def rum(): ...", "no attribute 'run'; allowed: rum; did you mean 'rum'?"),
        ("run = 3", "is a int; allowed: a run function, a parity.Implementation, or an optimizer class"),
        ("import os; os._exit(7)", "the worker process died (exit status 7)"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_one_line(refused, write_case, tmp_path, code, told):
    (tmp_path / "broken.py").write_text(code + "\n")
    exit_code, line = refused("run", write_case(), "-i", "broken.py:run")
    assert exit_code == 4
    assert "'broken.py:run'" in line
    assert told in line


def test_an_internal_error_is_told_as_one(command, monkeypatch):
    monkeypatch.setattr("parity.api.listing.list_metrics", None)
    monkeypatch.setitem(importlib.import_module("parity.api.listing").LISTINGS, "metrics", lambda paths: 1 / 0)
    code, _, err = command("list", "metrics")
    assert code == 3
    assert "ZeroDivisionError" in err
    assert err.endswith("parity: internal error; this is a bug of parity, the lines above say where\n")
