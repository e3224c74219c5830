"""Which parameter and which step of one recording is which of another: by initial value, by layer, by name."""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from parity.case.recording import RecordedParameter, Recording, sampled_places
from parity.core.errors import NothingCompared, ParityError, UsageError, nearest

MAP_TABLE = "parameters"
"""Of a map: names of the second recording by names of the first."""

MOST_AXES = 5
"""Of a tensor whose axes are looked for in another order."""

TURNS = {2: (1, 0), 4: (3, 2, 0, 1), 3: (2, 1, 0), 5: (4, 3, 0, 1, 2)}
"""A Dense and the Conv kernels of torch as Keras lays them out, axis by axis: (in, out) is (out, in)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two names of one parameter.

    shape: of `actual`. turn: the axes of `expected` in the order in which `actual` has them. by: what paired them: map,
    value, name, layer or order. place: where each kept element of `actual` stands among those of `expected`, (kept,).
    """

    actual: str
    expected: str
    shape: tuple[int, ...]
    turn: tuple[int, ...]
    by: str
    place: np.ndarray

    @property
    def turned(self) -> bool:
        """Whether one side has it transposed."""
        return self.turn != tuple(sorted(self.turn))

    @property
    def shape_expected(self) -> tuple[int, ...]:
        """The shape that `expected` has."""
        return tuple(self.shape[self.turn.index(axis)] for axis in range(len(self.turn)))


@dataclass(frozen=True, slots=True)
class Pairing:
    """Pairs in the order of the first recording; alone: names that found no other, of either side.

    ambiguous: pairs of which another would do as well, with what else could be.
    """

    pairs: tuple[Pair, ...]
    alone: tuple[tuple[str, ...], tuple[str, ...]]
    ambiguous: Mapping[str, tuple[str, ...]]


class Beginning(Protocol):
    """What a training begins with: a recording, or a model that is there."""

    @property
    def folder(self) -> Path:
        """Whose last part it is called by."""

    @property
    def parameters(self) -> tuple[RecordedParameter, ...]:
        """Its tensors, in its own order."""

    @property
    def elements(self) -> int | None:
        """Of every tensor at most so many; None for all."""

    @property
    def seed(self) -> int:
        """Of that sample."""

    @property
    def told(self) -> Mapping[str, Any]:
        """Under `framework`, which it is of."""

    def weights(self, name: str) -> np.ndarray:
        """What a tensor begins with, (kept,)."""


@dataclass(frozen=True, slots=True)
class CommonSteps:
    """Steps of two trainings that both recorded.

    first: the number of the first of them; every: from one to the next; count: how many. begins, strides: where the
    first of them stands among the recorded steps of either side, from 1, and how many of those lie between two.
    """

    first: int
    every: int
    count: int
    begins: tuple[int, int]
    strides: tuple[int, int]

    def number(self, place: int) -> int:
        """The number in the training of a common step, which are counted from 1 here."""
        return self.first + (place - 1) * self.every

    def rows(self, place: int) -> tuple[int, int]:
        """Where it stands among the recorded steps of either side."""
        one, two = (begin + (place - 1) * stride for begin, stride in zip(self.begins, self.strides, strict=True))
        return one, two


def common_steps(actual: Recording, expected: Recording) -> CommonSteps:
    """The steps of two trainings that both recorded; NothingCompared where there is none."""
    sides = [_recorded_steps(one) for one in (actual, expected)]
    shared = sorted({*sides[0]} & {*sides[1]})
    if not shared:
        told = " and ".join(f"{one[0]:,} to {one[-1]:,}" for one in sides)
        raise NothingCompared(f"{' and '.join(names_of(actual, expected))} have no step in common: {told}")
    every = math.lcm(*(one.step for one in sides))
    begins = [one.index(shared[0]) + 1 for one in sides]
    strides = [every // one.step for one in sides]
    return CommonSteps(shared[0], every, len(shared), (begins[0], begins[1]), (strides[0], strides[1]))


def _recorded_steps(recording: Recording) -> range:
    """The numbers of the recorded steps in their training."""
    first = int(recording.told.get("first", 1))
    return range(first, first + recording.steps * recording.every, recording.every)


def names_of(actual: Beginning, expected: Beginning) -> tuple[str, str]:
    """Their folders' names, with as many folders before them as tell them apart; UsageError where they are one."""
    parts = [one.folder.resolve().parts for one in (actual, expected)]
    if parts[0] == parts[1]:
        raise UsageError(f"{actual.folder} and {expected.folder} are one recording")
    for many in range(1, max(map(len, parts)) + 1):
        found = ["/".join(one[-many:]) for one in parts]
        if found[0] != found[1]:
            break
    return found[0], found[1]


def pair_parameters(actual: Beginning, expected: Beginning, asked: Mapping[str, str] | None = None) -> Pairing:
    """Pair the parameters of two recordings, or of a model and a recording.

    asked: names of `expected` by names of `actual`, which come before all else. Then those with equal initial values,
    in whatever order of axes; then those of one shape: by name, by the layer whose other tensors are paired, in the
    order in which both have them. ParityError where a name that is asked for is none, two ask for one, or shapes do not
    agree; NothingCompared where nothing is paired.
    """
    left = {one.name: one for one in actual.parameters}
    right = {one.name: one for one in expected.parameters}
    found = dict(_asked(actual, expected, asked or {}))
    values = _sorted_values(actual), _sorted_values(expected)
    for name, one in left.items():
        if name in found or list(values[0].values()).count(values[0][name]) > 1:
            continue
        taken = {pair.expected for pair in found.values()}
        same = [
            pair
            for other, two in right.items()
            if other not in taken and values[0][name] == values[1][other]
            for pair in _choices(actual, one, expected, two, any_turn=True)
            if _starts_alike(actual, expected, pair)
        ]
        if len({pair.expected for pair in same}) == 1:
            found[name] = replace(same[0], by="value")
    ambiguous: dict[str, tuple[str, ...]] = {}
    layers = _layers(found.values())
    for name, one in left.items():
        if name in found:
            continue
        taken = {pair.expected for pair in found.values()}
        like = [
            pair
            for other, two in right.items()
            if other not in taken
            for pair in _choices(actual, one, expected, two, any_turn=False)[:1]
        ]
        if not like:
            continue
        alike = [pair for pair in like if _starts_alike(actual, expected, pair)]
        named = [pair for pair in like if pair.expected == name]
        layer = layers.get(_layer(name), _layer(name))
        beside = [pair for pair in like if layer and layer == _layer(pair.expected)]
        beside = [pair for pair in alike if pair.expected in {one.expected for one in beside}] or beside
        # Of several that would do, the order in which both sides have them decides, as it does in every list of layers.
        group, by = next(one for one in ((named, "name"), (beside, "layer"), (alike or like, "order")) if one[0])
        found[name] = replace(group[0], by=by)
        if len(group) > 1:
            ambiguous[name] = tuple(pair.expected for pair in group)
    if not found:
        raise NothingCompared(
            f"{' and '.join(names_of(actual, expected))} have no parameter in common{_samples(actual, expected)}"
        )
    taken = {pair.expected for pair in found.values()}
    alone = tuple(name for name in left if name not in found), tuple(name for name in right if name not in taken)
    return Pairing(tuple(found[name] for name in left if name in found), alone, ambiguous)


def read_map(path: Path, flag: str) -> dict[str, str]:
    """Names of `expected` by names of `actual`, from TOML; ParityError, which names the flag, where it is none."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParityError(f"{flag} {path}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise ParityError(f"{flag} {path}: not valid TOML: its brackets are nested too deeply") from None
    except ValueError as error:
        raise ParityError(f"{flag} {path}: not valid TOML: {error}") from None
    pairs = table.get(MAP_TABLE)
    if not isinstance(pairs, dict) or not all(isinstance(one, str) for one in pairs.values()) or len(table) != 1:
        allowed = f"one table [{MAP_TABLE}], names of the second by names of the first"
        raise ParityError(f"{flag} {path}: allowed: {allowed}")
    return pairs


def _asked(actual: Beginning, expected: Beginning, asked: Mapping[str, str]) -> Iterator[tuple[str, Pair]]:
    """What a user's map pairs."""
    left = {one.name: one for one in actual.parameters}
    right = {one.name: one for one in expected.parameters}
    for name, other in asked.items():
        for given, known, recording in ((name, left, actual), (other, right, expected)):
            if given not in known:
                raise ParityError(
                    f"no parameter {given!r} in recording {recording.folder.name!r}; {nearest(given, list(known))}"
                )
        if list(asked.values()).count(other) > 1:
            raise ParityError(f"map: {other!r} is asked for twice")
        choices = _choices(actual, left[name], expected, right[other], any_turn=True)
        if not choices:
            raise ParityError(
                f"{name!r} {list(left[name].shape)} and {other!r} {list(right[other].shape)} are of no common shape"
            )
        # Which way a square tensor lies, its initial values say.
        alike = [pair for pair in choices if _starts_alike(actual, expected, pair)]
        yield name, replace((alike or choices)[0], by="map")


def _sorted_values(recording: Beginning) -> dict[str, bytes]:
    """What a tensor begins with, whatever the order of its elements: equal where a transposition may make them one."""
    return {
        one.name: hashlib.sha256(np.sort(recording.weights(one.name).astype(np.float64) + 0.0).data).digest()
        for one in recording.parameters
    }


def _layer(name: str) -> str:
    """What a tensor's name begins with, up to its last dot."""
    return name.rpartition(".")[0]


def _layers(pairs: Iterable[Pair]) -> dict[str, str]:
    """Layers of `expected` by layers of `actual`, as far as their paired tensors agree."""
    found: dict[str, set[str]] = {}
    for pair in pairs:
        found.setdefault(_layer(pair.actual), set()).add(_layer(pair.expected))
    return {layer: others.pop() for layer, others in found.items() if layer and len(others) == 1}


def _samples(actual: Beginning, expected: Beginning) -> str:
    """Why nothing was paired, where it is that other elements were kept; empty otherwise."""
    kept = [(one.elements, one.seed) for one in (actual, expected)]
    if kept[0] == kept[1]:
        return ""
    told = ["all" if many is None else f"elements={many}, seed={seed}" for many, seed in kept]
    return f": other elements of their tensors were kept ({' and '.join(told)})"


def _choices(
    actual: Beginning, one: RecordedParameter, expected: Beginning, two: RecordedParameter, *, any_turn: bool
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
            pairs.append(Pair(one.name, two.name, one.shape, turn, "", place))
    return pairs


def _places(
    actual: Beginning, one: RecordedParameter, expected: Beginning, two: RecordedParameter, turn: tuple[int, ...]
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


def _starts_alike(actual: Beginning, expected: Beginning, pair: Pair) -> bool:
    one, two = actual.weights(pair.actual), expected.weights(pair.expected)[pair.place]
    if one.dtype == two.dtype:
        return bool(one.tobytes() == two.tobytes())
    return bool(np.array_equal(one.astype(np.float64), two.astype(np.float64)))
