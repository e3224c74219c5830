"""Case files: what users write, and what they are told about their mistakes."""

# ruff: noqa: E501 - a mistake and what is told of it stand on one line.

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import jsonschema
import pytest

from parity.case.case import RESTARTED, Case, unmatched_expectations, unused_base_expectations
from parity.case.catalogue import load_case_file, load_catalogue, schema_text, shipped_cases
from parity.core.errors import ParityError
from parity.implementations.registry import shipped_implementations

CASES = shipped_cases()

GOOD = """
summary = "A case of a test."
why = "It is tested here."
steps = 3
dtypes = ["float32"]
gradients = { kind = "bell", scale = 0.1 }
weights = { kind = "zero" }

[hyper]
lr = 0.01

[[parameters]]
name = "kernel"
shape = [2, 3]

[[expect]]
actual = "torch.*"
expected = "numpy.adam.outside"
verdict = "DIVERGED"
because = "It is only a test."
"""


NOT_EVERYWHERE = (
    "numpy.adam.hat.store", "numpy.adam.inside.store", "*.adamw.*", "keras_jax.adam.eager",
    "torch.adam.differentiable", "torch.adam.tensor_lr*", "torch.adam.compiled", "torch.adam.sparse",
)  # fmt: skip
"""Rows that are another one under another name or called in another way: some cases ask for them, or none."""


def pairs() -> list[tuple[str, str]]:
    names = list(shipped_implementations())
    across = [(actual, expected) for actual in names for expected in names if actual != expected]
    across += [("user.plugin", name) for name in names]
    return across + [(name + RESTARTED, name) for name in (*names, "user.plugin")]


def write(folder: Path, text: str, name: str = "one.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str) -> Case:
    (case,) = load_case_file(write(folder, text))
    return case


def test_a_good_file_loads(tmp_path: Path) -> None:
    case = load(tmp_path, GOOD)
    assert (case.name, case.steps, case.hyper.lr, case.hyper.eps) == ("one", 3, 0.01, 1e-8)
    assert case.parameters[0].shape == (2, 3)
    assert case.parameters[0].gradients.kind == "bell"


MISTAKES = [
    ("steps = 3", "steps = 0", "steps: 0 is not allowed: input should be greater than or equal to 1"),
    ("steps = 3", 'steps = "3"', "steps: '3' is not allowed: input should be a valid integer"),
    ("steps = 3", "steps = 3.0", "steps: 3.0 is not allowed: input should be a valid integer"),
    ("steps = 3", "stepps = 3", "unknown key 'stepps'; allowed: dtypes, expect, extends, gradients, hyper, "
     "parameters, restart, seed, stages, start, steps, summary, sweep, weights, why; did you mean 'steps'?"),
    ("steps = 3", "", "steps: this key is missing"),
    ("lr = 0.01", "lr = -1", 'hyper.lr: -1 is not allowed; allowed: a finite number of at least 0, or "default"'),
    ("lr = 0.01", "lr = nan", 'hyper.lr: nan is not allowed; allowed: a finite number of at least 0, or "default"'),
    ("lr = 0.01", 'lr = "fast"', "hyper.lr: 'fast' is not allowed; allowed: a finite number"),
    ("lr = 0.01", "lr = [0.1, 0.2]", "hyper.lr: 2 step sizes for 3 steps; allowed: one number, or one for each"),
    ("lr = 0.01", "lr = [0.1, inf, 0.1]", "hyper.lr: inf is not allowed; allowed: a finite number of at least 0"),
    ("lr = 0.01", 'lr = [0.1, "default", 0.1]', "hyper.lr: no step size 'default' at step 2"),
    ("lr = 0.01", "lr = true", 'hyper.lr: True is not allowed; allowed: a finite number of at least 0, or "default"'),
    ("lr = 0.01", "eps = inf", 'hyper.eps: inf is not allowed; allowed: a finite number of at least 0, or "default"'),
    ("lr = 0.01", "beta1 = 1.0", 'hyper.beta1: 1.0 is not allowed; allowed: a number in [0, 1), or "default"'),
    ("lr = 0.01", "beta2 = -0.1", 'hyper.beta2: -0.1 is not allowed; allowed: a number in [0, 1), or "default"'),
    ("lr = 0.01", "weight_decay = -1", "hyper.weight_decay: -1 is not allowed; allowed: a finite number of at least 0, or"),
    ("lr = 0.01", "weight_decay = inf", "hyper.weight_decay: inf is not allowed; allowed: a finite number of at least 0, or"),
    ("shape = [2, 3]", "shape = [2, 3]\nhyper = { lrr = 1 }", "parameters.0.hyper: unknown key 'lrr'; allowed: beta1, beta2, eps, lr, "
     "weight_decay; did you mean 'lr'?"),
    ("shape = [2, 3]", "shape = [2, 3]\nhyper = { beta1 = 1.0 }", "parameters.0.hyper.beta1: 1.0 is not allowed"),
    ("lr = 0.01", "amsgrad = 1", "hyper.amsgrad: 1 is not allowed: input should be a valid boolean"),
    ("lr = 0.01", "bta1 = 0.5", "hyper: unknown key 'bta1'; allowed: amsgrad, beta1, beta2, decoupled, eps, lr, "
     "weight_decay; did you mean 'beta1'?"),
    ('["float32"]', '["float23"]', "dtypes.0: 'float23' is not allowed; allowed: bfloat16, float16, float32, float64; "
     "did you mean 'float32'?"),
    ('["float32"]', "[]", "dtypes: () is not allowed: tuple should have at least 1 item after validation, not 0"),
    ('"bell"', '"bel"', "gradients.kind: 'bel' is not allowed; allowed: bell, constant, decades, flipping, recorded, "
     "rows, uniform, zero; did you mean 'bell'?"),
    ('kind = "bell", ', "", "gradients.kind: this key is missing; allowed: bell, constant,"),
    ("scale = 0.1", "scael = 0.1", "gradients: unknown key 'scael'; allowed: inf_steps, kind, nan_steps, none_every, none_steps, scale; did"),
    ("scale = 0.1", "scale = 0", "gradients.scale: 0 is not allowed: input should be greater than 0"),
    ("scale = 0.1", "scale = 1, none_steps = [0]", "gradients.none_steps.0: 0 is not allowed: input should be greater"),
    ('{ kind = "bell", scale = 0.1 }', '{ kind = "uniform", low = 1, high = 1 }',
     "gradients: 'low' has to be below 'high'"),
    ('{ kind = "bell", scale = 0.1 }', '{ kind = "decades", low = 1, high = 2 }',
     "gradients: 'high' has to be at least four times 'low'"),
    ('{ kind = "zero" }', '{ kind = "bell" }', "weights.kind: 'bell' is not allowed; allowed: constant, recorded, "
     "uniform, zero"),
    ("shape = [2, 3]", "shape = [2, -3]", "parameters.0.shape.1: -3 is not allowed: input should be greater than or"),
    ("shape = [2, 3]", "shape = [0]", "parameters: every tensor is empty, nothing would be compared"),
    ("shape = [2, 3]", 'shape = [1]\n[[parameters]]\nname = "kernel"\nshape = [1]',
     "parameters: the name 'kernel' is given 2 times"),
    ("shape = [2, 3]", 'shape = [1]\ngradients = { kind = "bell", scale = 1, rows = 2 }',
     "parameters.0.gradients: unknown key 'rows'; allowed: inf_steps, kind, nan_steps, none_every, none_steps, scale"),
    ('"DIVERGED"', '"DIVERGD"', "expect.0.verdict: 'DIVERGD' is not allowed; allowed: ANY, CRASHED, DIVERGED, EXPLAINED, IDENTICAL, "
     "NOT_COMPARABLE, SKIPPED, WITHIN; did you mean 'DIVERGED'?"),
    ('"DIVERGED"', '"WITHIN"', "expect.0: 'within' and 'rounding' belong to the verdict WITHIN, and WITHIN needs one"),
    ('"DIVERGED"', '"WITHIN"\nwithin = { x = { max_abs = 1 } }', "expect.0.within.x: 'x' is not allowed; allowed: *, average, "),
    ('"DIVERGED"', '"WITHIN"\nwithin = { w = {} }', "expect.0.within.w: a budget has to limit at least one metric"),
    ('"DIVERGED"', '"WITHIN"\nwithin = { w = { max_abs = nan } }', "expect.0.within.w.max_abs: nan is not allowed"),
    ('"DIVERGED"', '"WITHIN"\nwithin = { w = { max_ulps = 1 } }', "expect.0.within.w: unknown key 'max_ulps'; allowed: "
     "differing, max_abs, max_rel, max_steps, max_ulp, p99_ulp, rms_abs; did you mean 'max_ulp'?"),
    ('"DIVERGED"', '"WITHIN"\nrounding = "operation"', "expect.0.rounding: 'operation' is not allowed; allowed: betas, moments, "
     "operations, scalars, store; did you mean 'operations'?"),
    ("[hyper]", '[sweep]\nepsilon = [1]\n[hyper]', "sweep: unknown key 'epsilon'; allowed: beta1, beta2, eps, lr"),
    ("[hyper]", '[sweep]\neps = [1, 1]\n[hyper]', "sweep: one[eps=1.0] occurs 2 times"),
    ("[hyper]", '[sweep]\nbeta1 = [2.0]\n[hyper]', "hyper.beta1: 2.0 is not allowed; allowed: a number in [0, 1)"),
    ('kind = "zero"', 'kind = "recorded", folder = "gone"', "recording 'gone' has no recording.json (looked in "),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "told"), MISTAKES, ids=[bad[:40] or "nothing" for _, bad, _ in MISTAKES])
def test_a_mistake_is_one_line(tmp_path: Path, good: str, bad: str, told: str) -> None:
    assert good in GOOD
    path = write(tmp_path, GOOD.replace(good, bad, 1))
    with pytest.raises(ParityError) as error:
        load_case_file(path)
    assert error.value.exit_code == 4
    assert str(error.value).startswith(f"{path}: {told}")
    assert len(str(error.value).splitlines()) == 1


def test_several_mistakes_are_several_lines(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("steps = 3", "stepps = 3").replace("lr = 0.01", "lr = -1"))
    with pytest.raises(ParityError) as error:
        load_case_file(path)
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}: ") for line in lines)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps = 3\nsteps = = 4", "not valid TOML: Invalid value (at line 2, column 9)"),
        ("steps = 3\nsteps = 4", "not valid TOML: Cannot overwrite a value (at "),
        ("seed = " + "[" * 5000, "not valid TOML: its brackets are nested too deeply"),
        ('extends = "_gone.toml"', "extends: _gone.toml: cannot be read (No such file or directory)"),
    ],
)
def test_an_unreadable_file_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ParityError) as error:
        load_case_file(path)
    assert str(error.value).startswith(f"{path}: {told}")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('extends = "_a\\u0000b.toml"', "extends: '_a"),
        ('weights = { kind = "recorded", folder = "a\\u0000b" }', "weights.folder: 'a"),
        ('parameters = { file = "a\\u0000b.safetensors" }', "parameters.file: 'a"),
        ('extends = ""', "extends: ''"),
    ],
)
def test_a_place_that_no_file_can_have_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ParityError) as error:
        load_case_file(path)
    assert str(error.value).startswith(f"{path}: {told}")
    assert "is not allowed" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_file_that_is_not_text_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    path.write_bytes(b"steps = 3 # \xff")
    with pytest.raises(ParityError, match=r"one\.toml: not valid TOML: not UTF-8 at byte 12$"):
        load_case_file(path)


def test_a_missing_file_or_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"gone\.toml: cannot be read"):
        load_case_file(tmp_path / "gone.toml")
    with pytest.raises(ParityError, match="no such folder of cases"):
        load_catalogue(tmp_path / "gone")
    with pytest.raises(ParityError, match="no case file"):
        load_catalogue(tmp_path)


def test_a_mistake_in_a_base_is_told_once_with_the_base_s_name(tmp_path: Path) -> None:
    base = write(tmp_path, GOOD.replace("steps = 3", "steps = -3"), "_base.toml")
    write(tmp_path, 'extends = "_base.toml"', "a.toml")
    write(tmp_path, 'extends = "_base.toml"', "b.toml")
    with pytest.raises(ParityError) as error:
        load_catalogue(tmp_path)
    assert str(error.value).startswith(f"{base}: steps: -3 is not allowed")
    assert len(str(error.value).splitlines()) == 1


def test_own_keys_win_and_own_expectations_come_first(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("lr = 0.01", "lr = 0.01\nbeta1 = 0.5"), "_base.toml")
    own = """
extends = "_base.toml"
steps = 7
hyper = { lr = 0.02 }
gradients = { kind = "zero" }
[[expect]]
actual = "torch.adam.fused"
expected = "numpy.adam.outside"
verdict = "IDENTICAL"
because = "The case itself knows better."
"""
    case = load(tmp_path, own)
    assert (case.steps, case.hyper.lr, case.hyper.beta1) == (7, 0.02, 0.5)
    assert case.parameters[0].gradients.kind == "zero"
    assert case.inherited == 1
    verdicts = [
        expectation and expectation.verdict
        for actual in ("torch.adam.fused", "torch.adam.forloop", "keras.adam.eager")
        for expectation in [case.expectation_for(actual, "numpy.adam.outside", "float32")]
    ]
    assert verdicts == ["IDENTICAL", "DIVERGED", None]


def test_a_base_extends_nothing(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "_a.toml")
    write(tmp_path, 'extends = "_a.toml"', "_b.toml")
    with pytest.raises(ParityError, match=r"_b\.toml: extends: a base cannot extend another file"):
        load(tmp_path, 'extends = "_b.toml"')


def test_a_sweep_is_one_case_for_each_combination(tmp_path: Path) -> None:
    text = GOOD.replace("[hyper]", "[sweep]\neps = [1e-8, 1e-2]\nbeta2 = [0.9, 0.99]\n[hyper]")
    cases = load_case_file(write(tmp_path, text))
    assert [case.name for case in cases] == [
        "one[beta2=0.9,eps=1e-08]",
        "one[beta2=0.9,eps=0.01]",
        "one[beta2=0.99,eps=1e-08]",
        "one[beta2=0.99,eps=0.01]",
    ]
    assert (cases[1].hyper.beta2, cases[1].hyper.eps, cases[1].hyper.lr) == (0.9, 0.01, 0.01)
    assert len({case.digest() for case in cases}) == 4


def test_the_schema_is_current() -> None:
    assert (CASES / "schema.json").read_text(encoding="utf-8") == schema_text()


@pytest.mark.parametrize("path", sorted(CASES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_files_fit_the_schema(path: Path) -> None:
    schema = json.loads((CASES / "schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(tomllib.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("case", load_catalogue(CASES), ids=lambda case: case.name)
def test_shipped_cases_expect_something_of_every_implementation(case: Case) -> None:
    for dtype in case.dtypes:
        judged = {
            name
            for actual, expected in pairs()
            if case.expectation_for(actual, expected, dtype)
            for name in (actual, expected)
        }
        runs = {name for name, one in shipped_implementations().items() if dtype in one.dtypes}
        assert {name for name in runs if not any(fnmatchcase(name, one) for one in NOT_EVERYWHERE)} <= judged
        against = ("user.my_adam.restarted", "user.my_adam") if case.restart else ("user.my_adam", "numpy.adam.outside")
        assert case.expectation_for(*against, dtype) is not None


def test_no_shipped_expectation_is_stale() -> None:
    cases = load_catalogue(CASES)
    assert {
        case.name: unmatched_expectations(case, pairs()) for case in cases if unmatched_expectations(case, pairs())
    } == {}
    assert unused_base_expectations(cases, pairs()) == ()


def test_the_catalogue_is_sorted_and_has_the_planned_cases() -> None:
    names = [case.name for case in load_catalogue(CASES)]
    assert names == sorted(names)
    assert len(names) == len(set(names)) >= 27
    assert {"framework-defaults", "epsilon[eps=1e-10]", "tutorial-dense-one", "digits-mlp", "long"} <= set(names)


def test_loading_the_catalogue_imports_no_framework() -> None:
    code = (
        "import sys; from parity.case.catalogue import *; load_catalogue(shipped_cases());"
        "print(sorted({'torch', 'tensorflow', 'keras', 'jax', 'pandas'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CASES.parent)
    assert found.stdout == "[]\n"


def test_a_recorded_case_moves_with_its_folder(tmp_path: Path) -> None:
    shutil.copytree(CASES, tmp_path / "elsewhere")
    here, there = (load_case_file(folder / "digits-mlp.toml")[0] for folder in (CASES, tmp_path / "elsewhere"))
    assert here.digest() == there.digest()


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        (
            "shape = [32]",
            "shape = [31]",
            "parameters.1.shape: '0.bias' was recorded in 'digits-mlp' as [32], not as [31]",
        ),
        (
            '"0.bias"',
            '"0.bais"',
            "no parameter '0.bais' in recording 'digits-mlp'; allowed: 0.bias, 0.weight, ",
        ),
        ("steps = 100", "steps = 101", "steps: 101 asked, recording 'digits-mlp' holds 100"),
    ],
)
def test_a_case_that_does_not_fit_its_recording_is_one_line(tmp_path: Path, good: str, bad: str, told: str) -> None:
    shutil.copytree(CASES, tmp_path / "cases")
    path = tmp_path / "cases" / "digits-mlp.toml"
    text = path.read_text(encoding="utf-8")
    assert good in text
    path.write_text(text.replace(good, bad), encoding="utf-8")
    with pytest.raises(ParityError) as error:
        load_case_file(path)
    assert str(error.value).startswith(f"{path}: {told}")
    assert len(str(error.value).splitlines()) == 1
