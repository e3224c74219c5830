"""Does a training come back from its checkpoint as it went: the user's own functions, and what they lose by name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.core.errors import UsageError
from parity.core.hyper import Hyper
from parity.live.held import Held, held_by
from parity.numerics.formats import FORMATS, to_bits

HYPER = ("lr", "beta1", "beta2", "eps", "weight_decay", "decoupled", "amsgrad")

WORDS = {"w": "the weights", "m": "m", "v": "v", "vmax": "vmax"}


@dataclass(frozen=True, slots=True)
class Restart:
    """What came back from a checkpoint. after: the step that was saved; steps: taken in all.

    lost: what was not as it had been, one line each, as it is found in the state that was loaded; later: what shows
    only in the steps after it. first: the step whose weights or moments have another bit, 0 for none. lr: how far the
    weights are apart at the end, in units of lr.
    """

    after: int
    steps: int
    lost: tuple[str, ...]
    later: tuple[str, ...]
    first: int
    lr: float

    @property
    def text(self) -> str:
        """For an assertion: where it parts, and what was lost."""
        apart = f"from step {self.first} on" if self.first else "not yet in a bit of the weights"
        size = f"{self.lr:.3g} lr after step {self.steps}"
        head = f"not restarted as it was saved after step {self.after}: {apart}, {size}"
        lines = [*self.lost, *self.later] or ["what was loaded is what was saved, and it goes another way all the same"]
        return "\n".join([head, *(f"  {line}" for line in lines)])


def assert_restarts(
    make: Callable[[], Any],
    save: Callable[[Any, Path], object],
    load: Callable[[Any, Path], Any],
    *,
    steps: int = 12,
    after: int = 6,
    seed: int = 0,
) -> None:
    """AssertionError with what was lost, unless a training that is saved and loaded goes on to the last bit.

    make: builds what is trained, as at the start of the program: an optimizer (torch, Keras, built), or a tuple of it
    and a model, schedulers and whatever else; of optax (transformation, parameters, state). save: writes it to a path
    that does not exist yet; load: reads it into what `make` has just built, and may return it. Gradients are random
    numbers, the same for both. steps, after, seed: how many in all, when it is saved, and of the
    random numbers. UsageError where nothing of it is
    an Adam that can be read.
    """
    found = restart(make, save, load, steps=steps, after=after, seed=seed)
    if found is not None:
        raise AssertionError(found.text)


def restart(
    make: Callable[[], Any],
    save: Callable[[Any, Path], object],
    load: Callable[[Any, Path], Any],
    *,
    steps: int = 12,
    after: int = 6,
    seed: int = 0,
) -> Restart | None:
    """As `assert_restarts`, and returns what was lost; None for nothing."""
    if not 1 <= after < steps:
        raise UsageError(f"after={after}: allowed: from 1 to less than steps={steps}")
    going = _Training(make())
    draw = np.random.default_rng(seed)
    first = going.held()
    gradients = [
        {name: np.asarray(draw.standard_normal(w.shape) * 0.1).astype(w.dtype) for name, w in first.state.w.items()}
        for _ in range(steps)
    ]
    for one in gradients[:after]:
        going.step(one)
    saved = going.held()
    with tempfile.TemporaryDirectory(prefix="parity-restart-") as folder:
        path = Path(folder) / "checkpoint"
        save(going.made, path)
        fresh = make()
        built = _Training(fresh, first).held()
        returned = load(fresh, path)
        back = _Training(fresh if returned is None else returned, first)
    loaded = back.held()
    lost = tuple(_lost(saved, loaded, built))
    parted, rates = 0, tuple[str, ...]()
    for number, one in enumerate(gradients[after:], start=after + 1):
        going.step(one)
        back.step(one)
        here, there = going.held(), back.held()
        if not rates and not any("lr" in line for line in lost):
            rates = tuple(_rates(here, there, number))
        if not parted and not _same(here, there):
            parted = number
    if not parted and not lost and not rates:
        return None
    last, other = going.held(), back.held()
    return Restart(after, steps, lost, rates, parted, _apart(last, other))


class _Training:
    """What `make` built, of whatever framework: stepped with given gradients, and read."""

    def __init__(self, made: Any, like: Held | None = None) -> None:
        self.made, self._like = made, like
        self._parts = list(made) if isinstance(made, tuple | list) else [made]
        self._optax = len(self._parts) > 2 and hasattr(self._parts[0], "update") and hasattr(self._parts[0], "init")
        self._optimizer: Any = None if self._optax else self._found()
        self._model = None if self._optax else next((one for one in self._parts if _is_model(one)), None)

    def _found(self) -> Any:
        for one in self._parts:
            try:
                held_by(one, next((other for other in self._parts if _is_model(other)), None))
            except UsageError:
                continue
            return one
        others = [one for one in self._parts if not _is_model(one)]
        return held_by((others or self._parts)[0])

    def held(self) -> Held:
        if self._optax:
            return held_by(self._parts[2], self._parts[1], _UNKNOWN)
        held = held_by(self._optimizer, self._model)
        # Keras numbers the layers of a process, so that a model that is built again has other names.
        return held if self._like is None else held.named_as(self._like)

    def step(self, gradients: Mapping[str, np.ndarray]) -> None:
        if self._optax:
            self._step_optax(gradients)
        elif self.held().framework == "torch":
            self._step_torch(gradients)
        else:
            import keras

            held = self.held()
            own = list(held.own.values())
            self._optimizer.apply([keras.ops.convert_to_tensor(gradients[name]) for name in held.own], own)

    def _step_torch(self, gradients: Mapping[str, np.ndarray]) -> None:
        import torch

        for name, parameter in self.held().own.items():
            array = gradients[name].astype(np.float32)
            parameter.grad = torch.from_numpy(array).to(parameter.dtype).to(parameter.device)
        self._optimizer.step()
        for one in self._parts:
            if isinstance(one, torch.optim.lr_scheduler.LRScheduler):
                one.step()

    def _step_optax(self, gradients: Mapping[str, np.ndarray]) -> None:
        import jax
        import optax

        transformation, parameters, state, *rest = self._parts
        leaves, tree = jax.tree.flatten(parameters)
        given = [jax.numpy.asarray(gradients[name], leaf.dtype)
                 for name, leaf in zip(self.held().names, leaves, strict=True)]  # fmt: skip
        updates, state = transformation.update(jax.tree.unflatten(tree, given), state, parameters)
        self._parts = [transformation, optax.apply_updates(parameters, updates), state, *rest]
        self.made = tuple(self._parts)


_UNKNOWN = Hyper()


def _is_model(one: Any) -> bool:
    if isinstance(one, Mapping):
        return bool(one)
    return hasattr(one, "named_parameters") or hasattr(one, "trainable_variables")


def _same(one: Held, other: Held) -> bool:
    for quantity in WORDS:
        mine, theirs = getattr(one.state, quantity), getattr(other.state, quantity)
        if (mine is None) != (theirs is None):
            return False
        for name in mine or ():
            if mine[name].dtype != theirs[name].dtype or mine[name].tobytes() != theirs[name].tobytes():
                return False
    return True


def _apart(one: Held, other: Held) -> float:
    lr = max((hyper.lr_at(1) for hyper in (one.hyper or {}).values()), default=0.0) or 1.0
    gaps = [
        np.abs(one.state.w[name].astype(np.float64) - other.state.w[name].astype(np.float64)).max(initial=0.0)
        for name in one.names
    ]
    return float(max(gaps)) / lr


def _rates(one: Held, other: Held, step: int) -> Iterator[str]:
    """Learning rates that part after a restart: a schedule that did not come back."""
    pairs = zip((one.hyper or {}).values(), (other.hyper or {}).values(), strict=False)
    for mine, theirs in ((here.lr, there.lr) for here, there in pairs):
        if mine != theirs:
            yield f"the schedule is not where it was: after step {step} lr is {theirs!r}, and was to be {mine!r}"
            return


def _lost(saved: Held, loaded: Held, built: Held) -> Iterator[str]:
    """What the loaded state has otherwise than the saved one; built: as the constructor leaves it."""
    if saved.names != loaded.names:
        yield f"the parameters are others: {', '.join(loaded.names)}; saved were {', '.join(saved.names)}"
        return
    yield from _lost_counts(saved, loaded)
    order = _turned(saved, loaded)
    if order:
        yield f"the moments belong to other parameters: {', '.join(order)}"
    else:
        for quantity, word in WORDS.items():
            yield from _lost_arrays(quantity, word, saved, loaded)
    yield from _lost_hyper(saved, loaded, built)


def _lost_counts(saved: Held, loaded: Held) -> Iterator[str]:
    differing = [name for name in saved.names if saved.steps[name] != loaded.steps[name]]
    if not differing:
        return
    was, now = saved.steps[differing[0]], loaded.steps[differing[0]]
    one = len(set(loaded.steps.values())) == 1 < len(set(saved.steps.values()))
    kinds = {
        "is lost: it begins at 0 again": now == 0,
        "is one too large": now == was + 1,
        "is one too small": now == was - 1,
        "is one for all tensors": one,
        f"stops at {now} (a counter in bfloat16)": now == 256 < was,
        f"stops at {now} (a counter in float16)": now == 2048 < was,
    }
    kind = next((word for word, holds in kinds.items() if holds), f"is {now}")
    yield f"the step count {kind}; saved was {was} ({_of(differing, saved)})"


def _lost_arrays(quantity: str, word: str, saved: Held, loaded: Held) -> Iterator[str]:
    was, now = getattr(saved.state, quantity), getattr(loaded.state, quantity)
    if was is None or now is None:
        if was is not now:
            yield f"{word} {'is lost' if now is None else 'was not saved'}"
        return
    found: dict[str, list[str]] = {}
    for name in saved.names:
        v = (loaded.state.v or {}).get(name) if quantity == "vmax" else None
        kind = _kind(was[name], now[name], v)
        if kind:
            found.setdefault(kind, []).append(name)
    for kind, names in found.items():
        yield f"{word} {kind} ({_of(names, saved)})"


def _kind(was: np.ndarray, now: np.ndarray, v: np.ndarray | None) -> str:
    """What became of an array; empty for nothing."""
    if was.dtype == now.dtype and was.tobytes() == now.tobytes():
        return ""
    if was.shape != now.shape:
        return f"has shape {now.shape}, and had {was.shape}"
    if not now.any():
        return "is lost (zeros)"
    if was.dtype != now.dtype:
        exact = was.astype(now.dtype).tobytes() == now.tobytes()
        return f"was {was.dtype} and came back as {now.dtype}" + ("" if exact else ", with other numbers")
    for name, narrow in FORMATS.items():
        with np.errstate(all="ignore"):
            if narrow.dtype != was.dtype and was.astype(narrow.dtype).astype(was.dtype).tobytes() == now.tobytes():
                return f"is narrowed to {name}"
    if v is not None and now.tobytes() == v.tobytes():
        return "begins at v again"
    differing = int(np.count_nonzero(to_bits(np.ascontiguousarray(was)) != to_bits(np.ascontiguousarray(now))))
    return f"came back with other numbers, {differing:,} of {was.size:,}"


def _turned(saved: Held, loaded: Held) -> list[str]:
    """Which parameter has the moments of which other one; empty where that is not what happened."""
    found = []
    for name in saved.names:
        if _moments(saved, name) == _moments(loaded, name):
            continue
        other = next((one for one in saved.names if _moments(saved, one) == _moments(loaded, name)), None)
        if other is None or not any(any(part) for part in _moments(loaded, name)):
            return []
        found.append(f"{name} has those of {other}")
    return found


def _moments(held: Held, name: str) -> tuple[bytes, ...]:
    return tuple(arrays[name].tobytes() for arrays in (held.state.m, held.state.v) if arrays is not None)


def _lost_hyper(saved: Held, loaded: Held, built: Held) -> Iterator[str]:
    if saved.hyper is None or loaded.hyper is None or built.hyper is None:
        return
    for field in HYPER:
        differing = [
            name for name in saved.names if getattr(saved.hyper[name], field) != getattr(loaded.hyper[name], field)
        ]
        if differing:
            name = differing[0]
            was, now = getattr(saved.hyper[name], field), getattr(loaded.hyper[name], field)
            own = ", that of the constructor" if now == getattr(built.hyper[name], field) else ""
            yield f"{field} is {now!r}{own}; saved was {was!r} ({_of(differing, saved)})"


def _of(names: Sequence[str], held: Held) -> str:
    if len(names) == len(held.names):
        return "all parameters"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
