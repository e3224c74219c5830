"""torch.optim.Adam sharded over two processes on the CPU: ZeroRedundancyOptimizer, and on parameters of FSDP2."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.state import State
from parity.implementations import torch_
from parity.implementations.implementation import Gradients, Implementation
from parity.implementations.ranks import RANKS, Ranks
from parity.implementations.torch_memory import array_of, square_root, tensor_on

WAIT_SECONDS = 60.0
"""For the other process, in a collective."""


def run(
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
    *,
    strategy: str,
) -> Iterator[State]:
    """The orbit of torch.optim.Adam, or of AdamW where the weight decay is decoupled, sharded over two processes.

    The formula is that of `parity.implementations.torch_.run`. strategy: "zero2", ZeroRedundancyOptimizer, which gives
    every whole parameter to one of them and broadcasts what it became; "fsdp2", parameters of `fully_shard`, of whose
    first axis each has a half, so that tensors are stepped as DTensors. Both processes are given the same gradients, as
    they stand after the reduction of a backward pass. They talk by gloo, meet in a file, stay for the runs that follow,
    and end with the process that started them, however it ends.
    weights, states: float64, float32, float16 or bfloat16, any shape, with fsdp2 but for (); states are copies.
    start: is put into `optimizer.state` of whoever has the parameter.
    Raises Unsupported, before the first state, where torch has no distributed, no gloo or no `fully_shard`, where the
    two do not find each other, and with torch's own words for what it rejects.
    Source: torch/distributed/optim/zero_redundancy_optimizer.py, torch/distributed/fsdp/_fully_shard, torch 2.13.
    """
    ranks, own = _ranks(), next(_NUMBERS)
    try:
        asked = {"strategy": strategy, "weights": weights, "hyper": hyper, "start": start}
        ranks.ask({"op": "begin", "run": own, **asked})
        for step, gradient in enumerate(gradients, start=1):
            shown = ranks.ask({"op": "step", "run": own, "step": step, "gradients": dict(gradient)})
            found = {quantity: _together([one[quantity] for one in shown], weights, strategy) for quantity in shown[0]}
            yield State(found["w"], found["m"], found["v"], found.get("vmax"))
    finally:
        if not ranks.ended:
            ranks.ask({"op": "end", "run": own})


_NUMBERS = itertools.count()
"""Of runs, several of which may be on their way at a time."""


def _together(
    parts: list[dict[str, np.ndarray]], weights: Mapping[str, np.ndarray], strategy: str
) -> dict[str, np.ndarray]:
    """What both processes have of a quantity: all of some parameters, or a part of the rows of each."""
    if strategy == "fsdp2":
        held = {name: [part[name] for part in parts if name in part] for name in weights}
        whole = {name: np.concatenate(ones) for name, ones in held.items() if ones}
    else:
        whole = {name: array for part in parts for name, array in part.items()}
    # torch creates moments at the first gradient.
    return {name: whole.get(name, np.zeros_like(array)) for name, array in weights.items()}


@cache
def _started(process: int) -> list[Ranks]:
    """The two processes that this one has, none before it was asked; not those of one from which it was forked."""
    return []


def _ranks() -> Ranks:
    """The two processes of this one, with as many threads as it has."""
    import torch

    kept = _started(os.getpid())
    if kept and not kept[0].ended:
        return kept[0]
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        raise Unsupported(f"torch {torch.__version__}: it was built without torch.distributed, or without gloo")
    kept[:] = [Ranks("parity.implementations.torch_sharded", torch.get_num_threads())]
    return kept[0]


def serve(rank: int, folder: str, threads: int) -> Callable[[dict[str, Any]], Any]:
    """Join the other process in a file of a folder; what answers the requests of `run` in this one."""
    import torch
    import torch.distributed as distributed

    torch.set_num_threads(threads)
    store = distributed.FileStore(str(Path(folder) / "store"), RANKS)
    distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=RANKS, timeout=timedelta(seconds=WAIT_SECONDS)
    )
    distributed.barrier()
    shards: dict[int, _Shard] = {}

    def answer(message: dict[str, Any]) -> Any:
        run = message["run"]
        match message["op"]:
            case "begin":
                shards[run] = _Shard(message["strategy"], message["weights"], message["hyper"], message["start"])
            case "step":
                return shards[run].step(message["step"], message["gradients"])
            case _:
                shards.pop(run, None)
        return None

    return answer


class _Strategy(Protocol):
    """How parameters are shared out; every tensor is of this process."""

    def parameters(self, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Those that an optimizer is given."""

    def optimizers(self, kind: Any, groups: list[dict[str, Any]], options: Mapping[str, Any]) -> tuple[Any, Any]:
        """The optimizer that is stepped, and the one that has the state of what is here; of a kind of torch.optim."""

    def part(self, whole: Any, parameter: Any) -> Any:
        """Of a whole tensor, what belongs to a parameter."""

    def shown(self, tensor: Any) -> np.ndarray:
        """What is here of a parameter, or of its state."""


class _Zero2:
    """Whole parameters, each stepped in one process, which broadcasts it."""

    def parameters(self, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {name: tensor_on(array).clone().requires_grad_() for name, array in weights.items()}

    def optimizers(self, kind: Any, groups: list[dict[str, Any]], options: Mapping[str, Any]) -> tuple[Any, Any]:
        from torch.distributed.optim import ZeroRedundancyOptimizer

        optimizer = ZeroRedundancyOptimizer(groups, optimizer_class=kind, **options)
        return optimizer, optimizer.optim

    def part(self, whole: Any, parameter: Any) -> Any:
        return whole

    def shown(self, tensor: Any) -> np.ndarray:
        return array_of(tensor)


class _Fsdp2:
    """A half of the first axis of every parameter, as a DTensor."""

    def parameters(self, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
        import torch
        from torch.distributed.device_mesh import init_device_mesh

        try:
            from torch.distributed.fsdp import fully_shard
        except ImportError:
            raise Unsupported(f"torch {torch.__version__}: it has no torch.distributed.fsdp.fully_shard") from None
        module = torch.nn.Module()
        for place, array in enumerate(weights.values()):
            module.register_parameter(f"p{place}", torch.nn.Parameter(tensor_on(array).clone()))
        fully_shard(module, mesh=init_device_mesh("cpu", (RANKS,)))
        return dict(zip(weights, module.parameters(), strict=True))

    def optimizers(self, kind: Any, groups: list[dict[str, Any]], options: Mapping[str, Any]) -> tuple[Any, Any]:
        optimizer = kind(groups, **options)
        return optimizer, optimizer

    def part(self, whole: Any, parameter: Any) -> Any:
        import torch
        from torch.distributed.tensor import DTensor

        mesh = parameter.device_mesh
        parts = torch.chunk(whole, RANKS)
        place = mesh.get_local_rank()
        own = parts[place] if place < len(parts) else whole[:0]
        return DTensor.from_local(own, mesh, parameter.placements, run_check=False,
                                  shape=parameter.shape, stride=parameter.stride())  # fmt: skip

    def shown(self, tensor: Any) -> np.ndarray:
        return array_of(tensor.to_local())


_STRATEGIES: Mapping[str, Callable[[], _Strategy]] = MappingProxyType({"zero2": _Zero2, "fsdp2": _Fsdp2})


class _Shard:
    """What one process has of the parameters and of the optimizer's state."""

    def __init__(self, strategy: str, weights: dict[str, np.ndarray], hyper: Hyper, start: State | None) -> None:
        import torch

        self._hyper, self._on = hyper, _STRATEGIES[strategy]()
        decays = any(hyper.of(name).weight_decay for name in weights)
        options = {"lr": hyper.lr_at(1), "betas": hyper.betas_at(1), "eps": hyper.eps,
                   "weight_decay": hyper.weight_decay, "amsgrad": hyper.amsgrad}  # fmt: skip
        kind = torch.optim.AdamW if hyper.decoupled and decays else torch.optim.Adam
        try:
            self._parameters = self._on.parameters(weights)
            groups = torch_.grouped(self._parameters, hyper, 1)
            self._optimizer, self._local = self._on.optimizers(kind, groups, options)
        except (ValueError, RuntimeError, TypeError, NotImplementedError) as error:
            raise Unsupported(f"torch {torch.__version__}: {error}") from error
        if start is not None:
            self._begin(start)

    def _begin(self, start: State) -> None:
        import torch

        given = {"exp_avg": start.m, "exp_avg_sq": start.v, "max_exp_avg_sq": start.vmax}
        held = {id(one) for group in self._local.param_groups for one in group["params"]}
        for name, parameter in self._parameters.items():
            if id(parameter) in held:
                moments = {key: self._on.part(tensor_on(arrays[name]).clone(), parameter)
                           for key, arrays in given.items() if arrays is not None}  # fmt: skip
                count = torch.tensor(float((start.steps or {}).get(name, 0)))
                self._local.state[parameter] = {"step": count, **moments}

    def step(self, number: int, gradients: Mapping[str, np.ndarray | None]) -> dict[str, dict[str, np.ndarray]]:
        """Step, and show what this process has: by quantity and parameter."""
        for name, parameter in self._parameters.items():
            array = gradients[name]
            parameter.grad = None if array is None else self._on.part(tensor_on(array), parameter)
        for group, own in zip(
            self._optimizer.param_groups, torch_.by_group(self._parameters, self._hyper), strict=True
        ):
            group["lr"], group["betas"] = own.lr_at(number), own.betas_at(number)
        self._optimizer.step()
        shown = {"w": {name: self._on.shown(one) for name, one in self._parameters.items()}}
        for quantity, key in torch_.MOMENTS.items():
            if quantity != "vmax" or self._hyper.amsgrad:
                state = {name: self._local.state.get(one, {}) for name, one in self._parameters.items()}
                shown[quantity] = {name: self._on.shown(one[key]) for name, one in state.items() if key in one}
        return shown


def _variant(name: str) -> Implementation:
    return Implementation(
        name=f"torch.adam.{name}",
        run=run,
        framework="torch",
        needs=("torch",),
        options=MappingProxyType({"strategy": name}),
        convention="outside",
        defaults=Hyper(eps=1e-8),
        square_root=square_root,
        load=torch_.load,
        on_request=True,
    )


IMPLEMENTATIONS: tuple[Implementation, ...] = (_variant("zero2"), _variant("fsdp2"))
