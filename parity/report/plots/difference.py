"""A logarithmic axis on which zero and NaN have places of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from parity.report.figures import steps_text
from parity.report.panels.curve import Curves
from parity.report.panels.view import View
from parity.report.plots import canvas
from parity.report.plots.plot import Plot, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ZERO, LOST = "0", "NaN/inf"

MOST_TICKS = 6


@dataclass(frozen=True, slots=True)
class Decades:
    """The axis from 10**low to 10**high; zero lies below, what is no number above, where there is any."""

    low: int
    high: int
    numbers: bool
    zero: bool
    lost: bool

    @property
    def gap(self) -> float:
        """From the last decade to what lies outside."""
        return 0.12 * (self.high - self.low)

    @property
    def limits(self) -> tuple[float, float]:
        """Where the axis begins and ends."""
        return self.low - self.gap * (1.6 if self.zero else 0.3), self.high + self.gap * (1.6 if self.lost else 0.3)

    def place(self, value: float | None) -> float:
        """Where a value is drawn."""
        if value is None or not math.isfinite(value):
            return self.high + self.gap
        return math.log10(value) if value > 0 else self.low - self.gap

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Places with their labels, upwards."""
        if self.zero:
            yield self.place(0.0), ZERO
        if self.numbers:
            stride = math.ceil((self.high - self.low) / MOST_TICKS)
            for decade in range(self.low, self.high + 1, stride):
                yield decade, power_text(decade)
        if self.lost:
            yield self.place(None), LOST


def decades_of(values: Iterable[float | None]) -> Decades:
    """The axis that has a place for each of them; None, NaN and inf are no numbers."""
    found = list(values)
    finite = [value for value in found if value is not None and math.isfinite(value)]
    logs = [math.log10(value) for value in finite if value > 0]
    low, high = (math.floor(min(logs)), math.ceil(max(logs))) if logs else (0, 1)
    return Decades(low, max(high, low + 1), bool(logs), len(logs) < len(finite), len(finite) < len(found))


def power_text(decade: int) -> str:
    """A power of ten."""
    return f"{10.0**decade:g}" if -3 <= decade <= 3 else f"1e{decade}"


HEIGHT = 318.0
LEFT, RIGHT = 52.0, 14.0
PANEL = 104.0
TOPS = (58.0, 182.0)

NEAR = 0.15
"""Part of a decade behind which the last step has a label of its own."""

LONGEST_NAME = 34
LONGEST_CASE = 48

MARKS = {"w": ("#0072b2", "o", "-"), "m": ("#c05000", "^", "--"), "v": ("#00805c", "s", ":"),
         "vmax": ("#a0508a", "D", "-."), "average": ("#6a6a00", "v", "-")}  # fmt: skip

Line = tuple[str, tuple[float | None, ...]]


def draw_difference(view: View, number: int) -> Plot:
    """Of w in units of lr, then of w and the moments in ULP."""
    judged, curves = view.judged, view.curves
    figure = canvas.sheet(HEIGHT)
    head = canvas.page(figure)
    names = [canvas.one_line(name, LONGEST_NAME) for name in (judged.actual, judged.expected)]
    head.text(canvas.MARGIN, canvas.MARGIN + 8, " against ".join(names), size=9, weight="bold")
    told = f"{canvas.one_line(judged.case, LONGEST_CASE)}, {judged.dtype}: {judged.verdict.kind}"
    head.text(canvas.MARGIN, canvas.MARGIN + 21, told, color=canvas.SOFT)
    meaning = None if view.explanation is None else view.explanation.meaning
    noise = meaning.noise if meaning is not None and meaning.noise > 0 else None
    for top, metric, unit in zip(TOPS, ("max_steps", "max_ulp"), ("w, in lr", "in ULP"), strict=True):
        place = (LEFT / canvas.WIDTH, 1 - (top + PANEL) / HEIGHT, 1 - (LEFT + RIGHT) / canvas.WIDTH, PANEL / HEIGHT)
        axes = figure.add_axes(place)
        lines = [(one.quantity, one.values) for one in curves.curves if one.metric == metric]
        _panel(axes, curves, sorted(lines, key=lambda line: list(MARKS).index(line[0])), unit,
               noise if metric == "max_steps" else None, last=top == TOPS[-1])  # fmt: skip
    alternative = _alternative(view, noise)
    return Plot(Section.DIFFERENCE, f"difference-{number}.svg", alternative, canvas.svg_of(figure, alternative))


def _alternative(view: View, noise: float | None) -> str:
    judged = view.judged
    size = steps_text(view.size) if math.isfinite(view.size) else "NaN/inf"
    floor = "" if noise is None else f", noise floor {steps_text(noise)}"
    return (
        f"{judged.actual} against {judged.expected}, {judged.case} {judged.dtype}: difference by step. "
        f"First difference at step {view.curves.first or 0:,}, w by {size} at most{floor}."
    )


def _panel(axes: Axes, curves: Curves, lines: Sequence[Line], unit: str, noise: float | None, *, last: bool) -> None:
    decades = decades_of([value for _, values in lines for value in values] + ([] if noise is None else [noise]))
    x = [math.log10(step) for step in curves.steps]
    for quantity, values in lines:
        color, mark, dash = MARKS[quantity]
        y = [decades.place(value) for value in values]
        drawn = [math.nan if value is None else place for value, place in zip(values, y, strict=True)]
        axes.plot(x, drawn, color=color, marker=mark, markersize=2.6, linestyle=dash, linewidth=1.2, clip_on=False,
                  label=quantity)  # fmt: skip
        lost = [(a, b) for value, a, b in zip(values, x, y, strict=True) if value is None]
        axes.plot([a for a, _ in lost], [b for _, b in lost], color=color, marker="x", markersize=4, linestyle="none",
                  clip_on=False)  # fmt: skip
    _frame(axes, decades, curves.steps, last=last)
    axes.text(0.0, 1.05, unit, transform=axes.transAxes, weight="bold")
    if len(lines) > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(lines), frameon=False, borderpad=0,
                    borderaxespad=0, handlelength=2.6)  # fmt: skip
    if noise is not None:
        axes.axhline(decades.place(noise), color=canvas.SOFT, linestyle=(0, (6, 3)), linewidth=0.9, zorder=1)
        told = f"dashed: noise floor, {steps_text(noise)}"
        axes.text(1.0, 1.05, told, transform=axes.transAxes, ha="right", color=canvas.SOFT)
    if curves.first is not None:
        axes.axvline(math.log10(curves.first), color=canvas.ALARM, linestyle=(0, (2, 2)), linewidth=1.0, zorder=1)
        if not last:
            told = f"dotted: first difference, step {curves.first:,}"
            axes.text(0.14, 1.05, told, transform=axes.transAxes, color=canvas.ALARM)


def _frame(axes: Axes, decades: Decades, steps: Sequence[int], *, last: bool) -> None:
    """Limits, ticks and grid."""
    end = math.ceil(math.log10(steps[-1])) if steps else 0
    ticks = [(float(decade), power_text(decade)) for decade in range(end + 1)]
    if steps and math.log10(steps[-1]) % 1 > NEAR:
        ticks.append((math.log10(steps[-1]), f"{steps[-1]:,}"))
    axes.set_xlim(-0.03 * max(end, 1), math.log10(steps[-1]) + 0.03 * max(end, 1) if steps else 1.0)
    low, high = axes.get_xlim()
    shown = [(place, label) for place, label in ticks if low <= place <= high]
    axes.set_xticks([place for place, _ in shown], [label if last else "" for _, label in shown])
    told = list(decades.ticks())
    axes.set_ylim(*decades.limits)
    axes.set_yticks([place for place, _ in told], [label for _, label in told])
    axes.tick_params(length=2, color=canvas.LINE, labelcolor=canvas.INK)
    axes.grid(color="#e6e9ed", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if last:
        axes.set_xlabel("step")
