"""Is my Adam the same Adam? Step by step, bit by bit, across NumPy, PyTorch and TensorFlow.

Everything here is imported when first used: a worker under a foreign interpreter needs nothing but
NumPy and ml_dtypes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from parity.core.shown import Shown, html_of

if TYPE_CHECKING:
    from parity.api.baselines import check_baseline as check_baseline
    from parity.api.baselines import diff_baselines as diff_baselines
    from parity.api.baselines import save_baseline as save_baseline
    from parity.api.bisect import bisect as bisect
    from parity.api.explain import compare as compare
    from parity.api.handover import certify_handover as certify_handover
    from parity.api.matrix import matrix as matrix
    from parity.api.report import certificate as certificate
    from parity.api.report import divergence_frame as divergence_frame
    from parity.api.run import run as run
    from parity.api.trainings import compare_trainings as compare_trainings
    from parity.api.upgrade import upgrade as upgrade
    from parity.core.errors import ParityError as ParityError
    from parity.core.errors import Unsupported as Unsupported
    from parity.core.hyper import Hyper as Hyper
    from parity.core.state import State as State
    from parity.core.version import VERSION as __version__
    from parity.engine.run import Options as Options
    from parity.implementations.implementation import Implementation as Implementation
    from parity.live.follow import follow as follow
    from parity.live.record import record as record
    from parity.live.record import recorded as recorded
    from parity.live.restart import assert_restarts as assert_restarts
    from parity.live.transfer import transfer as transfer

# `explain` and `identify` are left out: importing the rooms of these names would replace the functions.
_PLACES = {
    "Hyper": "parity.core.hyper:Hyper",
    "Implementation": "parity.implementations.implementation:Implementation",
    "Options": "parity.engine.run:Options",
    "ParityError": "parity.core.errors:ParityError",
    "State": "parity.core.state:State",
    "Unsupported": "parity.core.errors:Unsupported",
    "__version__": "parity.core.version:VERSION",
    "assert_restarts": "parity.live.restart:assert_restarts",
    "bisect": "parity.api.bisect:bisect",
    "certificate": "parity.api.report:certificate",
    "certify_handover": "parity.api.handover:certify_handover",
    "check_baseline": "parity.api.baselines:check_baseline",
    "compare": "parity.api.explain:compare",
    "compare_trainings": "parity.api.trainings:compare_trainings",
    "diff_baselines": "parity.api.baselines:diff_baselines",
    "divergence_frame": "parity.api.report:divergence_frame",
    "follow": "parity.live.follow:follow",
    "matrix": "parity.api.matrix:matrix",
    "record": "parity.live.record:record",
    "recorded": "parity.live.record:recorded",
    "run": "parity.api.run:run",
    "save_baseline": "parity.api.baselines:save_baseline",
    "transfer": "parity.live.transfer:transfer",
    "upgrade": "parity.api.upgrade:upgrade",
}

__all__ = [
    "Hyper",
    "Implementation",
    "Options",
    "ParityError",
    "State",
    "Unsupported",
    "__version__",
    "assert_restarts",
    "bisect",
    "bridge",
    "certificate",
    "certify_handover",
    "check_baseline",
    "compare",
    "compare_trainings",
    "diff_baselines",
    "divergence_frame",
    "follow",
    "matrix",
    "record",
    "recorded",
    "run",
    "save_baseline",
    "transfer",
    "upgrade",
    "wrap",
]


@html_of.register(Shown)
def _show(value: Shown) -> str | None:
    """Loaded when the first value is shown."""
    html: str | None = importlib.import_module("parity.report.html.notebook").show(value)
    return html


def __getattr__(name: str) -> Any:
    if name in ("bridge", "wrap"):
        return importlib.import_module(f"parity.live.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'parity' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    """What a user is meant to see: without it, completion would show none of the names that are loaded late."""
    return sorted(__all__)
