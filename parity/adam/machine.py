"""What of a machine decides the bits of an Adam, what twins are there, and on which machines they were confirmed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, NamedTuple

from parity.adam.arithmetic import Arithmetic, Exceptional
from parity.adam.forms import DecayGradient, DecayWeights, FirstMoment, Reduction, SecondMoment, Update
from parity.adam.twin import Twin
from parity.adam.twins import EARLIER, TWINS
from parity.numerics.formats import Format, format_named


class Engine(StrEnum):
    """Whose kernels carry an Adam out, as `instruction sets` of an environment names it."""

    NUMPY = "NumPy"
    TORCH = "torch"
    TENSORFLOW = "TensorFlow"
    XLA = "XLA"


@dataclass(frozen=True, slots=True)
class Machine:
    """Where an Adam ran.

    architecture, vendor: of the processor, empty where nobody told. sets: by engine, its instruction set in force, as
    the engine itself calls it; without those that did not tell. threads: of torch. packages: releases.
    """

    architecture: str = ""
    vendor: str = ""
    sets: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    threads: int = 1
    packages: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def told(self, implementation: str) -> str:
        """What of it may decide the bits of an implementation, in words; NumPy's are the same on all its sets."""
        engine = engine_of(implementation)
        threads = f", {self.threads} thread{'s' * (self.threads != 1)}" if engine is Engine.TORCH else ""
        in_force = f"{engine} on {self.sets[engine]}" if engine in self.sets and engine is not Engine.NUMPY else ""
        return ", ".join(filter(None, [f"{self.architecture} ({self.vendor})", in_force])) + threads


def machine_of(environment: Mapping[str, Any]) -> Machine:
    """The machine that an environment of `parity.core.environment` describes; what it does not say is unknown."""
    told = environment.get("machine", {})
    return Machine(
        str(environment.get("platform", "")).rpartition("-")[2],
        str(environment.get("vendor", "")),
        {engine: told[key] for engine in Engine if (key := f"{engine} instruction set") in told},
        int(told.get("torch threads", 1)),
        environment.get("packages", {}),
    )


class Claim(NamedTuple):
    """Implementations of a pattern of names, whose kernels they run, and the releases that were confirmed.

    sets: instruction sets, where they were confirmed on fewer than others of their engine.
    """

    pattern: str
    engine: Engine
    releases: Mapping[str, str]
    sets: tuple[str, ...] = ()


CLAIMS = (
    Claim("numpy.*", Engine.NUMPY, {}),
    # The C++ compiler has a say in it too.
    Claim("torch.*.compiled", Engine.TORCH, {"torch": "2.13"}, ("AVX512",)),
    Claim("torch.*", Engine.TORCH, {"torch": "2.13"}),
    Claim("keras_torch.*", Engine.TORCH, {"torch": "2.13", "keras": "3.15"}),
    Claim("keras_jax.*", Engine.XLA, {"jaxlib": "0.10", "keras": "3.15"}),
    Claim("keras.*.xla", Engine.XLA, {"tensorflow": "2.21", "keras": "3.15"}),
    Claim("keras.*", Engine.TENSORFLOW, {"tensorflow": "2.21", "keras": "3.15"}),
    Claim("tensorflow.*", Engine.TENSORFLOW, {"tensorflow": "2.21"}),
    Claim("tf_keras.*", Engine.TENSORFLOW, {"tensorflow": "2.21", "tf_keras": "2.21"}),
    Claim("optax.*", Engine.XLA, {"jaxlib": "0.10", "optax": "0.2"}),
)
"""The first pattern that fits counts."""

CONFIRMED: Mapping[tuple[str, str], Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        ("x86_64", "AuthenticAMD"): {
            Engine.NUMPY: (),
            Engine.TORCH: ("DEFAULT", "AVX2", "AVX512"),
            Engine.TENSORFLOW: (),
            Engine.XLA: ("AVX", "AVX2", "AVX512", "AVX512_BF16"),
        },
    }
)
"""Processors on which every claim was held against its implementation on the whole catalogue, and found to have every
bit: by architecture and vendor, the instruction sets of every engine; none where none was seen to matter.

torch with one, two and more threads, TensorFlow with oneDNN and without.
"""

WITHOUT_FMA = {Engine.TORCH: ("DEFAULT",), Engine.XLA: ("SSE4_2", "AVX")}
"""Instruction sets on x86-64 that have no fused multiply-add."""


def engine_of(implementation: str) -> Engine:
    """Whose kernels carry an implementation out; NumPy's where nobody knows."""
    claim = _claim_of(implementation)
    return Engine.NUMPY if claim is None else claim.engine


def _claim_of(implementation: str) -> Claim | None:
    return next((one for one in CLAIMS if fnmatchcase(implementation, one.pattern)), None)


def unconfirmed(implementation: str, machine: Machine) -> str:
    """Why nobody has confirmed the claim of an implementation on a machine; empty where it was, or claims nothing."""
    claim = _claim_of(implementation)
    if claim is None:
        return ""
    sets = CONFIRMED.get((machine.architecture, machine.vendor))
    if sets is None:
        seen = ", ".join(f"{architecture} of {vendor}" for architecture, vendor in CONFIRMED)
        here = f"{machine.architecture or 'an unknown architecture'} of {machine.vendor or 'an unknown vendor'}"
        return f"confirmed on {seen}; nobody has seen {here}"
    known = claim.sets or sets[claim.engine]
    if known and (here := machine.sets.get(claim.engine, "an unknown instruction set")) not in known:
        return f"confirmed with {claim.engine} on {', '.join(known)}; nobody has seen {here}"
    for package, release in claim.releases.items():
        installed = machine.packages.get(package) or machine.packages.get(f"{package}-cpu", "")
        if not f"{installed}.".startswith(f"{release}."):
            return f"confirmed with {package} {release}; here it is {installed or 'not known'}"
    return ""


def twin_on(implementation: str, dtype: str, machine: Machine) -> Twin | None:
    """What an implementation claims to be on a machine; None where it claims nothing."""
    twin = TWINS.get(implementation, {}).get(dtype)
    return None if twin is None else _on(twin, implementation, dtype, machine)


def twins_on(implementation: str, dtype: str, machine: Machine) -> tuple[Twin, ...]:
    """The same, and where the machine does not tell its instruction set, on every one."""
    told = engine_of(implementation) in machine.sets
    found = (twin_on(implementation, dtype, where) for where in (machine, *([] if told else _others(machine))))
    return tuple(dict.fromkeys(one for one in found if one is not None))


def known_twins(dtype: str, machine: Machine) -> Iterator[tuple[str, Twin]]:
    """Every different twin of a dtype and whose it is: as on that machine, of earlier releases, on other machines."""
    seen = set()
    for where in (machine, *_others(machine)):
        for name, twins in (*TWINS.items(), *EARLIER.items()):
            twin = twins.get(dtype)
            twin = None if twin is None else _on(twin, name, dtype, where)
            if twin is not None and twin not in seen:
                seen.add(twin)
                yield name, twin


def _others(machine: Machine) -> list[Machine]:
    """The same on x86-64 with a fused multiply-add, and without."""
    sets: list[dict[str, str]] = [dict.fromkeys(Engine, "AVX512"), {Engine.TORCH: "DEFAULT", Engine.XLA: "AVX"}]
    return [replace(machine, architecture="x86_64", sets=one) for one in sets]


def _on(twin: Twin, implementation: str, dtype: str, machine: Machine) -> Twin:
    engine, arithmetic = engine_of(implementation), twin.arithmetic
    if machine.architecture == "x86_64" and machine.sets.get(engine) in WITHOUT_FMA.get(engine, ()):
        arithmetic = without_fma(arithmetic, format_named(dtype))
    if arithmetic.grain:
        arithmetic = replace(arithmetic, threads=machine.threads)
    return replace(twin, arithmetic=arithmetic)


_UNFUSED: Mapping[StrEnum, StrEnum] = MappingProxyType(
    {
        FirstMoment.LERP: FirstMoment.BLEND,
        FirstMoment.DIFFERENCE_FMA: FirstMoment.DIFFERENCE,
        FirstMoment.AVERAGE_FMA_NEW: FirstMoment.AVERAGE,
        FirstMoment.AVERAGE_FMA_OLD: FirstMoment.AVERAGE,
        FirstMoment.AVERAGE_FMA_L2: FirstMoment.AVERAGE,
        FirstMoment.AVERAGE_FMA_FORMED: FirstMoment.AVERAGE,
        FirstMoment.AVERAGE_FMA_L2_FORMED: FirstMoment.AVERAGE,
        FirstMoment.TWO_KERNELS_FMA: FirstMoment.TWO_KERNELS,
        SecondMoment.AVERAGE_FMA_NEW: SecondMoment.AVERAGE,
        SecondMoment.AVERAGE_FMA_OLD: SecondMoment.AVERAGE,
        SecondMoment.AVERAGE_FMA_L2: SecondMoment.AVERAGE,
        SecondMoment.AVERAGE_FMA_CLIPPED: SecondMoment.AVERAGE,
        SecondMoment.AVERAGE_FMA_LEFT: SecondMoment.AVERAGE_LEFT,
        SecondMoment.AVERAGE_FMA_OLD_LEFT: SecondMoment.AVERAGE_LEFT,
        SecondMoment.TWO_KERNELS_FMA_LEFT: SecondMoment.TWO_KERNELS_LEFT,
        SecondMoment.SQUARE_TWO_KERNELS_FMA: SecondMoment.SQUARE_TWO_KERNELS,
        SecondMoment.DIFFERENCE_FMA: SecondMoment.DIFFERENCE,
        SecondMoment.DIFFERENCE_TWO_FMA: SecondMoment.DIFFERENCE,
        Update.OUTSIDE_RECIPROCALS_FMA: Update.OUTSIDE_XLA_HALF,
        Update.OUTSIDE_QUOTIENTS_FMA: Update.OUTSIDE_XLA_HALF_ALONE,
        Update.HAT_XLA: Update.HAT_JAX_HALF,
        # torch's halves round the product, as the scalar loop of a tail does everywhere; in wider dtypes it is one.
        DecayGradient.FMA: DecayGradient.TWO_KERNELS,
        DecayWeights.SUBTRACTED_FMA: DecayWeights.SUBTRACTED,
        DecayWeights.SUBTRACTED_FOLDED_FMA: DecayWeights.SUBTRACTED_FOLDED,
    }
)
"""Forms that contract, and what their kernels compute where they cannot."""


_UNFUSED_REDUCTION = {one: one for one in Reduction} | {
    Reduction.VECTORS: Reduction.UNFUSED_VECTORS,
    Reduction.FUSED_VECTORS: Reduction.UNFUSED_VECTORS,
    Reduction.CONTRACTED: Reduction.IN_ORDER,
}


def without_fma(arithmetic: Arithmetic, stored: Format) -> Arithmetic:
    """The same kernels where the processor has no fused multiply-add: a tail is then computed as all the rest.

    Source: aten/src/ATen/cpu/vec/vec_base.h, torch 2.13; XLA under ``--xla_cpu_max_isa=AVX``, JAX 0.10.2.
    """
    places = {name: replace(getattr(arithmetic, name), **_unfused(getattr(arithmetic, name)))
              for name in ("only", "rows", "alone", "zero_dimensional")}  # fmt: skip
    return replace(
        arithmetic,
        **_unfused(arithmetic),
        **places,
        # Squares of halves are exact in float32, in which they are summed up, so that fma and sum are one.
        reduction=arithmetic.reduction if stored.dtype.itemsize < 4 else _UNFUSED_REDUCTION[arithmetic.reduction],
        lanes=1,
        grain=0,
        shards=1,
        tail=Exceptional(),
    )


def _unfused(forms: Arithmetic | Exceptional) -> dict[str, Any]:
    held = {one.name: getattr(forms, one.name) for one in fields(Exceptional)}
    return {name: _UNFUSED[form] for name, form in held.items() if form in _UNFUSED}
