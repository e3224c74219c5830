"""What of an environment changes numbers, and how two of them differ."""

from __future__ import annotations

import os

import pytest

from parity.core.environment import changes_numerics, describe_environment, differences, nearest_environment, together


@pytest.mark.parametrize(
    "variable",
    ["TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS", "OMP_NUM_THREADS", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "ONEDNN_JIT_PROFILE",
     "CUBLAS_WORKSPACE_CONFIG", "ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES"],
)  # fmt: skip
def test_variables_that_change_numbers_are_kept(variable, monkeypatch):
    assert changes_numerics(variable)
    monkeypatch.setenv(variable, "seen")
    assert describe_environment()["variables"][variable] == "seen"


@pytest.mark.parametrize("variable", ["HOME", "XLA_FLAG", "MY_XLA_FLAGS", "ONEDNN", "OMP_WAIT_POLICY"])
def test_others_are_not(variable, monkeypatch):
    monkeypatch.setenv(variable, "seen")
    assert not changes_numerics(variable)
    assert variable not in describe_environment()["variables"]


def test_the_vendor_of_the_processor_is_told():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        told = lines.read()
    assert describe_environment()["vendor"].removeprefix("implementer ") in told


def on(**machine):
    told = {"torch_set": "torch instruction set", "numpy_set": "NumPy instruction set"}
    return {"python": "3.11", "machine": {told[name]: value for name, value in machine.items()}}


def test_what_both_say_of_the_machine_differs_and_what_one_says_does_not():
    (found,) = differences(on(torch_set="AVX512", numpy_set="X86_V4"), on(torch_set="DEFAULT"))
    assert (found.what, found.before, found.after) == ("torch instruction set", "AVX512", "DEFAULT")
    assert differences(on(torch_set="AVX512"), {"python": "3.11"}) == ()


def test_what_one_process_says_of_the_machine_holds_for_all_of_a_side():
    before = together([on(numpy_set="X86_V4"), on(numpy_set="X86_V4", torch_set="AVX512")])
    after = together([on(numpy_set="X86_V4"), on(numpy_set="X86_V4", torch_set="DEFAULT")])
    _, found = nearest_environment([before], after[0])
    assert [one.what for one in found] == ["torch instruction set"]


def test_a_package_of_the_name_of_an_engine_is_another_thing():
    sides = [{**on(torch_set="AVX2"), "packages": {"torch": release}} for release in ("2.12", "2.13")]
    assert [one.what for one in differences(*sides)] == ["torch"]
    assert os.environ.keys() >= describe_environment()["variables"].keys()
