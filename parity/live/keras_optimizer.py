"""Keras's Adams while they train, eagerly, in tf.function and in fit: what they are given and hold."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parity.core.errors import ParityError, UsageError
from parity.live.recorder import Moment, Progress, Recorder, Wanted, make_folder

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

    Gradients are those with which `update_step` is called: clipped, unscaled and accumulated. In a graph they leave it
    by a call to Python, or, where XLA compiles it, by variables that are read after every call of `fit`'s own function.
    Source: keras/src/optimizers/base_optimizer.py, keras/src/backend/tensorflow/optimizer.py, Keras 3.15.
    """
    backend = sys.modules["keras"].backend.backend()
    if backend != "tensorflow":
        raise UsageError(f"Keras on {backend} cannot be recorded; allowed: Keras on tensorflow")
    if optimizer.gradient_accumulation_steps:
        raise UsageError("an optimizer with gradient_accumulation_steps cannot be recorded; accumulate in the loop")
    make_folder(path, overwrite)
    watched = _Watched(path, optimizer, model, wanted)
    try:
        with watched.hooked():
            yield watched
    finally:
        watched.close()


class _Watched:
    """An optimizer whose steps are recorded."""

    def __init__(self, path: Path, optimizer: Any, model: Any, wanted: Wanted) -> None:
        self._path, self._optimizer, self._model, self._wanted = path, optimizer, model, wanted
        self.recorder: Recorder | None = None
        self._slots: list[Any] = []
        self._lr: Any = None
        self._given: list[Any] = []
        self._begun: Moment | None = None
        self._compiled = False
        self._how = "eager"
        self._began_at = int(optimizer.iterations)

    @property
    def steps(self) -> int:
        """Steps recorded so far."""
        return 0 if self.recorder is None else self.recorder.steps

    @property
    def ended(self) -> str:
        """Why nothing more is recorded; empty while it is."""
        return "" if self.recorder is None else self.recorder.ended

    def close(self) -> None:
        """Nothing comes any more; steps that could not be seen are told."""
        if self.recorder is None:
            self._path.rmdir()
            return
        taken = int(self._optimizer.iterations) - self._began_at
        if self._compiled and self.recorder.wanted.steps is None and self.recorder.seen < taken:
            self.recorder.end(f"{taken - self.recorder.seen} of {taken} steps ran in a function that XLA compiled")
        self.recorder.close()

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """The optimizer's own methods, each with what is read beside it; afterwards they are as before."""
        import tensorflow as tf

        own, model = self._optimizer, self._model
        # AutoGraph would rewrite what it finds here into a graph, as it does with a user's code.
        as_it_is = tf.autograph.experimental.do_not_convert
        apply, update = as_it_is(self._applied(own.apply)), as_it_is(self._updated(own._backend_update_step))
        own.apply, own._backend_update_step = apply, update
        fits = hasattr(model, "make_train_function")
        if fits:
            # What was compiled before knows nothing of the hooks.
            model.train_function = None
            model.make_train_function = self._making(model.make_train_function)
        try:
            yield
        finally:
            del own.apply, own._backend_update_step
            if fits:
                del model.make_train_function
                model.train_function = None

    def _applied(self, apply: Callable[..., Any]) -> Callable[..., Any]:
        def applied(grads: Any, trainable_variables: Any = None) -> Any:
            import tensorflow as tf

            try:
                if self.recorder is None:
                    compiled = "xla" if self._is_compiled() else "function"
                    self._how = "eager" if tf.executing_eagerly() else compiled
                with tf.init_scope():
                    self._begin(trainable_variables)
            except Exception as error:
                self._end(error)
            told = apply(grads, trainable_variables)
            try:
                self._capture()
            except Exception as error:
                self._end(error)
            return told

        return applied

    def _updated(self, update: Callable[..., Any]) -> Callable[..., Any]:
        def updated(grads: Any, trainable_variables: Any, learning_rate: Any) -> Any:
            known = {variable.path: gradient for gradient, variable in zip(grads, trainable_variables, strict=True)}
            self._given = [known.get(variable.path) for variable in self._variables]
            self._lr = learning_rate
            return update(grads, trainable_variables, learning_rate)

        return updated

    def _making(self, making: Callable[..., None]) -> Callable[..., None]:
        def made(force: bool = False) -> None:
            before = self._model.train_function
            making(force)
            if self._model.train_function is before:
                return
            function = self._model.train_function

            def trained(iterator: Any) -> Any:
                told = function(iterator)
                self._flush()
                return told

            self._model.train_function = trained

        return made

    def _begin(self, variables: Any) -> None:
        if self.recorder is not None:
            return
        own = self._optimizer
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
        self._begun = self._moment()

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
        import keras
        import tensorflow as tf

        own = self._optimizer
        kinds = {kind.__name__ for kind in type(own).__mro__}
        return {
            "framework": "keras",
            "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
            "optimizer": f"{type(own).__module__}.{type(own).__qualname__}",
            "device": self._variables[0].value.device.rpartition("device:")[2],
            "implementation": f"keras.adam.{self._how}" if "Adam" in kinds else None,
        }

    def _held(self) -> dict[str, list[Any]]:
        own = self._optimizer
        held = {"w": list(self._variables)}
        if self._wanted.moments:
            for attribute, quantity in HELD.items():
                found = getattr(own, attribute, None)
                if found:
                    held[quantity] = [found[own._get_variable_index(one)] for one in self._variables]
        return held

    def _kept(self, tensors: Sequence[Any]) -> list[Any]:
        """What is kept of tensors, flat: still tensors in a graph."""
        import tensorflow as tf

        assert self.recorder is not None
        flat: list[Any] = []
        for tensor, places in zip(tensors, self.recorder.places, strict=True):
            if tensor is None:
                flat.append(None)
                continue
            one = tf.reshape(tf.convert_to_tensor(tensor), [-1])
            flat.append(one if places is None else tf.gather(one, places))
        return flat

    def _moment(self) -> Moment:
        states = {name: [one.numpy() for one in self._kept(held)] for name, held in self._held().items()}
        return Moment(states, [int(self._optimizer.iterations)] * len(self._variables))

    def _hyper(self, lr: float) -> list[Mapping[str, Any]]:
        own = self._optimizer
        return [{"lr": lr, **{name: getattr(own, name) for name in HYPER if getattr(own, name, None) is not None}}]

    def _capture(self) -> None:
        """After a step: at once, or as the end of the graph that is being traced."""
        import tensorflow as tf

        recorder = self.recorder
        if recorder is None or recorder.ended:
            return
        given = self._kept(self._given)
        if tf.executing_eagerly():
            self._write([None if one is None else one.numpy() for one in given], self._moment(), float(self._lr))
        elif self._is_compiled():
            self._into_variables(given)
        else:
            self._out_of_graph(given)

    def _write(self, gradients: list[Any], moment: Moment, lr: float) -> None:
        recorder = self.recorder
        assert recorder is not None
        if recorder.takes_next:
            recorder.write(gradients, self._begun, moment, self._hyper(lr))
            self._begun = None
        else:
            recorder.pass_over()

    def _out_of_graph(self, given: Sequence[Any]) -> None:
        import tensorflow as tf

        present = [place for place, one in enumerate(given) if one is not None]
        held = {name: self._kept(tensors) for name, tensors in self._held().items()}
        order = list(held)
        count = len(self._variables)

        def arrived(lr: Any, t: Any, *arrays: Any) -> None:
            try:
                gradients: list[Any] = [None] * count
                for place, array in zip(present, arrays[: len(present)], strict=True):
                    gradients[place] = array
                rest = arrays[len(present) :]
                states = {name: list(rest[at * count : (at + 1) * count]) for at, name in enumerate(order)}
                self._write(gradients, Moment(states, [int(t)] * count), float(lr))
            except Exception as error:
                self._end(error)

        flat = [given[place] for place in present] + [one for name in order for one in held[name]]
        lr = tf.cast(tf.convert_to_tensor(self._lr), tf.float64)
        tf.numpy_function(arrived, [lr, tf.convert_to_tensor(self._optimizer.iterations), *flat], [])

    def _into_variables(self, given: Sequence[Any]) -> None:
        import tensorflow as tf

        self._compiled = True
        if not self._slots:
            with tf.init_scope():
                self._slots = [None if one is None else tf.Variable(tf.zeros(one.shape, one.dtype)) for one in given]
                self._lr_slot = tf.Variable(0.0, dtype=tf.convert_to_tensor(self._optimizer.learning_rate).dtype)
        for slot, one in zip(self._slots, given, strict=True):
            if slot is not None and one is not None:
                slot.assign(one)
        self._lr_slot.assign(tf.cast(self._lr, self._lr_slot.dtype))

    def _flush(self) -> None:
        """After a call of `fit`'s function: what a compiled step left in variables."""
        recorder = self.recorder
        if not self._compiled or recorder is None or recorder.ended:
            return
        try:
            t = int(self._optimizer.iterations) - self._began_at
            if t == recorder.seen:
                return
            if t > recorder.seen + 1:
                recorder.end(f"{t - recorder.seen} steps ran in one call that XLA compiled; set steps_per_execution=1")
                return
            gradients = [None if slot is None else slot.numpy() for slot in self._slots]
            self._write(gradients, self._moment(), float(self._lr_slot.numpy()))
        except Exception as error:
            self._end(error)

    def _is_compiled(self) -> bool:
        """Whether the function that is being traced is one that XLA compiles whole: the callers' frames know it."""
        frame: Any = sys._getframe()
        while frame is not None:
            owner = frame.f_locals.get("self")
            if getattr(owner, "_jit_compile", None) is True:
                return True
            frame = frame.f_back
        return False

    def _end(self, error: Exception) -> None:
        why = str(error) if isinstance(error, ParityError) else f"{type(error).__name__}: {error}"
        if self.recorder is not None:
            self.recorder.end(why)
        else:
            print(f"parity: nothing is recorded: {why}", file=sys.stderr)
