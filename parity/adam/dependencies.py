"""What of a step depends on the step before: its operations in groups, each after those that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from parity.adam.kernels import Operation, Program

Source = int | str | float
"""Where an operand comes from: an operation by its place, an array before the step or a scalar by name, a number."""

CARRIED = ("w", "m", "v", "vmax")
"""Arrays that go from step to step."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a step; every operation has a result of its own."""

    operation: Operation
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Places of operations, in their order. recurrent: they need their own results of the step before."""

    places: tuple[int, ...]
    recurrent: bool


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The operations of a step. ends: the operation that makes an array what it is after the step, by name.

    groups: every one needs results of this step from groups before it only, and from its own.
    """

    nodes: tuple[Node, ...]
    ends: Mapping[str, int]
    groups: tuple[Group, ...]


@cache
def dependencies(programs: tuple[Program, ...], amsgrad: bool) -> Dependencies:
    """Those of the programs of a step, as `parity.adam.stages.programs` has them."""
    latest: dict[str, Source] = {}
    nodes: list[Node] = []
    for operation in (operation for program in programs for operation in program.operations):
        names = [("vmax" if amsgrad else "v") if one == "x" else one for one in operation.operands]
        sources = tuple(latest.get(one, one) if isinstance(one, str) else one for one in names)
        latest[operation.result] = len(nodes)
        nodes.append(Node(operation, sources))
    ends = {name: place for name in CARRIED if isinstance(place := latest.get(name), int)}
    needs = [{ends[one] if isinstance(one, str) else one for one in node.sources if isinstance(one, int) or one in ends}
             for node in nodes]  # fmt: skip
    return Dependencies(tuple(nodes), ends, tuple(_groups([{int(one) for one in each} for each in needs])))


def _groups(needs: list[set[int]]) -> Iterator[Group]:
    reached = [_closure(place, needs.__getitem__) for place in range(len(needs))]
    left = list(range(len(needs)))
    done: set[int] = set()
    while left:
        group = next(group for group in (_together(place, reached) for place in left)
                     if all(needs[one] <= done | group for one in group))  # fmt: skip
        yield Group(tuple(sorted(group)), any(one in reached[one] for one in group))
        done |= group
        left = [place for place in left if place not in group]


def _together(place: int, reached: list[set[int]]) -> set[int]:
    return {place} | {other for other in reached[place] if place in reached[other]}


def _closure(place: int, needs: Callable[[int], set[int]]) -> set[int]:
    found: set[int] = set()
    new = needs(place)
    while new:
        found |= new
        new = {two for one in new for two in needs(one)} - found
    return found
