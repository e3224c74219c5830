"""``parity upgrade --before-env --after-env``: two settings held against each other as two releases."""

from __future__ import annotations

import json
import os
import sys

import pytest

READS = """\
import os
AT_IMPORT = os.environ.get("OMP_NUM_THREADS", "none"), os.environ.get("MKL_CBWR", "none")
"""


@pytest.fixture
def reader(tmp_path, adam_text):
    """An Adam whose lr is doubled where OMP_NUM_THREADS was 7 as its module was imported."""
    doubled = ("f(hyper.lr_at(t)) * m_hat", "f(hyper.lr_at(t) * (2 if AT_IMPORT[0] == '7' else 1)) * m_hat")
    path = tmp_path / "reader.py"
    path.write_text(READS + adam_text("reader", swap=[doubled]))
    return f"{path}:reader"


@pytest.fixture
def upgrade(command, write_case, tmp_path, monkeypatch):
    """Call the command on a small case: (code, standard output, standard error, answer)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    case = write_case()

    def call(*arguments):
        file = tmp_path / "answer.json"
        file.unlink(missing_ok=True)
        found = command("upgrade", case, "--json", file, *arguments)
        return *found, json.loads(file.read_text()) if file.exists() else None

    return call


def rows(answer):
    return {one["what"]: (one["before"], one["after"]) for one in answer["environment"]}


def test_a_variable_is_there_before_anything_is_imported_and_is_told_everywhere(upgrade, reader, tmp_path):
    given = ("--after-env", "OMP_NUM_THREADS=7", "--after-env", "MKL_CBWR=COMPATIBLE")
    code, out, err, answer = upgrade("-i", reader, *given)
    (entry,) = [one for one in answer["entries"] if one["implementation"] == "user.reader"]
    assert (code, entry["status"]) == (1, "changed"), err
    assert rows(answer) == {"OMP_NUM_THREADS": ("absent", "7"), "MKL_CBWR": ("absent", "COMPATIBLE")}
    assert answer["after"]["variables"] == {"OMP_NUM_THREADS": "7", "MKL_CBWR": "COMPATIBLE"}
    assert answer["before"]["variables"] == {}
    assert "this Python against this Python with MKL_CBWR=COMPATIBLE OMP_NUM_THREADS=7" in out
    words = answer["command"]
    assert words[words.index("--after-env") :][:4] == [*given[2:], *given[:2]]
    kept = tmp_path / "runs" / "upgrade"
    assert "| OMP_NUM_THREADS | absent | 7 |" in (kept / "summary.md").read_text()
    page = (kept / "report.html").read_text()
    assert "OMP_NUM_THREADS" in page
    assert "this Python with MKL_CBWR=COMPATIBLE OMP_NUM_THREADS=7" in page
    assert "OMP_NUM_THREADS" not in os.environ


def test_an_interpreter_has_its_variables_too(upgrade, reader):
    python = ("--before-python", sys.executable, "--after-python", sys.executable)
    code, _, _, answer = upgrade("-i", reader, *python, "--before-env", "OMP_NUM_THREADS=7")
    assert (code, answer["counts"]["changed"]) == (1, 1)
    assert answer["before"]["name"] == f"{sys.executable} with OMP_NUM_THREADS=7"


def test_both_sides_alike_are_told(upgrade, reader):
    same = ("--before-env", "OMP_NUM_THREADS=7", "--after-env", "OMP_NUM_THREADS=7")
    code, out, _, answer = upgrade("-i", reader, *same)
    assert (code, answer["environment"], answer["counts"]["identical"]) == (0, [], 1)
    assert "note: both sides are the same: this Python with OMP_NUM_THREADS=7" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--after-env", "XLA_FLAG=--a"), "--after-env XLA_FLAG=--a: XLA_FLAG is not known to change numerics"),
        (("--after-env", "XLA_FLAG=--a"), "did you mean 'XLA_FLAGS'?"),
        (("--before-env", "OMP_NUM_THREADS"), "--before-env OMP_NUM_THREADS: allowed: NAME=VALUE"),
        (("--before-env", "=1"), "--before-env =1: allowed: NAME=VALUE"),
        (("--after-env", "MKL_CBWR=A", "--after-env", "MKL_CBWR=B"), "--after-env MKL_CBWR=B: MKL_CBWR is given twice"),
        (("--after-env", "PYTHONPATH=/x"), "PYTHONPATH is not known to change numerics"),
        (("--before-baseline", "kept", "--before-env", "MKL_CBWR=A"), "--before-env: kept was recorded before"),
        (("--before", "adams==1.0"), "give one of --after, --after-python, --after-baseline, --after-env"),
        (
            ("--before-python", sys.executable, "--before-env", "MKL_CBWR=A"),
            "this side is not given",
        ),
    ],
)
def test_a_mistake_is_one_line(upgrade, arguments, told):
    code, out, err, answer = upgrade(*arguments)
    assert (code, out, answer, err.count("\n")) == (2, "", None, 1)
    assert told in err


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("variable", "implementation", "what"),
    [
        ("ATEN_CPU_CAPABILITY=default", "torch.adam.fused", "torch instruction set"),
        ("XLA_FLAGS=--xla_cpu_max_isa=AVX", "optax.adam.jit", "XLA instruction set"),
    ],
)
def test_an_instruction_set_is_explained_to_the_last_bit(upgrade, variable, implementation, what):
    """torch and XLA are held against each other with fused multiply-add and without."""
    code, _, _, answer = upgrade("-i", implementation, "-i", "numpy.adam.outside", "--after-env", variable)
    found = {one["implementation"]: one for one in answer["entries"]}
    assert (code, found["numpy.adam.outside"]["status"]) == (1, "identical")
    change = found[implementation]["change"]
    assert change["explained"], found[implementation]["detail"]
    assert "fma" in {cause["family"] for cause in change["causes"]}
    name, _, value = variable.partition("=")
    told = rows(answer)
    assert told.keys() == {name, what}
    assert told[name][1] == value
    assert told[what][1] == {"torch instruction set": "DEFAULT", "XLA instruction set": "AVX"}[what]
