"""What a case file says of what stands around the step: its tables, their mistakes, and the digest."""

# ruff: noqa: E501 - a mistake and what is told of it stand on one line.

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parity.case.case import Case
from parity.case.catalogue import load_case_file
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.core.stages import (
    NO_STAGES,
    Average,
    Clip,
    ClipBy,
    Decay,
    LossScale,
    Schedule,
    Stages,
    WideState,
    stages_from_json,
    stages_to_json,
)

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

[stages]
"""


def load(folder: Path, stages: str, text: str = GOOD) -> Case:
    path = folder / "one.toml"
    path.write_text(text + stages, encoding="utf-8")
    (case,) = load_case_file(path)
    return case


KINDS: list[tuple[str, Stages]] = [
    ("", NO_STAGES),
    ('clip = { by = "value", limit = 0.5 }', Stages(clip=Clip(ClipBy.VALUE, 0.5))),
    ('clip = { by = "norm", limit = 1 }', Stages(clip=Clip(ClipBy.NORM, 1.0))),
    ('clip = { by = "global_norm", limit = 1.0 }', Stages(clip=Clip(ClipBy.GLOBAL_NORM, 1.0))),
    ("accumulate = 4", Stages(accumulate=4)),
    ("loss_scale = {}", Stages(loss_scale=LossScale())),
    ("loss_scale = { initial = 8.0, interval = 2 }", Stages(loss_scale=LossScale(8.0, interval=2))),
    ("maximize = true", Stages(maximize=True)),
    ('schedule = { decay = "cosine", steps = 9, floor = 0.1 }', Stages(schedule=Schedule(Decay.COSINE, 9, floor=0.1))),
    (
        'schedule = { decay = "exponential", steps = 9, rate = 0.5 }',
        Stages(schedule=Schedule(Decay.EXPONENTIAL, 9, 0.5)),
    ),
    (
        'schedule = { decay = "inverse_time", steps = 9, rate = 2.0 }',
        Stages(schedule=Schedule(Decay.INVERSE_TIME, 9, 2.0)),
    ),
    ('schedule = { decay = "one_cycle", steps = 9 }', Stages(schedule=Schedule(Decay.ONE_CYCLE, 9))),
    (
        'schedule = { decay = "one_cycle", steps = 9, beta1 = [0.85, 0.95] }',
        Stages(schedule=Schedule(Decay.ONE_CYCLE, 9, beta1=(0.85, 0.95))),
    ),
    ("average = { momentum = 0.9, overwrite = 3 }", Stages(average=Average(0.9, 3))),
    ("average = { momentum = 0.9 }", Stages(average=Average(0.9))),
    ('state = { m = "float32" }', Stages(state=WideState(m="float32"))),
    ('state = { m = "float32", v = "float32" }', Stages(state=WideState(m="float32", v="float32"))),
    ('state = { master = "float32" }', Stages(state=WideState(master="float32"))),
]


@pytest.mark.parametrize(("text", "stages"), KINDS)
def test_a_table_is_a_value(tmp_path: Path, text: str, stages: Stages) -> None:
    case = load(tmp_path, text)
    assert case.stages.stages() == stages
    assert case.hyper_for(Hyper()).stages == stages
    assert stages_from_json(stages_to_json(stages)) == stages
    assert tuple(stages_to_json(stages)) == stages.names


def test_each_is_another_question_and_none_is_none(tmp_path: Path) -> None:
    digests = [load(tmp_path, text).digest() for text, _ in KINDS]
    assert len(set(digests)) == len(KINDS)
    without = load(tmp_path, "", GOOD.replace("[stages]", "")).digest()
    assert digests[0] == without
    for usual in ("accumulate = 1", "maximize = false"):
        assert load(tmp_path, usual).digest() == without


def test_a_value_that_is_written_out_is_the_same_question(tmp_path: Path) -> None:
    short, long = "loss_scale = {}", "loss_scale = { initial = 65536.0, growth = 2.0, backoff = 0.5, interval = 2000 }"
    assert load(tmp_path, short).digest() == load(tmp_path, long).digest()


MISTAKES = [
    ("clop = 1", "stages: unknown key 'clop'; allowed: accumulate, average, clip, loss_scale, maximize, schedule, state; did you mean 'clip'?"),
    ('clip = { by = "value", limt = 1 }', "stages.clip: unknown key 'limt'; allowed: by, limit; did you mean 'limit'?"),
    ('clip = { by = "value" }', "stages.clip.limit: this key is missing"),
    ('clip = { by = "size", limit = 1 }', "stages.clip.by: 'size' is not allowed; allowed: global_norm, norm, value"),
    ('clip = { by = "value", limit = 0 }', "stages.clip.limit: 0 is not allowed: input should be greater than 0"),
    ('clip = { by = "norm", limit = -1.0 }', "stages.clip.limit: -1.0 is not allowed: input should be greater than 0"),
    ('clip = { by = "norm", limit = inf }', "stages.clip.limit: inf is not allowed: input should be a finite number"),
    ("accumulate = 0", "stages.accumulate: 0 is not allowed: input should be greater than or equal to 1"),
    ("accumulate = 2.0", "stages.accumulate: 2.0 is not allowed: input should be a valid integer"),
    ("maximize = 1", "stages.maximize: 1 is not allowed: input should be a valid boolean"),
    ("loss_scale = { initial = 0.0 }", "stages.loss_scale.initial: 0.0 is not allowed: input should be greater than 0"),
    ("loss_scale = { growth = 1.0 }", "stages.loss_scale.growth: 1.0 is not allowed: input should be greater than 1"),
    ("loss_scale = { backoff = 1.0 }", "stages.loss_scale.backoff: 1.0 is not allowed: input should be less than 1"),
    ("loss_scale = { interval = 0 }", "stages.loss_scale.interval: 0 is not allowed: input should be greater than or equal"),
    ("loss_scale = {}\naccumulate = 2", "stages: loss_scale goes with neither schedule nor accumulate: who counts a step left out differs"),
    ('loss_scale = {}\nschedule = { decay = "one_cycle", steps = 9 }', "stages: loss_scale goes with neither schedule nor accumulate"),
    ('schedule = { decay = "cosinus", steps = 9 }', "stages.schedule.decay: 'cosinus' is not allowed; allowed: cosine, exponential, inverse_time, one_cycle; did you mean 'cosine'?"),
    ('schedule = { decay = "cosine" }', "stages.schedule.steps: this key is missing"),
    ('schedule = { decay = "cosine", steps = 0 }', "stages.schedule.steps: 0 is not allowed: input should be greater than or equal to 1"),
    ('schedule = { decay = "exponential", steps = 9 }', "stages.schedule: 'rate' belongs to exponential and inverse_time, which need it, not to exponential"),
    ('schedule = { decay = "cosine", steps = 9, rate = 0.5 }', "stages.schedule: 'rate' belongs to exponential and inverse_time, which need it, not to cosine"),
    ('schedule = { decay = "exponential", steps = 9, rate = 0.5, floor = 0.1 }', "stages.schedule: 'floor' belongs to cosine, not to exponential"),
    ('schedule = { decay = "cosine", steps = 9, floor = 1.5 }', "stages.schedule.floor: 1.5 is not allowed: input should be less than or equal to 1"),
    ("average = { momentum = 1.0, overwrite = 3 }", "stages.average.momentum: 1.0 is not allowed: input should be less than 1"),
    ('schedule = { decay = "one_cycle", steps = 9, beta = [0.8, 0.9] }', "stages.schedule: unknown key 'beta'; allowed: beta1, decay, floor, rate, steps; did you mean 'beta1'?"),
    ('schedule = { decay = "one_cycle", steps = 9, beta1 = [0.9, 0.8] }', "stages.schedule: 'beta1' is the smallest and the largest, in this order"),
    ('schedule = { decay = "one_cycle", steps = 9, beta1 = [0.9, 1.0] }', "stages.schedule.beta1.1: 1.0 is not allowed: input should be less than 1"),
    ('schedule = { decay = "cosine", steps = 9, beta1 = [0.8, 0.9] }', "stages.schedule: 'beta1' belongs to one_cycle, not to cosine"),
    ("average = { momentun = 0.9 }", "stages.average: unknown key 'momentun'; allowed: momentum, overwrite; did you mean 'momentum'?"),
    ("average = { momentum = 0.9, overwrite = 0 }", "stages.average.overwrite: 0 is not allowed: input should be greater than or equal to 1"),
    ('state = { mastr = "float32" }', "stages.state: unknown key 'mastr'; allowed: m, master, v; did you mean 'master'?"),
    ('state = { m = "float23" }', "stages.state.m: 'float23' is not allowed; allowed: float32; did you mean 'float32'?"),
    ("state = {}", "stages.state: allowed: m, v or both; or master, beside which moments are float32 as well"),
    ('state = { m = "float32", master = "float32" }', "stages.state: allowed: m, v or both; or master, beside which moments are float32"),
    ('state = { m = "float32" }\nmaximize = true', "stages: state goes with no other stage"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), MISTAKES)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ParityError) as error:
        load(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'one.toml'}: {told}")
    assert len(str(error.value).splitlines()) == 1


def test_a_schedule_that_has_beta1_takes_no_other(tmp_path: Path) -> None:
    schedule = 'schedule = { decay = "one_cycle", steps = 9, beta1 = [0.85, 0.95] }'
    with pytest.raises(ParityError) as error:
        load(tmp_path, schedule, GOOD.replace("lr = 0.01", "beta1 = [0.9, 0.9, 0.8]"))
    assert str(error.value).endswith("hyper.beta1: a schedule that has beta1 takes no other for each step")


def test_a_schedule_without_beta1_is_told_as_before(tmp_path: Path) -> None:
    told = stages_to_json(Stages(schedule=Schedule(Decay.ONE_CYCLE, 9)))
    assert told == {"schedule": {"decay": "one_cycle", "steps": 9, "rate": 0.0, "floor": 0.0}}


def with_rows(told: str, shape: str = "[2, 3]") -> str:
    return GOOD.replace("shape = [2, 3]", f"shape = {shape}\n{told}")


def test_rows_are_a_stage_of_the_parameters_that_have_them(tmp_path: Path) -> None:
    case, without = (load(tmp_path, "", with_rows(f"rows = {told}")) for told in ("true", "false"))
    assert (case.around(), without.around()) == (Stages(rows=("kernel",)), NO_STAGES)
    assert case.hyper_for(Hyper()).stages.names == ("rows",)
    assert stages_from_json(stages_to_json(case.around())) == case.around()
    assert without.digest() == load(tmp_path, "").digest() != case.digest()


@pytest.mark.parametrize(
    ("told", "shape", "line"),
    [
        ("rows = 1", "[2, 3]", "parameters.0.rows: 1 is not allowed: input should be a valid boolean"),
        ("row = true", "[2, 3]", "parameters.0: unknown key 'row'; allowed: dtype, gradients, hyper, name, rows, shape, start, weights; did you mean 'rows'?"),
        ("rows = true", "[]", "parameters: 'kernel' has no rows: its shape is []"),
    ],
)  # fmt: skip
def test_a_mistake_about_rows_is_one_line(tmp_path: Path, told: str, shape: str, line: str) -> None:
    with pytest.raises(ParityError) as error:
        load(tmp_path, "", with_rows(told, shape))
    assert str(error.value).startswith(f"{tmp_path / 'one.toml'}: {line}")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("lr", ["[0.1, 0.2, 0.3]", "[0.1, 0.1, 0.1]"])
def test_a_schedule_begins_with_one_lr(tmp_path: Path, lr: Any) -> None:
    text = GOOD.replace("lr = 0.01", f"lr = {lr}")
    load(tmp_path, "accumulate = 2", text)
    with pytest.raises(ParityError) as error:
        load(tmp_path, 'schedule = { decay = "cosine", steps = 9 }', text)
    assert str(error.value) == (
        f"{tmp_path / 'one.toml'}: hyper.lr: a schedule begins with one lr, not with one for each step"
    )


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("steps = 3", "steps = 3\nrestart = [1]", "restart"),
        (
            "shape = [2, 3]",
            'shape = [2, 3]\nstart = { steps = 1, m = { kind = "zero" }, v = { kind = "zero" } }',
            "start",
        ),
        ("shape = [2, 3]", 'shape = [2, 3]\ndtype = "bfloat16"', "dtype"),
    ],
)
def test_a_wide_state_begins_and_goes_on_with_the_case(tmp_path: Path, old: str, new: str, what: str) -> None:
    with pytest.raises(ParityError) as error:
        load(tmp_path, 'state = { master = "float32" }', GOOD.replace(old, new))
    told = f"stages.state: it goes with no {what} of a case or parameter"
    assert str(error.value) == f"{tmp_path / 'one.toml'}: {told}"
