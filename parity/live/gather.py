"""What is kept of many tensors, copied from where they lie to the row that is written, by one call of machine code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import extending, types

from parity.numerics.jit import compiled

NOTHING = 0
"""In place of an address: there is no tensor, and the row holds zeros."""

PUT = -1
"""In place of an address: the row holds already what is kept of it."""


@extending.intrinsic  # type: ignore[untyped-decorator]
def _at(typing_context: Any, address: Any, like: Any) -> Any:
    """A pointer to numbers of the type of `like`, of an address as int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(like)(address, like), generate


@compiled
def _copy(source, target, places, first, count, like):  # type: ignore[no-untyped-def]
    here, there = _at(source, like), _at(target, like)
    if source == 0:
        for k in range(count):
            there[k] = like
    elif first < 0:
        for k in range(count):
            there[k] = here[k]
    else:
        for k in range(count):
            there[k] = here[places[first + k]]


@compiled
def _differs(source, target, places, first, count, like):  # type: ignore[no-untyped-def]
    here, there, found = _at(source, like), _at(target, like), like
    if first < 0:
        for k in range(count):
            found |= here[k] ^ there[k]
    else:
        for k in range(count):
            found |= here[places[first + k]] ^ there[k]
    return found != like


@compiled
def _gather(sources, plan, places, counts):  # type: ignore[no-untyped-def]
    for one in range(len(sources)):
        source = sources[one]
        if source == -1:
            continue
        target, width, first, count = plan[one, 0], plan[one, 1], plan[one, 2], plan[one, 3]
        if width == 4:
            _copy(source, target, places, first, count, np.uint32(0))
        elif width == 2:
            _copy(source, target, places, first, count, np.uint16(0))
        else:
            _copy(source, target, places, first, count, np.uint64(0))
    for k in range(1, len(counts)):
        if counts[k] != counts[0]:
            return -1
    return int(counts[0])


@compiled
def _differing(sources, plan, places, found):  # type: ignore[no-untyped-def]
    many = 0
    for one in range(len(sources)):
        source = sources[one]
        target, width, first, count = plan[one, 0], plan[one, 1], plan[one, 2], plan[one, 3]
        if width == 4:
            differs = _differs(source, target, places, first, count, np.uint32(0))
        elif width == 2:
            differs = _differs(source, target, places, first, count, np.uint16(0))
        else:
            differs = _differs(source, target, places, first, count, np.uint64(0))
        found[one] = differs
        many += differs
    return many


class Gather:
    """Copies numbers of 2, 4 or 8 bytes from addresses, which may be others every time, to arrays that stay.

    targets: uint8 arrays, contiguous, with what is kept of a tensor each; widths: bytes of a number; places: flat
    places of a sample, None for all of a tensor, which has to be contiguous.
    """

    def __init__(
        self, targets: Sequence[np.ndarray], widths: Sequence[int], places: Sequence[np.ndarray | None]
    ) -> None:
        plan, first = [], 0
        for target, width, at in zip(targets, widths, places, strict=True):
            plan.append((target.ctypes.data, width, -1 if at is None else first, target.size // width))
            first += 0 if at is None else at.size
        # The arrays are kept, as the plan has nothing but their addresses.
        self._targets = tuple(targets)
        self._plan = np.array(plan, np.int64).reshape(-1, 4)
        self._places = np.concatenate([np.zeros(0, np.int64), *(at for at in places if at is not None)])
        self._sources = np.zeros(len(plan), np.int64)
        self._found = np.zeros(len(plan), np.uint8)
        self._last: dict[int, list[int]] = {}

    def look_at(self, addresses: list[int], first: int = 0) -> None:
        """Where the tensors of these places lie from now on; NOTHING for zeros, PUT where the target is to stay."""
        if addresses != self._last.get(first):
            self._sources[first : first + len(addresses)] = addresses
            self._last[first] = addresses

    def take(self, counts: np.ndarray) -> int:
        """Copy all; counts: whole numbers, that may be among the targets; the one that all of them are then, or -1."""
        count: int = _gather(self._sources, self._plan, self._places, counts)
        return count

    def differing(self) -> list[int]:
        """Which tensors, none of them NOTHING or PUT, have other bits than their targets."""
        if not _differing(self._sources, self._plan, self._places, self._found):
            return []
        return [int(one) for one in np.flatnonzero(self._found)]
