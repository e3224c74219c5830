"""``parity explain``: its answer, its exit codes, its errors of one line."""

from __future__ import annotations

import json
import re

import pytest

PAIR = ("numpy.adam.hat", "numpy.adam.outside")


def test_an_explained_pair_is_green(command, write_case, tmp_path):
    answer, kept = tmp_path / "answer.json", tmp_path / "kept"
    case = write_case(hyper={"eps": 1e-3})
    code, out, err = command("explain", case, *PAIR, "--json", answer, "-o", kept)
    assert (code, err) == (0, "")
    assert "not the same Adam; every differing bit is accounted for by epsilon-placement (100%)" in out
    for title in ("Causes", "Where the difference of w comes from", "From A to B", "Who is nearer", "Does it matter?"):
        assert title in out
    (told,) = json.loads(answer.read_text())["explanations"]
    assert (told["verdict"], told["dtype"]) == ("explained", "float32")
    assert (kept / "traces" / "small" / "float32" / "numpy.adam.hat" / "trace.json").is_file()


@pytest.mark.thorough
def test_an_unexplained_pair_is_not(command, write_case, write_adam):
    wrong = write_adam(swap=(("1 - hyper.beta1**t", "1 - hyper.beta1**(t + 1)"),))
    code, out, _ = command("explain", write_case(), wrong, PAIR[1], "-q")
    assert code == 1
    assert re.fullmatch(r"small float32: unexplained \(>?\d+%\) of .* bits of user.plugin are not accounted for\n", out)


def test_nothing_to_explain_where_a_side_fails(command, write_case, write_adam):
    code, out, err = command("explain", write_case(), write_adam(before="raise ValueError('planted')"), PAIR[1])
    assert (code, out) == (5, "")
    assert re.fullmatch(
        r"parity: nothing to explain: user.plugin on small in float32: step 1: [^\n]*planted[^\n]*\n", err
    )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["explain", "same-hyperparamters", *PAIR], 4, "case .* is unknown; .*did you mean 'same-hyperparameters'"),
        (["explain", "missing.toml", *PAIR], 4, "there is no case file or folder 'missing.toml'.*"),
        (["explain", "constant", "numpy.adam.hatt", PAIR[1]], 4, "implementation .*did you mean 'numpy.adam.hat'.*"),
        (["explain", "constant", "numpy.adam.*", PAIR[1]], 4, "implementation 'numpy.adam.\\*' is unknown.*"),
        (["explain", "constant", PAIR[0], PAIR[0]], 2, ".* are the same implementation.*"),
        (["explain", "constant", *PAIR, "-d", "float31"], 4, "dtype 'float31' .*did you mean 'float32'.*"),
        (["explain", "tiny", *PAIR, "-d", "float16"], 4, "case tiny does not run in float16; allowed: .*"),
        (["explain", "constant", PAIR[0]], 2, "Missing argument 'B'.*"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(command, arguments, code, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, out, err = command(*arguments)
    assert (found, out) == (code, "")
    assert re.fullmatch(rf"parity: {told}[^\n]*\n", err)
    assert not list(tmp_path.iterdir())
