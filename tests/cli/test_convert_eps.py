"""``parity convert-eps``: what it prints, what it writes, how it refuses."""

from __future__ import annotations

import json
import re

import pytest

KERAS_TO_TORCH = ("convert-eps", "1e-7", "--from", "keras", "--to", "torch")


def test_it_tells_the_formula_the_steps_the_best_constant_and_what_is_left(command):
    code, out, err = command(*KERAS_TO_TORCH)
    assert (code, err) == (0, "")
    assert "exact at step t: outside = hat / sqrt(1 - beta2^t)" in out
    assert re.search(r"^1 +3\.162278e-06 +0\.698 lr +1\.0e-10 to 3\.1e-03 +0\.407 lr +6\.8e-10 to 2\.6e-03", out, re.M)
    assert re.search(r"^10,000 +1\.000023e-07 +5\.6e-06 lr +none ", out, re.M)
    assert re.search(r"^best: .* 5\.623477e-07 +0\.407 lr +1\.3e-06 +1 *$", out, re.M)
    assert out.splitlines()[-1] == (
        "From step 4,830 on the same eps is off by 0.001 lr at most, whatever the gradient."
    )


def test_the_threshold_the_steps_and_beta2_are_used(command):
    out = command(*KERAS_TO_TORCH, "--threshold", "0.1", "--steps", "30", "--beta2", "0.9")[1]
    assert re.search(r"^30 +1\.02\d+e-07 ", out, re.M)
    assert "over 0.1 lr" in out
    assert "From step 6 on the same eps is off by 0.1 lr at most" in out


def test_inside_has_no_number_per_step_and_says_so(command):
    out = command("convert-eps", "1e-8", "--from", "torch", "--to", "inside")[1]
    assert "exact for one v_hat: inside = outside^2 + 2 * outside * sqrt(v_hat)" in out
    assert "exact eps" not in out
    assert re.search(r"^any +0\.98 lr ", out, re.M)
    assert re.search(r"\|g\| -> 0 +1e-16 +0\.233 lr", out)
    assert "The conventions never meet" in out.splitlines()[-1]


@pytest.mark.parametrize("pair", [("torch", "optax"), ("keras", "tensorflow"), ("inside", "inside")])
def test_one_convention_under_two_names_keeps_the_number(command, pair):
    code, out, _ = command("convert-eps", "1e-8", "--from", pair[0], "--to", pair[1])
    assert code == 0
    assert out.splitlines()[-1] == "The same convention: keep the number."


def test_json_is_the_whole_answer(command, tmp_path):
    assert command(*KERAS_TO_TORCH, "--json", tmp_path / "answer.json")[0] == 0
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert json.loads(command(*KERAS_TO_TORCH, "--json", "-")[1]) == answer
    assert (answer["source"], answer["target"], answer["settled"]) == ("hat", "outside", 4830)
    assert answer["rows"][0]["exact"] == pytest.approx(3.16227766e-06, abs=0, rel=1e-8)
    assert answer["best"]["gap"] == {
        "difference": pytest.approx(0.40676765),
        "gradient": pytest.approx(1.33352896e-06, abs=0, rel=1e-8),
        "step": 1,
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["1e-7", "--from", "kears", "--to", "torch"], "convention 'kears' is unknown; .*did you mean 'keras'\\?"),
        (["1e-7", "--from", "keras"], "Missing option '--to'.*"),
        (["small", "--from", "keras", "--to", "torch"], ".*'EPS': 'small' is not a valid float.*"),
        (["0", "--from", "keras", "--to", "torch"], "eps 0: allowed: a number from 1e-100 to 1e\\+100"),
        (["nan", "--from", "keras", "--to", "torch"], "eps nan: .*"),
        (["1e-7", "--from", "keras", "--to", "torch", "--beta2", "1"], "beta2 1: allowed: .* less than 1"),
        (["1e-7", "--from", "keras", "--to", "torch", "--steps", "0"], "step 0: steps count from 1"),
        (["1e-7", "--from", "keras", "--to", "torch", "--threshold", "2"], "threshold 2: allowed: .*"),
    ],
)
def test_a_mistake_is_one_line(command, arguments, told):
    code, out, err = command("convert-eps", *arguments)
    assert (code, out) == (2, "")
    assert re.fullmatch(f"parity: {told}\n", err)


def test_no_framework_is_imported(process):
    code = (
        "import sys; from parity.cli.main import exit_code\n"
        f"code = exit_code({list(KERAS_TO_TORCH)!r})\n"
        "print('loaded:', code, *({name.split('.')[0] for name in sys.modules} & {'keras', 'tensorflow', 'torch'}))"
    )
    assert process(code=code).communicate(timeout=60)[0].rpartition("loaded:")[2].split() == ["0"]
