"""What an environment is asked to hold, as requirements; checked before anything is installed."""

from __future__ import annotations

from collections.abc import Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from parity.core.environment import PACKAGES
from parity.core.errors import ParityError

ALWAYS = ("numpy", "ml_dtypes")
"""What a worker needs beside its framework: added where the pins do not name it, in a release the framework accepts."""

TENSORFLOWS = (
    "tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tensorflow-intel", "tensorflow-macos", "tf-nightly",
    "tf-nightly-cpu",
)  # fmt: skip

OVERLOOKED = (
    ("jax", "0.4.26", ("numpy<2", "scipy<1.13")),
    ("jaxlib", "0.4.26", ("numpy<2", "scipy<1.13")),
    ("keras", "3.4", ("packaging",)),
    ("torch", "2.2", ("setuptools<70",)),
    ("torch", "2.3", ("numpy<2",)),
)
"""Package, release, and bounds that releases before it need and do not state: what broke them came later."""

KNOWN = tuple(canonicalize_name(package) for package in PACKAGES)
"""Packages that are likely to be meant."""


def parse_pins(pins: Sequence[str], flag: str) -> tuple[Requirement, ...]:
    """The requirements that pins state, sorted by name; ParityError, naming the flag, where one cannot be installed.

    Each is a package with releases, as ``keras==3.3.3``; a package is named once. Keras needs TensorFlow, torch or JAX
    beside it, as it brings no backend.
    """
    if not pins:
        raise ParityError(f"{flag}: no pin is given; for instance 'keras==3.3.3'")
    found: dict[str, Requirement] = {}
    for pin in pins:
        requirement = _parse(pin, flag)
        name = canonicalize_name(requirement.name)
        if name in found:
            raise ParityError(f"{flag}: {name} is pinned twice, {str(found[name])!r} and {pin!r}; name it once")
        found[name] = requirement
    if "keras" in found and not found.keys() & {*TENSORFLOWS, "torch", "jax"}:
        raise ParityError(
            f"{flag} {str(found['keras'])!r}: keras brings no TensorFlow, which keras.adam.* runs on; "
            "add a release of it, as --with 'tensorflow-cpu==2.21.0', torch for keras_torch.*, jax for keras_jax.*"
        )
    return tuple(found[name] for name in sorted(found))


def normal(requirement: Requirement) -> str:
    """A requirement in the one spelling that has its meaning."""
    extras = f"[{','.join(sorted(map(canonicalize_name, requirement.extras)))}]" if requirement.extras else ""
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return f"{canonicalize_name(requirement.name)}{extras}{requirement.specifier}{marker}"


def beside(asked: Sequence[Requirement]) -> list[str]:
    """What has to be installed beside the pins; a package that they name is left as they have it."""
    bounds = [
        bound
        for package, release, bounds in OVERLOOKED
        for one in asked
        if canonicalize_name(one.name) == package and is_exact(one) and _release(one) < Version(release)
        for bound in bounds
    ]
    names = {canonicalize_name(one.name) for one in asked}
    wanted = [*ALWAYS, *dict.fromkeys(bounds)]
    return [one for one in wanted if canonicalize_name(Requirement(one).name) not in names]


def is_exact(requirement: Requirement) -> bool:
    """Whether it names one release."""
    return [one.operator for one in requirement.specifier] == ["=="] and "*" not in str(requirement.specifier)


def _release(exact: Requirement) -> Version:
    return Version(next(iter(exact.specifier)).version)


def _parse(pin: str, flag: str) -> Requirement:
    try:
        requirement = Requirement(pin)
    except InvalidRequirement as error:
        first = str(error).split("\n")[0]
        raise ParityError(f"{flag} {pin!r}: no requirement ({first}); for instance 'keras==3.3.3'") from None
    if requirement.url:
        raise ParityError(
            f"{flag} {pin!r}: names a place, and what is there may change; allowed: releases, as 'keras==3.3.3'"
        )
    if canonicalize_name(requirement.name) == "parity":
        raise ParityError(f"{flag} {pin!r}: parity itself is never installed; allowed: frameworks and what they need")
    return requirement
