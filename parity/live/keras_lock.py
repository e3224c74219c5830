"""Keras's Adams in lock with a recording, eagerly, in tf.function and in fit: after every step the recorded state."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from parity.core.errors import UsageError
from parity.live.held import numpy_of
from parity.live.keras_optimizer import HELD, hooked_methods


class Locked:
    """An optimizer and the variables that it trains, by their paths in the model, parted by dots."""

    framework = "keras"
    grown = False

    def __init__(self, optimizer: Any, model: Any) -> None:
        backend = sys.modules["keras"].backend.backend()
        if backend != "tensorflow":
            raise UsageError(f"Keras on {backend} cannot follow a recording; allowed: Keras on tensorflow")
        if optimizer.gradient_accumulation_steps:
            raise UsageError("an optimizer with gradient_accumulation_steps cannot follow; accumulate in the loop")
        named = dict(model) if isinstance(model, Mapping) else {}
        variables = list(named.values()) or list(getattr(model, "trainable_variables", ()))
        if optimizer.built:
            variables = list(optimizer._trainable_variables)
        elif variables:
            optimizer.build(variables)
        if not variables:
            raise UsageError("the model has no variables yet; build it, or call it once, before it follows")
        paths = {id(one): name for name, one in named.items()}
        own = getattr(model, "name", None)
        self.names = [paths.get(id(one), one.path.removeprefix(f"{own}/").replace("/", ".")) for one in variables]
        self._optimizer, self._model, self._variables = optimizer, model, variables
        self._given: list[Any] = []
        self._slots: list[Any] = []

    def weights(self) -> dict[str, np.ndarray]:
        """What the model holds now, copies in its own shapes."""
        return {name: numpy_of(one) for name, one in zip(self.names, self._variables, strict=True)}

    def put(self, states: Mapping[str, Mapping[str, np.ndarray]], counts: Mapping[str, int]) -> None:
        """Put weights, moments and the count under the model and its optimizer."""
        for quantity, name, variable in self._held():
            if quantity in states:
                variable.assign(states[quantity][name])
        self._optimizer.iterations.assign(max(counts.values()))

    @contextmanager
    def hooked(self, step: Callable[[Sequence[np.ndarray | None]], None]) -> Iterator[None]:
        """Call `step` with the gradients, in the order of the names, after every step of the optimizer.

        They are those with which `update_step` is called: clipped and unscaled. In a graph they leave it by a call to
        Python, after which all variables are read again; where XLA compiles it, by variables that are read after every
        call of `fit`'s own function.
        Source: keras/src/optimizers/base_optimizer.py, keras/src/backend/tensorflow/optimizer.py, Keras 3.15.
        """
        own = self._optimizer
        self._step = step
        apply, update = self._applied(own.apply), self._updated(own._backend_update_step)
        with hooked_methods(own, self._model, apply, update, self._making):
            yield

    def _held(self) -> Iterator[tuple[str, str, Any]]:
        """Quantity, name and variable of everything that is put."""
        own = self._optimizer
        for name, variable in zip(self.names, self._variables, strict=True):
            yield "w", name, variable
            for attribute, quantity in HELD.items():
                if getattr(own, attribute, None):
                    yield quantity, name, getattr(own, attribute)[own._get_variable_index(variable)]

    def _applied(self, apply: Callable[..., Any]) -> Callable[..., Any]:
        def applied(grads: Any, trainable_variables: Any = None) -> Any:
            import tensorflow as tf

            told = apply(grads, trainable_variables)
            given = [None if one is None else tf.convert_to_tensor(one) for one in self._given]
            if tf.executing_eagerly():
                self._step([None if one is None else one.numpy() for one in given])
            elif self._is_compiled():
                self._into_variables(given)
            else:
                self._out_of_graph(given)
            return told

        return applied

    def _updated(self, update: Callable[..., Any]) -> Callable[..., Any]:
        def updated(grads: Any, trainable_variables: Any, learning_rate: Any) -> Any:
            known = {variable.path: gradient for gradient, variable in zip(grads, trainable_variables, strict=True)}
            self._given = [known.get(variable.path) for variable in self._variables]
            return update(grads, trainable_variables, learning_rate)

        return updated

    def _out_of_graph(self, given: Sequence[Any]) -> None:
        import tensorflow as tf

        present = [place for place, one in enumerate(given) if one is not None]

        def arrived(*arrays: np.ndarray) -> np.ndarray:
            gradients: list[np.ndarray | None] = [None] * len(given)
            for place, array in zip(present, arrays, strict=True):
                gradients[place] = array
            self._step(gradients)
            return np.zeros(0, np.float32)

        # Before the update is read by anybody: what `step` puts is put outside of the graph, into the same variables.
        held = [variable.value for *_, variable in self._held()]
        with tf.control_dependencies([tf.convert_to_tensor(one) for one in held]):
            tf.numpy_function(arrived, [given[place] for place in present], tf.float32)

    def _making(self, making: Callable[..., None]) -> Callable[..., None]:
        def made(force: bool = False) -> None:
            before = self._model.train_function
            making(force)
            if self._model.train_function is before:
                return
            function = self._model.train_function

            def trained(iterator: Any) -> Any:
                told = function(iterator)
                if self._slots:
                    self._step([None if one is None else one.numpy() for one in self._slots])
                return told

            self._model.train_function = trained

        return made

    def _into_variables(self, given: Sequence[Any]) -> None:
        import tensorflow as tf

        if not hasattr(self._model, "make_train_function") or self._model.train_function is None:
            raise UsageError(
                "a tf.function that XLA compiles cannot follow a recording; jit_compile=False can, and fit"
            )
        if not self._slots:
            with tf.init_scope():
                self._slots = [None if one is None else tf.Variable(tf.zeros(one.shape, one.dtype)) for one in given]
        for slot, one in zip(self._slots, given, strict=True):
            if slot is not None and one is not None:
                slot.assign(one)

    def _is_compiled(self) -> bool:
        """Whether the function that is being traced is one that XLA compiles whole: the callers' frames know it."""
        frame: Any = sys._getframe()
        while frame is not None:
            if getattr(frame.f_locals.get("self"), "_jit_compile", None) is True:
                return True
            frame = frame.f_back
        return False
