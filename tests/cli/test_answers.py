"""What the commands answer: exit codes, help, JSON, colours, listings."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from parity.adam import machine
from parity.adam.forms import SecondMoment
from parity.case.catalogue import select_cases
from parity.case.expectation import Kind
from parity.cli.doctor_command import CONFIRMING
from parity.cli.main import COMMANDS
from parity.core.version import VERSION
from parity.engine.plan import pairs_of
from parity.implementations.registry import shipped_implementations

PAIR = ("-i", "numpy.adam.hat", "-i", "numpy.adam.outside")
ROWS = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]")


def strict(text):
    """JSON as the standard has it: no NaN, no Infinity."""

    def refuse(word):
        raise AssertionError(word)

    return json.loads(text, parse_constant=refuse)


def test_help_shows_every_command(command):
    code, out, err = command("--help")
    assert (code, err) == (0, "")
    assert all(re.search(rf"^  {name} ", out, re.MULTILINE) for name in COMMANDS)
    assert "Exit codes: 0 all as expected" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_says_what_the_list_says(command, name):
    code, out, _ = command(name, "--help")
    assert code == 0
    assert out.startswith(f"Usage: parity {name} ")


def test_no_command_shows_the_help_and_is_a_usage_error(command):
    code, out, err = command()
    assert (code, out) == (2, "")
    assert err.startswith("Usage: parity ")


def test_the_version(command):
    assert command("--version") == (0, f"parity, version {VERSION}\n", "")


def test_a_green_run_is_0_and_a_red_one_is_1(command, write_case, write_adam, tmp_path):
    case = write_case()
    wrong = write_adam(swap=[("1 - hyper.beta2**t", "1.0")])
    assert command("run", case, *PAIR, "-o", tmp_path / "green")[0] == 0
    code, out, err = command("run", case, *PAIR, "-i", wrong, "-o", tmp_path / "red")
    assert code == 1
    assert "1/1 cells" in err
    assert "user.plugin against numpy.adam.outside is not as expected" in " ".join(out.split())
    assert "1 of 2 pairs as expected" in out.splitlines()[-1]


def test_quiet_is_one_line_and_verbose_shows_every_pair(command, write_case, tmp_path):
    case = write_case()
    _, quiet, err = command("run", case, *PAIR, "-q", "-o", tmp_path / "run")
    assert (len(quiet.splitlines()), err) == (1, "")
    _, verbose, _ = command("run", case, *PAIR, "-v", "-o", tmp_path / "run")
    assert "DIVERGED" in verbose
    assert "from step 1" in verbose


def test_the_json_of_a_run_is_its_record(command, write_case, tmp_path):
    case = write_case()
    code, out, _ = command("run", case, *PAIR, "--json", tmp_path / "answer.json", "-o", tmp_path / "run")
    assert code == 0
    record = strict((tmp_path / "run" / "run.json").read_text())
    assert strict((tmp_path / "answer.json").read_text()) == record
    code, out, err = command("run", case, *PAIR, "--json", "-", "-o", tmp_path / "run")
    assert (code, strict(out)) == (0, record)
    assert "1 of 1 pairs as expected" in err


def test_the_json_of_a_comparison_has_figures_even_where_they_are_infinite(command, write_trace):
    bad = ROWS.copy()
    bad[1, 2] = np.nan
    pair = write_trace("actual", bad), write_trace("expected", ROWS)
    code, out, err = command("compare", *pair, "--json", "-")
    answer = strict(out)
    assert (code, answer["verdict"]["kind"]) == (1, "DIVERGED")
    assert answer["distances"][0]["worst_max_ulp"]["value"] == 2**64 - 1
    assert answer["distances"][0]["worst_max_abs"]["value"] == "inf"
    assert "DIVERGED" in err


@pytest.mark.parametrize("kind", ["cases", "implementations", "metrics", "conventions"])
def test_the_json_of_a_listing_has_its_rows(command, kind):
    code, out, _ = command("list", kind, "--json", "-")
    names = [row["name"] for row in strict(out)]
    assert code == 0
    assert len(names) >= 3
    code, out, _ = command("list", kind)
    assert all(name in out for name in names)


def test_a_listing_can_be_narrowed(command, write_case):
    write_case("alpha")
    folder = write_case("beta").parent
    assert [row["name"] for row in strict(command("list", "cases", folder, "--json", "-")[1])] == [
        "alpha",
        "beta",
    ]
    rows = strict(command("list", "cases", folder, "-k", "not alpha", "--json", "-")[1])
    assert [(row["name"], row["elements"]) for row in rows] == [("beta", "17")]


def test_colours_are_asked_for_or_not_there(command, write_trace, monkeypatch):
    pair = write_trace("actual", ROWS * 2), write_trace("expected", ROWS)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert "\x1b" not in command("compare", *pair)[1]
    assert "\x1b" not in command("compare", *pair, "--color", "never")[1]
    assert COLOUR.search(command("compare", *pair, "--color", "always")[1])
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert COLOUR.search(command("compare", *pair)[1])
    assert "\x1b" not in command("compare", *pair, "--color", "never")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert not COLOUR.search(command("compare", *pair)[1])


def test_the_module_is_the_command(process):
    one = process("--version")
    assert one.communicate(timeout=60)[0] == f"parity, version {VERSION}\n"
    assert one.returncode == 0


def test_a_reader_that_leaves_sees_no_traceback_and_no_green(process):
    one = process("list", "metrics")
    one.stdout.close()
    assert one.wait(60) in (1, 2)
    assert "Traceback" not in one.stderr.read()


@pytest.mark.thorough
@pytest.mark.frameworks
def test_the_doctor_runs_everything_that_is_here(command, tmp_path, monkeypatch):
    monkeypatch.setenv("PARITY_CACHE", str(tmp_path))
    for name in ("built", "half"):
        (tmp_path / "environments" / name).mkdir(parents=True)
    (tmp_path / "environments" / "built" / "ready.json").touch()
    code, out, err = command("doctor", "--json", "-")
    answer = strict(out)
    assert code == 0
    assert set(answer["implementations"].values()) == {"works"}
    assert {"torch.adam.fused", "keras.adam.xla", "numpy.adam.outside"} <= set(answer["implementations"])
    assert answer["environments"] == {"folder": str(tmp_path / "environments"), "kept": 1}
    assert answer["page_lacks"] == []
    assert f"{tmp_path}/environments: 1;" in err.replace("\n", "")
    claims = {one["implementation"]: one for one in answer["claims"]}
    assert claims.keys() == answer["implementations"].keys()
    assert {one["broken"] for one in claims.values()} == {0}
    assert all(one["compared"] > 100_000 for one in claims.values())
    assert claims["torch.adam.fused"]["machine"].startswith(f"x86_64 ({answer['environment']['vendor']}), torch on ")
    assert {"torch threads", "torch instruction set", "XLA instruction set"} <= answer["environment"]["machine"].keys()
    confirmed = {name for name, one in claims.items() if not one["unconfirmed"]}
    assert confirmed in (claims.keys(), set())
    told = "confirmed; none of" if confirmed else "not confirmed on such a machine"
    assert told in " ".join(err.split())


def asked_to_confirm():
    """By row that some case asks for: elements of m, v and w of the selection that confirms, in all dtypes."""
    rows, asked = shipped_implementations(), Counter()
    confirming = {case.name for case in select_cases(keyword=CONFIRMING)}
    for case in select_cases():
        for dtype in case.dtypes:
            pairs = pairs_of(case, list(rows), dtype)
            run = (pair for pair in pairs if case.expectation_for(*pair, dtype).verdict != Kind.SKIPPED)
            for name in set(chain.from_iterable(run)):
                # FSDP2 refuses tensors of shape ().
                refused = name == "torch.adam.fsdp2" and any(one.shape == () for one in case.parameters)
                taken = case.name in confirming and dtype in rows[name].dtypes and not refused
                asked[name] += 3 * case.steps * case.layout().size * taken
    return asked


@pytest.mark.frameworks
@pytest.mark.exhaustive
def test_the_doctor_looks_at_every_claim_on_a_machine_that_nobody_has_seen(command, monkeypatch):
    monkeypatch.setattr(machine, "CONFIRMED", {})
    right = machine.TWINS
    hat = right["numpy.adam.hat"]
    swapped = replace(
        hat["float64"], arithmetic=replace(hat["float64"].arithmetic, second_moment=SecondMoment.AVERAGE_LEFT)
    )
    monkeypatch.setattr(machine, "TWINS", {**right, "numpy.adam.hat": {**hat, "float64": swapped}})
    code, out, err = command("doctor", "--confirm", "--json", "-")
    claims = {one["implementation"]: one for one in strict(out)["claims"]}
    assert code == 1
    assert [name for name, one in claims.items() if one["broken"]] == ["numpy.adam.hat"]
    assert all("nobody has seen" in one["unconfirmed"] for one in claims.values())
    asked = asked_to_confirm()
    assert claims.keys() == asked.keys()
    assert {name: one["compared"] for name, one in claims.items() if one["compared"] < max(asked[name], 1)} == {}
    assert "not confirmed on such a machine" in " ".join(err.split())
