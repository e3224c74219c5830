"""Twins by machine: what decides them, and on which machines they were confirmed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from parity.adam.arithmetic import Arithmetic, Exceptional, Setting, parts, plain
from parity.adam.convention import Convention, Epsilon
from parity.adam.forms import DecayGradient, FirstMoment
from parity.adam.machine import (
    CONFIRMED,
    Engine,
    Machine,
    engine_of,
    known_twins,
    machine_of,
    twin_on,
    twins_on,
    unconfirmed,
)
from parity.adam.step import lock_step
from parity.adam.twins import TWINS
from parity.core.environment import describe_environment
from parity.core.hyper import Hyper
from parity.core.state import Rows
from parity.implementations.machine import machine_facts, xla_instruction_set
from parity.implementations.registry import shipped_implementations
from parity.numerics.formats import FORMATS

RELEASES = {
    "torch": "2.13.0+cpu", "keras": "3.15.1", "tensorflow-cpu": "2.21.0", "tf_keras": "2.21.0", "jaxlib": "0.10.2",
    "optax": "0.2.8",
}  # fmt: skip
SEEN = {Engine.NUMPY: "X86_V3", Engine.TORCH: "AVX2", Engine.XLA: "AVX2"}
HERE = Machine("x86_64", "AuthenticAMD", SEEN, 2, RELEASES)


def without_fma(machine):
    return replace(machine, sets={**SEEN, Engine.TORCH: "DEFAULT", Engine.XLA: "AVX"})


@pytest.mark.parametrize("name", TWINS)
def test_every_claim_was_confirmed_where_it_is_said(name):
    for sets in ({}, {Engine.TORCH: "DEFAULT", Engine.XLA: "AVX"}, {Engine.TORCH: "AVX512", Engine.XLA: "AVX512"}):
        told = unconfirmed(name, replace(HERE, sets={**SEEN, **sets}))
        compiled = name.endswith(".compiled") and sets.get(Engine.TORCH) != "AVX512"
        assert told == ("confirmed with torch on AVX512; nobody has seen " + sets.get(Engine.TORCH, "AVX2")) * compiled


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"architecture": "aarch64", "vendor": "implementer 0x41"}, "nobody has seen aarch64 of implementer 0x41"),
        ({"vendor": "GenuineIntel"}, "nobody has seen x86_64 of GenuineIntel"),
        ({"architecture": "", "vendor": ""}, "nobody has seen an unknown architecture of an unknown vendor"),
        ({"sets": {Engine.TORCH: "SVE256"}}, "confirmed with torch on DEFAULT, AVX2, AVX512; nobody has seen SVE256"),
        ({"sets": {}}, "nobody has seen an unknown instruction set"),
        ({"packages": {"torch": "2.1.0"}}, "confirmed with torch 2.13; here it is 2.1.0"),
        ({"packages": {"torch": "2.130"}}, "confirmed with torch 2.13; here it is 2.130"),
        ({"packages": {}}, "confirmed with torch 2.13; here it is not known"),
    ],
)
def test_a_machine_that_nobody_has_seen(change, told):
    assert told in unconfirmed("torch.adam.forloop", replace(HERE, **change))


def test_what_claims_nothing_is_not_unconfirmed():
    assert unconfirmed("user.mine", Machine("aarch64")) == ""


def test_every_implementation_has_the_engine_of_its_framework():
    engines = {
        "numpy": Engine.NUMPY,
        "torch": Engine.TORCH,
        "keras_torch": Engine.TORCH,
        "jax": Engine.XLA,
        "keras_jax": Engine.XLA,
    }
    for name, one in shipped_implementations().items():
        expected = Engine.XLA if name.endswith(".xla") else engines.get(one.framework, Engine.TENSORFLOW)
        assert engine_of(name) is expected


@pytest.mark.parametrize("dtype", FORMATS)
def test_without_fma_no_form_contracts_and_only_torch_and_xla_change(dtype):
    for name in TWINS:
        if dtype not in TWINS[name]:
            continue
        before, after = (twin_on(name, dtype, machine) for machine in (HERE, without_fma(HERE)))
        engine = engine_of(name)
        if engine in (Engine.NUMPY, Engine.TENSORFLOW):
            assert after == before == TWINS[name][dtype]
            continue
        assert not contracting(after.arithmetic)
        assert after.arithmetic.lanes == 1
        assert after != before or not contracting(before.arithmetic)


def contracting(arithmetic):
    """Forms of an arithmetic that are made of a fused multiply-add."""
    parts = (arithmetic, *(getattr(arithmetic, place) for place in ("tail", "only", "alone", "zero_dimensional")))
    forms = [str(getattr(part, one.name)) for part in parts for one in fields(Exceptional)]
    return [form for form in forms if "fma" in form or "lerp" in form]


def test_nothing_is_known_of_another_architecture():
    """torch's DEFAULT on Arm is NEON, which has a fused multiply-add."""
    arm = replace(without_fma(HERE), architecture="aarch64")
    assert twin_on("torch.adam.forloop", "float32", arm) == TWINS["torch.adam.forloop"]["float32"]


def test_the_twins_of_other_machines_are_among_those_that_are_tried():
    known = {twin for _, twin in known_twins("float32", HERE)}
    assert twin_on("torch.adam.fused", "float32", without_fma(HERE)) in known
    assert twin_on("optax.adam.jit", "float32", without_fma(HERE)) in known
    assert twin_on("torch.adam.fused", "float32", HERE) in known


def test_of_an_instruction_set_that_is_not_told_every_one_is_tried():
    assert twins_on("torch.adam.fused", "float32", HERE) == (twin_on("torch.adam.fused", "float32", HERE),)
    untold = twins_on("torch.adam.fused", "float32", Machine())
    assert set(untold) == {twin_on("torch.adam.fused", "float32", one) for one in (HERE, without_fma(HERE))}
    assert twins_on("keras.adam.eager", "float32", Machine()) == (TWINS["keras.adam.eager"]["float32"],)
    assert twins_on("user.mine", "float32", Machine()) == ()


def test_threads_are_those_of_the_machine_where_a_kernel_has_a_tail():
    threads = {
        dtype: twin_on("torch.adam.forloop", dtype, replace(HERE, threads=3)).arithmetic.threads for dtype in FORMATS
    }
    assert threads == {"float64": 1, "float32": 1, "float16": 3, "bfloat16": 3}


def bounds(size, threads, lanes=32, grain=1 << 15):
    arithmetic = replace(
        plain(Epsilon.OUTSIDE),
        lanes=lanes,
        threads=threads,
        grain=grain,
        tail=Exceptional(decay_gradient=DecayGradient.TWO_KERNELS),
    )
    found = list(parts(arithmetic, Setting((size,), 2)))
    assert [place.start for place, _ in found] == [0, *(place.stop for place, _ in found)][:-1]
    assert not found or found[-1][0].stop == size
    return [(place.start, place.stop) for place, one in found if one.decay_gradient is DecayGradient.TWO_KERNELS]


@pytest.mark.parametrize(
    ("size", "threads", "tails"),
    [
        (0, 2, []),
        (31, 2, [(0, 31)]),
        (1 << 15, 2, []),
        # Two threads share what is longer than 32,768 elements, by halves, the first having the odd one.
        ((1 << 15) + 1, 2, [(16384, 16385)]),
        (70001, 1, [(69984, 70001)]),
        (70001, 2, [(34976, 35001), (69977, 70001)]),
        (70001, 9, [(23328, 23334), (46662, 46668), (69996, 70001)]),
    ],
)
def test_every_thread_has_a_tail_of_its_own(size, threads, tails):
    assert bounds(size, threads) == tails


def test_shares_of_threads_keep_every_bit_but_those_of_tails():
    """Where the tail computes alike it does not matter who computes what."""
    size, format = 4099, FORMATS["bfloat16"]
    draw = np.random.default_rng(5)
    w, m, g = (draw.standard_normal((1, size)).astype(format.dtype) for _ in range(3))
    v = np.abs(draw.standard_normal((1, size))).astype(format.dtype)
    alone = replace(TWINS["torch.adam.forloop"]["bfloat16"].arithmetic, grain=512)
    shared = replace(alone, threads=4)

    def step(arithmetic):
        made = lock_step(Rows(w, m, v), g, Hyper(weight_decay=0.1), Convention(), arithmetic, [1e-3], [1])
        return made.m.view(np.uint16)[0]

    differing = np.flatnonzero(step(alone) != step(shared))
    # 4 shares of 1,025 elements, the last of 1,024: three more tails of one element.
    assert set(differing) <= {1024, 2049, 3074}
    none = {"tail": Exceptional()}
    np.testing.assert_array_equal(step(replace(alone, **none)), step(replace(shared, **none)))


@pytest.mark.parametrize("beta1", [0.9, 0.4])
def test_blending_is_interpolating_without_fma(beta1):
    format = FORMATS["float64"]
    draw = np.random.default_rng(6)
    w, m, g = (draw.standard_normal((1, 257)) for _ in range(3))
    blended = replace(plain(Epsilon.OUTSIDE), first_moment=FirstMoment.BLEND)
    made = lock_step(Rows(w, m, np.abs(m)), g, Hyper(beta1=beta1), Convention(), blended, [1e-3], [1])
    c1 = 1 - beta1
    expected = m + c1 * (g - m) if c1 < 0.5 else g - (g - m) * (1 - c1)
    np.testing.assert_array_equal(made.m, expected.astype(format.dtype))


X86 = ["sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16"]


@pytest.mark.parametrize(
    ("flags", "asked", "expected"),
    [
        (X86, "", "AVX512_BF16"),
        ([*X86, "amx_bf16", "amx_fp16"], "", "AMX_FP16"),
        (X86[:4], "", "AVX2"),
        (X86[:3], "", "AVX"),
        (X86, "--xla_cpu_max_isa=AVX2", "AVX2"),
        (X86, "--xla_a=1 --xla_cpu_max_isa=avx --xla_b=2", "AVX"),
        (X86, "--xla_cpu_max_isa=AVX2 --xla_cpu_max_isa=SSE4_2", "SSE4_2"),
        (X86[:2], "--xla_cpu_max_isa=AVX512", "AVX"),
        (X86, "--xla_cpu_max_isa=NOTHING", "AVX512_BF16"),
        (["asimd", "sve"], "", ""),
    ],
)
def test_the_instruction_set_that_xla_takes(flags, asked, expected):
    assert xla_instruction_set(flags, asked) == expected


def test_this_process_tells_of_what_it_has_loaded():
    facts = machine_facts()
    assert facts["NumPy instruction set"] in " ".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"])
    machine = machine_of({**describe_environment(), "machine": {"torch threads": "4", "torch instruction set": "AVX2"}})
    assert (machine.threads, machine.sets) == (4, {Engine.TORCH: "AVX2"})
    assert machine.architecture
    assert "torch on AVX2, 4 threads" in machine.told("torch.adam.fused")
    assert "torch" not in machine.told("keras.adam.eager")
    assert " on " not in HERE.told("numpy.adam.hat")


def test_what_was_confirmed_is_told_by_engine():
    assert all(set(sets) == set(Engine) for sets in CONFIRMED.values())
    assert {one.name for one in fields(Arithmetic)} >= {"threads", "grain"}
