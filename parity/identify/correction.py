"""Bias corrections and step counts, right and wrong: the divisors c1 of m and c2 of v."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from parity.identify.reading import cast
from parity.identify.update import Moves
from parity.numerics.formats import FORMATS, Format

Divisors = tuple[np.ndarray, np.ndarray]

COUNTER_ENDS = (256, 2048, 128, 255, 2047)
"""Where counters of few bits stand still: those of bfloat16 and float16, which halves do not tell from 255 and 2047."""


@dataclass(frozen=True, slots=True)
class Correction:
    """A way to correct the bias. family: empty where it is the one of the paper; benign: only rounds in the dtype.

    text: c1 and c2 in a formula. divisors: of points and their count t.
    """

    name: str
    family: str
    detail: str
    text: str
    divisors: Callable[[Moves, np.ndarray], Divisors]
    benign: bool = False


def _paper(moves: Moves, t: np.ndarray) -> Divisors:
    return 1 - moves.beta1**t, 1 - moves.beta2**t


def _one(moves: Moves) -> np.ndarray:
    return np.ones(len(moves))


PAPER = Correction("both", "", "", "c1 = 1 - beta1^t; c2 = 1 - beta2^t", _paper)


def corrections(format: Format) -> Iterator[Correction]:
    """All of them, the paper's first; of two that are equal in real numbers the likelier one first."""
    yield PAPER
    yield from _formulas()
    yield from _counts()
    for kept in sorted(FORMATS.values(), key=lambda one: -one.precision):
        if kept.name != "float64":
            yield from _rounded(kept, format)


def _formulas() -> Iterator[Correction]:
    def paper(change: Callable[[np.ndarray, np.ndarray, Moves], Divisors]) -> Callable[..., Divisors]:
        return lambda moves, t: change(*_paper(moves, t), moves)

    for name, detail, text, divisors in (
        ("v", "m is used without bias correction", "c1 = 1; c2 = 1 - beta2^t", lambda c1, c2, p: (_one(p), c2)),
        ("m", "v is used without bias correction", "c1 = 1 - beta1^t; c2 = 1", lambda c1, c2, p: (c1, _one(p))),
        ("none", "m and v are used without bias correction", "c1 = 1; c2 = 1", lambda c1, c2, p: (_one(p), _one(p))),
        (
            "inverted",
            "m and v are multiplied by 1 - beta^t instead of divided",
            "c1 = 1 / (1 - beta1^t); c2 = 1 / (1 - beta2^t)",
            lambda c1, c2, p: (1 / c1, 1 / c2),
        ),
        (
            "twice",
            "m and v are divided by 1 - beta^t twice",
            "c1 = (1 - beta1^t)^2; c2 = (1 - beta2^t)^2",
            lambda c1, c2, p: (c1**2, c2**2),
        ),
        (
            "beside root",
            "v is corrected after its root",
            "c1 = 1 - beta1^t; c2 = (1 - beta2^t)^2",
            lambda c1, c2, p: (c1, c2**2),
        ),
        (
            "root of divisor",
            "v is divided by the root of 1 - beta2^t",
            "c1 = 1 - beta1^t; c2 = sqrt(1 - beta2^t)",
            lambda c1, c2, p: (c1, np.sqrt(c2)),
        ),
    ):
        yield Correction(name, "bias-correction", detail, text, paper(divisors))


def _counts() -> Iterator[Correction]:
    def counted(count: Callable[[Moves, np.ndarray], np.ndarray]) -> Callable[[Moves, np.ndarray], Divisors]:
        return lambda moves, t: _paper(moves, count(moves, t))

    def behind(moves: Moves, t: np.ndarray) -> Divisors:
        c1, c2 = _paper(moves, np.maximum(t - 1, 1))
        return np.where(t > 1, c1, 1.0), np.where(t > 1, c2, 1.0)

    text = "c1 = 1 - beta1^n; c2 = 1 - beta2^n; n = "
    yield Correction(
        "stuck", "step-count", "t stays at 1, or the power is missing: the divisors stay 1 - beta",
        "c1 = 1 - beta1; c2 = 1 - beta2", counted(lambda p, t: np.ones(len(p))),
    )  # fmt: skip
    yield Correction(
        "ahead", "step-count", "t is one ahead: it begins at 2", text + "t + 1", counted(lambda p, t: t + 1)
    )
    yield Correction(
        "behind", "step-count", "t is one behind: it begins at 0, where nothing is corrected", text + "t - 1", behind
    )
    yield Correction(
        "behind, unguarded", "step-count", "t is one behind: it begins at 0", text + "t - 1",
        counted(lambda p, t: t - 1),
    )  # fmt: skip
    yield Correction(
        "each parameter", "step-count", "t grows by one for every parameter of a step",
        text + "(t - 1) * parameters + place", counted(lambda p, t: (p.step - 1) * p.of + p.place + 1),
    )  # fmt: skip
    for end in COUNTER_ENDS:
        yield Correction(
            f"until {end}", "step-count", f"t stands still at {end}", text + f"min(t, {end})",
            counted(lambda p, t, end=end: np.minimum(t, end)),  # type: ignore[misc]
        )  # fmt: skip
    yield Correction(
        "asked betas", "hyperparameter-value", "bias correction takes the betas asked for, the moments do not",
        "c1 = 1 - beta1^t; c2 = 1 - beta2^t, beta1 and beta2 as asked", lambda p, t: (1 - p.asked1**t, 1 - p.asked2**t),
    )  # fmt: skip


def _rounded(kept: Format, format: Format) -> Iterator[Correction]:
    name, own = kept.name, kept.precision >= format.precision

    def both(power: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[Moves, np.ndarray], Divisors]:
        return lambda moves, t: (1 - power(moves.asked1, t), 1 - power(moves.asked2, t))

    def near(values: np.ndarray) -> np.ndarray:
        return cast(values, kept)

    text = "c1 = 1 - {0}1^t; c2 = 1 - {0}2^t"
    kinds = [
        (
            "betas", "hyperparameter-rounding", f"the betas of the bias correction are kept in {name}",
            f"{name}(beta)", lambda beta, t: near(beta) ** t,
        ),
        (
            "power", "beta-power", f"beta^t is formed in {name}", f"the {name} power of beta",
            lambda beta, t: near(near(beta) ** t),
        ),
        (
            "rounded power", "beta-power", f"beta^t is rounded to {name}", "rounded power of beta",
            lambda beta, t: near(beta**t),
        ),
        (
            "product", "beta-power", f"beta^t is a repeated product in {name}", f"product in {name} of beta",
            lambda beta, t: _product(near(beta), t, kept),
        ),
    ]  # fmt: skip
    # In the 16-bit formats the two first are the same to rounding, and it is the power that is formed there.
    for kind, family, detail, betas, power in kinds if kept.precision > 11 else [*kinds[1:], kinds[0]]:
        # A power of one in a format of few bits: 1 - beta^t is 0 and no weight ever moves.
        yield Correction(f"{kind} in {name}", family, detail, text.format(betas), both(power), own)


def _product(beta: np.ndarray, t: np.ndarray, format: Format) -> np.ndarray:
    """Repeated products, each rounded to the format; t: whole numbers of at least 0."""
    made = np.ones(len(t))
    counts = np.maximum(t, 0).astype(np.int64)
    for one in np.unique(beta).tolist():
        there = beta == one
        made[there] = _products(one, 1 << int(counts[there].max()).bit_length(), format)[counts[there]]
    return made


@cache
def _products(beta: float, length: int, format: Format) -> np.ndarray:
    table = [1.0]
    while len(table) < length:
        table.append(float(cast(np.array(table[-1] * beta), format)))
    return np.array(table)
