"""Who may import whom. The order of the rooms is data here, read from the code with `ast`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import parity

ROOT = Path(parity.__file__).parent

# Top to bottom; a room imports from those below it only, and from none of its own tier.
TIERS = (
    ("__main__",),
    ("bridge", "cli", "pytest_plugin"),
    ("listing", "session", "target", "upgrades"),
    ("baselines", "claim"),
    ("api",),
    ("report",),
    ("panels",),
    ("baseline",),
    ("identify",),
    ("explain",),
    ("engine",),
    ("comparison",),
    ("trace",),
    ("implementations",),
    ("catalogue", "gradients"),
    ("case",),
    ("budget",),
    ("expectation", "program"),
    ("recording", "problems"),
    ("adam",),
    ("numerics",),
    ("case_file", "digest", "environment", "files", "hyper", "layout", "selection", "state"),
    ("errors", "shown", "version"),
)
TIER = {room: place for place, rooms in enumerate(TIERS) for room in rooms}

FRAMEWORKS = frozenset({"jax", "jaxlib", "keras", "optax", "tensorflow", "tf_keras", "torch"})
WORKER_NEEDS = frozenset({"ml_dtypes", "numpy"})
MEASURED = ("torch_", "keras_", "tensorflow_", "tf_keras_", "optax_")
RULER = frozenset({"adam", "comparison", "explain"})

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


def test_every_room_has_its_place():
    assert {room_of(path) for path in FILES} - set(TIER) == {"__init__"}


def test_a_room_imports_only_from_rooms_below():
    upward = [
        f"{path.relative_to(ROOT)} imports from {used}"
        for path in FILES
        for used in rooms_used(path) - {room_of(path)}
        if room_of(path) != "__init__" and TIER.get(used, len(TIERS)) <= TIER[room_of(path)]
    ]
    assert not upward


def test_a_framework_is_imported_in_implementations_inside_a_function_and_in_its_own_file_of_the_bridge():
    wrong, right = [], {"implementations": 0, "bridge": 0}
    for path in FILES:
        inside = inside_a_function(path)
        for name, node in imports(path):
            package, room = name.split(".")[0], room_of(path)
            if package in FRAMEWORKS:
                lazy = room == "implementations" and node.lineno in inside
                if lazy or path.relative_to(ROOT).as_posix() == f"bridge/{package}_.py":
                    right[room] += 1
                else:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} imports {name}")
    assert not wrong
    assert all(right.values())


def test_the_bridge_stands_alone():
    """It shares no code with what measures it, and only a user asks for it."""
    for path in FILES:
        if room_of(path) == "bridge":
            assert rooms_used(path) <= {"bridge"}
        else:
            assert "bridge" not in rooms_used(path)


@pytest.mark.parametrize("name", MEASURED)
def test_what_is_measured_shares_no_arithmetic_with_the_ruler(name):
    paths = list((ROOT / "implementations").glob(f"{name}*.py"))
    assert paths
    for path in paths:
        assert not rooms_used(path) & RULER


def test_what_is_compared_is_not_judged_and_what_is_judged_is_not_seen():
    """Metrics know no expectation, verdicts no array, reports no trace."""
    comparison = ROOT / "comparison"
    for name in ("metrics", "divergence", "distance", "quantile"):
        assert "expectation" not in rooms_used(comparison / f"{name}.py")
    assert "numpy" not in {name.split(".")[0] for name, _ in imports(comparison / "verdict.py")}
    for path in (ROOT / "report").glob("*.py"):
        assert not rooms_used(path) & {"adam", "gradients", "implementations", "trace"}
        assert "numpy" not in {name.split(".")[0] for name, _ in imports(path)}


def test_packages_are_installed_and_looked_into_in_one_room():
    """Nobody else knows of pins, pip or environments; what a worker loads least of all."""
    using = {
        room_of(path) for path in FILES if {"packaging", "venv", "pip"} & {n.split(".")[0] for n, _ in imports(path)}
    }
    assert using == {"baseline"}
