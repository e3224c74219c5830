"""Keras's epsilon for optax's Adam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def outside_epsilon(eps: float, b2: float) -> Callable[[Any], Any]:
    """The eps of every step with which an optax Adam is Keras's: ``eps / sqrt(1 - b2^t)``, t the count plus 1.

    For ``optax.inject_hyperparams(optax.adam)(..., b2=b2, eps=outside_epsilon(eps, b2))``. Source: Kingma & Ba 2015,
    the form just before section 2.1, divided by sqrt(1 - b2^t).
    """

    def schedule(count: Any) -> Any:
        from jax import numpy

        # 1 - b2^t itself would lose half of its digits in float32.
        return eps / numpy.sqrt(-numpy.expm1((count + 1) * numpy.log(b2)))

    return schedule
