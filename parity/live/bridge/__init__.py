"""An Adam with the other framework's convention, so that a port trains the same.

`KerasAdam` is a torch optimizer, `TorchAdam` a Keras one; `outside_epsilon` makes optax's Adam Keras's. Asking for one
imports its own framework only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.live.bridge.keras_ import TorchAdam as TorchAdam
    from parity.live.bridge.optax_ import outside_epsilon as outside_epsilon
    from parity.live.bridge.torch_ import KerasAdam as KerasAdam

_PLACES = {
    "KerasAdam": "parity.live.bridge.torch_",
    "TorchAdam": "parity.live.bridge.keras_",
    "outside_epsilon": "parity.live.bridge.optax_",
}

__all__ = ["KerasAdam", "TorchAdam", "outside_epsilon"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'parity.live.bridge' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
