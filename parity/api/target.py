"""What a test hands over as an Adam: a name, or the Adam itself."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from parity.core.errors import ParityError
from parity.engine.candidates import candidate_of
from parity.engine.local import local_candidate
from parity.engine.plan import Candidate
from parity.implementations.implementation import Implementation
from parity.implementations.registry import USER_PREFIX

Target = str | Implementation | Callable[..., object]


def candidate_from(target: Target, timeout: float | None = 300.0) -> tuple[Candidate, tuple[Implementation, ...]]:
    """The candidate that a target is, with its implementation where that runs in this process.

    A name runs in a worker, which the engine can end; what is handed over as an object runs where it was made, so that
    it is the one that was meant, whatever a test has changed in it. ParityError for anything else.
    """
    if isinstance(target, str):
        return candidate_of(target, timeout), ()
    if isinstance(target, Implementation):
        implementation = replace(target, name=USER_PREFIX + target.name.removeprefix(USER_PREFIX))
    elif callable(target):
        implementation = Implementation(USER_PREFIX + _name(target), target)  # type: ignore[arg-type]
    else:
        raise ParityError(
            f"{target!r} is a {type(target).__name__}; allowed: a run function, a parity.Implementation, a name, "
            "'module:attribute' or 'file.py:attribute'"
        )
    return local_candidate(implementation), (implementation,)


def place_of(target: Target) -> str | None:
    """'file.py:attribute', by which another process finds what stands at the top of a file; None for all else."""
    run = target.run if isinstance(target, Implementation) else target
    module = sys.modules.get(getattr(run, "__module__", None) or "")
    if module is None or isinstance(target, str):
        return None
    names = [name for name, value in vars(module).items() if value is target and name.isidentifier()]
    path = inspect.getsourcefile(module) if hasattr(module, "__file__") else None
    if not names or path is None:
        return None
    path = str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path
    return f"{path}:{names[0]}"


def _name(run: Callable[..., object]) -> str:
    """What a bare function is called: its own name, or that of its module where it is just called 'run'."""
    name: str = getattr(run, "__name__", type(run).__name__)
    module: str = getattr(run, "__module__", None) or "run"
    plain = module.rpartition(".")[2] if name == "run" else name
    return re.sub(r"\W+", "_", plain).strip("_") or "adam"
