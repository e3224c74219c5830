"""The power of every budget: how many wrong Adams each WITHIN of the shipped cases catches. `make power` runs it.

It counts, too, how many of them `parity identify` names, one at a time and two at once, and that it names no departure
of a right Adam, or of a shipped one, that it does not have (`pairs.py`).

A wrong Adam stands where the actual side of a pair stands: it runs in this process on the case's own weights and
gradients, is measured against the from-scratch Adam by the metrics of the engine, and judged by `judge` with the
expectation as the case has it. It is caught where the verdict is not as expected.

- The expected side is the from-scratch Adam of its convention, with Hyper's defaults where the case asks for
  "default": `numpy.adam.hat` for Keras, so a pair of two frameworks has the power of its budget, not of their bits.
- A budget that sets w no limit is asked beside `numpy.adam.outside`: m and v do not depend on where epsilon stands.
- A wrong Adam is then that convention's own Adam with one stage exchanged; those whose exchanged stage is the update
  itself are left out beside another update than Algorithm 1's. Under `.store` all of them compute in float32.
- Where the case says that a side stands still (Keras in bfloat16), the expected side is taken for it.
- Not applicable: equal to the right Adam in every element of every step, as the case does not ask for what it gets
  wrong. "noisy" has a seed here, so that the figures repeat.
- Where a budget allows no difference at all in m or v (one kernel, called in two ways), the expected side is the right
  Adam itself, as the wrong one has the same arithmetic.
- The right Adam is judged by every budget, too: one that would refuse it has no power, and is an error here.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import permutations
from pathlib import Path

import numpy as np

from parity.case.case import Case
from parity.case.catalogue import load_catalogue, shipped_cases
from parity.case.expectation import Expectation
from parity.case.gradients import fill_gradients, fill_weights
from parity.comparison.distance import Distance, Reach, fold, reach_of
from parity.comparison.divergence import measure_batch, measure_standstill
from parity.comparison.verdict import judge
from parity.core.hyper import Hyper
from parity.core.state import QUANTITIES
from parity.engine.power import FILE, CasePower, Figure, budget_digest, budget_name, reference_of, write_power
from parity.implementations.registry import shipped_implementations
from parity.numerics.formats import Format, format_named
from parity.report.names import tables

sys.path.append(str(Path(__file__).parent))
from benign_adams import WIDER
from exchangeable_adam import Adam, Tensor
from pairs import enough, figures
from wrong_adams import WRONG
from wrong_stages import divided, eps

Rows = dict[str, np.ndarray]
"""States after every step by quantity, each (steps, size)."""

PLUGIN = "user.plugin"


def hat(s: Tensor) -> np.ndarray:
    """``lr * m_hat / (sqrt(v_hat) + eps / sqrt(1 - beta2^t))``: eps beside sqrt(v), and every stage still counts."""
    return divided(s, s.m_hat, np.sqrt(s.v_hat) + eps(s) / s.real(s.c2**0.5))


def inside(s: Tensor) -> np.ndarray:
    """``lr * m_hat / sqrt(v_hat + eps)``."""
    return divided(s, s.m_hat, np.sqrt(s.v_hat + eps(s)))


def seeded_noise(s: Tensor) -> None:
    """As `noisy`, with a seed."""
    draws = s.notes.setdefault("noise", np.random.default_rng(0))
    s.w = (s.w.view(f"u{s.w.itemsize}") ^ (draws.integers(0, 256, s.w.size, np.uint8) < 16)).view(s.w.dtype)


STAGES: dict[str, dict[str, Callable[..., object]]] = {
    "outside": {},
    # Keras counts steps, also those without a gradient, and so do the from-scratch Adams of these conventions.
    "hat": {"update": hat, "count": lambda s: s.step},
    "inside": {"update": inside, "count": lambda s: s.step},
}
"""What makes the right Adam of a convention."""


def right(reference: str) -> Adam:
    """The control of the experiment beside a from-scratch Adam."""
    convention, _, store = reference.removeprefix("numpy.adam.").partition(".")
    working = {"working": lambda dtype: np.dtype(WIDER[dtype.name])} if store else {}
    return Adam(**STAGES[convention], **working)


def wrongs(reference: str) -> dict[str, Adam]:
    """Every wrong Adam that makes sense beside a from-scratch Adam."""
    control, plain = right(reference), Adam()
    found = {}
    for one in WRONG.values():
        adam = replace(one.run, stored=seeded_noise) if one.name == "noisy" else one.run
        if adam.update is not plain.update and control.update is not plain.update:
            continue
        stages = {name: getattr(control, name) for name in ("update", "count", "working")}
        changed = {name: stage for name, stage in stages.items() if getattr(adam, name) is getattr(plain, name)}
        found[one.name] = replace(adam, **changed)
    return found


@dataclass(frozen=True)
class Inputs:
    """What every Adam of a cell is given; read-only. initial: (size,)."""

    case: Case
    format: Format
    hyper: Hyper
    initial: np.ndarray
    gradients: list[dict[str, np.ndarray | None]]

    def orbit(self, run: Callable[..., Iterator[object]]) -> Rows:
        """All states of an Adam."""
        layout, rows = self.case.layout(), {}
        places = [(parameter.name, place) for parameter, place in layout.slices()]
        for step, state in enumerate(run(layout.views(self.initial), iter(self.gradients), self.hyper)):
            for quantity in QUANTITIES:
                table = getattr(state, quantity)
                if table is None:
                    continue
                if quantity not in rows:
                    rows[quantity] = np.zeros((self.case.steps, layout.size), self.format.dtype)
                for name, place in places:
                    rows[quantity][step, place] = table[name].reshape(-1)
        return rows


def inputs_of(case: Case, dtype: str) -> Inputs:
    """Weights and gradients of a cell."""
    format, layout = format_named(dtype), case.layout()
    bits = np.zeros(layout.size, format.unsigned)
    fill_weights(case, format, bits)
    bits.flags.writeable = False
    gradients = []
    for step in range(1, case.steps + 1):
        row = np.zeros(layout.size, format.unsigned)
        absent = fill_gradients(case, format, step, row)
        row.flags.writeable = False
        views = layout.views(row.view(format.dtype))
        gradients.append({name: None if name in absent else view for name, view in views.items()})
    return Inputs(case, format, case.hyper_for(Hyper()), bits.view(format.dtype), gradients)


class Reference:
    """A from-scratch Adam on a cell's inputs, against which others are measured; equal rows are measured once."""

    def __init__(self, inputs: Inputs, rows: Rows) -> None:
        self.inputs, self.rows = inputs, rows
        self.moved = self._moved(self.rows)
        self._known: dict[tuple[str, bytes], Distance] = {}

    def _moved(self, rows: Rows) -> bool:
        return bool(np.any(rows["w"].view(self.inputs.format.unsigned) != self._initial_bits))

    @property
    def _initial_bits(self) -> np.ndarray:
        return self.inputs.initial.view(self.inputs.format.unsigned)

    def distances(self, rows: Rows) -> tuple[Distance, ...]:
        """One for each quantity that both sides show."""
        return tuple(self._distance(one, rows[one]) for one in QUANTITIES if one in rows and one in self.rows)

    def _distance(self, quantity: str, rows: np.ndarray) -> Distance:
        key = quantity, rows.tobytes()
        if key not in self._known:
            case, into = self.inputs.case, {}
            steps = range(1, case.steps + 1)
            measured = measure_batch(quantity, rows, self.rows[quantity], case.layout(), steps, self.inputs.hyper)
            fold(measured, into)
            self._known[key] = into[quantity]
        return self._known[key]

    @cached_property
    def reaches(self) -> tuple[Reach, ...]:
        """How far an optimizer that never steps is from its last state."""
        into: dict[str, Distance] = {}
        case = self.inputs.case
        for quantity, rows in self.rows.items():
            hyper = self.inputs.hyper
            fold(measure_standstill(quantity, self.inputs.initial, rows[-1], case.layout(), case.steps, hyper), into)
        return tuple(map(reach_of, into.values()))

    def judged(self, rows: Rows, expectation: Expectation) -> bool:
        """Whether the engine would call an Adam as expected."""
        moved = (self._moved(rows), self.moved and expectation.moves)
        return judge(self.distances(rows), moved, expectation, reaches=self.reaches).as_expected


def budgets_of(case: Case, dtype: str) -> dict[str, dict[str, tuple[Expectation, list[str]]]]:
    """WITHIN expectations of a cell by reference and digest, with the patterns that come to it."""
    known = {name: one for name, one in shipped_implementations().items() if dtype in one.dtypes}
    found: dict[str, dict[str, tuple[Expectation, list[str]]]] = {}
    for actual, expected in permutations([PLUGIN, *known], 2):
        if expected == PLUGIN:
            continue
        expectation = case.expectation_for(actual, expected, dtype)
        if expectation is None or expectation.verdict != "WITHIN":
            continue
        reference = reference_of(expected, known[expected].convention, expectation)
        digest = budget_digest(reference, expectation)
        _, patterns = found.setdefault(reference, {}).setdefault(digest, (expectation, []))
        pattern = f"{expectation.actual} / {expectation.expected}"
        if pattern not in patterns:
            patterns.append(pattern)
    return found


def power_of_cell(case: Case, dtype: str) -> dict[str, Figure]:
    """The figures of one case in one dtype by what the budgets are called."""
    figures: dict[str, Figure] = {}
    with np.errstate(all="ignore"):
        inputs = inputs_of(case, dtype)
        for name, budgets in budgets_of(case, dtype).items():
            control = inputs.orbit(right(name))
            from_scratch = Reference(inputs, inputs.orbit(shipped_implementations()[name].states))
            itself = Reference(inputs, control)
            orbits = {wrong: inputs.orbit(adam) for wrong, adam in wrongs(name).items()}
            applicable = {wrong: rows for wrong, rows in orbits.items() if differ(rows, control)}
            for digest, (expectation, patterns) in budgets.items():
                reference = itself if asks_for_equality(expectation) else from_scratch
                if not reference.judged(control, expectation):
                    raise ValueError(f"{case.name} {dtype}: {patterns[0]} refuses the right Adam beside {name}")
                missed = [wrong for wrong, rows in applicable.items() if reference.judged(rows, expectation)]
                figures[_unique(budget_name(name, expectation), figures)] = Figure(
                    reference=name,
                    budget=digest,
                    expectations=patterns,
                    caught=len(applicable) - len(missed),
                    applicable=len(applicable),
                    total=len(orbits),
                    missed=" ".join(sorted(missed)),
                )
    return figures


def asks_for_equality(expectation: Expectation) -> bool:
    """Whether a quantity may not differ at all."""
    return any(0 in budget.limits().values() for budget in (expectation.within or {}).values())


def differ(rows: Rows, control: Rows) -> bool:
    """Whether an element ever differs in what both show; zeros of either sign are equal, and NaN is NaN."""

    def one(a: np.ndarray, b: np.ndarray) -> bool:
        return bool(np.any((a != b) & ~((a != a) & (b != b))))

    return any(one(rows[quantity], control[quantity]) for quantity in rows if quantity in control)


def _unique(name: str, taken: dict[str, Figure]) -> str:
    numbered = (f"{name} ({number})" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(one for one in numbered if one not in taken)


def _timed(cell: tuple[Case, str]) -> tuple[dict[str, Figure], float]:
    start = time.perf_counter()
    return power_of_cell(*cell), time.perf_counter() - start


def compute(cases: Sequence[Case], jobs: int, told: Callable[[str], object]) -> dict[str, CasePower]:
    """The figures of all cells, the longest first."""
    cells = sorted(
        ((case, dtype) for case in cases for dtype in case.dtypes), key=lambda cell: -cell[0].steps * len(cell[1])
    )
    found: dict[str, dict[str, dict[str, Figure]]] = {case.name: {} for case in cases}
    with ProcessPoolExecutor(jobs) as pool:
        for (case, dtype), (figures, seconds) in zip(cells, pool.map(_timed, cells), strict=True):
            told(f"{case.name} {dtype}: {len(figures)} budgets in {seconds:.1f} s")
            if figures:
                found[case.name][dtype] = figures
    return {case.name: CasePower(case.digest(), found[case.name]) for case in cases}


def takes_a_bare_step(case: Case) -> bool:
    """Whether all tensors are asked alike, in one dtype, and nothing stands around the step: wrong Adams know that."""
    hyper = case.hyper_for(Hyper())
    return not hyper.groups and not hyper.stages.names and not case.layout().mixed


def main() -> None:
    """Write cases/power.json, and print how many Adams identify names; exit code 1 where they are too few."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("-j", "--jobs", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=shipped_cases() / FILE)
    options = parser.parse_args()
    start = time.perf_counter()
    cases = tuple(case for case in load_catalogue(shipped_cases()) if takes_a_bare_step(case))
    budgets = compute(cases, options.jobs, partial(print, flush=True))
    names = figures(options.jobs)
    write_power(options.output, budgets, names)
    print(f"{options.output} in {time.perf_counter() - start:.0f} s")
    print(tables(names))
    sys.exit(not enough(names))


if __name__ == "__main__":
    main()
