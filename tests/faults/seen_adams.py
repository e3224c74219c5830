"""Wrong Adams as they were seen in the field: what stands around the step, and what depends on tensor or step.

Each is found in public reports; several depart in more than one stage.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from parity import Hyper, State

sys.path.append(str(Path(__file__).parent))
from exchangeable_adam import Adam, Tensor, first, l2, moved, second, update
from wrong_stages import clipped, clipped_norm, rate, rows_keep, rows_without_gradient, standing

STEPS = 4000
"""Most steps for which a schedule is made."""

Run = Callable[..., Iterator[State]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A wrong Adam. families: of what departs; details: what has to be said of it, parts of sentences."""

    run: Run
    families: frozenset[str]
    details: tuple[str, ...]


SEEN: dict[str, Seen] = {}


def seen(name: str, families: str, run: Run, *details: str) -> None:
    """Add one to the table. families: separated by spaces."""
    SEEN[name] = Seen(run, frozenset(families.split()), details)


def scheduled(lr: Callable[[Hyper, int, int], float]) -> Adam:
    """lr by step. lr: of what is asked, the step and the last one."""

    def asked(hyper: Hyper) -> Hyper:
        last = len(hyper.lr) if isinstance(hyper.lr, tuple) else STEPS
        return replace(hyper, lr=tuple(lr(hyper, step, last) for step in range(1, last + 1)))

    return Adam(asked=asked)


def of_some(change: Callable[[Tensor], np.ndarray], some: Callable[[Tensor], bool], otherwise: Callable[[Tensor], Any]):
    """A stage that is another one for some tensors."""
    return lambda s: change(s) if some(s) else otherwise(s)


def is_matrix(s: Tensor) -> bool:
    """Whether a tensor has two axes."""
    return len(s.shape) == 2


def decaying(some: Callable[[Tensor], bool]) -> Adam:
    """Decay, decoupled or L2, of some tensors only."""
    return Adam(
        coupled=lambda s: l2(s) if some(s) else s.g,
        moved=lambda s, change: moved(s, change) if some(s) else s.w - change,
    )


def tripled(s: Tensor) -> Tensor:
    """With three times the decay."""
    return replace(s, hyper=replace(s.hyper, weight_decay=3 * s.hyper.weight_decay))


def accumulating(every: int, *, mean: bool, by_batch: bool = False) -> Run:
    """Moves at every so manyth step, on the sum or the mean of their gradients; by_batch: t counts all of them."""

    def run(weights: Mapping[str, np.ndarray], gradients: Iterable[Mapping[str, Any]], hyper: Hyper) -> Iterator[State]:
        pending: list[Mapping[str, Any]] = []
        adam = Adam(count=lambda s: s.seen * every if by_batch else s.seen)

        def summed() -> Iterator[Mapping[str, Any]]:
            while True:
                yield {name: total(name) for name in weights}

        def total(name: str) -> Any:
            given = [one[name] for one in pending if one[name] is not None]
            if not given:
                return None
            found = sum(given[1:], given[0])
            return found / found.dtype.type(every) if mean else found

        lrs = tuple(hyper.lr_at(every * step) for step in range(1, len(hyper.lr) // every + 1)) if isinstance(
            hyper.lr, tuple
        ) else hyper.lr  # fmt: skip
        states = adam(weights, summed(), replace(hyper, lr=lrs))
        zeros = {name: np.zeros_like(w) for name, w in weights.items()}
        state = State(dict(weights), zeros, zeros, zeros if hyper.amsgrad else None)
        for step, gradient in enumerate(gradients, start=1):
            pending.append({name: None if g is None else g.copy() for name, g in gradient.items()})
            if step % every == 0:
                state = next(states)
                pending.clear()
            yield state

    return run


# fmt: off
seen("lr_times_t_less_one", "schedule", scheduled(lambda h, t, last: h.lr_at(t) * (t - 1)), "multiplied by t - 1")
seen("lr_behind", "schedule", scheduled(lambda h, t, last: h.lr_at(max(t - 1, 1))), "one step behind")
seen("lr_ahead", "schedule", scheduled(lambda h, t, last: h.lr_at(min(t + 1, last))), "one step ahead")
seen("lr_over_t", "schedule", scheduled(lambda h, t, last: h.lr_at(t) / t), "divided by t")
seen("lr_over_root", "schedule", scheduled(lambda h, t, last: h.lr_at(t) / t**0.5), "divided by sqrt(t)")
seen("lr_decays", "schedule", scheduled(lambda h, t, last: h.lr_at(t) / (1 + 0.05 * t)), "1 + 0.05 * t")
seen("lr_warms_up", "schedule", scheduled(lambda h, t, last: h.lr_at(t) * min(1.0, t / 10)), "by step")

seen("group_lr_factor", "parameter-groups", Adam(update=lambda s: update(s) * s.real(0.1 if is_matrix(s) else 1)),
     "lr", "0.1", "'kernel'")
seen("group_betas", "parameter-groups", Adam(
     first=lambda s: first(replace(s, hyper=replace(s.hyper, beta1=0.7), d1=0.3) if s.place == 3 else s),
     corrections=lambda s: ((1 - 0.7**s.t) if s.place == 3 else 1 - s.p1, 1 - s.p2)), "beta1", "0.7", "'rows'")
seen("group_decay", "weight-decay", Adam(
     coupled=lambda s: l2(tripled(s) if s.place == 0 else s),
     moved=lambda s, change: moved(tripled(s) if s.place == 0 else s, change)), "3 times", "'kernel'")
seen("decay_of_matrices", "weight-decay", decaying(is_matrix), "fewer than two axes do not decay")
seen("decay_not_of_the_first", "weight-decay", decaying(lambda s: s.place != 0), "'kernel' do not decay")

seen("clipped_before_l2", "gradient-scale", Adam(gradient=lambda s: clipped(s.g)), "clipped", "before")
seen("clipped_after_l2", "gradient-scale", Adam(coupled=lambda s: clipped(l2(s))), "clipped", "after")
seen("clipped_by_norm_after_l2", "gradient-scale", Adam(coupled=lambda s: clipped_norm(l2(s))), "norm", "after")

seen("accumulates_means", "accumulation", accumulating(2, mean=True), "2", "mean")
seen("accumulates_sums", "accumulation", accumulating(2, mean=False), "2", "sum")
seen("accumulates_by_batch", "accumulation step-count", accumulating(2, mean=True, by_batch=True), "2", "mean")

seen("lr_off_and_global", "hyperparameter-value step-count amsgrad", Adam(
     asked=lambda h: replace(rate(h, lambda lr: 1.01 * lr), amsgrad=False), count=lambda s: s.step),
     "1.01", "all steps")
seen("epsilon_tenfold_and_global", "epsilon-value step-count amsgrad", Adam(
     asked=lambda h: replace(h, eps=10 * h.eps, amsgrad=False), count=lambda s: s.step), "10 times", "all steps")
seen("doubled_and_global", "step-count amsgrad", Adam(
     asked=lambda h: replace(h, amsgrad=False), count=lambda s: 2 * s.step), "doubled", "all steps")
seen("behind_and_global", "step-count amsgrad", Adam(
     asked=lambda h: replace(h, amsgrad=False), count=lambda s: s.step,
     corrections=lambda s: (1 - s.p1 / s.hyper.beta1, 1 - s.p2 / s.hyper.beta2) if s.t > 1 else (1.0, 1.0)),
     "one behind", "all steps")
seen("twice_and_global", "bias-correction step-count amsgrad", Adam(
     asked=lambda h: replace(h, amsgrad=False), count=lambda s: s.step,
     corrections=lambda s: ((1 - s.p1) ** 2, (1 - s.p2) ** 2)), "twice", "all steps")

seen("lazy_rows", "sparse-rows", Adam(
     first=rows_keep("m", first), second=rows_keep("v", second), moved=standing(rows_without_gradient)), "rows")
seen("lazy_and_starting_at_g", "sparse-rows bias-correction", Adam(
     first=rows_keep("m", lambda s: s.g.copy() if s.t == 1 else first(s)),
     second=rows_keep("v", lambda s: s.g * s.g if s.t == 1 else second(s)),
     moved=standing(rows_without_gradient)), "rows", "first step")
seen("both_start_at_g", "bias-correction", Adam(
     first=lambda s: s.g.copy() if s.t == 1 else first(s),
     second=lambda s: s.g * s.g if s.t == 1 else second(s)), "first step")

seen("small_tensors_stand", "partial-update", Adam(moved=standing(lambda s: s.w.size < 10)),
     "tensors of up to 7 elements", "never move")
# fmt: on
