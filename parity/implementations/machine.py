"""What decides the arithmetic of the frameworks that this process has loaded, asked of each; imports none."""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from itertools import takewhile

import numpy as np

from parity.core.environment import describe_environment


def machine_facts() -> dict[str, str]:
    """By name: the instruction set in force of NumPy, torch and XLA, and torch's threads; of what is loaded here."""
    facts = {}
    # NumPy before 1.26 has no such table.
    with suppress(AttributeError, TypeError, KeyError):
        facts["NumPy instruction set"] = " ".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"])
    torch = sys.modules.get("torch")
    # torch before 2.1 does not tell.
    with suppress(AttributeError):
        if torch is not None:
            facts["torch threads"] = str(torch.get_num_threads())
            facts["torch instruction set"] = str(torch.backends.cpu.get_cpu_capability())
    if sys.modules.keys() & {"jax", "tensorflow"}:
        told = describe_environment()
        found = xla_instruction_set(told["cpu_flags"], told["variables"].get("XLA_FLAGS", ""))
        # Of a processor whose flags it does not know nothing is told.
        facts |= {"XLA instruction set": found} if found else {}
    return facts


_XLA_SETS = {
    "SSE4_2": ("sse4_2",),
    "AVX": ("avx",),
    "AVX2": ("avx2", "fma"),
    "AVX512": ("avx512f", "avx512bw", "avx512vl"),
    "AVX512_VNNI": ("avx512_vnni",),
    "AVX512_BF16": ("avx512_bf16",),
    "AMX": ("amx_bf16",),
    "AMX_FP16": ("amx_fp16",),
}
"""Each comes with all before it; flags as Linux names them."""


def xla_instruction_set(flags: Collection[str], asked: str) -> str:
    """The largest one that a processor with these flags has, but none above ``--xla_cpu_max_isa``; empty for none.

    asked: `XLA_FLAGS`. XLA takes no notice of a name that it does not know.
    Source: xla/backends/cpu/codegen/cpu_features.cc.
    """
    names = list(_XLA_SETS)
    capped = [one.upper() for one in re.findall(r"--xla_cpu_max_isa=(\S+)", asked)]
    allowed = names[: names.index(capped[-1]) + 1] if capped and capped[-1] in names else names
    there = takewhile(lambda name: all(flag in flags for flag in _XLA_SETS[name]), allowed)
    return next(iter(deque(there, maxlen=1)), "")
