"""Which parameter of one recording is which of another: by initial value, by shape, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from parity.case.recording import RecordedParameter, Recording, sampled_places
from parity.core.errors import ParityError, nearest

MOST_AXES = 5
"""Of a tensor whose axes are looked for in another order."""

TURNS = {2: (1, 0), 4: (3, 2, 0, 1), 3: (2, 1, 0), 5: (4, 3, 0, 1, 2)}
"""A Dense and the Conv kernels of torch as Keras lays them out, axis by axis: (in, out) is (out, in)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two names of one parameter.

    turn: the axes of `expected` in the order in which `actual` has them. by: what paired them: map, value, or name.
    place: where each kept element of `actual` stands among those of `expected`, (kept,).
    """

    actual: str
    expected: str
    turn: tuple[int, ...]
    by: str
    place: np.ndarray

    @property
    def turned(self) -> bool:
        """Whether one side has it transposed."""
        return self.turn != tuple(sorted(self.turn))


@dataclass(frozen=True, slots=True)
class Pairing:
    """Pairs in the order of the first recording; alone: names that found no other, of either side.

    ambiguous: pairs of which another would do as well, with what else could be.
    """

    pairs: tuple[Pair, ...]
    alone: tuple[tuple[str, ...], tuple[str, ...]]
    ambiguous: Mapping[str, tuple[str, ...]]


def pair_parameters(actual: Recording, expected: Recording, asked: Mapping[str, str] | None = None) -> Pairing:
    """Pair the parameters of two recordings.

    asked: names of `expected` by names of `actual`, which come before all else. Then those with equal initial values,
    in whatever order of axes; then those of one shape, in the order in which both have them. ParityError where a name
    that is asked for is none, or its shapes do not agree.
    """
    left = {one.name: one for one in actual.parameters}
    right = {one.name: one for one in expected.parameters}
    found: dict[str, Pair] = {}
    ambiguous: dict[str, tuple[str, ...]] = {}
    for name, other in (asked or {}).items():
        for given, known, recording in ((name, left, actual), (other, right, expected)):
            if given not in known:
                raise ParityError(
                    f"no parameter {given!r} in recording {recording.folder.name!r}; {nearest(given, list(known))}"
                )
        choices = _choices(actual, left[name], expected, right[other], any_turn=True)
        if not choices:
            raise ParityError(
                f"{name!r} {list(left[name].shape)} and {other!r} {list(right[other].shape)} are of no common shape"
            )
        found[name] = replace(choices[0], by="map")
    taken = {pair.expected for pair in found.values()}
    for name, one in left.items():
        if name in found:
            continue
        same = [
            pair
            for other, two in right.items()
            if other not in taken
            for pair in _choices(actual, one, expected, two, any_turn=True)
            if _starts_alike(actual, expected, pair)
        ]
        others = list(dict.fromkeys(pair.expected for pair in same))
        if len(others) == 1:
            found[name] = replace(same[0], by="value")
            taken.add(others[0])
    for name, one in left.items():
        if name in found:
            continue
        like = [
            pair
            for other, two in right.items()
            if other not in taken
            for pair in _choices(actual, one, expected, two, any_turn=False)[:1]
        ]
        if like:
            best = max(like, key=lambda pair: (pair.expected == name, _starts_alike(actual, expected, pair)))
            alike = [pair for pair in like if _starts_alike(actual, expected, pair)]
            # Of several that would do, the order in which both sides have them decides, as it does in every layer list.
            found[name] = replace(best, by="name") if best.expected == name else replace((alike or like)[0], by="order")
            taken.add(found[name].expected)
            if len(alike or like) > 1 and found[name].by == "order" and _same_shaped(left, one) > 1:
                ambiguous[name] = tuple(pair.expected for pair in (alike or like))
    alone = tuple(name for name in left if name not in found), tuple(name for name in right if name not in taken)
    return Pairing(tuple(found[name] for name in left if name in found), alone, ambiguous)


def _same_shaped(parameters: Mapping[str, RecordedParameter], one: RecordedParameter) -> int:
    return sum(sorted(other.shape) == sorted(one.shape) for other in parameters.values())


def _choices(
    actual: Recording, one: RecordedParameter, expected: Recording, two: RecordedParameter, *, any_turn: bool
) -> list[Pair]:
    """The ways in which two tensors may be one: the axes as they are and as frameworks turn them first."""
    axes = len(one.shape)
    if len(two.shape) != axes or sorted(one.shape) != sorted(two.shape) or one.kept != two.kept:
        return []
    plain = tuple(range(axes))
    usual = TURNS.get(axes, plain)
    back = tuple(np.argsort(usual).tolist())
    same_framework = actual.told["framework"] == expected.told["framework"]
    turns = [plain, usual, back] if same_framework else [usual, back, plain]
    if any_turn and axes <= MOST_AXES:
        turns += list(permutations(plain))
    fitting = [turn for turn in dict.fromkeys(turns) if tuple(two.shape[axis] for axis in turn) == one.shape]
    pairs = []
    for turn in fitting:
        place = _places(actual, one, expected, two, turn)
        if place is not None:
            pairs.append(Pair(one.name, two.name, turn, "", place))
    return pairs


def _places(
    actual: Recording, one: RecordedParameter, expected: Recording, two: RecordedParameter, turn: tuple[int, ...]
) -> np.ndarray | None:
    here = sampled_places(one.shape, actual.elements, actual.seed)
    there = sampled_places(two.shape, expected.elements, expected.seed)
    if here is None and there is None:
        return np.arange(math.prod(two.shape)).reshape(two.shape).transpose(turn).reshape(-1)
    if here is None or there is None:
        return None
    own = np.unravel_index(here, one.shape)
    theirs = [np.empty(0, np.intp)] * len(turn)
    for axis, other in enumerate(turn):
        theirs[other] = own[axis]
    flat = np.ravel_multi_index(tuple(theirs), two.shape)
    place = np.searchsorted(there, flat)
    if place.max(initial=0) >= there.size or not np.array_equal(there[place], flat):
        return None
    return place


def _starts_alike(actual: Recording, expected: Recording, pair: Pair) -> bool:
    one, two = actual.weights(pair.actual), expected.weights(pair.expected)[pair.place]
    if one.dtype == two.dtype:
        return bool(one.tobytes() == two.tobytes())
    return bool(np.array_equal(one.astype(np.float64), two.astype(np.float64)))
