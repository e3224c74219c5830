"""Which implementations there are, and what a name on the command line means."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from parity.core.errors import ParityError, nearest
from parity.implementations.implementation import Implementation

ENTRY_POINT_GROUP = "parity.implementations"
USER_PREFIX = "user."
PREFIX = "recorded:"
"""What a target begins with that is followed by the folder of a recording."""

_SHIPPED_MODULES = ("numpy_", "torch_", "keras_", "tensorflow_", "tf_keras_", "optax_")


@cache
def shipped_implementations() -> dict[str, Implementation]:
    """Every implementation that comes with parity, by name; imports no framework."""
    found: dict[str, Implementation] = {}
    for module in _SHIPPED_MODULES:
        for implementation in importlib.import_module(f"parity.implementations.{module}").IMPLEMENTATIONS:
            found[implementation.name] = implementation
    return found


def framework_of(worker: str) -> str:
    """The framework that a worker serves, by its name; empty for that of a plug-in."""
    worker = worker.partition(" ")[0]
    return worker if any(one.framework == worker for one in shipped_implementations().values()) else ""


def installed_plugins() -> dict[str, importlib.metadata.EntryPoint]:
    """Entry points of other packages by name, not loaded."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}


def _entry_name(target: str) -> str:
    """The name of an entry point, with or without the prefix under which it is listed."""
    return target.removeprefix(USER_PREFIX)


def is_plugin(target: str) -> bool:
    """Whether a target has to be loaded from a user's code."""
    return target not in shipped_implementations()


def check_target(target: str) -> None:
    """ParityError where a target can mean nothing; runs no code of the user."""
    if target in shipped_implementations() or _entry_name(target) in installed_plugins() or target.startswith(PREFIX):
        return
    place, colon, attribute = target.partition("?")[0].rpartition(":")
    options_of(target)
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
    entry = _entry_name(target)
    if entry in installed_plugins():
        return _as_implementation(installed_plugins()[entry].load(), entry, target)
    place, _, attribute = target.partition("?")[0].rpartition(":")
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place, target)
    try:
        value = getattr(module, attribute)
    except AttributeError:
        names = [name for name in vars(module) if not name.startswith("_")]
        raise ParityError(
            f"implementation {target!r}: no attribute {attribute!r}; {nearest(attribute, names)}"
        ) from None
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
    if callable(value):
        _check_options(value, options, target)
        return Implementation(USER_PREFIX + name, value, options=options)
    raise ParityError(
        f"implementation {target!r} is a {type(value).__name__}; allowed: a parity.Implementation or a run function"
    )


def _wrapped(value: Any, options: dict[str, Any], name: str) -> Implementation | None:
    """An optimizer class of torch or Keras, or a function of optax, as an implementation; None for all else."""
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in value.__mro__} if isinstance(value, type) else set()
    if "torch.optim.optimizer.Optimizer" in kinds:
        from parity.implementations import torch_

        return torch_.wrapped(partial(value, **options), name)
    if "keras.src.optimizers.base_optimizer.BaseOptimizer" in kinds:
        from parity.implementations import keras_

        return keras_.wrapped(partial(value, **options), name)
    if callable(value) and str(getattr(value, "__module__", "")).partition(".")[0] == "optax":
        from parity.implementations import optax_

        return optax_.wrapped(optax_.made_by(value, options), name)
    return None


def _check_options(run: Any, options: dict[str, Any], target: str) -> None:
    try:
        taken = inspect.signature(run).parameters
    except (TypeError, ValueError):
        return
    if any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        return
    for name in options:
        if name not in taken:
            raise ParityError(f"implementation {target!r}: its run takes no {name!r}; {nearest(name, list(taken)[3:])}")


def _load_module(name: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise ParityError(f"implementation {target!r}: there is no module {name!r}") from None
        raise


def _load_file(path: Path) -> ModuleType:
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
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
