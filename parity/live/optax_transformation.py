"""optax's Adams while they train, jitted or not: a transformation that does what another does, and writes it down."""

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.core.errors import ParityError, UsageError
from parity.core.hyper import Hyper
from parity.live.folder import Folder
from parity.live.recorder import Moment, Recorder, Wanted

STATES = {"mu": "m", "nu": "v", "nu_max": "vmax"}
"""What optax's states call them."""


def recorded(transformation: Any, path: Path, wanted: Wanted, overwrite: bool, hyper: Hyper | None) -> Any:
    """The same transformation; whatever its update is given and makes of it leaves the graph by an ordered callback.

    Source: optax/_src/base.py (GradientTransformation), jax/experimental/__init__.py (io_callback), optax 0.2.8.
    """
    import optax

    if not isinstance(transformation, optax.GradientTransformation):
        kind = type(transformation)
        raise UsageError(f"{kind.__module__}.{kind.__qualname__} is no optax.GradientTransformation")
    watched = _Watched(path, wanted, hyper, Folder(path, overwrite))
    atexit.register(watched.close)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        changed, after = transformation.update(updates, state, params, **extra)
        watched.look(updates, state, params, changed, after)
        return changed, after

    kind = (
        optax.GradientTransformationExtraArgs
        if isinstance(transformation, optax.GradientTransformationExtraArgs)
        else optax.GradientTransformation
    )
    return kind(transformation.init, update)


class _Watched:
    """What comes out of the graph, step by step."""

    def __init__(self, path: Path, wanted: Wanted, hyper: Hyper | None, folder: Folder) -> None:
        self._path, self._wanted, self._hyper, self._folder = path, wanted, hyper, folder
        self._recorder: Recorder | None = None

    def close(self) -> None:
        """At the end of the process."""
        atexit.unregister(self.close)
        if self._recorder is not None:
            self._recorder.close()
        elif self._path.is_dir():
            self._path.rmdir()
        self._folder.release()

    def look(self, gradients: Any, state: Any, params: Any, changed: Any, after: Any) -> None:
        """Put what is there on its way; while a function is traced there are no numbers yet."""
        import jax
        import optax
        from jax.experimental import io_callback

        if params is None:
            raise UsageError("a recorded transformation has to be given params: update(grads, state, params)")
        weights = optax.apply_updates(params, changed)
        leaves = jax.tree_util.tree_flatten_with_path(params)[0]
        names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
        held = [_held(one, len(names)) for one in (state, after)]
        parts = [jax.tree.leaves(one) for one in (gradients, params, weights)]

        def arrived(*told: Any) -> None:
            self._arrived(names, *told)

        io_callback(arrived, None, *parts, *held, ordered=True)

    def _arrived(self, names: list[str], *told: Any) -> None:
        try:
            self._write(names, *told)
        except Exception as error:
            why = str(error) if isinstance(error, ParityError) else f"{type(error).__name__}: {error}"
            if self._recorder is not None:
                self._recorder.end(why)

    def _write(
        self,
        names: list[str],
        gradients: Sequence[Any],
        before: Sequence[Any],
        weights: Sequence[Any],
        held: Mapping[str, Any],
        after: Mapping[str, Any],
    ) -> None:
        chosen = [place for place, name in enumerate(names) if self._wanted.takes(name)]
        if self._recorder is None:
            if not chosen:
                raise ParityError(f"no parameter is called {self._wanted.parameters!r}; nothing would be recorded")
            shapes = [tuple(np.shape(before[place])) for place in chosen]
            about, known = self._about(), [names[place] for place in chosen]
            self._recorder = Recorder(self._path, self._wanted, about, known, shapes, [0] * len(chosen))
        recorder = self._recorder
        if not recorder.takes_next:
            recorder.pass_over()
            return

        def kept(arrays: Sequence[Any]) -> list[np.ndarray]:
            flat = [np.asarray(arrays[place]).reshape(-1) for place in chosen]
            return [one.copy() if at is None else one.take(at) for one, at in zip(flat, recorder.places, strict=True)]

        def moment(w: Sequence[Any], state: Mapping[str, Any]) -> Moment:
            states = {"w": kept(w)}
            if self._wanted.moments:
                states |= {name: kept(state[key]) for key, name in STATES.items() if key in state}
            return Moment(states, [int(state.get("count", 0))] * len(chosen))

        recorder.write(kept(gradients), moment(before, held), moment(weights, after), [self._told()])

    def _about(self) -> dict[str, Any]:
        import jax
        import optax

        return {
            "framework": "optax",
            "versions": {"optax": optax.__version__, "jax": jax.__version__},
            "optimizer": "optax.adam" if self._hyper is not None else "optax.GradientTransformation",
            "device": str(jax.devices()[0]),
            "implementation": "optax.adam.jit" if self._hyper is not None else None,
        }

    def _told(self) -> dict[str, Any]:
        """A transformation keeps its numbers to itself: those that were handed over, or none."""
        hyper = self._hyper
        if hyper is None:
            return {}
        number = self._recorder.steps + 1 if self._recorder is not None else 1
        return {
            "lr": hyper.lr_at(number),
            "betas": [hyper.beta1, hyper.beta2],
            "eps": hyper.eps,
            "weight_decay": hyper.weight_decay,
            "decoupled_weight_decay": hyper.decoupled,
            "amsgrad": hyper.amsgrad,
        }


def _held(state: Any, count: int) -> dict[str, Any]:
    """The moments and the count of the Adam in a state, wherever in a chain it stands."""
    import jax

    parts = jax.tree.leaves(state, is_leaf=lambda part: hasattr(part, "mu") and hasattr(part, "nu"))
    found = next((part for part in parts if hasattr(part, "mu") and hasattr(part, "nu")), None)
    if found is None:
        return {}
    told = {key: jax.tree.leaves(getattr(found, key)) for key in STATES if hasattr(found, key)}
    return {key: leaves for key, leaves in told.items() if len(leaves) == count} | {"count": found.count}
