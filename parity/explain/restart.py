"""Why an Adam that came back from a checkpoint goes another way: every usual loss, tried on its twin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, permutations
from typing import Any

import numpy as np

from parity.adam.gradients import Block, counts_in
from parity.comparison.trace import Trace
from parity.core.hyper import Hyper
from parity.core.layout import Layout
from parity.core.state import Start
from parity.explain.inputs import Inputs
from parity.explain.running import Adam, Recount, Rows, free_run, taken_by
from parity.numerics.formats import FORMATS, Format, format_of, to_bits

FEW = 1 << 18
"""Elements of all steps together on which a departure is tried; those that pass are held against all steps."""

MOST_ORDERS = 24
"""Orders of tensors of one shape that are tried; of more tensors only exchanges of two, and the turned order."""

NEARLY = 1e-3
"""Share of the difference of the weights that may be left where a twin does not have every bit."""

ORDER = "the moments belong to other parameters"


@dataclass(frozen=True, slots=True)
class Scene:
    """What goes on after a restart. hyper: of all steps of the run, with an lr for each; recount: a wrong counter."""

    start: Start
    hyper: Hyper
    recount: Recount | None = None


@dataclass(frozen=True, slots=True)
class Departure:
    """One thing that went wrong; touches: what it changes, so that two of a kind are never put together."""

    name: str
    touches: frozenset[str]
    apply: Callable[[Scene], Scene]


@dataclass(frozen=True, slots=True)
class Restarted:
    """What a restart came to. after: the step that was saved; first: the first step with another bit.

    causes: what went wrong, one or two things, empty where nothing known does it. differing: of `compared` elements,
    as long as these are not told of; left: once they are. lr: the largest distance of the weights at the last step,
    in units of lr; lr_left: what is left of it.
    """

    after: int
    first: int
    causes: tuple[str, ...]
    differing: int
    left: int
    compared: int
    lr: float
    lr_left: float

    @property
    def sentence(self) -> str:
        """For a user."""
        where = f"after the restart at step {self.after:,}, from step {self.first:,} on"
        if not self.causes:
            much = f"{self.differing:,} of {self.compared:,} elements differ, by {self.lr:.3g} lr"
            return f"{where}: {much}; nothing known does it"
        left = (
            "with that, no bit differs"
            if not self.left
            else f"with that, {self.lr_left:.2g} of {self.lr:.3g} lr are left"
        )
        return f"{where}: {' and '.join(self.causes)} ({self.lr:.3g} lr after the last step; {left})"


def restart_causes(
    adam: Adam,
    layout: Layout,
    before: Start,
    blocks: Sequence[Block],
    went: Rows,
    would: Rows,
    constructor: Hyper,
) -> Restarted | None:
    """Name what a restart lost, by trying each usual loss, then each two, on the twin; None where it lost nothing.

    adam: the twin, with the hyperparameters in force; before: what was to be restored, and how many steps were counted.
    blocks: the gradients since, as the twin takes them. went, would: the states since, with and without a stop,
    (steps, size) by quantity.
    constructor: the hyperparameters of an optimizer that was just made, which a checkpoint is to replace.
    """
    steps = np.concatenate([np.array(block.steps) for block in blocks])
    differs = np.array([to_bits(went[name]) != to_bits(would[name]) for name in went])
    if not differs.any():
        return None
    first = int(steps[np.flatnonzero(differs.any(axis=(0, 2)))[0]])
    after = int(steps[0]) - 1
    hyper = replace(adam.hyper, lr=tuple(adam.hyper.lr_at(step) for step in range(1, int(steps[-1]) + 1)))
    scene = Scene(before, hyper)
    trial = _Trial(adam, layout, blocks, went)
    few = _Trial(adam, layout, _first(blocks, max(2, FEW // max(1, layout.size))), went)
    lr = hyper.lr_at(int(steps[-1])) or 1.0
    apart = _gap(went["w"][-1], would["w"][-1]) / lr
    found: tuple[Departure, ...] = ()
    left, gap = trial.of(scene)
    if left:
        singles = list(departures(layout, after, hyper, constructor, format_of(before.rows.w)))
        # What changes nothing here and now can only be one of a pair that one alone is; but a counter may stop later.
        singles = [one for one in singles if "t" in one.touches or few.of(one.apply(scene)) != few.of(scene)]
        pairs = [(a, b) for a, b in combinations(singles, 2) if not a.touches & b.touches]
        for tried in ([(one,) for one in singles], pairs):
            fitting = [one for one in tried if few.of(_all(one, scene))[0] == 0 and trial.of(_all(one, scene))[0] == 0]
            if not fitting:
                # A twin that does not have every bit is held by distance.
                near = min(tried, key=lambda one: few.of(_all(one, scene))[1], default=())
                fitting = [near] if near and trial.of(_all(near, scene))[1] / lr <= NEARLY * apart else []
            if fitting:
                found = fitting[0]
                left, gap = trial.of(_all(found, scene))
                break
    return Restarted(
        after, first, tuple(one.name for one in found), int(differs.sum()), left, differs.size, apart, gap / lr
    )


def explain_restart(
    went: Trace, would: Trace, inputs: Inputs, adam: Adam, restarts: Sequence[int], constructor: Hyper
) -> Restarted | None:
    """As `restart_causes`, from the traces of a run with restarts and of one without: of the first that lost bits."""
    quantities = [name for name in went.quantities if name in would.quantities]
    first = min((int(np.argmax(rows)) for rows in _differing(went, would, quantities) if rows.any()), default=0)
    if not first:
        return None
    after = max((step for step in restarts if step < first), default=0)
    end = next((step for step in restarts if step > after), would.steps)
    start, counts = inputs.start(), inputs.counts
    # What is added up, scaled or left out since depends on what came before the stop.
    past, since = _parted([block for block, _ in taken_by(adam, inputs.blocks(end), inputs.layout)], after)
    for block in past:
        counts = counts_in(block, counts, adam.twin.convention)[-1]
    made: Rows = {}
    if not {"m", "v"} <= set(quantities) and past:
        runs = list(free_run(adam, start, inputs.layout, past, as_taken=True))
        made = {name: rows[-1] for name, rows in runs[-1][1].items()}
    held: Rows = {}
    for name, row in start.rows._asdict().items():
        held[name] = np.array(would.array(name)[after]) if name in would.quantities else made.get(name, np.array(row))
    ways = [{name: np.array(trace.array(name)[after + 1 : end + 1]) for name in quantities} for trace in (went, would)]
    before = Start(start.rows._replace(**held), counts)
    return restart_causes(adam, inputs.layout, before, since, ways[0], ways[1], constructor)


def _differing(went: Trace, would: Trace, quantities: Sequence[str]) -> Iterator[np.ndarray]:
    for name in quantities:
        yield np.array([one != other for one, other in zip(went.digests[name], would.digests[name], strict=True)])


def _parted(blocks: Sequence[Block], after: int) -> tuple[list[Block], list[Block]]:
    past: list[Block] = []
    since: list[Block] = []
    for block in blocks:
        cut = max(0, min(len(block.steps), after + 1 - block.steps[0]))
        for kept, place in ((past, slice(0, cut)), (since, slice(cut, None))):
            if block.steps[place]:
                updates = None if block.updates is None else block.updates[place]
                kept.append(Block(block.steps[place], block.gradients[place], block.present[place], updates))
    return past, since


def _all(departures: Sequence[Departure], scene: Scene) -> Scene:
    for one in departures:
        scene = one.apply(scene)
    return scene


class _Trial:
    """Gradients and what came of them; whatever is tried is tried once."""

    def __init__(self, adam: Adam, layout: Layout, blocks: Sequence[Block], went: Rows) -> None:
        self._adam, self._layout, self._blocks = adam, layout, blocks
        steps = sum(len(block.steps) for block in blocks)
        self._went = {name: rows[:steps] for name, rows in went.items()}

    def of(self, scene: Scene) -> tuple[int, float]:
        """Elements whose bits differ from what was seen, and the largest distance of the weights at the last step."""
        adam = replace(self._adam, hyper=scene.hyper)
        with np.errstate(all="ignore"):
            made = list(free_run(adam, scene.start, self._layout, self._blocks, scene.recount, as_taken=True))
        differing = 0
        for name, rows in self._went.items():
            own = np.concatenate([block[name] for _, block in made])
            differing += int(np.count_nonzero(to_bits(own) != to_bits(rows)))
        return differing, _gap(made[-1][1]["w"][-1], self._went["w"][-1])


def _gap(one: np.ndarray, other: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        gaps = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return float(np.max(gaps[np.isfinite(gaps)], initial=0.0))


def _first(blocks: Sequence[Block], steps: int) -> list[Block]:
    kept = []
    for block in blocks:
        if steps > 0:
            updates = None if block.updates is None else block.updates[:steps]
            kept.append(Block(block.steps[:steps], block.gradients[:steps], block.present[:steps], updates))
        steps -= len(block.steps)
    return kept


def departures(layout: Layout, after: int, hyper: Hyper, constructor: Hyper, format: Format) -> Iterator[Departure]:
    """Everything that is known to get lost, the likeliest first."""
    yield from _of_counters(layout, after)
    yield from _of_moments(format, hyper)
    yield from _of_hyper(hyper, constructor)
    yield from _of_schedules(hyper, after)
    yield from _of_order(layout)


def _of_counters(layout: Layout, after: int) -> Iterator[Departure]:
    def counting(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Departure:
        def apply(scene: Scene) -> Scene:
            return replace(scene, start=scene.start._replace(counts=change(scene.start.counts)))

        return Departure(name, frozenset({"t"}), apply)

    def recounting(name: str, recount: Recount) -> Departure:
        return Departure(name, frozenset({"t"}), lambda scene: replace(scene, recount=recount))

    def rounded(counts: np.ndarray, name: str) -> np.ndarray:
        return counts.astype(FORMATS[name].dtype).astype(np.int64)

    yield counting("the step count is lost (t begins at 1 again)", np.zeros_like)
    yield counting("the step count is one too large", lambda counts: counts + 1)
    yield counting("the step count is one too small", lambda counts: np.maximum(counts - 1, 0))
    for name, most in (("bfloat16", 256), ("float16", 2048)):
        stopped = f"the step count is kept in {name} and stops at {most:,}"
        yield recounting(stopped, partial(np.minimum, most))
        yield counting(f"the step count is rounded to {name}", partial(rounded, name=name))
    number = len(layout.parameters)
    if number > 1:
        yield counting("one step count for all tensors", lambda counts: np.full_like(counts, counts.max()))
        yield counting(
            "every tensor has the step count of the last one", lambda counts: np.full_like(counts, counts[-1])
        )
        yield recounting(
            "one step count for all tensors, which each of them moves",
            lambda counts: after + number * (counts - after) - number + 1 + np.arange(number),
        )
        yield counting(f"the step count is {number} times what it was", lambda counts: counts * number)


def _of_moments(format: Format, hyper: Hyper) -> Iterator[Departure]:
    def changing(name: str, quantities: Sequence[str], change: Callable[[np.ndarray], np.ndarray]) -> Departure:
        def apply(scene: Scene) -> Scene:
            rows = scene.start.rows
            changed = {one: change(getattr(rows, one)) for one in quantities}
            return replace(scene, start=scene.start._replace(rows=rows._replace(**changed)))

        return Departure(name, frozenset(quantities), apply)

    def all_lost(scene: Scene) -> Scene:
        rows = {name: np.zeros_like(getattr(scene.start.rows, name)) for name in ("m", "v", "vmax")}
        start = Start(scene.start.rows._replace(**rows), np.zeros_like(scene.start.counts))
        return replace(scene, start=start)

    def begins_at_v(scene: Scene) -> Scene:
        rows = scene.start.rows
        return replace(scene, start=scene.start._replace(rows=rows._replace(vmax=rows.v)))

    moments = ("m", "v", "vmax") if hyper.amsgrad else ("m", "v")
    yield Departure("all state is lost: m, v and the step count", frozenset({*moments, "t"}), all_lost)
    yield changing("m and v are lost (zeros), the step count is not", moments, np.zeros_like)
    for name in moments:
        yield changing(f"{name} is lost (zeros)", (name,), np.zeros_like)
    if hyper.amsgrad:
        yield Departure("vmax begins at v again", frozenset({"vmax"}), begins_at_v)
    for name, narrow in FORMATS.items():
        if narrow.dtype.itemsize > format.dtype.itemsize or narrow is format:
            continue

        def narrowed(values: np.ndarray, dtype: Any = narrow.dtype) -> np.ndarray:
            with np.errstate(all="ignore"):
                return values.astype(dtype).astype(values.dtype)

        yield changing(f"m and v are narrowed to {name}", moments, narrowed)
        for one in moments:
            yield changing(f"{one} is narrowed to {name}", (one,), narrowed)
        yield changing(f"the weights (masters) are narrowed to {name}", ("w",), narrowed)
        yield changing(f"weights, m and v are narrowed to {name}", ("w", *moments), narrowed)


def _of_hyper(hyper: Hyper, constructor: Hyper) -> Iterator[Departure]:
    def taking(name: str, fields: Mapping[str, Any]) -> Departure:
        return Departure(name, frozenset(fields), lambda scene: replace(scene, hyper=replace(scene.hyper, **fields)))

    rates = hyper.lr if isinstance(hyper.lr, tuple) else (hyper.lr,)
    told = {name: getattr(constructor, name) for name in ("beta1", "beta2", "eps", "weight_decay")}
    other: dict[str, Any] = {name: value for name, value in told.items() if value != getattr(hyper, name)}
    first = constructor.lr_at(1)
    if set(rates) != {first}:
        other["lr"] = (first,) * len(rates)
    decay = {"decoupled": constructor.decoupled} if "weight_decay" in other else {}
    for name, value in other.items():
        number = first if name == "lr" else value
        also = decay if name == "weight_decay" else {}
        yield taking(f"{name} is that of the constructor, {number!r}", {name: value, **also})
    betas: dict[str, Any] = {name: other[name] for name in ("beta1", "beta2") if name in other}
    if len(betas) > 1:
        yield taking("both betas are those of the constructor", betas)
    if len(other) > 1:
        yield taking(f"{', '.join(other)} are those of the constructor", {**other, **decay})


def _of_schedules(hyper: Hyper, after: int) -> Iterator[Departure]:
    rates = hyper.lr if isinstance(hyper.lr, tuple) else ()
    if len(set(rates)) < 2:
        return
    shifted = {
        "the schedule is back at its start": (*rates[:after], *rates[: len(rates) - after]),
        "the schedule is one step behind": (*rates[:after], *rates[max(after - 1, 0) : len(rates) - 1]),
        "the schedule is one step ahead": (*rates[:after], *rates[after + 1 :], rates[-1]),
        "the schedule stands at its first rate": (*rates[:after], *(rates[0],) * (len(rates) - after)),
        "the schedule stands at the rate of the last step": (
            *rates[:after], *(rates[max(after - 1, 0)],) * (len(rates) - after),
        ),
    }  # fmt: skip

    def at(scene: Scene, lr: tuple[float, ...]) -> Scene:
        return replace(scene, hyper=replace(scene.hyper, lr=lr))

    for name, lr in shifted.items():
        if lr != rates:
            yield Departure(name, frozenset({"lr"}), partial(at, lr=lr))


def _of_order(layout: Layout) -> Iterator[Departure]:
    sizes = [parameter.size for parameter in layout.parameters]
    names = [parameter.name for parameter in layout.parameters]
    places = [place for _, place in layout.slices()]
    plain = tuple(range(len(sizes)))
    orders = [tuple(np.argsort(names, kind="stable").tolist()), plain[::-1]]
    for size in dict.fromkeys(sizes):
        alike = [number for number in plain if sizes[number] == size and size]
        every = list(permutations(alike)) if len(alike) <= 4 else list(_exchanges(alike))
        for turned in every[:MOST_ORDERS]:
            taken = dict(zip(alike, turned, strict=True))
            orders.append(tuple(taken.get(number, number) for number in plain))
    for order in dict.fromkeys(orders):
        if order == plain or any(sizes[there] != sizes[here] for here, there in zip(plain, order, strict=True)):
            continue
        moved = ", ".join(f"{names[here]} has those of {names[there]}"
                          for here, there in zip(plain, order, strict=True) if here != there)  # fmt: skip

        def apply(scene: Scene, order: tuple[int, ...] = order) -> Scene:
            rows = scene.start.rows
            turned = {
                name: np.concatenate([getattr(rows, name)[places[there]] for there in order])
                for name in ("m", "v", "vmax")
            }
            return replace(scene, start=Start(rows._replace(**turned), scene.start.counts[list(order)]))

        yield Departure(f"{ORDER}: {moved}", frozenset({"m", "v", "vmax", "t"}), apply)


def _exchanges(alike: Sequence[int]) -> Iterator[tuple[int, ...]]:
    yield tuple(alike[::-1])
    for one, other in combinations(range(len(alike)), 2):
        turned = list(alike)
        turned[one], turned[other] = turned[other], turned[one]
        yield tuple(turned)
