"""torch.optim's Adams while they train: what they are given and hold, read by their own step hooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from parity.core.errors import ParityError
from parity.live.recorder import Moment, Recorder, Wanted, make_folder

FAMILY = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax")
"""Classes of torch.optim, and all that are derived from them."""

QUANTITIES = {"exp_avg": "m", "exp_avg_sq": "v", "exp_inf": "v", "max_exp_avg_sq": "vmax"}
"""What torch's state calls them; Adamax keeps a maximum where the others keep a mean."""


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
    make_folder(path, overwrite)
    recorder = Recorder(path, wanted, watched.about(), watched.names, watched.shapes, watched.groups_of)
    watched.recorder = recorder
    hooks = [optimizer.register_step_pre_hook(watched.before), optimizer.register_step_post_hook(watched.after)]
    try:
        yield recorder
    finally:
        for hook in hooks:
            hook.remove()
        recorder.close()


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
        self._last: list[np.ndarray] | None = None
        self._moved: list[int] = []

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
        recorder = self.recorder
        try:
            if not recorder.takes_next:
                return
            if sum(len(group["params"]) for group in self.optimizer.param_groups) != self._count:
                recorder.end("a parameter was added to the optimizer")
            elif not recorder.has_begun:
                recorder.begin(self._moment())
            elif self._last is not None:
                weights = self._kept(self.parameters)
                pairs = zip(weights, self._last, strict=True)
                self._moved = [place for place, (now, then) in enumerate(pairs) if now.tobytes() != then.tobytes()]
        except Exception as error:
            recorder.end(f"{type(error).__name__}: {error}")

    def after(self, *_: Any) -> None:
        """Called after every step."""
        recorder = self.recorder
        try:
            if not recorder.takes_next:
                recorder.pass_over()
                return
            moment = self._moment()
            gradients = [None if one.grad is None else one.grad for one in self.parameters]
            recorder.write(self._kept(gradients), moment, self._hyper(), self._moved)
            self._last, self._moved = list(moment.states["w"]), []
        except Exception as error:
            recorder.end(f"{type(error).__name__}: {error}")

    def _moment(self) -> Moment:
        held = [self.optimizer.state.get(parameter, {}) for parameter in self.parameters]
        states: dict[str, Sequence[np.ndarray]] = {"w": self._kept(self.parameters)}
        if self._wanted.moments:
            for key, quantity in QUANTITIES.items():
                found = [one.get(key) for one in held]
                if any(one is not None for one in found):
                    arrays = self._kept(found)
                    like = next(one for one in arrays if one is not None)
                    states[quantity] = [
                        np.zeros(w.size, like.dtype) if one is None else one
                        for one, w in zip(arrays, states["w"], strict=True)
                    ]
        return Moment(states, [int(one["step"]) if "step" in one else 0 for one in held])

    def _kept(self, tensors: Sequence[Any]) -> list[Any]:
        return [
            None if tensor is None else _array(tensor, place)
            for tensor, place in zip(tensors, self.recorder.places, strict=True)
        ]

    def _hyper(self) -> list[Mapping[str, Any]]:
        return [
            {
                key: told
                for key, value in group.items()
                if key not in {"params", "param_names"} and _can_be_told(told := _plain(value))
            }
            for group in self.optimizer.param_groups
        ]


def _array(tensor: Any, places: np.ndarray | None) -> np.ndarray:
    """What is kept of a tensor, flat, in memory of its own; from any device."""
    import torch

    kept: np.ndarray
    whole = tensor.detach()
    if whole.is_sparse:
        whole = whole.to_dense()
    narrow = whole.dtype == torch.bfloat16
    if whole.device.type == "cpu":
        array = (whole.view(torch.int16) if narrow else whole).numpy().reshape(-1)
        kept = array.copy() if places is None else array.take(places)
    else:
        flat = whole.reshape(-1)
        flat = flat if places is None else flat[torch.from_numpy(places).to(flat.device)]
        kept = (flat.view(torch.int16) if narrow else flat).cpu().numpy()
    return kept.view(ml_dtypes.bfloat16) if narrow else kept


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _can_be_told(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_can_be_told, value))
    return value is None or isinstance(value, bool | int | float | str)
