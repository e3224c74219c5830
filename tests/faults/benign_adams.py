"""Right Adams that round at other places: none of them may ever be called another formula."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from parity import Implementation

sys.path.append(str(Path(__file__).parent))
from exchangeable_adam import Adam, Tensor

WIDER = {"float64": np.longdouble, "float32": np.float64, "float16": np.float32, "bfloat16": np.float32}


def wide(s: Tensor, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Arrays in the next wider dtype, in which products are exact, or nearly so."""
    return tuple(array.astype(WIDER[s.w.dtype.name]) for array in arrays)


def contracted_first(s: Tensor) -> np.ndarray:
    """``m + (1 - beta1) * (g - m)`` with one rounding of product and sum, as a fused multiply-add."""
    m, difference = wide(s, s.m, s.g - s.m)
    return (m + s.real(s.d1).astype(m.dtype) * difference).astype(s.w.dtype)


def contracted_second(s: Tensor) -> np.ndarray:
    """``beta2 * v + ((1 - beta2) * g) * g`` with one rounding of the last product and the sum."""
    decayed, scaled, g = wide(s, s.real(s.hyper.beta2) * s.v, s.real(s.d2) * s.g, s.g)
    return (decayed + scaled * g).astype(s.w.dtype)


def one_factor(s: Tensor) -> np.ndarray:
    """``(lr / (1 - beta1^t)) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)``, as torch has it."""
    root = np.sqrt(s.raw_v) / s.real(s.c2**0.5)
    return s.real(s.lr / s.c1) * s.m / (root + s.real(s.hyper.eps))


def reciprocals(s: Tensor) -> np.ndarray:
    """Multiplies by the reciprocals of the denominator and of the bias corrections."""
    m_hat, v_hat = s.m * s.real(1 / s.c1), s.raw_v * s.real(1 / s.c2)
    return s.real(s.lr) * (m_hat * (s.real(1) / (np.sqrt(v_hat) + s.real(s.hyper.eps))))


BENIGN = {
    "correct": Adam(),
    "lerp": Adam(
        first=lambda s: s.m + s.real(s.d1) * (s.g - s.m),
        second=lambda s: s.v + s.real(s.d2) * (s.g * s.g - s.v),
    ),
    "square_first": Adam(second=lambda s: s.real(s.hyper.beta2) * s.v + s.real(s.d2) * (s.g * s.g)),
    "contracted": Adam(first=contracted_first, second=contracted_second),
    "one_factor": Adam(update=one_factor),
    "reciprocals": Adam(update=reciprocals),
    "divided_last": Adam(
        update=lambda s: s.m_hat / (np.sqrt(s.v_hat) + s.real(s.hyper.eps)) * s.real(s.lr),
    ),
    "power_root": Adam(
        update=lambda s: s.real(s.lr) * s.m_hat / (np.power(s.v_hat, s.real(0.5)) + s.real(s.hyper.eps)),
    ),
    "decay_subtracted": Adam(moved=lambda s, change: s.w - (change + s.w * s.real(1 - s.shrink))),
    "at_store": Adam(working=lambda dtype: np.dtype(WIDER[dtype.name])),
}
"""By name; "correct" is the control of the experiment. Each is an attribute of this module, too: a plug-in."""

globals().update({name: Implementation(name, adam) for name, adam in BENIGN.items()})
