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

FRAMEWORKS = frozenset({"jax", "keras", "optax", "tensorflow", "tf_keras", "torch"})


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


def imports_first(target: str) -> str:
    """What a process may have imported that a plug-in is loaded in, as `parity.engine.forking` has it; empty for none.

    Those frameworks that its file imports before it does anything: nothing but imports of Python's own modules, NumPy's
    and parity's may stand before them. What comes later may depend on a variable or a setting that the user makes.
    """
    place = target.partition("?")[0].rpartition(":")[0]
    if not place.endswith(".py"):
        return _forked_with([name for name in [place.partition(".")[0]] if name in FRAMEWORKS])
    found: list[str] = []
    for statement in _statements(Path(place)):
        match statement:
            case ast.Import(names=aliases):
                names = [alias.name for alias in aliases]
            case ast.ImportFrom(module=str(module), level=0):
                names = [module]
            case ast.Expr(value=ast.Constant()):
                names = []
            case _:
                break
        tops = [name.partition(".")[0] for name in names]
        if not {"parity", *PACKAGES, *sys.stdlib_module_names}.issuperset(tops):
            break
        found += [top for top in tops if top in FRAMEWORKS]
    return _forked_with(list(dict.fromkeys(found)))


def _forked_with(modules: list[str]) -> str:
    # What torch's own worker is forked from holds torch and nothing else.
    return "torch" if modules == ["torch"] else " ".join(["import", *modules]) if modules else ""


def _beside(name: str, folder: Path) -> Iterator[Path]:
    module, package = folder / f"{name}.py", folder / name
    if name and module.is_file():
        yield module
    elif name and (package / "__init__.py").is_file():
        yield from package.rglob("*.py")


def _imported(path: Path) -> set[str]:
    """Top-level names of what a file imports that is not there anyway; what is wrong with it tells who runs it."""
    nodes = [node for statement in _statements(path) for node in ast.walk(statement)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.partition(".")[0] for name in names} - {"parity", *PACKAGES, *sys.stdlib_module_names}


def _statements(path: Path) -> list[ast.stmt]:
    """Of a file; none where it cannot be read or parsed."""
    try:
        with ONE_TREE:
            return ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
