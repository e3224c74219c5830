"""Two trainings by step, as a page draws them: whose the difference is, how large it is, and the noise floor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from parity.explain.shares import Step
from parity.report.plots.difference import decades_of

MOST_POINTS = 240
"""Of a line, spread evenly over the logarithm of the step."""

MOST_TICKS = 7

NEAR = 0.15
"""Of the width, which a label takes on a telephone."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the chart; places in percent, of the height from above. ticks: place and label of every one."""

    ticks: tuple[tuple[float, str], ...]
    paths: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Two fields over one axis of steps, which is logarithmic.

    ticks: of the steps, from the left, in percent. shares: of B's optimizer and of the gradients; sizes: the difference
    in lr and the noise floor. Paths are SVG's, in a square of 100, by the class that colours them. over: whether a
    share lies outside of 0 to 100 % somewhere, and is cut there; apart: whether anything differs at all.
    """

    ticks: tuple[tuple[float, str], ...]
    shares: Field
    sizes: Field
    over: bool
    apart: bool


def chart_of(curve: Sequence[Step]) -> Chart:
    """The chart of a curve of at least one step."""
    last = curve[-1].number
    first = curve[0].number
    kept = [curve[place] for place in spread(len(curve), MOST_POINTS)]

    def across(number: int) -> float:
        if last == first:
            return 50.0
        return 100 * math.log(number / first) / math.log(last / first)

    return Chart(
        tuple((across(number), f"{number:,}") for number in _steps(first, last)),
        _shares(kept, [across(one.number) for one in kept]),
        _sizes(kept, [across(one.number) for one in kept]),
        any(not -1e-6 <= one.gradients <= 1 + 1e-6 for one in curve),
        any(one.largest for one in curve),
    )


def spread(count: int, most: int) -> list[int]:
    """Places among so many, evenly over the logarithm, the first and the last of them among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(math.exp(math.log(count) * place / (most - 1))) - 1 for place in range(most)})


def _steps(first: int, last: int) -> Iterator[int]:
    """1, 2, 5, 10, ..., no more than can be read, and the last one."""
    fine = [
        digit * 10**power
        for power in range(len(str(last)))
        for digit in (1, 2, 5)
        if first <= digit * 10**power <= last
    ]
    coarse = fine if len(fine) <= MOST_TICKS else [number for number in fine if str(number).strip("0") == "1"]
    # A label that would lie on that of the last step is left out.
    near = [number for number in coarse if number != last and math.log(last / number) > NEAR * math.log(last / first)]
    yield from near if first in near or last == first else [first, *near]
    yield last


def _shares(steps: Sequence[Step], across: Sequence[float]) -> Field:
    """The gradients' below, the optimizer's above them; nothing where nothing differs."""
    below: list[str] = []
    above: list[str] = []
    for run in _runs([bool(one.largest) for one in steps]):
        line = [(across[place], 100 * (1 - min(1.0, max(0.0, steps[place].gradients)))) for place in run]
        if len(line) == 1:
            # One step alone is as wide as can be seen.
            line = [(line[0][0] - 0.5, line[0][1]), (line[0][0] + 0.5, line[0][1])]
        below.append(_area(line, 100.0))
        above.append(_area(line, 0.0))
    ticks = tuple((100.0 - share, f"{share} %") for share in (0, 50, 100))
    return Field(ticks, (("optimizer", " ".join(above)), ("gradients", " ".join(below))))


def _sizes(steps: Sequence[Step], across: Sequence[float]) -> Field:
    axis = decades_of([figure for one in steps for figure in (one.lr, one.floor)])
    low, high = axis.limits

    def down(value: float) -> float:
        return 100 * (high - axis.place(value)) / (high - low)

    paths = tuple(
        (name, _line([(x, down(figure)) for x, figure in zip(across, figures, strict=True)]))
        for name, figures in (("floor", [one.floor for one in steps]), ("apart", [one.lr for one in steps]))
    )
    return Field(tuple((100 * (high - place) / (high - low), label) for place, label in axis.ticks()), paths)


def _runs(chosen: Sequence[bool]) -> Iterator[range]:
    """Stretches of places that are chosen."""
    start = 0
    for place, one in enumerate([*chosen, False]):
        if not one:
            if start < place:
                yield range(start, place)
            start = place + 1


def _line(points: Iterable[Point]) -> str:
    found = " L".join(f"{x:.2f} {y:.2f}" for x, y in points)
    return f"M{found}"


def _area(points: Sequence[Point], edge: float) -> str:
    """From a line to one edge of the field."""
    return f"{_line(points)} L{points[-1][0]:.2f} {edge:.2f} L{points[0][0]:.2f} {edge:.2f} Z"
