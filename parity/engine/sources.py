"""What a plug-in is made of: its file, the modules beside it that it imports, and what lies elsewhere."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from parity.core.digest import digest_of
from parity.core.environment import PACKAGES
from parity.core.parsing import ONE_TREE


class Sources(NamedTuple):
    """files: with its own one, what it imports from beside it or from this folder, and what those import.

    elsewhere: top-level names of modules that are neither, nor Python's, parity's or one of the frameworks.
    """

    files: frozenset[Path]
    elsewhere: frozenset[str]

    @property
    def digest(self) -> str:
        """Of all its code; empty where some lies elsewhere, or cannot be read, and may change without a trace."""
        if self.elsewhere or not self.files:
            return ""
        try:
            return digest_of(b"\0".join(one.read_bytes() for one in sorted(self.files, key=os.path.abspath)))
        except OSError:
            return ""


def sources_of(target: str) -> Sources:
    """Of ``file.py:attribute`` or ``module:attribute``, whatever stands behind a question mark."""
    place = target.partition("?")[0].rpartition(":")[0]
    top = place.partition(".")[0]
    waiting = [Path(place)] if place.endswith(".py") else [*_beside(top, Path())]
    elsewhere = set() if waiting else {top}
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in _imported(path):
            # A module of a package names its own package as whoever began does.
            beside = [one for folder in {path.parent, Path(place).parent, Path()} for one in _beside(name, folder)]
            waiting += beside
            elsewhere |= set() if beside else {name}
    return Sources(frozenset(found), frozenset(elsewhere))


def _beside(name: str, folder: Path) -> Iterator[Path]:
    module, package = folder / f"{name}.py", folder / name
    if name and module.is_file():
        yield module
    elif name and (package / "__init__.py").is_file():
        yield from package.rglob("*.py")


def _imported(path: Path) -> set[str]:
    """Top-level names of what a file imports that is not there anyway; what is wrong with it tells who runs it."""
    try:
        with ONE_TREE:
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    nodes = list(ast.walk(tree))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.partition(".")[0] for name in names} - {"parity", *PACKAGES, *sys.stdlib_module_names}
