"""Claims under other instruction sets, thread counts and switches: each in real processes under the real setting."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

import parity
from parity.adam.machine import Engine, engine_of
from parity.case.catalogue import select_cases
from parity.engine.findings import Severity, Topic
from parity.implementations.registry import shipped_implementations

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(2400), pytest.mark.thorough]

TORCH = ("torch.adam.[!c]*", "torch.adamw.*", "keras_torch.*", "numpy.adam.outside")
COMPILED = ("torch.adam.compiled", "numpy.adam.outside")
"""What is compiled for seconds for each case and dtype has runs of its own."""

XLA = ("optax.*", "keras_jax.*", "keras.*.xla", "numpy.adam.hat")
TENSORFLOW = ("keras.*", "tensorflow.*", "tf_keras.*", "numpy.adam.hat")

SETTINGS = {
    ("ATEN_CPU_CAPABILITY", "default"): TORCH,
    ("ATEN_CPU_CAPABILITY", "avx2"): TORCH,
    ("OMP_NUM_THREADS", "1"): TORCH,
    ("OMP_NUM_THREADS", "2"): TORCH,
    ("XLA_FLAGS", "--xla_cpu_max_isa=AVX"): XLA,
    ("XLA_FLAGS", "--xla_cpu_max_isa=AVX2"): XLA,
    ("XLA_FLAGS", "--xla_cpu_max_isa=AVX512"): XLA,
    ("TF_ENABLE_ONEDNN_OPTS", "0"): TENSORFLOW,
    ("TF_ENABLE_ONEDNN_OPTS", "1"): TENSORFLOW,
}
IN_FORCE = {
    ("ATEN_CPU_CAPABILITY", "default"): "torch on DEFAULT",
    ("ATEN_CPU_CAPABILITY", "avx2"): "torch on AVX2",
    ("OMP_NUM_THREADS", "1"): ", 1 thread",
    ("OMP_NUM_THREADS", "2"): ", 2 threads",
    ("XLA_FLAGS", "--xla_cpu_max_isa=AVX"): "XLA on AVX",
    ("XLA_FLAGS", "--xla_cpu_max_isa=AVX2"): "XLA on AVX2",
    ("XLA_FLAGS", "--xla_cpu_max_isa=AVX512"): "XLA on AVX512",
}
"""What the frameworks have to say of themselves."""

DTYPES = ["float64", "float32", "float16", "bfloat16"]
TAILS = [
    {"name": "a", "shape": [17, 59]},
    {"name": "b", "shape": [7]},
    {"name": "c", "shape": []},
    {"name": "d", "shape": [10, 13]},
]
LONG = [{"name": "a", "shape": [70001]}, {"name": "b", "shape": [70013]}]
"""More than torch gives to one thread."""

HYPER = {"lr": 0.01, "eps": 1e-4}
CASES = {
    "plain": {"parameters": TAILS, "steps": 20, "hyper": HYPER},
    "small-betas": {"parameters": TAILS[:2], "steps": 12, "hyper": {**HYPER, "beta1": 0.4, "beta2": 0.3}},
    "l2": {"parameters": TAILS, "steps": 12, "hyper": {**HYPER, "weight_decay": 0.1}},
    "decoupled": {"parameters": TAILS, "steps": 12, "hyper": {**HYPER, "weight_decay": 0.1, "decoupled": True}},
    "one-tensor": {"parameters": TAILS[:1], "steps": 12, "hyper": {**HYPER, "amsgrad": True}},
    "threads": {"parameters": LONG, "steps": 2, "hyper": {**HYPER, "weight_decay": 0.1}},
}
CLIPPED = {
    f"clip-{by}": {"parameters": TAILS, "steps": 6, "hyper": HYPER, "stages": {"clip": {"by": by, "limit": 0.05}}}
    for by in ("norm", "global_norm")
}
"""Of torch, whose norms are sums over whole tensors."""

SHARED = {"threads-without-decay": {"parameters": LONG, "steps": 2, "hyper": HYPER}}
"""Of Keras on torch, which has no L2, and a tail in both moments."""


def cases_under(setting):
    """The cases that are asked under a setting, with their keys."""
    return {**CASES, **CLIPPED, **SHARED} if SETTINGS[setting] is TORCH else CASES


def held_under(setting, implementations, cases, folder, keyword=""):
    """All implementations that were held against their twins in a run under a setting, with their cells."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*setting)
        options = parity.Options(timeout=900)
        run = parity.run(cases, implementations, output=folder, keyword=keyword, options=options)
    assert run.environment["variables"][setting[0]] == setting[1]
    return run, [(cell, one) for cell in run.cells for one in cell.account.held]


WITH_OTHER_BITS = [("ATEN_CPU_CAPABILITY", "default"), ("XLA_FLAGS", "--xla_cpu_max_isa=AVX")]
"""What `make test` asks: instruction sets under which some implementation computes other bits than it does here."""

BRIEF = ("plain", "threads")
"""What `make test` asks of what is compiled: vectors, their tails, and rows that threads share."""

ALL = [
    *((one, SETTINGS[one], tuple(cases_under(one))) for one in SETTINGS),
    *((one, COMPILED, tuple(cases_under(one))) for one in SETTINGS if SETTINGS[one] is TORCH),
    *((one, COMPILED, BRIEF) for one in WITH_OTHER_BITS if SETTINGS[one] is TORCH),
]


def is_exhaustive(setting, implementations, cases):
    return setting not in WITH_OTHER_BITS or (implementations is COMPILED and cases is not BRIEF)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            one,
            marks=pytest.mark.exhaustive if is_exhaustive(*one) else [],
            id=" ".join(["=".join(one[0]), *(["compiled"] if one[1] is COMPILED else []), *one[2] * (one[2] is BRIEF)]),
        )
        for one in ALL
    ],
)
def settled(request, tmp_path_factory, case_text):
    """Small cases in four dtypes, under a setting."""
    folder = tmp_path_factory.mktemp("setting")
    setting, implementations, asked = request.param
    for name in asked:
        (folder / f"{name}.toml").write_text(case_text(dtypes=DTYPES, expect=None, **cases_under(setting)[name]))
    cases = [folder / f"{name}.toml" for name in asked]
    run, held = held_under(setting, implementations, cases, folder / "run")
    return request.param, run, held


def test_every_row_of_torch_is_asked():
    shipped = {name for name in shipped_implementations() if name.startswith("torch.")}
    assert {name for name in shipped if any(fnmatchcase(name, one) for one in (*TORCH, *COMPILED))} == shipped


def test_every_claim_holds_under_every_setting(settled):
    (setting, implementations, cases), run, held = settled
    broken = [
        f"{cell.case} {cell.dtype} {one.implementation} on {one.machine}: {one.broken} of {one.compared}"
        for cell, one in held
        if one.broken and not one.unconfirmed
    ]
    assert broken == []
    if implementations is COMPILED:
        assert {one.implementation for _, one in held} == set(COMPILED)
    # What was confirmed on fewer instruction sets than the rest of its framework says so.
    held = [(cell, one) for cell, one in held if not one.unconfirmed]
    assert {one.source for _, one in held} == {"claimed"}
    assert not [one for cell, one in held if one.differing and not one.covered]
    assert not [one for one in run.findings if one.topic is Topic.CLAIM and one.severity is Severity.ALARM]
    names = {one.implementation for _, one in held}
    asked = {cell.dtype for cell, _ in held}, {cell.case for cell, _ in held}
    assert len(names) > 3 or implementations is COMPILED
    # Keras's Adam has no L2.
    lacks = {"l2", "threads"} if SETTINGS[setting] is TENSORFLOW else set()
    assert asked == (set(DTYPES), set(cases) - lacks)


def test_the_frameworks_say_what_is_in_force(settled):
    (setting, _, _), run, held = settled
    engine = Engine.XLA if SETTINGS[setting] is XLA else Engine.TORCH
    told = {f"{one.machine}," for _, one in held if engine_of(one.implementation) is engine}
    if setting in IN_FORCE:
        in_force = IN_FORCE[setting]
        if "avx512f" not in run.environment["cpu_flags"]:
            # A limit above what the processor has is none.
            in_force = in_force.replace("AVX512", "AVX2")
        assert [f"{in_force}," in one for one in told] == [True]


@pytest.mark.machines
@pytest.mark.parametrize("setting", SETTINGS, ids="=".join)
def test_every_claim_holds_on_the_whole_catalogue(setting, tmp_path):
    run, held = held_under(setting, (), (), tmp_path / "run")
    assert {cell.case for cell in run.cells} == {case.name for case in select_cases()}
    assert {one.implementation for _, one in held} >= {*shipped_implementations()} - {
        "numpy.adam.hat.store",
        "numpy.adam.inside.store",
        *(name for name, one in shipped_implementations().items() if one.on_request),
    }
    assert [
        (cell.case, cell.dtype, one.implementation) for cell, one in held if one.broken and not one.unconfirmed
    ] == []
    assert run.exit_code == 0
