"""Who may import whom. The order of the rooms is data here, read from the code with `ast`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import parity

ROOT = Path(parity.__file__).parent

# Top to bottom; a room imports from those below it only.
ROOMS = (
    "cli",
    "pytest_plugin",
    "api",
    "live",
    "report",
    "baseline",
    "identify",
    "explain",
    "engine",
    "comparison",
    "implementations",
    "case",
    "adam",
    "numerics",
    "core",
)
PLACE = {room: place for place, room in enumerate(ROOMS)}

FRAMEWORKS = frozenset({"jax", "jaxlib", "keras", "optax", "tensorflow", "tf_keras", "torch"})
WORKER_NEEDS = frozenset({"ml_dtypes", "numpy"})
MEASURED = ("torch_", "keras_", "tensorflow_", "tf_keras_", "optax_")
RULER = frozenset({"adam", "comparison", "explain"})
JUDGING = frozenset({"follow.py"})
"""Of what is live: it says what others have watched, and touches no framework."""

FILES = sorted(ROOT.rglob("*.py"))


def room_of(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(path):
    """(module, node) for every import in a file, wherever it stands; relative imports are not used."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            if node.module == "parity":
                for alias in node.names:
                    yield f"parity.{alias.name}", node
            else:
                yield node.module, node


def rooms_used(path):
    return {name.split(".")[1] for name, _ in imports(path) if name.startswith("parity.")}


def inside_a_function(path):
    """The imports that run only when a function is called."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {
        inner.lineno
        for function in functions
        for inner in ast.walk(function)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    }


def calls(path, name):
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def test_fifteen_folders_and_two_files_stand_at_the_top():
    found = {path.relative_to(ROOT).parts[0] for path in FILES}
    assert found == {*ROOMS, "__init__.py", "__main__.py"}


def test_a_room_imports_only_from_rooms_below():
    upward = [
        f"{path.relative_to(ROOT)} imports from {used}"
        for path in FILES
        for used in rooms_used(path) - {room_of(path)}
        if room_of(path) in PLACE and PLACE.get(used, -1) <= PLACE[room_of(path)]
    ]
    assert not upward


def test_no_module_imports_one_that_imports_it():
    """Circles, also those that are hidden in functions or stand for types only."""
    modules = {module_of(path) for path in FILES}
    uses = {module_of(path): {name for name in names_used(path) if name in modules} for path in FILES}
    del uses["parity"]
    assert not [sorted(circle) for circle in circles(uses)]


def circles(uses):
    """Sets of modules each of which is reached from each."""

    def reached(module):
        found, new = set(), set(uses[module])
        while new:
            found |= new
            new = {two for one in new for two in uses.get(one, ())} - found
        return found

    far = {module: reached(module) for module in uses}
    return {
        frozenset(other for other in far[module] if module in far.get(other, ()))
        for module in uses
        if module in far[module]
    }


def module_of(path):
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def names_used(path):
    """Every module of parity that a file may load: for ``from a import b`` both a.b and a."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            files = [name for name in inner if (ROOT.parent / name.replace(".", "/")).with_suffix(".py").exists()]
            yield from files
            if len(files) < len(inner):
                yield node.module


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == {frozenset("abc")}
    assert not circles({"a": {"b"}, "b": {"c"}, "c": set()})


def test_a_framework_is_imported_inside_a_function_of_two_rooms_and_in_its_own_file_of_the_bridge():
    wrong, right = [], {"implementations": 0, "live": 0}
    for path in FILES:
        inside = inside_a_function(path)
        for name, node in imports(path):
            package, room = name.split(".")[0], room_of(path)
            if package in FRAMEWORKS:
                lazy = room in {"implementations", "live"} and node.lineno in inside
                if lazy or path.relative_to(ROOT).as_posix() == f"live/bridge/{package}_.py":
                    right[room] += 1
                else:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} imports {name}")
    assert not wrong
    assert all(right.values())


def test_what_is_live_shares_nothing_with_the_ruler():
    """The bridge stands alone, and only a user asks for what is live: by its name, or on the command line."""
    for path in FILES:
        if path.is_relative_to(ROOT / "live" / "bridge"):
            assert rooms_used(path) <= {"live"}
        elif room_of(path) == "live":
            # What watches a training shares no arithmetic with what judges it.
            assert path.name in JUDGING or not rooms_used(path) & RULER
        elif room_of(path) not in {"__init__", "cli"}:
            assert "live" not in rooms_used(path)


@pytest.mark.parametrize("name", MEASURED)
def test_what_is_measured_shares_no_arithmetic_with_the_ruler(name):
    paths = list((ROOT / "implementations").glob(f"{name}*.py"))
    assert paths
    for path in paths:
        assert not rooms_used(path) & RULER


def test_what_is_compared_is_not_judged_and_what_is_judged_is_not_seen():
    """Metrics know no expectation, verdicts no array, reports no trace."""
    comparison = ROOT / "comparison"
    for name in ("metrics", "divergence", "distance", "kernels"):
        assert "parity.case.expectation" not in set(names_used(comparison / f"{name}.py"))
    assert "numpy" not in {name.split(".")[0] for name, _ in imports(comparison / "verdict.py")}
    for path in (ROOT / "report").glob("*.py"):
        assert not rooms_used(path) & {"adam", "implementations"}
        assert not {"parity.case.gradients", "parity.comparison.trace"} & set(names_used(path))
        assert "numpy" not in {name.split(".")[0] for name, _ in imports(path)}


def test_what_judges_live_touches_no_framework():
    for name in JUDGING:
        assert not {one.split(".")[0] for one, _ in imports(ROOT / "live" / name)} & FRAMEWORKS


def test_packages_are_installed_and_looked_into_in_one_room():
    """Nobody else knows of pins, pip or environments; what a worker loads least of all."""
    using = {
        room_of(path) for path in FILES if {"packaging", "venv", "pip"} & {n.split(".")[0] for n, _ in imports(path)}
    }
    assert using == {"baseline"}
