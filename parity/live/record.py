"""Record a training as it runs, and change nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parity.core.errors import UsageError
from parity.core.hyper import Hyper
from parity.live import keras_optimizer, torch_optimizer
from parity.live.recorder import Progress, Wanted, bytes_in

RECORDABLE = (
    f"torch.optim ({', '.join(torch_optimizer.FAMILY)}), keras.optimizers ({', '.join(keras_optimizer.FAMILY)}); "
    "optax by parity.recorded"
)


@contextmanager
def record(
    path: Path | str,
    optimizer: Any,
    *,
    model: Any = None,
    first: int = 1,
    steps: int | None = None,
    every: int = 1,
    last: int | None = None,
    parameters: str = "*",
    elements: int | None = None,
    seed: int = 0,
    moments: bool = True,
    limit: int | str | None = None,
    overwrite: bool = False,
) -> Iterator[Progress]:
    """Record what an optimizer is given and what it makes of it while the block runs: a folder at `path`.

    Kept per step and parameter: the gradient as the optimizer received it, w before the first and after every step,
    m, v, vmax, t, and the hyperparameters of every group; in their own dtypes, from any device. The trained weights
    are those of a training that is not recorded, bit for bit. model: who gives the parameters their names, or a
    mapping from names; of Keras the one that is fitted. first, steps: the 1-based step with which it begins, and how
    many are kept. every: from there the first of so many, each with the state it found; they can be compared, and not
    replayed. last: the last so many, however long it trains; until it is closed, at most twice as many lie on the disk.
    parameters: patterns of names, parted by ``|``. elements: of every tensor at most so many, the same ones for the
    same shape and seed in every framework.
    moments: m, v, vmax too. limit: "2GB", after which it ends with a line and training goes on. overwrite: replace a
    recording that lies there. UsageError where something lies there, or the optimizer cannot be recorded.
    """
    wanted = wanted_of(first, steps, every, last, parameters, elements, seed, moments, limit)
    for module in (torch_optimizer, keras_optimizer):
        if module.is_of_family(optimizer):
            with module.recording(Path(path), optimizer, model, wanted, overwrite) as recorder:
                yield recorder
            return
    kind = type(optimizer)
    raise UsageError(f"{kind.__module__}.{kind.__qualname__} cannot be recorded; allowed: {RECORDABLE}")


def recorded(
    transformation: Any,
    path: Path | str,
    *,
    hyper: Hyper | None = None,
    first: int = 1,
    steps: int | None = None,
    every: int = 1,
    last: int | None = None,
    parameters: str = "*",
    elements: int | None = None,
    seed: int = 0,
    moments: bool = True,
    limit: int | str | None = None,
    overwrite: bool = False,
) -> Any:
    """The optax transformation itself, but that every update is recorded, jitted or not, until the process ends.

    ``update`` has to be given params. hyper: what it was made with, which a transformation keeps to itself; without it
    a recording can be compared, and not replayed. path, first, steps, every, last,
    parameters, elements, seed, moments, limit, overwrite: as in `record`.
    """
    from parity.live import optax_transformation

    wanted = wanted_of(first, steps, every, last, parameters, elements, seed, moments, limit)
    return optax_transformation.recorded(transformation, Path(path), wanted, overwrite, hyper)


def wanted_of(
    first: int,
    steps: int | None,
    every: int,
    last: int | None,
    parameters: str,
    elements: int | None,
    seed: int,
    moments: bool,
    limit: int | str | None,
) -> Wanted:
    """What is to be kept; UsageError with the name of what is out of range."""
    for name, value in (("first", first), ("steps", steps), ("every", every), ("last", last), ("elements", elements)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise UsageError(f"{name}={value!r}: allowed: a whole number of at least 1")
    if steps is not None and last is not None:
        raise UsageError(f"steps={steps} and last={last}: allowed: one of them")
    return Wanted(first, steps, every, last, parameters, elements, seed, moments, bytes_in(limit))
