"""Which implementations there are, and what a name on the command line means."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from parity.core.errors import ParityError, nearest
from parity.core.parsing import ONE_TREE
from parity.implementations.implementation import Implementation

ENTRY_POINT_GROUP = "parity.implementations"
USER_PREFIX = "user."
PREFIX = "recorded:"
"""What a target begins with that is followed by the folder of a recording."""

_TORCH = "torch.optim.optimizer.Optimizer"
_KERAS = "keras.src.optimizers.base_optimizer.BaseOptimizer"
_SHIPPED_MODULES = ("numpy_", "torch_", "torch_sparse", "torch_sharded", "keras_", "tensorflow_", "tf_keras_", "optax_")


@cache
def shipped_implementations() -> dict[str, Implementation]:
    """Every implementation that comes with parity, by name; imports no framework."""
    found: dict[str, Implementation] = {}
    for module in _SHIPPED_MODULES:
        for implementation in importlib.import_module(f"parity.implementations.{module}").IMPLEMENTATIONS:
            found[implementation.name] = implementation
    return found


@cache
def framework_of(worker: str) -> str:
    """The framework that a worker serves, by its name; empty for that of a plug-in."""
    worker = worker.partition(" ")[0]
    return worker if any(one.framework == worker for one in shipped_implementations().values()) else ""


def installed_plugins() -> dict[str, importlib.metadata.EntryPoint]:
    """Entry points of other packages by name, not loaded."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}


def _entry(target: str) -> importlib.metadata.EntryPoint | None:
    """The entry point that a target names, with or without the prefix under which it is listed; none has a colon."""
    # To look through all packages takes longer than most modules and files to load.
    return None if ":" in target else installed_plugins().get(target.removeprefix(USER_PREFIX))


def is_plugin(target: str) -> bool:
    """Whether a target has to be loaded from a user's code."""
    return target not in shipped_implementations()


def check_target(target: str) -> None:
    """ParityError where a target can mean nothing; runs no code of the user."""
    if target in shipped_implementations() or target.startswith(PREFIX) or _entry(target) is not None:
        return
    place, colon, attribute = target.partition("?")[0].rpartition(":")
    options_of(target)
    if not colon and target.partition("?")[0].endswith(".py"):
        raise ParityError(_without_attribute(target))
    if not colon:
        allowed = [*shipped_implementations(), *(USER_PREFIX + name for name in installed_plugins())]
        raise ParityError(
            f"implementation {target!r} is unknown; a name, 'module:attribute' or 'file.py:attribute'; "
            f"{nearest(target, allowed)}"
        )
    if not attribute.isidentifier():
        raise ParityError(f"implementation {target!r}: {attribute!r} after the colon is no attribute name")
    if place.endswith(".py") and not Path(place).is_file():
        raise ParityError(f"implementation {target!r}: there is no file {place!r}")


def _without_attribute(target: str) -> str:
    """What is wrong with a target that names a file and nothing in it; reads the file, and runs nothing."""
    path, mark, options = target.partition("?")
    if not Path(path).is_file():
        return f"implementation {target!r}: there is no file {path!r}; 'file.py:run' names a function in one"
    try:
        with ONE_TREE:
            tree = ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError) as error:
        return f"implementation {target!r}: no Python ({error}); 'file.py:run' names a function in a file"
    named = [one.name for one in tree.body if isinstance(one, ast.FunctionDef | ast.ClassDef)]
    named += [one.id for each in tree.body if isinstance(each, ast.Assign) for one in each.targets
              if isinstance(one, ast.Name)]  # fmt: skip
    found = [f"{path}:{name}{mark}{options}" for name in named if not name.startswith("_")]
    told = (
        f"allowed: {', '.join(found)}" if found else "nothing in it has a name: define a run function, 'def run(...)'"
    )
    return f"implementation {target!r} names a file and nothing in it; {told}"


def resolve(target: str) -> Implementation:
    """The implementation a target names: shipped, entry point, 'module:attribute' or 'file.py:attribute'.

    Runs the user's module for the last three, so it belongs in a worker. A plug-in's name gets the
    prefix 'user.'. ParityError where the target names nothing, or no implementation.
    """
    check_target(target)
    if target in shipped_implementations():
        return shipped_implementations()[target]
    if target.startswith(PREFIX):
        # What reads recordings needs more than a worker in a foreign environment has.
        from parity.implementations.recorded import recorded

        return recorded(Path(target.removeprefix(PREFIX)))
    if (entry := _entry(target)) is not None:
        return _as_implementation(entry.load(), entry.name, target)
    place, _, attribute = target.partition("?")[0].rpartition(":")
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place, target)
    try:
        value = getattr(module, attribute)
    except AttributeError:
        names = [name for name, one in vars(module).items()
                 if not name.startswith("_") and getattr(one, "__module__", "") == module.__name__]  # fmt: skip
        known = nearest(attribute, names, f"{place} defines nothing: name what it imports where that stands")
        raise ParityError(f"implementation {target!r}: no attribute {attribute!r}; {known}") from None
    told = target.partition("?")[2]
    name = _plain_name(place, attribute) + (f".{told.replace('&', ',')}" if told else "")
    return _as_implementation(value, name, target)


def options_of(target: str) -> dict[str, Any]:
    """What stands behind the question mark of a target, ``clipnorm=1.0&amsgrad=true``; ParityError where it cannot be.

    Values are numbers, true, false, none, or texts.
    """
    told = target.partition("?")[2]
    found: dict[str, Any] = {}
    for part in told.split("&") if told else ():
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier():
            raise ParityError(f"implementation {target!r}: {part!r} is no option; allowed: name=value, parted by '&'")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _plain_name(place: str, attribute: str) -> str:
    """What a bare function is called: its own name, or that of its file where it is just called 'run'."""
    home = Path(place).stem if place.endswith(".py") else place.rpartition(".")[2]
    return home if attribute == "run" else attribute


def _as_implementation(value: Any, name: str, target: str) -> Implementation:
    options = options_of(target)
    if isinstance(value, Implementation):
        told = f".{target.partition('?')[2].replace('&', ',')}" if options else ""
        named = replace(value, name=USER_PREFIX + value.name.removeprefix(USER_PREFIX) + told)
        return replace(named, options={**named.options, **options}) if options else named
    wrapped = _wrapped(value, options, USER_PREFIX + name)
    if wrapped is not None:
        return wrapped
    if callable(value) and not (isinstance(value, type) and not issubclass(value, Iterator)):
        _check_options(value, options, target)
        _check_run(value, options, target)
        return Implementation(USER_PREFIX + name, value, options=options)
    raise ParityError(f"implementation {target!r} {_mended(value, target)}")


def _mended(value: Any, target: str) -> str:
    """What stands in the place of a run function, and what to hand over instead."""
    named = target.partition("?")[0].rpartition(":")[2]
    kind = value if isinstance(value, type) else type(value)
    kinds = _kinds_of(kind)
    if not isinstance(value, type):
        if _TORCH in kinds:
            made = f"parity.wrap.torch(lambda parameters: torch.optim.{kind.__name__}(parameters))"
            return f"is an optimizer that has its parameters already; allowed: its class, or {made}"
        if _KERAS in kinds:
            return f"is an optimizer; allowed: its class, or parity.wrap.keras(lambda: {kind.__name__}(...))"
        if hasattr(value, "init") and hasattr(value, "update"):
            return "is a transformation; allowed: a function of optax, or parity.wrap.optax(lambda hyper: ...)"
        if isinstance(value, Iterator):
            return "is a generator that has begun; allowed: the function that returns it"
    made = f"{named}()" if isinstance(value, type) else named
    what = f"is {'the class ' if isinstance(value, type) else 'a '}{kind.__name__}"
    for name, instead in (
        ("__call__", f"adam = {made}"),
        ("run", f"adam = {made}.run"),
        ("__iter__", f"def run(*given): yield from {named}(*given)"),
    ):
        if any(name in vars(one) for one in kind.__mro__):
            return f"{what}; allowed: a run function, as '{instead}' makes one"
    return f"{what}; allowed: a run function, a parity.Implementation, or an optimizer class"


def _kinds_of(kind: type) -> set[str]:
    return {f"{one.__module__}.{one.__name__}" for one in kind.__mro__}


def _wrapped(value: Any, options: dict[str, Any], name: str) -> Implementation | None:
    """An optimizer class of torch or Keras, or a function of optax, as an implementation; None for all else."""
    kinds = _kinds_of(value) if isinstance(value, type) else set()
    if _TORCH in kinds:
        from parity.implementations import torch_

        return torch_.wrapped(partial(value, **options), name)
    if _KERAS in kinds:
        from parity.implementations import keras_

        return keras_.wrapped(partial(value, **options), name)
    # optax.nadam is a partial of optax.adam.
    made = value.func if isinstance(value, partial) else value
    if callable(value) and str(getattr(made, "__module__", "")).partition(".")[0] == "optax":
        from parity.implementations import optax_

        return optax_.wrapped(optax_.made_by(value, options), name)
    return None


def _check_run(run: Any, options: dict[str, Any], target: str) -> None:
    try:
        inspect.signature(run).bind(None, None, None, **options)
    except TypeError as error:
        raise ParityError(
            f"implementation {target!r} cannot be called as run(weights, gradients, hyper): {error}"
        ) from None
    except ValueError:
        return


def _check_options(run: Any, options: dict[str, Any], target: str) -> None:
    try:
        taken = inspect.signature(run).parameters
    except (TypeError, ValueError):
        return
    if any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        return
    for name in options:
        if name not in taken:
            others = nearest(name, list(taken)[3:], "it takes no options: leave out all behind the question mark")
            raise ParityError(f"implementation {target!r}: its run takes no {name!r}; {others}")


def _load_module(name: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise ParityError(f"implementation {target!r}: there is no module {name!r}") from None
        raise


class _FromSource(SourceFileLoader):
    """Never the bytecode of before: of a file that is as long, and was written in the same second, it is not told."""

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError(f"{path}: no bytecode of it is kept")


def _load_file(path: Path) -> ModuleType:
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, loader=_FromSource(name, str(path)))
    if spec is None or spec.loader is None:
        raise ParityError(f"implementation file {str(path)!r} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
