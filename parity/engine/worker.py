"""The worker: ``python -m parity.engine.worker`` under any interpreter that has the framework.

Needs the standard library, NumPy, ml_dtypes and that framework. The protocol is described in
`parity.engine.protocol`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import numpy as np

import parity
from parity.comparison.trace import hyper_from_json, hyper_to_json, layout_from_json, open_rows
from parity.core.collection import without_collection
from parity.core.environment import MACHINE, describe_environment
from parity.core.errors import ParityError, Unsupported, nearest
from parity.engine.orbit import ContractBroken, Orbit
from parity.engine.protocol import CONTRACT, MISSING, PROTOCOL, RADICANDS, RAISED, ROOTS, UNSUPPORTED
from parity.engine.window import Window
from parity.implementations.implementation import Implementation, Leg
from parity.implementations.machine import machine_facts
from parity.implementations.need import unmet
from parity.implementations.registry import is_plugin, resolve
from parity.numerics.formats import format_named

Message = dict[str, Any]
Find = Callable[[str], Implementation]


def main() -> None:
    """Serve requests until ``quit`` or the end of standard input."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    # Whatever a framework or a plug-in prints must not end up among the answers.
    # Nor may a plug-in that asks for input take a request for it.
    with (
        os.fdopen(os.dup(0), encoding="utf-8") as requests,
        os.fdopen(os.dup(1), "w", encoding="utf-8") as answers,
    ):
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        serve(requests, answers)


def _end_with(parent: int) -> None:
    """End this process when its engine is gone: a plug-in that sleeps would never notice."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer every line of requests with one line."""
    answer = answering(resolve)
    for line in requests:
        message = json.loads(line)
        if message["op"] == "quit":
            return
        answers.write(json.dumps(answer(message)) + "\n")
        answers.flush()


def answering(find: Find) -> Callable[[Message], Message]:
    """What answers one request after another, ``quit`` but all; find: the implementation of a target."""
    orbits: dict[int, Orbit] = {}
    # A plug-in's module is run anew wherever its target is found; roots are asked for a thousand times.
    rooted = cache(lambda target: _ready(find(target)))
    operations: dict[str, Callable[[Message], Message]] = {
        "hello": lambda _: {"protocol": PROTOCOL, "environment": describe_environment()},
        "describe": lambda message: _describe(find(message["target"])),
        "start": lambda message: _start(orbits, _ready(find(message["target"])), message),
        "advance": lambda message: _advance(orbits[message["run"]], message),
        "finish": lambda message: _finish(orbits.pop(message["run"])),
        "drop": lambda message: _drop(orbits, message["run"]),
        "square_root": lambda message: _square_root(rooted(message["target"]), message),
    }

    def answer(message: Message) -> Message:
        found = _answer(operations, message)
        if not found["ok"] and "run" in message:
            orbits.pop(message["run"], None)
        return found

    return answer


def _answer(operations: Mapping[str, Callable[[Message], Message]], message: Message) -> Message:
    try:
        if message["op"] not in operations:
            raise ParityError(f"op {message['op']!r} is unknown; {nearest(message['op'], operations)}")
        return {"ok": True, **operations[message["op"]](message)}
    except Unsupported as error:
        return {"ok": False, "kind": UNSUPPORTED, "reason": str(error)}
    except ContractBroken as error:
        return {"ok": False, "kind": CONTRACT, "reason": str(error)}
    except ParityError as error:
        return {"ok": False, "kind": MISSING if isinstance(error, _Missing) else RAISED, "reason": str(error)}
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        sys.stderr.write(told)
        return {"ok": False, "kind": RAISED, "reason": _one_line(error), "traceback": told}


class _Missing(ParityError):
    """What an implementation needs is not installed."""


_INSTALLED = (Path(sys.prefix), Path(sys.base_prefix), Path(parity.__file__).parent)
_PACKAGES = {"site-packages", "dist-packages"}
"""Where no line of a user's own stands."""

_READ_ONLY = "; what it is given is read-only: change a copy, g = g.copy()"


def _is_own(filename: str) -> bool:
    """Whether it is a file of the user's."""
    path = Path(filename)
    installed = _PACKAGES.intersection(path.parts) or any(map(path.is_relative_to, _INSTALLED))
    return not filename.startswith("<") and not installed


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename).name}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    # The user's own line first: what a library says of it, from deep inside, is where nobody has to look.
    own = [frame for frame in frames if _is_own(frame.filename)]
    shown = dict.fromkeys(f"{Path(one.filename).name}:{one.lineno}" for one in (*own[-1:], *frames[-1:]))
    where = f" ({', in '.join(shown)})" if shown else ""
    mend = _READ_ONLY if isinstance(error, ValueError) and "read-only" in text else ""
    return f"{type(error).__name__}: {text}{mend}{where}"


def _placed(error: ContractBroken, states: object) -> ContractBroken:
    """The same with the user's own line: that from which it was raised, or at which a generator stands."""
    raised = [error.__traceback__, *([error.__cause__.__traceback__] if error.__cause__ else [])]
    frames = [(one.filename, one.lineno) for each in raised for one in traceback.extract_tb(each)]
    while (frame := getattr(states, "gi_frame", None)) is not None:
        frames.append((frame.f_code.co_filename, frame.f_lineno))
        states = getattr(states, "gi_yieldfrom", None)
    own = [f" ({Path(name).name}:{line})" for name, line in frames if _is_own(name)]
    return ContractBroken(f"{error}{own[-1] if own else ''}")


def _describe(implementation: Implementation) -> Message:
    return {
        "name": implementation.name,
        "dtypes": list(implementation.dtypes),
        "needs": list(implementation.needs),
        "missing": [need for need in implementation.needs if unmet(need)],
        "convention": implementation.convention,
        "defaults": hyper_to_json(implementation.defaults),
        "square_root": _root_of(implementation) is not None,
    }


def _start(orbits: dict[int, Orbit], implementation: Implementation, message: Message) -> Message:
    try:
        orbits[message["run"]] = Orbit(
            implementation,
            format=format_named(message["dtype"]),
            layout=layout_from_json(message["parameters"]),
            hyper=hyper_from_json(message["hyper"]),
            window=Window(message["steps"], message["batch"], message["rows"]),
            input=Path(message["input"]),
            output=Path(message["output"]),
            trusted=not is_plugin(message["target"]),
            counts=message.get("counts"),
            leg=Leg(message.get("first", 1), _folder(message.get("load")), _folder(message.get("save"))),
            last=message.get("last"),
            strided=message.get("strided", False),
        )
    except ContractBroken as error:
        raise _placed(error, None) from error
    return {}


def _folder(path: str | None) -> Path | None:
    return None if path is None else Path(path)


def _advance(orbit: Orbit, message: Message) -> Message:
    try:
        orbit.advance(message["until"], message["none"])
    except ContractBroken as error:
        raise _placed(error, orbit.states) from error
    return {
        "step": message["until"],
        "quantities": list(orbit.quantities or ()),
        **({"formats": orbit.wider} if orbit.wider else {}),
    }


def _finish(orbit: Orbit) -> Message:
    orbit.finish()
    # Only now is everything loaded that it runs on.
    return {MACHINE: machine_facts()}


def _drop(orbits: dict[int, Orbit], run: int) -> Message:
    orbits.pop(run, None)
    return {}


def _square_root(implementation: Implementation, message: Message) -> Message:
    reciprocal = message.get("reciprocal", False)
    root = implementation.reciprocal_root if reciprocal else _root_of(implementation)
    if root is None:
        raise ParityError(f"{implementation.name} offers no {'reciprocal' if reciprocal else 'square'} root of its own")
    folder, format, count = Path(message["folder"]), format_named(message["dtype"]), message["count"]
    # 'c': what is asked is not for the framework to write into.
    radicands = open_rows(folder, RADICANDS, "c")[0, :count].view(format.dtype)
    open_rows(folder, ROOTS, "r+")[0, :count] = root(radicands).view(format.unsigned)
    return {}


def _root_of(implementation: Implementation) -> Callable[[np.ndarray], np.ndarray] | None:
    """Its own, or that of the framework that its module has loaded, whose vector library is not correctly rounded."""
    if implementation.square_root is not None or "torch" not in sys.modules:
        return implementation.square_root
    return resolve("torch.adam.forloop").square_root


def _ready(implementation: Implementation) -> Implementation:
    """An implementation that has all it needs, its framework too."""
    for need in implementation.needs:
        if reason := unmet(need):
            raise _Missing(reason)
    if implementation.load is not None:
        with without_collection():
            implementation.load()
    return implementation


if __name__ == "__main__":
    main()
