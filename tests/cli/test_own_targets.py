"""A user's own Adam on the command line: what fails is a row that names the line and the mend, the rest is answered."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import parity

pytestmark = pytest.mark.thorough


REFERENCE = "numpy.adam.outside"
PROMOTED = (
    "w['kernel'] is float32, the case runs in bfloat16: a Python float times a bfloat16 array is float32; "
    "use array.dtype.type(x), or cast with .astype (my_adam.py:19)"
)
ALL = ["float64", "float32", "float16", "bfloat16"]


@pytest.fixture
def my_adam(tmp_path):
    """The one of docs/same.md, as a target."""
    page = (Path(parity.__file__).parent.parent / "docs" / "same.md").read_text()
    (tmp_path / "my_adam.py").write_text(page.split("`my_adam.py`:\n\n```python\n")[1].split("```")[0])
    return f"{tmp_path / 'my_adam.py'}:run"


@pytest.fixture
def ran(command, tmp_path):
    """`parity run` of a case on targets: (exit code, standard output, standard error, verdicts)."""

    def run(case, *targets, options=()):
        asked = [part for one in targets for part in ("-i", one)]
        code, out, err = command("run", case, *asked, "-o", tmp_path / "run", *options)
        return code, out, err, json.loads((tmp_path / "run" / "run.json").read_text())["verdicts"]

    return run


def test_a_dtype_that_fails_is_a_row_of_the_run(ran, write_case, my_adam):
    code, out, _, verdicts = ran(write_case(dtypes=ALL, hyper={"eps": 1e-3}), my_adam, "numpy.adam.hat")
    found = {one["dtype"]: one["verdict"] for one in verdicts if one["actual"] == "user.my_adam"}
    assert {dtype: (one["kind"], one["as_expected"]) for dtype, one in found.items()} == {
        "float64": ("EXPLAINED", True), "float32": ("EXPLAINED", True), "float16": ("IDENTICAL", True),
        "bfloat16": ("CRASHED", False),
    }  # fmt: skip
    assert found["bfloat16"]["reason"] == f"user.my_adam: step 1: {PROMOTED}"
    assert all(one["verdict"]["as_expected"] for one in verdicts if one["actual"] == "numpy.adam.hat")
    assert (code, "7 of 8 pairs as expected" in out) == (1, True)


def test_a_dtype_that_fails_is_a_row_of_the_explanation(command, write_case, my_adam, tmp_path):
    answer = tmp_path / "answer.json"
    asked = ["explain", write_case(dtypes=ALL), my_adam, "numpy.adam.hat", "-q", "--json", answer]
    for dtypes in ([], ["-d", "float32", "-d", "bfloat16"]):
        code, out, err = command(*asked, *dtypes)
        assert (code, err) == (1, "")
        assert "small float32: not the same Adam; every differing bit is accounted for by" in out
        assert f"failed user.my_adam on small in bfloat16: step 1: {PROMOTED}" in " ".join(out.split())
        told = json.loads(answer.read_text())
        assert told["failed"] == {"user.my_adam on small in bfloat16": f"step 1: {PROMOTED}"}
        assert len(told["explanations"]) == (1 if dtypes else 3)
    code, out, err = command(*asked, "-d", "bfloat16")
    assert (code, out) == (5, "")
    assert err == f"parity: nothing to explain: user.my_adam on small in bfloat16: step 1: {PROMOTED}\n"


LIBRARY = {"before": "if t == 3:\n    np.linalg.inv(np.zeros((2, 2)))"}


def test_the_user_s_line_comes_first_and_the_log_is_named(ran, write_case, write_adam, tmp_path):
    code, out, err, (one,) = ran(write_case(), write_adam(**LIBRARY))
    told = r"user.plugin: step 3: LinAlgError: Singular matrix \(plugin.py:13, in _linalg.py:\d+\)"
    assert re.fullmatch(told, one["verdict"]["reason"])
    log = tmp_path / "run" / "logs" / "user.plugin-0.log"
    assert f"log {log} (--traceback shows all lines of an error)" in " ".join(out.split())
    assert log.read_text().endswith("numpy.linalg.LinAlgError: Singular matrix\n")
    assert (code, "Traceback" in out + err) == (1, False)


@pytest.mark.parametrize("verb", ["run", "explain", "identify"])
def test_all_lines_of_an_error_are_shown_on_request(command, write_case, write_adam, tmp_path, verb):
    case, target = write_case(dtypes=["float32", "float16"]), write_adam(**LIBRARY)
    asked = {
        "run": ["run", case, "-i", target, "-o", tmp_path / "run", "-q"],
        "explain": ["explain", case, target, REFERENCE],
        "identify": ["identify", target],
    }[verb]
    code, _, err = command(*asked)
    assert "Traceback" not in err
    again, _, err = command(*asked, "--traceback")
    assert again == code == {"run": 1, "explain": 5, "identify": 4}[verb]
    assert "    np.linalg.inv(np.zeros((2, 2)))\n" in err
    assert "numpy.linalg.LinAlgError: Singular matrix\n" in err
    # In both dtypes the same, told once; explain tells each as it meets it.
    assert err.count("Traceback") == (2 if verb == "explain" else 1)


@pytest.mark.parametrize("verb", ["run", "explain", "identify"])
@pytest.mark.parametrize(
    ("text", "told", "shown"),
    [
        ("import json\njson.loads('{')", r"JSONDecodeError: .* \(mine.py:2, in decoder.py:\d+\)", "json.loads('{')"),
        ("def run(w, g, h) yield", r"SyntaxError: expected ':' \(mine.py:1\)", "def run(w, g, h) yield"),
        ("import os, sys\nsys.stderr.write('I end here\\n')\nos._exit(3)",
         r"the worker process died \(exit status 3\): I end here", "I end here"),
    ],
    ids=["library", "syntax", "dies"],
)  # fmt: skip
def test_what_cannot_be_loaded_is_one_line_and_all_of_it_on_request(
    command, write_case, tmp_path, verb, text, told, shown
):
    (tmp_path / "mine.py").write_text(text)
    target = f"{tmp_path / 'mine.py'}:run"
    asked = {
        "run": ["run", write_case(), "-i", target, "-o", tmp_path / "run"],
        "explain": ["explain", write_case(), target, REFERENCE],
        "identify": ["identify", target],
    }[verb]
    code, out, err = command(*asked)
    assert (code, out) == (4, "")
    assert re.fullmatch(rf"parity: implementation '{target}' cannot be loaded: {told}\n", err)
    code, out, err = command(*asked, "--traceback")
    assert (code, out) == (4, "")
    assert any(shown in line for line in err.splitlines()[:-1])
    assert err.splitlines()[-1].startswith("parity: implementation ")


def test_what_it_refuses_is_skipped_with_its_reason(ran, write_case, write_adam):
    target = write_adam(first="if hyper.amsgrad: raise Unsupported('no AMSGrad')")
    code, _, _, verdicts = ran(write_case(hyper={"amsgrad": True}), target, "numpy.adam.hat")
    (own,) = [one["verdict"] for one in verdicts if one["actual"] == "user.plugin"]
    assert (code, own["kind"], own["reason"]) == (1, "SKIPPED", "user.plugin: no AMSGrad")


@pytest.mark.parametrize("verb", ["run", "identify"])
def test_help_says_how_a_target_refuses(command, verb):
    code, out, _ = command(verb, "--help")
    assert code == 0
    assert "refuses by 'raise parity.Unsupported(...)' before its first state" in " ".join(out.split())


@pytest.mark.parametrize("verb", ["run", "explain", "identify"])
def test_a_file_without_a_name_in_it_is_told_what_is_there(command, write_case, my_adam, tmp_path, verb):
    path = my_adam.removesuffix(":run")
    asked = {
        "run": ["run", write_case(), "-i", path, "-o", tmp_path / "run"],
        "explain": ["explain", write_case(), path, REFERENCE],
        "identify": ["identify", path],
    }[verb]
    told = f"parity: implementation '{path}' names a file and nothing in it; allowed: {path}:run\n"
    assert command(*asked) == (4, "", told)


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("target", "epsilon"),
    [("torch.optim:Adam", "outside"), ("keras.optimizers:Adam", "hat"), ("optax:adam", "outside")],
)
def test_an_optimizer_class_is_identified_bit_for_bit(command, target, epsilon):
    code, out, err = command("identify", target, "-d", "float32")
    assert (code, err) == (0, "")
    assert re.match(rf"user\.[Aa]dam in float32 is Adam with epsilon {epsilon}[^\n]*, bit for bit\.", out)
    assert "\nfailed" not in out
