"""``parity identify``: what it prints, what it writes, how it refuses."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import parity
from parity.identify.answer import FAILED, LEFT_OPEN, LEFT_OUT, Answer, Finding
from parity.report.identity import identity_parts, identity_sentence

pytestmark = pytest.mark.thorough


FAULTS = Path(__file__).parent.parent / "faults"
NAME = "numpy.adam.outside"

KEYS = {
    "verdict",
    "convention",
    "arithmetic",
    "formula",
    "causes",
    "residual",
    "optimizer",
    "asked",
    "never_asked",
    "laws",
    "not_finite",
}

DEPARTURE = Finding("epsilon-value", "eps is 1e-07, not 1e-08.", {"found": 1e-7, "per_step": [1.0] * 9})
BENIGN = Finding("fma", "m is contracted.", benign=True)


def answer(verdict="identified", causes=(), **fields):
    """An answer as the search and the fit would give it."""
    convention = {
        "epsilon": "hat",
        "step_count": "per_parameter",
        "weight_decay": ["w = w"],
        "hyperparameters": {"lr": 0.01, "eps": 1e-7},
    }
    arithmetic = {"first_moment": "m = b1 * m", "factors": "\n".join(f"x{n} = {n}" for n in range(9)), "tail": ()}
    told = {
        "convention": convention,
        "arithmetic": arithmetic,
        "formula": "m = 1\nw = [2]",
        "residual": {"elements": 7},
    }
    told |= fields
    return Answer(verdict, causes=tuple(causes), **told)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """What the command says of a shipped Adam in two dtypes: what it prints, and its JSON."""
    path = tmp_path_factory.mktemp("identify") / "answer.json"
    finished = subprocess.run(
        [sys.executable, "-m", "parity", "identify", NAME, "-d", "float16", "-d", "float32", "--json", str(path)],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout, json.loads(path.read_text())


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
        (answer("unexplained", convention={}), "x in float32 is not recognised."),
        (
            answer(causes=[Finding("unexplained", "not an Adam: SGD")], convention={}),
            "x in float32 is not an Adam: SGD.",
        ),
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
        r"convention +epsilon hat, step count per parameter$",
        r"in force +lr 0\.01, eps 1e-07$",
        r"departs +epsilon-value: eps is 1e-07, not 1e-08\. \(found 1e-07\)$",
        r"rounding +fma: m is contracted\.$",
        r"refused +l2: no L2 here$",
        r"arithmetic +first moment: m = b1 \* m$",
        r" +factors: 9 numbers, listed by --json$",
        r"compared +7 elements, 0 differ$",
    ):
        assert re.search("^" + line[:-1] + " *$", text, re.M), line
    assert "tail" not in text
    order = [text.index(word) for word in ("user.adam", "m = 1", "in force", "departs", "rounding", "compared")]
    assert order == sorted(order)


def test_what_is_left_over_is_counted_and_placed():
    where = {"probe": "l2", "step": 5, "parameter": "bias", "index": [17]}
    residual = {
        "elements": 9048,
        "differing": 12,
        "max_ulp": {"m": 5_378, "v": 2**40, "w": 2**64 - 1},
        "where": {"m": where, "v": where | {"parameter": "scalar", "index": []}},
    }
    text = printed(answer("unexplained", arithmetic=None, residual=residual))
    for line in (
        r"left over +12 of 9,048 elements",
        r" +m by up to 5,378 ULP \(probe 'l2', step 5, bias\[17\]\)",
        r" +v by up to 1\.1e\+12 ULP \(probe 'l2', step 5, scalar\)",
        r" +w by up to NaN or infinity",
    ):
        assert re.search("^" + line + " *$", text, re.M), line
    assert "compared" not in text


def test_what_a_claim_leaves_open_is_told_by_probe():
    left_open = {"no-eps": {"differing": 397, "elements": 9048, "reason": "it refines"}}
    told = answer("explained", residual={"elements": 395_268, "differing": 397, LEFT_OPEN: left_open})
    assert identity_sentence("x", "float32", told).endswith("hat, bit for bit but for what is left open.")
    text = printed(told)
    assert re.search(r"^left open +no-eps: 397 of 9,048 elements differ; it refines *$", text, re.M)
    assert re.search(r"^compared +395,268 elements, 397 differ *$", text, re.M)


def test_the_widest_dtype_is_at_the_top_and_all_are_there(shipped):
    out, told = shipped
    assert out.index(f"{NAME} in float32 is Adam") < out.index(f"{NAME} in float16 is Adam")
    assert set(told) == KEYS | {"target", "dtype", "dtypes"}
    assert (told["target"], told["dtype"]) == (NAME, "float32")
    assert set(told["dtypes"]) == {"float32", "float16"}
    assert all(set(one) == KEYS for one in told["dtypes"].values())
    assert {key: told[key] for key in KEYS} == told["dtypes"]["float32"]


def test_a_shipped_adam_is_identified(shipped):
    out, told = shipped
    for dtype, one in told["dtypes"].items():
        assert f"{NAME} in {dtype} is Adam with epsilon outside, bit for bit." in out
        assert one["verdict"] == "identified"
        assert one["convention"]["epsilon"] == "outside"
        assert one["convention"]["hyperparameters"] == {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-3}
        assert one["arithmetic"]["first_moment"] == "m = b1 * m + c1 * g"
        assert one["formula"].splitlines()[-1] == "w = w - lr * (m / c1) / (sqrt(v / c2) + eps)"
        assert [cause for cause in one["causes"] if not cause["benign"]] == []
        assert one["residual"]["differing"] == 0
        assert one["residual"]["elements"] > 400_000
    assert re.search(r"^compared +1,\d\d\d,\d{3} elements, 0 differ *$", out, re.M)


def test_json_on_standard_output_is_nothing_else(command):
    code, out, err = command("identify", f"{FAULTS / 'other_optimizers.py'}:sgd", "-d", "float32", "--json", "-")
    told = json.loads(out)
    assert (code, told["dtype"], told["verdict"], told["convention"]) == (0, "float32", "explained", {})
    assert told["formula"] == "w = w - lr * g"
    assert "user.sgd in float32 is not an Adam: SGD." in err


def test_an_epsilon_in_the_wrong_place_is_read_out_of_a_file(command, write_adam):
    target = write_adam(
        first="if hyper.weight_decay or hyper.amsgrad: raise Unsupported('plain Adam only')",
        swap=[("np.sqrt(v_hat) + f(hyper.eps)", "np.sqrt(v_hat + f(hyper.eps))")],
    )
    code, out, err = command("identify", target, "-d", "float32", "--json", "-")
    told = json.loads(out)
    assert (code, told["target"], told["convention"]["epsilon"]) == (0, "user.plugin", "inside")
    assert told["verdict"] in {"identified", "explained"}
    assert "w = w - lr * (m / c1) / sqrt(v / c2 + eps)" in told["formula"].splitlines()
    # It counts steps, not the gradients of a parameter, and has eps inside: nobody claimed otherwise.
    assert (told["convention"]["step_count"], told["causes"]) == ("global", [])
    left_out = dict(told["residual"][LEFT_OUT])
    assert "its run takes no start" in left_out.pop("law-continued")
    assert all("its run takes no stages" in left_out.pop(f"law-{one}") for one in ("unscaled", "left-out"))
    assert left_out.pop("betas") == "takes no betas that change: raises ValueError (plugin.py:17)"
    assert left_out == dict.fromkeys(("decoupled", "l2", "amsgrad", "none-decoupled", "clip-l2"), "plain Adam only")
    assert "user.plugin in float32 is Adam with epsilon inside, " in err
    assert re.search(r"^refused +decoupled, l2, amsgrad, none-decoupled, clip-l2: plain Adam only *$", err, re.M)


def test_what_is_not_explained_is_exit_code_1_and_says_how_much_is_left(command, write_adam):
    target = write_adam(before="gradient = {n: None if g is None else g * g.dtype.type(1 + t % 3) for n, g in "
                               "gradient.items()}")  # fmt: skip
    code, out, err = command("identify", target, "-d", "float32", "--json", "-")
    left = json.loads(out)["residual"]
    assert code == 1
    assert 1000 < left["differing"] < left["elements"]
    assert {"m", "v"} <= set(left["max_ulp"]) == set(left["where"])
    assert min(left["max_ulp"].values()) > 1
    assert set(left["where"]["m"]) == {"probe", "step", "parameter", "index"}
    assert f"{left['differing']:,} of {left['elements']:,} elements" in err


@pytest.mark.parametrize("target", [NAME, "hidden"])
def test_without_moments_the_weights_tell(command, write_adam, target):
    options = ["--hide-moments"]
    if target == "hidden":
        target, options = write_adam(swap=[("State(w=w, m=m, v=v)", "State(w=w, m=None, v=None)")]), []
    code, out, _ = command("identify", target, "-d", "float32", *options, "--json", "-")
    told = json.loads(out)
    assert (code, told["verdict"], told["arithmetic"]) == (0, "explained", None)
    assert told["convention"]["epsilon"] == "outside"
    left_out = told["residual"].pop(LEFT_OUT, {})
    ignored = {} if target == NAME else {"ignored": {"groups": "those of all are taken for every tensor"}}
    assert told["residual"] == {"elements": 361_351, "differing": 0} | ignored
    assert set(left_out) == ({"betas", "law-continued", "law-unscaled", "law-left-out"} if target != NAME else set())
    assert left_out.get("law-continued") == (None if target == NAME else "hides m or v: nobody can hand its state over")
    expected = set() if target == NAME else {"weight-decay", "amsgrad"}
    assert {cause["family"] for cause in told["causes"]} == expected


def test_what_is_not_recognised_names_the_nearest_rule_and_shows_all_numbers(command):
    code, out, err = command("identify", f"{FAULTS / 'other_optimizers.py'}:random_walk", "-d", "float32", "--show")
    assert (code, err) == (1, "")
    which = r"the nearest rule is .+, which is up to [\d.]+ lr away \(.+\)\."
    first = rf"user\.random_walk in float32 is not recognised; {which}"
    assert re.fullmatch(first, out.splitlines()[0].rstrip())
    told = json.loads(out[out.index("\n{") :])
    assert told["residual"]["nearest"]["distance"] > 1
    assert set(told["residual"]["nearest"]) >= {"rule", "median", "probe", "parameter", "index", "step", "moved"}


def test_nothing_is_said_of_a_noisy_target_but_that(command):
    code, out, err = command("identify", f"{FAULTS / 'wrong_adams.py'}:noisy", "-d", "float32", "--json", "-")
    told = json.loads(out)
    assert (code, told["verdict"], told["convention"], told["arithmetic"]) == (1, "unexplained", {}, None)
    assert [cause["family"] for cause in told["causes"]] == ["nondeterminism"]
    assert "does not answer the same twice" in err


def test_a_target_that_refuses_everything_is_one_line(command, write_adam):
    code, out, err = command("identify", write_adam(first="raise Unsupported('no such kernel')"), "-d", "float32")
    assert (code, out) == (4, "")
    assert err == "parity: user.plugin: answers no question: no such kernel\n"


def test_a_trace_is_a_target(command, kept):
    code, out, err = command("identify", kept)
    assert (code, err) == (0, "")
    assert out.startswith(f"{NAME} in float32 is Adam with epsilon outside, bit for bit.")
    shutil.rmtree(kept.parent / "input")
    code, _, err = command("identify", kept)
    assert code == 4
    assert re.fullmatch(r"parity: [^\n]+the gradients are missing[^\n]+--case\n", err)
    case = kept.parents[3].parent / "small.toml"
    code, out, _ = command("identify", kept, "--case", case, "--hide-moments", "--json", "-")
    told = json.loads(out)
    assert (code, told["verdict"], told["arithmetic"], told["causes"]) == (0, "explained", None, [])
    assert told["residual"] == {"elements": 85, "differing": 0}


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
        ([], 2, "Missing argument 'TARGET...'.*"),
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
        ("raises", r"step 3: RuntimeError: planted \(bad_targets.py:\d+\); log: (?P<log>/\S+)"),
        ("hangs", r"step 3: no answer in 8 s \(--timeout\); the process was ended"),
        ("mutates_gradients", r"step 1: wrote into its gradients: change a copy, g = g.copy\(\) \(\w+.py:\d+\)"),
        ("promoted", r"step 1: w\['kernel'\] is float64, the case runs in float32: a NumPy float64 times .*; keep .*"),
        ("views_of_inputs", "shows what it was given as its state: .*"),
    ],
)
def test_a_bad_target_is_one_line(command, monkeypatch, tmp_path, name, told):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, out, err = command("identify", f"{FAULTS / 'bad_targets.py'}:{name}", "-d", "float32", "--timeout", "8")
    assert (code, out) == (4, "")
    found = re.fullmatch(f"parity: user.{name} in float32, probe 'main': {told}\n", err)
    assert found
    # A log in which something stands is kept, and nothing else is.
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [str(path) for path in kept if path.name == "worker.log"] == list(found.groupdict().values())
    assert bool(kept) == (name == "raises")


def test_a_dtype_that_fails_is_a_row_and_all_others_are_answered(command, tmp_path):
    """The one of docs/same.md: a Python float times a bfloat16 array is float32."""
    page = (Path(parity.__file__).parent.parent / "docs" / "same.md").read_text()
    (tmp_path / "my_adam.py").write_text(page.split("`my_adam.py`:\n\n```python\n")[1].split("```")[0])
    answer = tmp_path / "answer.json"
    code, out, err = command("identify", f"{tmp_path / 'my_adam.py'}:run", "--json", answer)
    assert (code, err) == (1, "")
    # In float16 a decay of a thousandth of a weight may be there or not: which, the search does not ask.
    known = {"float64": "bit for bit", "float32": "bit for bit", "float16": "to within rounding"}
    for dtype, how in known.items():
        assert f"user.my_adam in {dtype} is Adam with epsilon outside, with 2 departures, {how}." in out
    told = (
        "step 1: w['kernel'] is float32, the case runs in bfloat16: a Python float times a bfloat16 array is float32; "
        "use array.dtype.type(x), or cast with .astype (my_adam.py:19)"
    )
    assert f"user.my_adam in bfloat16 fails: {told}" in " ".join(out.split())
    dtypes = json.loads(answer.read_text())["dtypes"]
    assert {dtype: one["verdict"] for dtype, one in dtypes.items()} == {
        "float64": "identified", "float32": "identified", "float16": "explained", "bfloat16": "unexplained",
    }  # fmt: skip
    assert dtypes["bfloat16"]["residual"] == {FAILED: {"main": told}}
    assert all(FAILED not in dtypes[dtype]["residual"] for dtype in ("float64", "float32", "float16"))


NAN = "State({name: np.full_like(a, np.nan) for name, a in w.items()}, m, v)"


@pytest.mark.parametrize(
    ("lines", "told", "words"),
    [
        ({"before": "if hyper.beta1 == 0.8: raise ValueError('planted')"},
         r"step 1: ValueError: planted \(plugin.py:\d+\)", True),
        ({"before": "if hyper.beta1 == 0.8 and t == 3: os._exit(7)"},
         r"step 3: the worker process died \(exit status 7\)", False),
        ({"after": "if hyper.beta1 == 0.8: state = State({name: a.T for name, a in w.items()}, m, v)"},
         r"step 1: w\['kernel'\] has shape \(5, 7\), the case has \(7, 5\) \(plugin.py:\d+\)", False),
        ({"after": f"if hyper.beta1 == 0.8 and t > 3: state = {NAN}"},
         r"w\['kernel'\] is nan from step 4 on", False),
    ],
    ids=["raises", "dies", "other shape", "NaN"],
)  # fmt: skip
def test_a_probe_that_fails_is_a_row_and_all_others_are_answered(command, write_adam, lines, told, words):
    code, out, err = command("identify", write_adam(**lines), "-d", "float32")
    assert (code, err) == (1, "")
    assert out.startswith("user.plugin in float32 is Adam with epsilon outside, with 2 departures, bit for bit.")
    text = " ".join(out.split())
    assert re.search(rf" failed other: {told} arithmetic .* compared 1,058,877 elements, 0 differ", text)
    assert ("log: " in out) == words


def test_nan_of_the_plainest_question_fails_its_dtype_and_no_other(command, write_adam):
    nan = "{name: a * f(np.nan) if name == 'kernel' else a for name, a in w.items()}"
    target = write_adam(after=f"if f is np.float16 and 'kernel' in w: state = State({nan}, m, v)")
    code, out, _ = command("identify", target, "-d", "float32", "-d", "float16")
    assert code == 1
    assert "user.plugin in float32 is Adam with epsilon outside, with 2 departures, bit for bit." in out
    assert "user.plugin in float16 fails: w['kernel'] is nan from step 1 on\n" in out


def test_a_traceback_is_shown_on_request(command, write_adam):
    target = write_adam(before="if hyper.beta1 == 0.8: raise ValueError('planted')")
    assert "Traceback" not in command("identify", target, "-d", "float32")[2]
    code, out, err = command("identify", target, "-d", "float32", "--traceback")
    assert (code, err.count("Traceback (most recent call last)")) == (1, 1)
    assert err.endswith("ValueError: planted\n")
    assert out.startswith("user.plugin in float32 is Adam")
    code, out, err = command(
        "identify", write_adam(before="raise ValueError('planted')"), "-d", "float32", "--traceback"
    )
    first, *_, last, line = err.splitlines()
    assert (code, out, first, last) == (4, "", "Traceback (most recent call last):", "ValueError: planted")
    assert line.startswith("parity: user.plugin in float32, probe 'main': step 1: ValueError: planted (plugin.py:")


def test_a_hanging_import_is_one_line(command, tmp_path):
    (tmp_path / "sleeps.py").write_text("import time; time.sleep(600)\n")
    code, _, err = command("identify", f"{tmp_path / 'sleeps.py'}:run", "--timeout", "2")
    assert code == 4
    assert re.fullmatch(r"parity: implementation '[^']+' cannot be loaded: no answer in 2 s [^\n]+\n", err)
