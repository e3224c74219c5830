"""What surrounds a run and may change its numbers; standard library only, so that any worker can tell."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

PACKAGES = (
    "jax", "jaxlib", "keras", "ml_dtypes", "numpy", "optax", "tensorflow", "tensorflow-cpu", "tf_keras", "torch",
)  # fmt: skip

VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG", "KERAS_BACKEND", "MKL_CBWR", "MKL_NUM_THREADS", "NPY_DISABLE_CPU_FEATURES",
    "OMP_NUM_THREADS", "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_NUM_THREADS",
    "TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS", "XLA_FLAGS",
)  # fmt: skip
"""Environment variables known to change numerics."""

CPU_FLAGS = (
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
)


def describe_environment() -> dict[str, Any]:
    """Python, platform, processor, cores in use, package versions and variables, ready for JSON."""
    model, flags = _processor()
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "byte_order": sys.byteorder,
        "processor": model,
        "cpu_flags": [flag for flag in CPU_FLAGS if flag in flags],
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": dict(_versions()),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


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
def _processor() -> tuple[str, frozenset[str]]:
    fields: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                fields.setdefault(name.strip(), value.strip())
    except OSError:
        return platform.processor() or "unknown", frozenset()
    return fields.get("model name", platform.processor() or "unknown"), frozenset(fields.get("flags", "").split())


ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing about an environment, as it was and as it is."""

    what: str
    before: str
    after: str


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What differs between two environments of `parity.core.environment`; packages and variables singly."""
    left, right = dict(_told(before)), dict(_told(after))
    return tuple(
        Difference(what, left.get(what, ABSENT), right.get(what, ABSENT))
        for what in dict.fromkeys((*left, *right))
        if left.get(what, ABSENT) != right.get(what, ABSENT)
    )


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
