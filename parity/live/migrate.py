"""A checkpoint of one framework into one of another: what `parity.transfer` does, on files."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from parity.case.pairing import TURNS
from parity.core.errors import ParityError, UsageError
from parity.live.held import Held, held_by
from parity.live.record import record
from parity.live.transfer import Transfer, transfer

TARGETS = ("torch", "keras")

MODEL_KEYS = ("model", "model_state_dict", "state_dict", "parameters")
OPTIMIZER_KEYS = ("optimizer", "optimizer_state_dict")

WORDS = {"kernel": "weight", "gamma": "weight", "beta": "bias", "embeddings": "weight"}
"""The last part of a name in torch, by that in Keras."""


FLATTENED = (
    "the order of what a Flatten makes of an image: the kernel behind it takes Keras's, channels last; permute the "
    "image before torch's Flatten"
)


@dataclass(frozen=True, slots=True)
class Trained:
    """A checkpoint, live: the model (of torch a mapping of parameters) and its optimizer."""

    model: Any
    optimizer: Any


def migrate(
    source: Path,
    to: str,
    output: Path,
    *,
    like: Path | None = None,
    map: Mapping[str, str] | None = None,
    recording: Path | None = None,
    steps: int = 20,
) -> Transfer:
    """Write a checkpoint that another framework goes on from; the file is there as a whole, or not at all.

    source: a whole `.keras` model, or a file of `torch.save` with a dict of model and optimizer (`state_dict`s).
    to: torch or keras. like: a checkpoint of the target, for its names, order and layers; a `.keras` is made from one
    only. Without it a torch file has the names of Keras, ``dense/kernel`` as ``dense.weight``, in its order. Epsilon
    stands where it stood: the optimizer of the file is that of the source's convention, its own or that of the bridge.
    map: names of the target by names of the source. recording: where the source, which goes on in this process, is
    recorded for so many more steps on random gradients of the size of its own. ParityError or UsageError, one line,
    where something cannot be carried.
    """
    if to not in TARGETS:
        raise UsageError(f"--to {to!r} is unknown; allowed: {', '.join(TARGETS)}")
    if output.exists():
        raise UsageError(f"-o {output}: exists; nothing was written")
    read = _read_keras if source.suffix == ".keras" else _read_torch
    given = read(source)
    held = held_by(given.optimizer, given.model)
    if to == "torch":
        target = _torch_like(held, like)
    else:
        if like is None:
            raise UsageError("--to keras needs --like MODEL.keras, whose layers the file will have")
        target = _keras_like(like, held)
    done = transfer(given.optimizer, target.optimizer, models=(given.model, target.model), map=map)
    if to == "torch" and _flattens(given.model):
        done = replace(done, left=(*done.left, FLATTENED))
    if recording is not None:
        _go_on(given, recording, steps)
    (_write_torch if to == "torch" else _write_keras)(target, output)
    return done


def _flattens(model: Any) -> bool:
    """Whether a Keras model makes a vector of an image."""
    return any(
        type(one).__name__ in ("Flatten", "Reshape") and len(getattr(one.input, "shape", ())) > 2
        for one in getattr(model, "layers", ())
    )


def _loaded(path: Path) -> Any:
    # First: to import Keras takes seconds.
    _there(path)
    import keras

    import parity.live.bridge.keras_  # noqa: F401

    try:
        return keras.saving.load_model(path)
    except Exception as error:
        raise ParityError(f"{path}: Keras cannot load it ({_line(error)})") from None


def _read_keras(path: Path) -> Trained:
    model = _loaded(path)
    if getattr(model, "optimizer", None) is None:
        raise ParityError(f"{path}: holds no optimizer: the model was not compiled when it was saved")
    return Trained(model, model.optimizer)


def _read_torch(path: Path) -> Trained:
    """Parameters and optimizer, made again from their `state_dict`s."""
    _there(path)
    import torch

    from parity.live.bridge import KerasAdam

    try:
        kept = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        raise ParityError(f"{path}: torch cannot load it ({_line(error)})") from None
    parts: list[Mapping[str, Any]] = [
        next((kept[key] for key in keys if isinstance(kept, dict) and key in kept), {})
        for keys in (MODEL_KEYS, OPTIMIZER_KEYS)
    ]
    tensors, state = parts
    if not tensors or "param_groups" not in state:
        raise ParityError(f"{path}: allowed: a dict with {' or '.join(MODEL_KEYS)}, and {' or '.join(OPTIMIZER_KEYS)}")
    named = _named(path, tensors, state)
    model = {name: torch.nn.Parameter(tensors[name].clone()) for name in named}
    places = list(model.values())
    groups = [{**group, "params": [places[place] for place in group["params"]]} for group in state["param_groups"]]
    bridged = any("iterations" in group for group in groups)
    decoupled = any(group.get("decoupled_weight_decay") for group in groups)
    maker = KerasAdam if bridged else torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = maker([{"params": group["params"]} for group in groups])
    optimizer.load_state_dict(state)
    return Trained(model, optimizer)


def _named(path: Path, tensors: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    """Names of the parameters in the optimizer's order: its own, else the tensors that fit its moments one by one."""
    places = [place for group in state["param_groups"] for place in group["params"]]
    told = [name for group in state["param_groups"] for name in group.get("param_names", ())]
    if told:
        names = told
    else:
        names, left = [], [name for name, one in tensors.items() if one.is_floating_point()]
        for place in places:
            shape = state["state"][place]["exp_avg"].shape if place in state["state"] else None
            name = next((one for one in left if shape is None or tensors[one].shape == shape), None)
            if name is None:
                raise ParityError(f"{path}: no tensor of the model fits the moments of parameter {place}")
            names.append(name)
            left = left[left.index(name) + 1 :]
    if set(names) - set(tensors):
        raise ParityError(f"{path}: the model has no {sorted(set(names) - set(tensors))[0]!r}, which its optimizer has")
    return names


def _torch_like(held: Held, like: Path | None) -> Trained:
    """What a torch file is filled from: parameters under torch's names and axes, and the optimizer of that epsilon."""
    import torch

    from parity.live.bridge import KerasAdam

    if like is not None:
        model = {name: torch.nn.Parameter(torch.zeros_like(one)) for name, one in _read_torch(like).model.items()}
    elif held.framework == "torch":
        model = {name: torch.nn.Parameter(torch.zeros_like(one)) for name, one in held.own.items()}
    else:
        model = {_torch_name(name): torch.nn.Parameter(torch.from_numpy(np.zeros(_turned(name, array), array.dtype)))
                 for name, array in held.state.w.items()}  # fmt: skip
    hypers = list((held.hyper or {}).values())
    amsgrad = held.state.vmax is not None
    maker = KerasAdam if held.epsilon == "hat" else torch.optim.AdamW if any(
        one.decoupled for one in hypers) else torch.optim.Adam  # fmt: skip
    groups: dict[Any, list[Any]] = {}
    for place, one in enumerate(model.values()):
        # Groups by their numbers, in the order of the source; what that has not finds its error later.
        groups.setdefault(hypers[min(place, len(hypers) - 1)], []).append(one)
    return Trained(model, maker([{"params": params} for params in groups.values()], amsgrad=amsgrad))


def _keras_like(like: Path, held: Held) -> Trained:
    import keras

    from parity.live.bridge import TorchAdam

    with warnings.catch_warnings():
        # Of an optimizer that was never built: it is replaced here.
        warnings.simplefilter("ignore", UserWarning)
        model = _loaded(like)
    decay = max((one.weight_decay for one in (held.hyper or {}).values()), default=0.0)
    maker = keras.optimizers.Adam if held.epsilon == "hat" else TorchAdam
    optimizer = maker(amsgrad=held.state.vmax is not None, weight_decay=decay or None)
    config = model.get_compile_config()
    if config:
        model.compile_from_config({**config, "optimizer": keras.saving.serialize_keras_object(optimizer)})
    else:
        model.compile(optimizer=optimizer)
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return Trained(model, model.optimizer)


def _torch_name(name: str) -> str:
    *parts, last = re.sub(r"^(sequential|functional)(_\d+)?/", "", name).split("/")
    return ".".join([*parts, WORDS.get(last, last)])


def _turned(name: str, array: np.ndarray) -> tuple[int, ...]:
    """The shape of a kernel as torch lays it out; of all else as it is."""
    turn = TURNS.get(array.ndim) if name.endswith("kernel") else None
    return array.shape if turn is None else tuple(array.shape[axis] for axis in turn)


def _go_on(given: Trained, recording: Path, steps: int) -> None:
    """The side that is not interrupted: so many more steps, recorded."""
    held = held_by(given.optimizer, given.model)
    draw = np.random.default_rng(0)
    sizes = {name: np.sqrt(np.asarray(v, np.float64)) + 1e-12 for name, v in (held.state.v or {}).items()}
    with record(recording, given.optimizer, model=given.model):
        for _ in range(steps):
            gradients = {name: (size * draw.standard_normal(size.shape)).astype(held.state.w[name].dtype)
                         for name, size in sizes.items()}  # fmt: skip
            if held.framework == "torch":
                import torch

                for name, one in held.own.items():
                    one.grad = torch.from_numpy(gradients[name])
                given.optimizer.step()
            else:
                import keras

                own = list(held.own.values())
                given.optimizer.apply([keras.ops.convert_to_tensor(gradients[name]) for name in held.own], own)


def _write_torch(target: Trained, output: Path) -> None:
    import torch

    model = {name: one.detach() for name, one in target.model.items()}
    _whole(output, lambda path: torch.save({"model": model, "optimizer": target.optimizer.state_dict()}, path))


def _write_keras(target: Trained, output: Path) -> None:
    if output.suffix != ".keras":
        raise UsageError(f"-o {output}: a whole model of Keras ends in .keras")
    _whole(output, target.model.save)


def _whole(output: Path, write: Any) -> None:
    """Under another name first: a file that is there is whole."""
    part = output.with_name(f".{output.stem}.part{output.suffix}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        os.replace(part, output)
    except OSError as error:
        raise UsageError(f"-o {output}: cannot be written ({error.strerror or error})") from None
    finally:
        part.unlink(missing_ok=True)


def _there(path: Path) -> None:
    if not path.is_file():
        raise UsageError(f"there is no checkpoint {str(path)!r}")


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
