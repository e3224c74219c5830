"""torch.optim's Adams while they train: what they are given and hold, read by their own step hooks."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from parity.core.errors import ParityError
from parity.live.folder import Folder
from parity.live.recorder import Moment, Recorder, Wanted
from parity.live.torch_memory import Memory, array_of, memory_of

FAMILY = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax")
"""Classes of torch.optim, and all that are derived from them."""

QUANTITIES = {"exp_avg": "m", "exp_avg_sq": "v", "exp_inf": "v", "max_exp_avg_sq": "vmax"}
"""What torch's state calls them; Adamax keeps a maximum where the others keep a mean."""

TENSORS = frozenset({"params", "param_names"})
"""What else stands in a group."""


def is_of_family(optimizer: object) -> bool:
    """Whether it is an optimizer of the family, without importing torch."""
    return any(
        kind.__module__.startswith("torch.optim.") and kind.__name__ in FAMILY for kind in type(optimizer).__mro__
    )


@contextmanager
def recording(path: Path, optimizer: Any, model: Any, wanted: Wanted, overwrite: bool) -> Iterator[Recorder]:
    """Record while the block runs.

    Gradients are read after the step, where they are as the optimizer used them: a closure has run by then, and a
    fused step under a GradScaler has written back what it unscaled.
    Source: torch/optim/optimizer.py (register_step_pre_hook, register_step_post_hook), torch 2.13.
    """
    watched = _Watched(optimizer, model, wanted)
    folder = Folder(path, overwrite)
    recorder = Recorder(path, wanted, watched.about(), watched.names, watched.shapes, watched.groups_of)
    watched.recorder = recorder
    hooks = [optimizer.register_step_pre_hook(watched.before), optimizer.register_step_post_hook(watched.after)]
    try:
        yield recorder
    finally:
        for hook in hooks:
            hook.remove()
        recorder.close()
        folder.release()


class _Watched:
    """An optimizer whose steps are recorded; its parameters in its own order, those that are wanted."""

    recorder: Recorder

    def __init__(self, optimizer: Any, model: Any, wanted: Wanted) -> None:
        self.optimizer, self._wanted = optimizer, wanted
        named = model.items() if isinstance(model, Mapping) else () if model is None else model.named_parameters()
        own = {id(one): name for name, one in named}
        self.parameters: list[Any] = []
        self.names: list[str] = []
        self.groups_of: list[int] = []
        for number, group in enumerate(optimizer.param_groups):
            given = group.get("param_names", [f"{number}.{place}" for place in range(len(group["params"]))])
            for name, parameter in zip(given, group["params"], strict=True):
                name = own.get(id(parameter), name)
                if wanted.takes(name):
                    self.parameters.append(parameter)
                    self.names.append(name)
                    self.groups_of.append(number)
        if not self.parameters:
            raise ParityError(f"no parameter is called {wanted.parameters!r}; nothing would be recorded")
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ParityError(f"two parameters are called {twice!r}; give model= the model that has them")
        self.shapes = [tuple(parameter.shape) for parameter in self.parameters]
        self._count = sum(len(group["params"]) for group in optimizer.param_groups)
        self._found: Moment | None = None
        self._moved: list[int] = []
        self._groups: list[dict[str, Any]] | None = None
        self._memory: Memory | None = None
        self._inside: int | None = None

    def about(self) -> dict[str, Any]:
        """What stands in the header: framework, versions, optimizer, devices."""
        import torch

        kind = next(kind for kind in type(self.optimizer).__mro__ if kind.__name__ in FAMILY)
        devices = sorted({str(parameter.device) for parameter in self.parameters})
        return {
            "framework": "torch",
            "versions": {"torch": torch.__version__},
            "optimizer": f"{type(self.optimizer).__module__}.{type(self.optimizer).__qualname__}",
            "device": ", ".join(devices),
            "implementation": self._implementation(kind.__name__, devices),
        }

    def _implementation(self, kind: str, devices: Sequence[str]) -> str | None:
        """Which of parity's implementations it is; None for none."""
        if kind not in {"Adam", "AdamW"}:
            return None
        group = self.optimizer.param_groups[0]
        if group.get("fused"):
            return "torch.adam.fused"
        # torch/optim/optimizer.py, _default_to_fused_or_foreach: foreach is the default on accelerators alone.
        by_default = group.get("foreach") is None and not any(one.startswith("cpu") for one in devices)
        return "torch.adam.foreach" if group.get("foreach") or by_default else "torch.adam.forloop"

    def before(self, *_: Any) -> None:
        """Called before every step."""
        recorder, thread = self.recorder, threading.get_ident()
        if not recorder.takes_next:
            return
        try:
            if self._inside is not None and self._inside != thread:
                recorder.end("two threads were in a step of the optimizer at once")
            self._inside = thread
            moved = None if self._memory is None else self._memory.moved()
            if moved is None:
                self._look()
            else:
                self._moved = moved
        except Exception as error:
            recorder.end(f"{type(error).__name__}: {error}")

    def after(self, *_: Any) -> None:
        """Called after every step."""
        recorder = self.recorder
        if not recorder.takes_next:
            recorder.pass_over()
            return
        try:
            with recorder.lock:
                self._inside = None
                changed = self._changed()
                if recorder.ended:
                    return
                taken = None if self._memory is None else self._memory.take()
                if taken is None:
                    self._write()
                else:
                    recorder.commit(taken[0], changed, taken[1], self._moved)
        except Exception as error:
            recorder.end(f"{type(error).__name__}: {error}")

    def _look(self) -> None:
        """What a step finds, tensor by tensor, as any may be read, on whatever device."""
        row = self.recorder.row
        if row is None or row.paired:
            self._found = self._moment()
        else:
            self._moved = self.recorder.moved(self._kept(self.parameters))

    def _write(self) -> None:
        """What a step leaves, in the same way."""
        recorder = self.recorder
        gradients = self._kept([one.grad for one in self.parameters])
        recorder.write(gradients, self._found, self._moment(), self._hyper(), self._moved)
        self._found, row = None, recorder.row
        held = [self.optimizer.state.get(parameter, {}) for parameter in self.parameters]
        if self._memory is None and row is not None and not row.paired:
            self._memory = memory_of(self.optimizer, self.parameters, self._keys(held), recorder)

    def _moment(self) -> Moment:
        held = [self.optimizer.state.get(parameter, {}) for parameter in self.parameters]
        states: dict[str, Sequence[np.ndarray]] = {"w": self._kept(self.parameters)}
        if self._wanted.moments:
            for quantity, key in self._keys(held).items():
                arrays = self._kept([one.get(key) for one in held])
                likes = [one for one in arrays if one is not None] or states["w"]
                states[quantity] = [
                    np.zeros(w.size, likes[0].dtype) if one is None else one
                    for one, w in zip(arrays, states["w"], strict=True)
                ]
        return Moment(states, [int(one["step"]) if "step" in one else 0 for one in held])

    def _keys(self, held: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """What the optimizer's state calls its moments, or will where there are none yet."""
        found = {quantity: key for key, quantity in QUANTITIES.items() if any(key in one for one in held)}
        if found or not type(self.optimizer).__module__.startswith("torch.optim."):
            return found
        later = {"m": "exp_avg", "v": "exp_inf" if type(self.optimizer).__name__ == "Adamax" else "exp_avg_sq"}
        if any(group.get("amsgrad") for group in self.optimizer.param_groups):
            later["vmax"] = "max_exp_avg_sq"
        return later

    def _kept(self, tensors: Sequence[Any]) -> list[Any]:
        return [
            None if tensor is None else array_of(tensor, place)
            for tensor, place in zip(tensors, self.recorder.places, strict=True)
        ]

    def _changed(self) -> list[dict[str, Any]] | None:
        """The hyperparameters of all groups; None where none has changed since they were last asked for."""
        groups = self.optimizer.param_groups
        try:
            if groups == self._groups:
                return None
        except RuntimeError:
            # Tensors that stand where others stood.
            pass
        if sum(len(group["params"]) for group in groups) != self._count:
            self.recorder.end("a parameter was added to the optimizer")
        named = [one for group in groups for one in group.items()]
        # What can change within itself may change unseen.
        constant = all(key in TENSORS or _is_constant(value) for key, value in named)
        self._groups = [{**group, "params": list(group["params"])} for group in groups] if constant else None
        return self._hyper()

    def _hyper(self) -> list[dict[str, Any]]:
        return [
            {key: told for key, value in group.items() if key not in TENSORS and _can_be_told(told := _plain(value))}
            for group in self.optimizer.param_groups
        ]


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, bool | int | float | str)


def _can_be_told(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_can_be_told, value))
    return value is None or isinstance(value, bool | int | float | str)
