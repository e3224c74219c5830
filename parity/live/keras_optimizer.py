"""Keras's Adams while they train, eagerly, in a graph and in fit, on any backend: what they are given and hold."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from parity.core.errors import ParityError, UsageError
from parity.live.folder import Folder
from parity.live.keras_backends import Backend, backend_in_use
from parity.live.recorder import Moment, Progress, Recorder, Wanted

FAMILY = ("Adam", "AdamW", "Nadam", "Adamax")
"""Classes of keras.optimizers, and all that are derived from them."""

HELD = {"_momentums": "m", "_velocities": "v", "_velocity_hats": "vmax", "_m": "m", "_u": "v"}
"""Where they keep their moments; Adamax's are the last two."""

HYPER = ("beta_1", "beta_2", "epsilon", "weight_decay", "amsgrad", "clipnorm", "clipvalue", "global_clipnorm",
         "use_ema", "ema_momentum", "ema_overwrite_frequency", "loss_scale_factor")  # fmt: skip


def is_of_family(optimizer: object) -> bool:
    """Whether it is an optimizer of the family, without importing Keras."""
    return any(
        kind.__module__.startswith(("keras.src.optimizers.", "keras.optimizers.")) and kind.__name__ in FAMILY
        for kind in type(optimizer).__mro__
    )


@contextmanager
def recording(path: Path, optimizer: Any, model: Any, wanted: Wanted, overwrite: bool) -> Iterator[Progress]:
    """Record while the block runs.

    Gradients are those with which `update_step` is called: clipped, unscaled and accumulated; where they are, a step
    is one that updates. In a graph they leave it by a call to Python, or, where XLA compiles it for TensorFlow, by
    variables that are read after every call of `fit`'s own function.
    Source: keras/src/optimizers/base_optimizer.py, keras/src/backend/{tensorflow,jax}/optimizer.py,
    keras/src/backend/jax/trainer.py, Keras 3.15.
    """
    backend = backend_in_use()
    if backend.name == "torch" and getattr(model, "jit_compile", False) is True:
        raise UsageError("a model that torch compiles cannot be recorded; allowed: jit_compile=False")
    folder = Folder(path, overwrite)
    watched = _Watched(path, optimizer, model, wanted, backend)
    try:
        with watched.hooked():
            yield watched
    finally:
        watched.close()
        folder.release()


@contextmanager
def hooked_methods(
    optimizer: Any,
    model: Any,
    apply: Callable[..., Any],
    update: Callable[..., Any],
    making: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> Iterator[None]:
    """`apply` and `update` in the place of an optimizer's `apply` and `_backend_update_step`, afterwards its own again.

    making: from the `make_train_function` of a model that has one to what stands in its place.
    """
    if sys.modules["keras"].backend.backend() == "tensorflow":
        import tensorflow as tf

        # AutoGraph would rewrite what it finds here into a graph, as it does with a user's code.
        apply, update = map(tf.autograph.experimental.do_not_convert, (apply, update))
    optimizer.apply, optimizer._backend_update_step = apply, update
    fits = hasattr(model, "make_train_function")
    if fits:
        # What was compiled before knows nothing of the hooks.
        model.train_function = None
        model.make_train_function = making(model.make_train_function)
    try:
        yield
    finally:
        del optimizer.apply, optimizer._backend_update_step
        if fits:
            del model.make_train_function
            model.train_function = None


class _Watched:
    """An optimizer whose steps are recorded."""

    def __init__(self, path: Path, optimizer: Any, model: Any, wanted: Wanted, backend: Backend) -> None:
        self._path, self._optimizer, self._model, self._wanted = path, optimizer, model, wanted
        self._backend = backend
        self.recorder: Recorder | None = None
        self._why = ""
        self._variables: list[Any] = []
        self._slots: list[Any] = []
        self._lr: Any = None
        self._given: list[Any] = []
        self._found: Moment | None = None
        self._compiled = False
        self._how = "eager"
        self._began_at = self._flushed_at = self._counted()
        self._micro = int(optimizer.gradient_accumulation_steps or 1)

    @property
    def steps(self) -> int:
        """Steps recorded so far."""
        return 0 if self.recorder is None else self.recorder.steps

    @property
    def ended(self) -> str:
        """Why nothing more is recorded; empty while it is."""
        return self._why if self.recorder is None else self.recorder.ended

    def close(self) -> None:
        """Nothing comes any more; steps that could not be seen are told."""
        self._backend.wait()
        taken = self._counted() - self._began_at
        recorder = self.recorder
        if recorder is None:
            if taken and not self._why:
                print(
                    f"parity: nothing is recorded: {taken} steps ran in a function that was traced before",
                    file=sys.stderr,
                )
            self._path.rmdir()
            return
        seen = recorder.seen * self._micro
        if self._compiled and recorder.wanted.steps is None and seen + self._micro <= taken:
            recorder.end(f"{taken - seen} of {taken} steps ran in a function that XLA compiled")
        recorder.close()

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """The optimizer's own methods, each with what is read beside it; afterwards they are as before."""
        own = self._optimizer
        apply, update = self._applied(own.apply), self._updated(own._backend_update_step)
        with hooked_methods(own, self._model, apply, update, self._making):
            yield

    def _applied(self, apply: Callable[..., Any]) -> Callable[..., Any]:
        def applied(grads: Any, trainable_variables: Any = None) -> Any:
            before: dict[str, list[Any]] = {}
            try:
                self._begin(trainable_variables)
                before = self._before()
            except Exception as error:
                self._end(error)
            told = apply(grads, trainable_variables)
            try:
                self._capture(before)
            except Exception as error:
                self._end(error)
            return told

        return applied

    def _updated(self, update: Callable[..., Any]) -> Callable[..., Any]:
        def updated(grads: Any, trainable_variables: Any, learning_rate: Any) -> Any:
            try:
                self._hand_over(grads, trainable_variables, learning_rate)
            except Exception as error:
                self._end(error)
            return update(grads, trainable_variables, learning_rate)

        return updated

    def _hand_over(self, grads: Any, variables: Any, lr: Any) -> None:
        recorder = self.recorder
        if recorder is None or recorder.ended:
            return
        known = {variable.path: gradient for gradient, variable in zip(grads, variables, strict=True)}
        given = self._kept([known.get(variable.path) for variable in self._variables])
        self._given, self._lr = given, lr
        if self._into_slots:
            self._put_into_slots(given, lr)

    @property
    def _into_slots(self) -> bool:
        """Whether gradients can leave what is traced now through variables alone: XLA, or a branch of a graph."""
        if self._backend.name != "tensorflow":
            return False
        how = self._backend.how(self._optimizer._iterations)
        return how == "xla" or (how == "function" and self._micro > 1)

    def _making(self, making: Callable[..., Any]) -> Callable[..., Any]:
        def made(force: bool = False) -> Any:
            before = self._model.train_function
            told = making(force)
            function = self._model.train_function
            if function is before or self._backend.name != "tensorflow":
                return told

            def trained(iterator: Any) -> Any:
                self._find()
                told = function(iterator)
                self._flush()
                return told

            self._model.train_function = trained
            return told

        return made

    def _begin(self, variables: Any) -> None:
        if self.recorder is not None or self._why:
            return
        own = self._optimizer
        self._how = self._backend.how(self._optimizer._iterations)
        with self._backend.outside():
            given = own._trainable_variables if variables is None else list(variables)
            if not own.built:
                # As `apply` would do now.
                own.build(given)
            self._variables = [one for one in own._trainable_variables if self._wanted.takes(self._name(one))]
            names = [self._name(one) for one in self._variables]
            if not names:
                raise ParityError(f"no variable is called {self._wanted.parameters!r}; nothing would be recorded")
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise ParityError(f"two variables are called {twice!r}; name the layers they are in")
            shapes = [tuple(one.shape) for one in self._variables]
            self.recorder = Recorder(self._path, self._wanted, self._about(), names, shapes, [0] * len(names))
            if self._how == "xla":
                self._found = self._moment()

    def _name(self, variable: Any) -> str:
        """Its path in the model, parted by dots; or what a mapping calls it."""
        if isinstance(self._model, Mapping):
            for name, one in self._model.items():
                if one is variable:
                    return str(name)
        own = getattr(self._model, "name", None)
        path: str = variable.path
        return path.removeprefix(f"{own}/").replace("/", ".")

    def _about(self) -> dict[str, Any]:
        own, backend = self._optimizer, self._backend.name
        kinds = {kind.__name__ for kind in type(own).__mro__}
        known = "Adam" in kinds and backend == "tensorflow"
        return {
            "framework": "keras",
            "backend": backend,
            "versions": {name: str(importlib.import_module(name).__version__) for name in ("keras", backend)},
            "optimizer": f"{type(own).__module__}.{type(own).__qualname__}",
            "device": self._backend.device(self._variables[0]),
            "implementation": f"keras.adam.{self._how}" if known else None,
        }

    def _held(self, weights_alone: bool = False) -> dict[str, list[Any]]:
        """What is kept of the states as they are now."""
        own = self._optimizer
        held = {"w": list(self._variables)}
        if self._wanted.moments and not weights_alone:
            for attribute, quantity in HELD.items():
                found = getattr(own, attribute, None)
                if found:
                    held[quantity] = [found[own._get_variable_index(one)] for one in self._variables]
        return {quantity: self._kept(tensors) for quantity, tensors in held.items()}

    def _kept(self, tensors: list[Any]) -> list[Any]:
        """What is kept of tensors, flat: still tensors in a graph."""
        assert self.recorder is not None
        return [
            None if tensor is None else self._backend.kept(tensor, places)
            for tensor, places in zip(tensors, self.recorder.places, strict=True)
        ]

    def _moment(self, weights_alone: bool = False) -> Moment:
        """The states in numbers, where they have some."""
        found: list[Moment] = []
        t = [self._counted() // self._micro] * len(self._variables)
        for quantity, tensors in self._held(weights_alone).items():
            self._backend.leave(lambda *arrays, q=quantity: found.append(Moment({q: list(arrays)}, t)), tensors)
        return Moment({quantity: arrays for one in found for quantity, arrays in one.states.items()}, t)

    def _counted(self) -> int:
        """Steps so far, of which several may make an update; 0 where they have no number, as a function is traced."""
        variable = self._optimizer._iterations
        traced = self._backend.name == "jax" and self._backend.how(variable) != "eager"
        return 0 if traced else int(variable)

    def _t(self) -> Any:
        return self._backend.kept(self._optimizer._iterations, None)

    def _before(self) -> dict[str, list[Any]]:
        """What a step finds; in a graph all of it, as nobody knows which of its runs is recorded."""
        recorder = self.recorder
        if recorder is None or recorder.ended or self._backend.how(self._optimizer._iterations) == "xla":
            return {}
        self._given, self._lr = [None] * len(self._variables), 0.0
        whole = self._backend.how(self._optimizer._iterations) != "eager" or recorder.row is None or recorder.row.paired
        return {"t": [self._t()], **self._held(not whole)}

    def _capture(self, before: dict[str, list[Any]]) -> None:
        """After a step: at once, or as the end of the graph that is being traced."""
        recorder = self.recorder
        if recorder is None or recorder.ended or not before:
            return
        given, lr = (self._slots, self._lr_slot) if self._into_slots and self._slots else (self._given, self._lr)
        after = {"t": [self._t()], **self._held()}
        parts = {
            "lr": [self._backend.kept(lr, None)],
            "gradients": [one for one in given if one is not None],
            **{f"before {key}": tensors for key, tensors in before.items()},
            **{f"after {key}": tensors for key, tensors in after.items()},
        }
        present = [place for place, one in enumerate(given) if one is not None]
        sizes = {name: len(tensors) for name, tensors in parts.items()}

        def arrived(*arrays: Any) -> None:
            try:
                self._arrive(sizes, present, list(map(np.asarray, arrays)))
            except Exception as error:
                self._end(error)

        self._backend.leave(arrived, [tensor for tensors in parts.values() for tensor in tensors])

    def _arrive(self, sizes: Mapping[str, int], present: list[int], arrays: list[np.ndarray]) -> None:
        recorder, count = self.recorder, len(self._variables)
        assert recorder is not None
        rest = iter(arrays)
        told = {name: [next(rest) for _ in range(size)] for name, size in sizes.items()}
        begun, t = (int(told.pop(name)[0][0]) for name in ("before t", "after t"))
        if t % self._micro:
            # It was added to those before it.
            return
        if not recorder.takes_next:
            recorder.pass_over()
            return
        gradients: list[Any] = [None] * count
        for place, array in zip(present, told["gradients"], strict=True):
            gradients[place] = array
        before, after = (
            Moment(
                {name[len(when) :]: part for name, part in told.items() if name.startswith(when)},
                [at // self._micro] * count,
            )
            for when, at in (("before ", begun), ("after ", t))
        )
        recorder.write(gradients, before, after, self._hyper(told["lr"][0].item()))

    def _hyper(self, lr: float) -> list[Mapping[str, Any]]:
        own = self._optimizer
        return [{"lr": lr, **{name: getattr(own, name) for name in HYPER if getattr(own, name, None) is not None}}]

    def _put_into_slots(self, given: list[Any], lr: Any) -> None:
        import tensorflow as tf

        self._compiled = self._compiled or self._backend.how(self._optimizer._iterations) == "xla"
        if not self._slots:
            with tf.init_scope():
                self._slots = [None if one is None else tf.Variable(tf.zeros(one.shape, one.dtype)) for one in given]
                self._lr_slot = tf.Variable(0.0, dtype=tf.convert_to_tensor(self._optimizer.learning_rate).dtype)
        for slot, one in zip(self._slots, given, strict=True):
            if slot is not None and one is not None:
                slot.assign(one)
        self._lr_slot.assign(tf.cast(lr, self._lr_slot.dtype))

    def _find(self) -> None:
        """Before a call of `fit`'s function: what a compiled step will find."""
        recorder = self.recorder
        if not self._compiled or recorder is None or recorder.ended or not recorder.takes_next:
            return
        try:
            self._found = self._moment(weights_alone=recorder.row is not None and not recorder.row.paired)
        except Exception as error:
            self._end(error)

    def _flush(self) -> None:
        """After it: what a compiled step left in variables."""
        recorder = self.recorder
        if not self._compiled or recorder is None or recorder.ended:
            return
        try:
            t, last = self._counted(), self._flushed_at
            self._flushed_at = t
            if t > last + 1:
                recorder.end(f"{t - last} steps ran in one call that XLA compiled; set steps_per_execution=1")
            elif t == last or t % self._micro:
                return
            elif recorder.takes_next:
                gradients = [None if slot is None else slot.numpy() for slot in self._slots]
                recorder.write(gradients, self._found, self._moment(), self._hyper(float(self._lr_slot.numpy())))
            else:
                recorder.pass_over()
        except Exception as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        why = str(error) if isinstance(error, ParityError) else f"{type(error).__name__}: {error}"
        if self.recorder is not None:
            self.recorder.end(why)
        elif not self._why:
            self._why = why
            print(f"parity: nothing is recorded: {why}", file=sys.stderr)
