"""Any optimizer of torch, Keras or optax as an implementation, for ``-i file.py:NAME`` and for tests.

Each takes what makes the optimizer; copies, learning rates of every step, missing gradients and moments that are not
there yet are seen to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parity.core.hyper import Hyper
from parity.implementations.implementation import Implementation
from parity.implementations.registry import USER_PREFIX


def torch(make: Callable[[list[Any]], Any], name: str = "") -> Implementation:
    """A torch optimizer, as ``make(parameters)`` builds it.

    make: its lr, betas, eps, weight_decay and amsgrad are set afterwards. name: after ``user.``, that of `make` where
    it is empty.
    """
    from parity.implementations import torch_

    return torch_.wrapped(make, _name(make, name))


def keras(make: Callable[[], Any], name: str = "") -> Implementation:
    """A Keras optimizer, as ``make()`` builds it, eager.

    make: its numbers are set before it is built. name: as in `torch`.
    """
    from parity.implementations import keras_

    return keras_.wrapped(make, _name(make, name))


def optax(make: Callable[[Hyper], Any], name: str = "") -> Implementation:
    """An optax transformation, as ``make(hyper)`` builds it.

    make: takes the numbers that are asked for. name: as in `torch`.
    """
    from parity.implementations import optax_

    return optax_.wrapped(make, _name(make, name))


def _name(make: Any, name: str) -> str:
    plain = name or getattr(make, "__name__", type(make).__name__).strip("<>")
    return USER_PREFIX + plain.removeprefix(USER_PREFIX)
