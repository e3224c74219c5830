"""Is my Adam the same Adam? Step by step, bit by bit, across NumPy, PyTorch and TensorFlow.

Everything here is imported when first used: a worker under a foreign interpreter needs nothing but
NumPy and ml_dtypes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from parity.shown import Shown, html_of

if TYPE_CHECKING:
    from parity.api import certificate as certificate
    from parity.api import compare as compare
    from parity.api import divergence_frame as divergence_frame
    from parity.api import run as run
    from parity.engine.run import Options as Options
    from parity.errors import ParityError as ParityError
    from parity.errors import Unsupported as Unsupported
    from parity.hyper import Hyper as Hyper
    from parity.implementations.implementation import Implementation as Implementation
    from parity.state import State as State
    from parity.version import VERSION as __version__

_PLACES = {
    "Hyper": "parity.hyper:Hyper",
    "Implementation": "parity.implementations.implementation:Implementation",
    "Options": "parity.engine.run:Options",
    "ParityError": "parity.errors:ParityError",
    "State": "parity.state:State",
    "Unsupported": "parity.errors:Unsupported",
    "__version__": "parity.version:VERSION",
    "certificate": "parity.api:certificate",
    "compare": "parity.api:compare",
    "divergence_frame": "parity.api:divergence_frame",
    "run": "parity.api:run",
}

__all__ = [
    "Hyper",
    "Implementation",
    "Options",
    "ParityError",
    "State",
    "Unsupported",
    "__version__",
    "certificate",
    "compare",
    "divergence_frame",
    "run",
]


@html_of.register(Shown)
def _show(value: Shown) -> str | None:
    """Loaded when the first value is shown."""
    html: str | None = importlib.import_module("parity.report.html.notebook").show(value)
    return html


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'parity' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
