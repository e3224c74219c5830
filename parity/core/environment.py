"""What surrounds a run and may change its numbers; standard library only, so that any worker can tell."""

from __future__ import annotations

import fnmatch
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

PACKAGES = (
    "jax", "jaxlib", "keras", "ml_dtypes", "numpy", "optax", "tensorflow", "tensorflow-cpu", "tf_keras", "torch",
)  # fmt: skip

VARIABLES = (
    "ATEN_CPU_CAPABILITY", "CUBLAS_WORKSPACE_CONFIG", "DNNL_*", "JAX_DEFAULT_MATMUL_PRECISION", "JAX_ENABLE_X64",
    "JAX_PLATFORMS", "KERAS_BACKEND", "MKL_CBWR", "MKL_DYNAMIC", "MKL_ENABLE_INSTRUCTIONS", "MKL_NUM_THREADS",
    "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "NVIDIA_TF32_OVERRIDE", "OMP_DYNAMIC", "OMP_NUM_THREADS",
    "OMP_THREAD_LIMIT", "ONEDNN_*", "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "TF_CUDNN_DETERMINISTIC",
    "TF_DETERMINISTIC_OPS", "TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS",
    "TF_USE_LEGACY_KERAS", "TF_XLA_FLAGS", "XLA_FLAGS",
)  # fmt: skip
"""Environment variables known to change numerics, patterns among them."""

CPU_FLAGS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_fp16",
    "asimd",
    "sve",
    "sve2",
)


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_environment() -> dict[str, Any]:
    """Python, platform, processor, cores in use, package versions and variables, ready for JSON."""
    vendor, model, flags = _processor()
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "byte_order": sys.byteorder,
        "vendor": vendor,
        "processor": model,
        "cpu_flags": [flag for flag in CPU_FLAGS if flag in flags],
        "cpus": processors(),
        "packages": dict(_versions()),
        "variables": {name: value for name, value in sorted(os.environ.items()) if changes_numerics(name)},
    }


FACTS = ("python", "implementation", "platform", "byte_order", "processor", "cpu_flags", "cpus", "packages",
         "variables")  # fmt: skip
"""What every environment says."""


def lacking(environment: Mapping[str, Any], facts: Sequence[str] = FACTS) -> str:
    """The first fact that an environment out of a file does not say, or says as no fact can be; empty for none."""
    told = ("packages", "variables", MACHINE)
    return next((one for one in facts if one not in environment), "") or next(
        (one for one in told if not isinstance(environment.get(one, {}), dict)),
        "" if _are_words(environment.get("cpu_flags", [])) else "cpu_flags",
    )


def _are_words(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def changes_numerics(variable: str) -> bool:
    """Whether an environment variable is known to change numerics."""
    return _NUMERIC.fullmatch(variable) is not None


_NUMERIC = re.compile("|".join(map(fnmatch.translate, VARIABLES)))


@cache
def _versions() -> list[tuple[str, str]]:
    found = []
    for package in PACKAGES:
        try:
            found.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def _processor() -> tuple[str, str, frozenset[str]]:
    """Vendor, model and flags."""
    fields: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                fields.setdefault(name.strip(), value.strip())
    except OSError:
        return "", platform.processor() or "unknown", frozenset()
    # On Arm Linux gives the vendor as a number, and calls the flags features.
    vendor = fields.get("vendor_id") or f"implementer {fields.get('CPU implementer', 'unknown')}"
    flags = frozenset(f"{fields.get('flags', '')} {fields.get('Features', '')}".split())
    return vendor, fields.get("model name", platform.processor() or "unknown"), flags


ABSENT = "absent"

MACHINE = "machine"
"""Where an environment has what frameworks say of the machine: the instruction set in force, threads."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing about an environment, as it was and as it is."""

    what: str
    before: str
    after: str


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What differs between two environments of `parity.core.environment`; packages and variables singly.

    What only one side says of its machine is no difference: a process tells of the frameworks that it has loaded.
    """
    left, right = dict(_told(before)), dict(_told(after))
    for one_sided in before.get(MACHINE, {}).keys() ^ after.get(MACHINE, {}).keys():
        left.pop(one_sided, None)
        right.pop(one_sided, None)
    return tuple(
        Difference(what, left.get(what, ABSENT), right.get(what, ABSENT))
        for what in dict.fromkeys((*left, *right))
        if left.get(what, ABSENT) != right.get(what, ABSENT)
    )


def together(environments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Several of one machine, each with what all of them say of it."""
    said = {key: value for one in environments for key, value in one.get(MACHINE, {}).items()}
    return [{**one, MACHINE: said} for one in environments]


def nearest_environment(
    known: Sequence[Sequence[Mapping[str, Any]]], here: Mapping[str, Any]
) -> tuple[int, tuple[Difference, ...]]:
    """Which of several has least that differs from this environment, the first of equals; and what does.

    known: at least one, each the environments of one baseline, of which the nearest counts.
    """
    ranked = [
        (min((differences(one, here) for one in environments), key=len), place)
        for place, environments in enumerate(known)
    ]
    found, place = min(ranked, key=lambda one: (len(one[0]), one[1]))
    return place, found


def _told(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    for name, value in sorted(environment.items()):
        match value:
            case Mapping():
                told += [(str(key), str(one)) for key, one in sorted(value.items())]
            case list() | tuple():
                told.append((name, " ".join(map(str, value))))
            case _:
                told.append((name, str(value)))
    return told
