"""Which releases of a package an index has for this Python."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from parity.baseline.environments.installer import InstallFailed, choose_installer, run_installer
from parity.core.errors import ParityError, UsageError, nearest


def releases_of(package: str, oldest: str, *, pre: bool = False) -> list[str]:
    """Releases from `oldest` on, oldest first, those that can be installed for this Python.

    pre: also pre-releases. ParityError, one line, where there is no such package or no index to be reached.
    """
    name = canonicalize_name(package)
    with tempfile.TemporaryDirectory(prefix="parity-") as scratch:
        ask = _asked_of_uv if choose_installer().name == "uv" else _asked_of_pip
        try:
            found = [*ask(name, Version(oldest), pre, Path(scratch))]
        except InstallFailed as failure:
            if "connection broken by" in failure.output:
                raise ParityError(f"--package {package}: no package index could be reached") from None
            raise ParityError(f"--package {package}: {failure}") from None
    kept = {version for version in found if version >= Version(oldest) and (pre or not version.is_prerelease)}
    return [str(version) for version in sorted(kept)]


def between(releases: list[str], package: str, good: str, bad: str) -> tuple[str, ...]:
    """Those from good to bad; ParityError where one is none of them, UsageError where good is not the older."""
    by_version = {Version(one): one for one in releases}
    for flag, release in (("--good", good), ("--bad", bad)):
        if Version(release) not in by_version:
            known = nearest(release, releases, "the index has none: look at the name, or name another --python")
            raise ParityError(f"{flag} {release}: no release of {package} for this Python; {known}")
    if not Version(good) < Version(bad):
        raise UsageError(f"--good {good} --bad {bad}: the good release has to be the older one")
    return tuple(one for version, one in sorted(by_version.items()) if Version(good) <= version <= Version(bad))


def in_order(releases: Sequence[str], least: int) -> list[str]:
    """Releases that `--versions` names, oldest first; UsageError where there are fewer than `least`, or one twice."""
    for one in releases:
        check_release("--versions", one)
    ordered = sorted(releases, key=Version)
    if len({Version(one) for one in ordered}) != len(ordered):
        raise UsageError(f"--versions {','.join(releases)}: names a release twice")
    if len(ordered) < least:
        raise UsageError(f"--versions {','.join(releases)}: it takes at least {least} to compare")
    return ordered


def _unseen(line: str) -> None:
    """What an installer says while it lists is no progress."""


def check_release(flag: str, release: str) -> None:
    """ParityError where a text is no release."""
    try:
        Version(release)
    except InvalidVersion:
        raise ParityError(f"{flag} {release!r}: is no release; for instance '3.3.3'") from None


def _asked_of_pip(name: str, oldest: Version, pre: bool, folder: Path) -> Iterator[Version]:
    words = ["index", "versions", name, "--disable-pip-version-check", "--no-input", *(["--pre"] if pre else [])]
    said = run_installer([sys.executable, "-m", "pip", *words], folder, _unseen)
    listed = re.search(r"^Available versions: (.*)$", said, re.MULTILINE)
    return map(Version, listed[1].split(", ") if listed else ())


def _asked_of_uv(name: str, oldest: Version, pre: bool, folder: Path) -> Iterator[Version]:
    """From the newest down, one after the other: uv has no command that lists them."""
    words = ["--no-deps", "--no-header", "--no-annotate", "--quiet", "--python", sys.executable]
    (uv, *_) = choose_installer().make(sys.executable)
    bound = f">={oldest}"  # then what was found is left out: "<2.0" would leave out 2.0rc1 with 2.0
    while True:
        (folder / "asked.in").write_text(f"{name}{bound}\n", encoding="utf-8")
        try:
            said = run_installer(
                [uv, "pip", "compile", *words, *(["--prerelease", "allow"] if pre else []), "asked.in"], folder, _unseen
            )
        except InstallFailed:
            if "," not in bound:
                raise
            return
        found = re.search(rf"^{re.escape(name)}==(\S+)", said, re.MULTILINE)
        if found is None:
            return
        yield Version(found[1])
        bound += f",!={found[1]}"
