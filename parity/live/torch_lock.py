"""torch.optim's Adams in lock with a recording: after every step the recorded state stands under the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np

from parity.live.held import named_parameters, numpy_of

KEYS = {"m": ("exp_avg",), "v": ("exp_avg_sq", "exp_inf"), "vmax": ("max_exp_avg_sq",)}
"""What torch's state calls a quantity; Adamax keeps a maximum where the others keep a mean."""


class Locked:
    """An optimizer and the parameters that it steps, by name and in its own order."""

    framework = "torch"

    def __init__(self, optimizer: Any, model: Any) -> None:
        self._optimizer = optimizer
        own = {id(one): name for name, one in named_parameters(model)}
        self._parameters: dict[str, Any] = {}
        self.names: list[str] = []
        for number, group in enumerate(optimizer.param_groups):
            given = group.get("param_names", [f"{number}.{place}" for place in range(len(group["params"]))])
            for name, parameter in zip(given, group["params"], strict=True):
                self.names.append(own.get(id(parameter), name))
                self._parameters[self.names[-1]] = parameter

    @property
    def grown(self) -> bool:
        """Whether parameters were added to the optimizer since."""
        return sum(len(group["params"]) for group in self._optimizer.param_groups) != len(self.names)

    def weights(self) -> dict[str, np.ndarray]:
        """What the model holds now, copies in its own shapes."""
        return {name: numpy_of(one) for name, one in self._parameters.items()}

    def put(self, states: Mapping[str, Mapping[str, np.ndarray]], counts: Mapping[str, int]) -> None:
        """Put weights under the model, and moments and counts where the optimizer keeps any yet."""
        import torch

        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(_tensor(states["w"][name]))
                held = self._optimizer.state.get(parameter, {})
                for quantity, keys in KEYS.items():
                    for key in keys:
                        if quantity in states and key in held:
                            held[key].copy_(_tensor(states[quantity][name]))
                if "step" in held:
                    held["step"] = _count(held["step"], counts[name])

    @contextmanager
    def hooked(self, step: Callable[[Sequence[np.ndarray | None]], None]) -> Iterator[None]:
        """Call `step` with the gradients, in the order of the names, after every step of the optimizer.

        They are as the optimizer used them then: a closure has run, and a fused step has written back what it unscaled.
        """

        def after(*_: Any) -> None:
            gradients = [one.grad for one in self._parameters.values()]
            step([None if one is None else numpy_of(one.to_dense() if one.is_sparse else one) for one in gradients])

        hook = self._optimizer.register_step_post_hook(after)
        try:
            yield
        finally:
            hook.remove()


def _tensor(array: np.ndarray) -> Any:
    import torch

    array = np.ascontiguousarray(array)
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def _count(held: Any, count: int) -> Any:
    """The same kind of number: a tensor on its device, or Python's."""
    return held.fill_(count) if hasattr(held, "fill_") else type(held)(count)
