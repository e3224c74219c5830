"""torch's tensors where they lie: what an optimizer on a CPU holds goes from there to the row in one call."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import ml_dtypes
import numpy as np

from parity.case.recording_header import GRADIENTS
from parity.live.gather import NOTHING, PUT, Gather
from parity.live.recorder import Recorder

COUNT = "step"
"""What torch calls the steps of a parameter."""

GRADIENT, DTYPE = operator.attrgetter("grad"), operator.attrgetter("dtype")

Addresses = list[int]


class Memory:
    """Parameters, their gradients and what an optimizer holds of them, all that is plain memory of this process.

    keys: of an optimizer's state, by quantity. Whatever is read is looked at before every time, as each tensor may have
    become another, or have moved: where anything but a gradient is no plain memory, nothing is read.
    """

    def __init__(
        self, optimizer: Any, parameters: Sequence[Any], keys: Mapping[str, str], recorder: Recorder, count: Any
    ) -> None:
        import torch

        row = recorder.row
        assert row is not None
        self._optimizer, self._parameters, self._recorder, self._row = optimizer, parameters, recorder, row
        self._numbers = {
            np.dtype(np.float64): torch.float64,
            np.dtype(np.float32): torch.float32,
            np.dtype(np.float16): torch.float16,
            np.dtype(ml_dtypes.bfloat16): torch.bfloat16,
        }
        self._kinds = (torch.Tensor, torch.nn.Parameter)
        self._layout, self._address = torch.strided, torch.Tensor.data_ptr
        self._contiguous, self._negative = torch.Tensor.is_contiguous, torch.Tensor.is_neg
        self._counts = count.detach().reshape(1).repeat(len(parameters)).numpy()
        self._keys = [*(keys[quantity] for quantity in row.states if quantity != "w"), COUNT]
        quantities = (GRADIENTS, *row.states)
        dtypes = [dtype for quantity in quantities for dtype in row.dtypes[quantity]]
        targets = [part for quantity in quantities for part in row.after[quantity]]
        places = [*recorder.places * len(quantities), *[None] * len(parameters)]
        widths = [dtype.itemsize for dtype in dtypes] + [self._counts.itemsize] * len(parameters)
        targets += np.split(self._counts.view(np.uint8), len(parameters))
        self._all = Gather(targets, widths, places)
        weights = slice(len(parameters), 2 * len(parameters))
        self._alone = Gather(targets[weights], widths[weights], places[weights])
        self._dtypes = [self._numbers[dtype] for dtype in dtypes] + [count.dtype] * len(parameters)
        self._sizes = [one.numel() for one in parameters] * len(quantities) + [1] * len(parameters)
        self._grad_dtypes = self._dtypes[: len(parameters)]
        self._grad_types = [torch.Tensor] * len(parameters)
        self._weights_at: Addresses = []
        self._states: list[Any] = []
        self._held: list[Any] = []
        self._all_held: list[Any] = []
        self._held_at: Addresses = []

    def moved(self) -> list[int] | None:
        """Parameters whose weights are not those that the row holds; None where they cannot be read here."""
        return (
            self._alone.differing() if self._finds_weights() and all(map(self._contiguous, self._parameters)) else None
        )

    def take(self) -> tuple[int | list[int], list[int]] | None:
        """All that there is after a step, into the row: t of every parameter, and those without a gradient.

        None, and the row as it was, where it cannot be read here.
        """
        if not self._finds_weights() or not self._finds_states():
            return None
        # They are held until they are read, which happens without the interpreter's lock.
        gradients = list(map(GRADIENT, self._parameters))
        given, none = self._given(gradients)
        self._all.look_at(given)
        t = self._all.take(self._counts)
        return t if t >= 0 else list(map(int, self._counts.tolist())), none

    def _finds_weights(self) -> bool:
        found = list(map(self._address, self._parameters))
        if found == self._weights_at:
            return True
        count, self._weights_at = len(found), []
        if not all(map(self._is_plain, self._parameters, range(count, 2 * count))):
            return False
        self._weights_at = found
        self._all.look_at(found, count)
        self._alone.look_at(found)
        return True

    def _finds_states(self) -> bool:
        states = list(self._optimizer.state.values())
        flat = chain.from_iterable(map(dict.values, states))
        if sum(map(len, states)) != len(self._states) or not all(map(operator.is_, flat, self._states)):
            self._states, self._held_at = list(chain.from_iterable(map(dict.values, states))), []
            held = [self._optimizer.state.get(parameter, {}) for parameter in self._parameters]
            self._all_held = [one.get(key) for key in self._keys for one in held]
            self._held = [one for one in self._all_held if one is not None]
        found = list(map(self._address, self._held))
        if found == self._held_at and found:
            return True
        self._held_at, first = [], len(self._parameters) * 2
        if not all(one is None or self._is_plain(one, place) for place, one in enumerate(self._all_held, start=first)):
            return False
        self._all.look_at([NOTHING if one is None else one.data_ptr() for one in self._all_held], first)
        self._held_at = found
        return True

    def _given(self, gradients: Sequence[Any]) -> tuple[Addresses, list[int]]:
        if (
            list(map(type, gradients)) == self._grad_types
            and all(map(self._contiguous, gradients))
            and list(map(DTYPE, gradients)) == self._grad_dtypes
            and not any(map(self._negative, gradients))
        ):
            return list(map(self._address, gradients)), []
        found, none = [], []
        for place, gradient in enumerate(gradients):
            if gradient is None:
                none.append(place)
                found.append(NOTHING)
            elif self._is_plain(gradient, place):
                found.append(gradient.data_ptr())
            else:
                kept = array_of(gradient, self._recorder.places[place])
                self._row.put(GRADIENTS, place, kept)
                found.append(PUT)
        return found, none

    def _is_plain(self, tensor: Any, place: int) -> bool:
        """Whether it is plain memory of this process, and of the dtype and size that the row expects there."""
        return (
            type(tensor) in self._kinds
            and tensor.is_cpu
            and tensor.layout is self._layout
            and tensor.dtype is self._dtypes[place]
            and tensor.is_contiguous()
            and tensor.numel() == self._sizes[place]
            and not tensor.is_neg()
            and (tensor.data_ptr() != NOTHING or not self._sizes[place])
        )


def memory_of(optimizer: Any, parameters: Sequence[Any], keys: Mapping[str, str], recorder: Recorder) -> Memory | None:
    """That of an optimizer; None where its parameters or its counts are none that could ever be read so."""
    import torch

    counts = [optimizer.state[one].get(COUNT) for one in parameters if one in optimizer.state]
    count: Any = next((one for one in counts if one is not None), None)
    plain = (torch.Tensor, torch.nn.Parameter)
    if not all(type(one) in plain and one.is_cpu and one.layout is torch.strided for one in parameters):
        return None
    if type(count) is not torch.Tensor or not count.is_cpu or count.dtype not in (torch.float32, torch.float64):
        return None
    return Memory(optimizer, parameters, keys, recorder, count)


def array_of(tensor: Any, places: np.ndarray | None) -> np.ndarray:
    """What is kept of a tensor, flat, in memory of its own; from any device."""
    import torch

    kept: np.ndarray
    whole = tensor.detach()
    if whole.is_sparse:
        whole = whole.to_dense()
    narrow = whole.dtype == torch.bfloat16
    if whole.device.type == "cpu":
        array = (whole.view(torch.int16) if narrow else whole).numpy().reshape(-1)
        kept = array.copy() if places is None else array.take(places)
    else:
        flat = whole.reshape(-1)
        flat = flat if places is None else flat[torch.from_numpy(places).to(flat.device)]
        kept = (flat.view(torch.int16) if narrow else flat).cpu().numpy()
    return kept.view(ml_dtypes.bfloat16) if narrow else kept
