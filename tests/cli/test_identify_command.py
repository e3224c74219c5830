"""``parity identify``: what it prints, what it writes, how it refuses."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

import parity
from parity.identify.answer import LEFT_OUT, Answer, Finding
from parity.report.identity import identity_parts, identity_sentence

FAULTS = Path(__file__).parent.parent / "faults"
NAME = "numpy.adam.outside"

KEYS = {"verdict", "convention", "arithmetic", "formula", "causes", "residual"}

DEPARTURE = Finding("epsilon-value", "eps is 1e-07, not 1e-08.", {"found": 1e-7, "per_step": [1.0] * 9})
BENIGN = Finding("fma", "m is contracted.", benign=True)


def answer(verdict="identified", causes=(), **fields):
    """An answer as the search and the fit would give it."""
    convention = {"epsilon": "hat", "step_count": "global", "hyperparameters": {"lr": 0.01, "eps": 1e-7}}
    arithmetic = {"first_moment": "m = b1 * m", "factors": "\n".join(f"x{n} = {n}" for n in range(9)), "tail": ()}
    told = {
        "convention": convention,
        "arithmetic": arithmetic,
        "formula": "m = 1\nw = [2]",
        "residual": {"elements": 7},
    }
    told |= fields
    return Answer(verdict, causes=tuple(causes), **told)


@pytest.fixture
def said(monkeypatch):
    """Let the search and the fit say this of whatever is observed; what they were given is kept in the list."""

    def say(*answers):
        asked, left = [], list(answers)

        def explained(observations, claim, library):
            asked.append((observations, claim))
            return left.pop(0)

        monkeypatch.setattr("parity.identify.identify._explained", explained)
        return asked

    return say


@pytest.fixture
def kept(run_small, tmp_path):
    """The folder of a kept trace."""
    run_small(NAME, "numpy.adam.hat", options=parity.Options(keep_traces=True))
    return next((tmp_path / "run" / "traces").rglob(NAME))


def printed(told, name="user.adam"):
    """What a terminal of 80 columns shows."""
    screen = Console(width=80, record=True, file=io.StringIO(), highlight=False)
    for part in identity_parts(name, "float32", told):
        screen.print(part)
    return screen.export_text()


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (answer(), "x in float32 is Adam with epsilon hat, bit for bit."),
        (answer(causes=[BENIGN]), "x in float32 is Adam with epsilon hat, bit for bit."),
        (
            answer("explained", [DEPARTURE]),
            "x in float32 is Adam with epsilon hat, with 1 departure, to within rounding.",
        ),
        (
            answer("unexplained", [DEPARTURE, Finding("unexplained", "?")]),
            "x in float32 is not explained; the nearest is Adam with epsilon hat, with 2 departures.",
        ),
        (answer("unexplained", convention={}), "x in float32 is no Adam that could be named."),
        (
            answer("unexplained", [Finding("nondeterminism", "noise")], convention={}),
            "x in float32 does not answer the same twice; nothing else can be said of it.",
        ),
    ],
)
def test_one_sentence_comes_first(told, sentence):
    assert identity_sentence("x", "float32", told) == sentence
    assert " ".join(printed(told, "x").split()).startswith(sentence)


def test_then_the_formula_the_numbers_the_departures_and_what_is_left():
    told = answer(causes=[DEPARTURE, BENIGN], residual={"elements": 7, LEFT_OUT: {"l2": "no L2 here"}})
    text = printed(told)
    assert max(map(len, text.splitlines())) <= 80
    for line in (
        r"  m = 1$",
        r"  w = \[2\]$",
        r"convention +epsilon hat, step count global$",
        r"in force +lr 0\.01, eps 1e-07$",
        r"departs +epsilon-value: eps is 1e-07, not 1e-08\. \(found 1e-07\)$",
        r"rounding +fma: m is contracted\.$",
        r"not asked +l2: no L2 here$",
        r"arithmetic +first moment: m = b1 \* m$",
        r" +factors: 9 numbers, listed by --json$",
        r"left over +elements 7$",
    ):
        assert re.search("^" + line[:-1] + " *$", text, re.M), line
    assert "tail" not in text
    order = [text.index(word) for word in ("user.adam", "m = 1", "in force", "departs", "rounding", "left over")]
    assert order == sorted(order)


def test_the_widest_dtype_is_at_the_top_and_all_are_there(command, said, tmp_path):
    asked = said(answer(), answer("explained"))
    arguments = ("identify", NAME, "-d", "float16", "-d", "float64")
    code, out, err = command(*arguments, "--json", tmp_path / "answer.json")
    assert (code, err) == (0, "")
    assert out.index(f"{NAME} in float64 is Adam") < out.index(f"{NAME} in float16 is Adam")
    told = json.loads((tmp_path / "answer.json").read_text())
    assert set(told) == KEYS | {"target", "dtype", "dtypes"}
    assert (told["target"], told["dtype"], told["verdict"]) == (NAME, "float64", "identified")
    assert set(told["dtypes"]) == {"float64", "float16"}
    assert all(set(one) == KEYS for one in told["dtypes"].values())
    assert {key: told[key] for key in KEYS} == told["dtypes"]["float64"]
    assert told["dtypes"]["float16"]["verdict"] == "explained"
    assert [claim for _, claim in asked] == ["outside", "outside"]
    assert [next(iter(seen.values())).w.dtype.name for seen, _ in asked] == ["float64", "float16"]


def test_json_on_standard_output_is_nothing_else(command, said):
    said(answer())
    code, out, err = command("identify", NAME, "-d", "float32", "--json", "-")
    assert code == 0
    assert json.loads(out)["dtype"] == "float32"
    assert "bit for bit" in err


def test_what_is_not_explained_is_exit_code_1(command, said):
    said(answer(), answer("unexplained"))
    assert command("identify", NAME, "-d", "float64", "-d", "float32")[0] == 1


def test_hidden_moments_are_not_looked_at(command, said):
    asked = said(answer())
    assert command("identify", NAME, "-d", "float32", "--hide-moments")[0] == 0
    assert all(one.m is None and one.v is None for one in asked[0][0].values())


def test_a_plugin_claims_nothing_and_its_refusals_are_told(command, said, write_adam):
    asked = said(answer())
    target = write_adam(first="if hyper.amsgrad: raise Unsupported('no maximum here')")
    code, out, _ = command("identify", target, "-d", "float32", "--json", "-")
    assert code == 0
    assert json.loads(out)["residual"] == {"elements": 7, LEFT_OUT: {"amsgrad": "no maximum here"}}
    assert asked[0][1] is None
    assert "amsgrad" not in asked[0][0]


def test_nothing_is_said_of_a_noisy_target_but_that(command, said):
    asked = said()
    code, out, _ = command("identify", f"{FAULTS / 'wrong_adams.py'}:noisy", "-d", "float32", "--json", "-")
    assert (code, asked) == (1, [])
    told = json.loads(out)
    assert (told["verdict"], told["convention"], told["arithmetic"]) == ("unexplained", {}, None)
    assert [cause["family"] for cause in told["causes"]] == ["nondeterminism"]


def test_a_target_that_refuses_everything_is_one_line(command, said, write_adam):
    said()
    code, out, err = command("identify", write_adam(first="raise Unsupported('no such kernel')"), "-d", "float32")
    assert (code, out) == (4, "")
    assert err == "parity: user.plugin: answers no question: no such kernel\n"


def test_a_trace_is_a_target(command, said, kept):
    asked = said(answer(), answer())
    code, out, err = command("identify", kept)
    assert (code, err) == (0, "")
    assert out.startswith(f"{NAME} in float32 is Adam")
    ((observations, claim),) = asked
    assert (list(observations), claim) == (["trace"], "outside")
    shutil.rmtree(kept.parent / "input")
    code, _, err = command("identify", kept)
    assert code == 4
    assert re.fullmatch(r"parity: [^\n]+the gradients are missing[^\n]+--case\n", err)
    assert command("identify", kept, "--case", kept.parents[3].parent / "small.toml", "--hide-moments")[0] == 0
    assert asked[1][0]["trace"].m is None


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["numpy.adam.outsid"], 4, "implementation 'numpy.adam.outsid' .*did you mean 'numpy.adam.outside'\\?"),
        ([NAME, "-d", "float31"], 4, "dtype 'float31' is unknown; .*did you mean 'float32'\\?"),
        (["numpy.adam.hat.store", "-d", "float64"], 4, ".* does not run in float64; allowed: float16, bfloat16"),
        (["nowhere.py:run"], 4, "implementation 'nowhere.py:run': there is no file 'nowhere.py'"),
        (["runs/nowhere"], 4, "runs/nowhere: no trace here, trace.json is missing"),
        ([".", "-d", "float32"], 2, "--dtype: a trace has the dtype it was made in"),
        ([".", "--case", "constnt"], 4, "--case 'constnt': neither a file nor .*did you mean 'constant'\\?"),
        ([NAME, "--case", "constant"], 2, f"--case: is for a trace folder, and '{NAME}' is none"),
        ([NAME, "--input", "."], 2, "--input: is for a trace folder, .*"),
        ([NAME, "--timeout", "0"], 2, ".*--timeout.*"),
        ([], 2, "Missing argument 'TARGET'.*"),
    ],
)
def test_a_mistake_is_one_line(command, monkeypatch, tmp_path, arguments, code, told):
    monkeypatch.chdir(tmp_path)
    answered = command("identify", *arguments)
    assert answered[:2] == (code, "")
    assert re.fullmatch(f"parity: {told}\n", answered[2])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("raises", r"step 3: RuntimeError: planted \(bad_targets.py:\d+\)"),
        ("hangs", r"step 3: no answer in 8 s \(--timeout\); the process was ended"),
        ("mutates_gradients", "step 1: wrote into its gradients"),
        ("promoted", r"step 1: w\['kernel'\] is float64, the case runs in float32"),
        ("views_of_inputs", "shows what it was given as its state: .*"),
    ],
)
def test_a_bad_target_is_one_line(command, name, told):
    code, out, err = command("identify", f"{FAULTS / 'bad_targets.py'}:{name}", "-d", "float32", "--timeout", "8")
    assert (code, out) == (4, "")
    assert re.fullmatch(f"parity: user.{name} in float32, probe 'main': {told}\n", err)


def test_a_hanging_import_is_one_line(command, tmp_path):
    (tmp_path / "sleeps.py").write_text("import time; time.sleep(600)\n")
    code, _, err = command("identify", f"{tmp_path / 'sleeps.py'}:run", "--timeout", "2")
    assert code == 4
    assert re.fullmatch(r"parity: implementation '[^']+' cannot be loaded: no answer in 2 s [^\n]+\n", err)
