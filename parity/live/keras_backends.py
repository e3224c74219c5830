"""How tensors of Keras's backends are read while it trains: at once, or by a call out of the graph that is traced."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np

from parity.core.errors import UsageError


class Backend(Protocol):
    """What is asked of a backend."""

    name: str

    def how(self, variable: Any) -> str:
        """How the step that is now taken or traced runs, of which it is a variable: eager, function, or xla."""

    def outside(self) -> AbstractContextManager[Any]:
        """Where variables have numbers although a graph is traced, where there is such a place."""

    def kept(self, tensor: Any, places: np.ndarray | None) -> Any:
        """What is kept of a tensor, flat: an array, or still a tensor of the graph."""

    def leave(self, arrived: Callable[..., None], tensors: Sequence[Any]) -> None:
        """Call `arrived` with arrays of tensors, now or whenever the graph has come here."""

    def device(self, variable: Any) -> str:
        """Where a variable lies."""

    def wait(self) -> None:
        """Until all that has left has arrived."""


class TensorFlow:
    """Keras on TensorFlow: eager, in a graph, or in one that XLA compiles, which nothing can leave."""

    name = "tensorflow"

    def how(self, variable: Any) -> str:
        """As the callers' frames know it: a function that XLA compiles whole is traced as any other."""
        import tensorflow as tf

        if tf.executing_eagerly():
            return "eager"
        frame: Any = sys._getframe()
        while frame is not None:
            if getattr(frame.f_locals.get("self"), "_jit_compile", None) is True:
                return "xla"
            frame = frame.f_back
        return "function"

    def outside(self) -> AbstractContextManager[Any]:
        """Where a graph begins."""
        import tensorflow as tf

        scope: AbstractContextManager[Any] = tf.init_scope()
        return scope

    def kept(self, tensor: Any, places: np.ndarray | None) -> Any:
        """A tensor, in a graph or not."""
        import tensorflow as tf

        flat = tf.reshape(tf.convert_to_tensor(tensor), [-1])
        return flat if places is None else tf.gather(flat, places)

    def leave(self, arrived: Callable[..., None], tensors: Sequence[Any]) -> None:
        """By a call to Python that the graph makes."""
        import tensorflow as tf

        if tf.executing_eagerly():
            arrived(*(one.numpy() for one in tensors))
        else:
            tf.numpy_function(arrived, list(tensors), [])

    def device(self, variable: Any) -> str:
        """As TensorFlow names it."""
        named: str = variable.value.device.rpartition("device:")[2]
        return named

    def wait(self) -> None:
        """Nothing runs on by itself."""


class Torch:
    """Keras on torch, which is always eager here."""

    name = "torch"

    def how(self, variable: Any) -> str:
        """Always the same."""
        return "eager"

    def outside(self) -> AbstractContextManager[Any]:
        """Here."""
        return nullcontext()

    def kept(self, tensor: Any, places: np.ndarray | None) -> Any:
        """An array of its own: the optimizer writes over its variables."""
        from parity.live.torch_memory import array_of

        held = getattr(tensor, "value", tensor)
        return array_of(held, places) if hasattr(held, "detach") else np.array([held])

    def leave(self, arrived: Callable[..., None], tensors: Sequence[Any]) -> None:
        """At once."""
        arrived(*tensors)

    def device(self, variable: Any) -> str:
        """As torch names it."""
        return str(variable.value.device)

    def wait(self) -> None:
        """Nothing runs on by itself."""


class Jax:
    """Keras on JAX: eager, or jitted, which an ordered callback leaves."""

    name = "jax"

    def how(self, variable: Any) -> str:
        """Whether a function is traced, where it has no number."""
        import jax

        return "function" if isinstance(variable.value, jax.core.Tracer) else "eager"

    def outside(self) -> AbstractContextManager[Any]:
        """Here: while it fits, variables have no numbers but those that are traced."""
        return nullcontext()

    def kept(self, tensor: Any, places: np.ndarray | None) -> Any:
        """An array of JAX's, which is never written over, or a tracer."""
        from jax import numpy as jnp

        flat = jnp.reshape(getattr(tensor, "value", tensor), -1)
        return flat if places is None else flat[places]

    def leave(self, arrived: Callable[..., None], tensors: Sequence[Any]) -> None:
        """By an ordered callback, jitted or not."""
        from jax.experimental import io_callback

        io_callback(arrived, None, *tensors, ordered=True)

    def device(self, variable: Any) -> str:
        """As JAX names it."""
        import jax

        return str(jax.devices()[0])

    def wait(self) -> None:
        """Callbacks come when they come."""
        import jax

        jax.effects_barrier()


BACKENDS: Iterable[type[Backend]] = (TensorFlow, Torch, Jax)


def backend_in_use() -> Backend:
    """Keras's own; UsageError for one that cannot be recorded."""
    used: str = sys.modules["keras"].backend.backend()
    for kind in BACKENDS:
        if kind.name == used:
            importlib.import_module(kind.name)
            return kind()
    allowed = ", ".join(one.name for one in BACKENDS)
    raise UsageError(f"Keras on {used} cannot be recorded; allowed: Keras on {allowed}")
