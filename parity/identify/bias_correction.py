"""How the bias of m and v is corrected: what is counted, what beta^t is, and what is made of 1 - beta^t."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Protocol

import numpy as np

from parity.identify.answer import Finding
from parity.identify.points import cast, roundoff
from parity.numerics.formats import FORMATS, Format

SINGLE = FORMATS["float32"]

Divisors = tuple[np.ndarray, np.ndarray]

COUNTER_ENDS = (256, 2048, 128, 255, 2047)
"""Where counters of few bits stand still: those of bfloat16 and float16, which halves do not tell from 255 and 2047."""


class Placed(Protocol):
    """What a count needs to know of points, each (points,), as `Moves` has it."""

    @property
    def step(self) -> np.ndarray: ...
    @property
    def place(self) -> np.ndarray: ...
    @property
    def of(self) -> np.ndarray: ...


class Asked(Placed, Protocol):
    """What a correction needs to know of them."""

    @property
    def lr(self) -> np.ndarray: ...
    @property
    def beta1(self) -> np.ndarray: ...
    @property
    def beta2(self) -> np.ndarray: ...
    @property
    def asked1(self) -> np.ndarray: ...
    @property
    def asked2(self) -> np.ndarray: ...
    @property
    def product1(self) -> np.ndarray: ...
    @property
    def product2(self) -> np.ndarray: ...
    @property
    def seen(self) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Law:
    """What the divisors are: ``(1 - beta1^t)^p`` of m and ``(1 - beta2^t)^q`` of v. detail: empty for p = q = 1."""

    name: str
    p: float = 1.0
    q: float = 1.0
    detail: str = ""

    @property
    def text(self) -> str:
        """c1 and c2 in a formula, {0} and {1} standing for the powers of beta."""
        return f"c1 = {_power('1 - {0}', self.p)}; c2 = {_power('1 - {1}', self.q)}"


def _power(base: str, exponent: float) -> str:
    match exponent:
        case 0:
            return "1"
        case 1:
            return base
        case 0.5:
            return f"sqrt({base})"
        case -1:
            return f"1 / ({base})"
        case _:
            return f"({base})^{exponent:g}"


LAWS = (
    Law("both"),
    Law("v", 0, 1, "m is used without bias correction"),
    Law("m", 1, 0, "v is used without bias correction"),
    Law("none", 0, 0, "m and v are used without bias correction"),
    Law("inverted", -1, -1, "m and v are multiplied by 1 - beta^t instead of divided"),
    Law("twice", 2, 2, "m and v are divided by 1 - beta^t twice"),
    Law("beside root", 1, 2, "v is corrected after its root"),
    Law("root of divisor", 1, 0.5, "v is divided by the root of 1 - beta2^t"),
)
"""Those that have a name; the paper's first."""


@cache
def laws() -> tuple[Law, ...]:
    """Those with a name, then every other pair of small exponents."""
    known = {(one.p, one.q) for one in LAWS}
    others = tuple(
        Law(
            f"{p:g}, {q:g}", p, q,
            f"m is divided by (1 - beta1^t)^{p:g} and v by (1 - beta2^t)^{q:g}",
        )
        for p in (0, 1, 2, -1, 0.5) for q in (0, 1, 2, -1, 0.5, -2) if (p, q) not in known
    )  # fmt: skip
    return LAWS + others


@dataclass(frozen=True, slots=True)
class Count:
    """What t is, of the number of steps or gradients so far. guarded: at 0 nothing is corrected."""

    name: str
    detail: str
    text: str
    of: Callable[[Placed, np.ndarray], np.ndarray]
    guarded: bool = False


PLAIN_COUNT = Count("t", "", "t", lambda moves, t: t)


@cache
def counts() -> tuple[Count, ...]:
    """All of them, the plain one first."""
    return (
        PLAIN_COUNT,
        Count(
            "stuck", "t stays at 1, or the power is missing: the divisors stay 1 - beta", "1",
            lambda moves, t: np.ones(len(t)),
        ),
        Count("ahead", "t is one ahead: it begins at 2", "t + 1", lambda moves, t: t + 1),
        Count(
            "behind", "t is one behind: it begins at 0, where nothing is corrected", "t - 1",
            lambda moves, t: t - 1, guarded=True,
        ),
        Count("behind, unguarded", "t is one behind: it begins at 0", "t - 1", lambda moves, t: t - 1),
        Count("doubled", "t is doubled: it grows by two at every step", "2 * t", lambda moves, t: 2 * t),
        Count("doubled from 1", "t grows by two at every step, from 1 on", "2 * t - 1", lambda moves, t: 2 * t - 1),
        Count(
            "each parameter", "t grows by one for every parameter of a step", "(t - 1) * parameters + place",
            lambda moves, t: (moves.step - 1) * moves.of + moves.place + 1,
        ),
        Count(
            "each parameter, behind",
            "t grows by one for every parameter of a step, from 0 on, where nothing is corrected",
            "(t - 1) * parameters + place - 1",
            lambda moves, t: (moves.step - 1) * moves.of + moves.place,
            guarded=True,
        ),
        Count("halved", "t grows at every second step only", "ceil(t / 2)", lambda moves, t: np.ceil(t / 2)),
        *(
            Count(
                f"{before}until {end}", f"{told}t stands still at {end}", f"min({of}, {end})",
                lambda moves, t, end=end, ahead=ahead: np.minimum(t + ahead, end),  # type: ignore[misc]
                guarded=ahead < 0,
            )
            for before, told, of, ahead in (
                ("", "", "t", 0), ("ahead, ", "t is one ahead, and ", "t + 1", 1),
                ("behind, ", "t is one behind, where nothing is corrected at 0, and ", "t - 1", -1),
            )
            for end in COUNTER_ENDS
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Power:
    """What 1 - beta^t is. family: empty where it is that of the betas in force; benign: only rounds in the dtype.

    beta: in a formula. of: 1 - beta1^t and 1 - beta2^t of points and their t. slack: by which share of it a step may be
    another, where a library's root or a quotient of floats is in it.
    """

    name: str
    family: str
    detail: str
    beta: str
    of: Callable[[Asked, np.ndarray], Divisors]
    benign: bool = False
    slack: float = 0.0


EXACT = Power("", "", "", "beta", lambda moves, t: (1 - moves.beta1**t, 1 - moves.beta2**t))

PRODUCT = Power(
    "product of betas", "bias-correction",
    "the bias is corrected by the product of the betas so far, not by the power of that of the step",
    "running product of beta", lambda moves, t: (1 - moves.product1, 1 - moves.product2),
)  # fmt: skip
"""What is 1 less the weight of the start in the moments, where betas change."""


def powers(asked: Asked, format: Format) -> tuple[Power, ...]:
    """All of them, the exact one first; of two that are equal in real numbers the likelier one first.

    asked: points for which they are wanted; only betas that change have a product that is no power.
    """
    first, *others = _powers(format)
    with np.errstate(all="ignore"):
        apart = ~np.isclose(asked.product1, asked.asked1**asked.seen, rtol=1e-9, atol=0) | ~np.isclose(
            asked.product2, asked.asked2**asked.seen, rtol=1e-9, atol=0
        )
    return first, *([PRODUCT] if apart.any() else []), *others


@cache
def _powers(format: Format) -> tuple[Power, ...]:
    found = [
        EXACT,
        Power(
            "asked betas", "hyperparameter-value", "bias correction takes the betas asked for, the moments do not",
            "the asked beta", lambda p, t: (1 - p.asked1**t, 1 - p.asked2**t),
        ),
    ]  # fmt: skip
    for kept in sorted(FORMATS.values(), key=lambda one: -one.precision):
        if kept.name != "float64":
            found += _rounded(kept, format)
    return (*found, *(_steps_in_float32(format) if format.name == "float64" else ()))


def _rounded(kept: Format, format: Format) -> list[Power]:
    name, own = kept.name, kept.precision >= format.precision

    def both(power: Callable[[np.ndarray, np.ndarray], np.ndarray], source: str) -> Callable[..., Divisors]:
        return lambda p, t: (
            1 - power(getattr(p, f"{source}1"), t),
            1 - power(getattr(p, f"{source}2"), t),
        )

    def near(values: np.ndarray) -> np.ndarray:
        return cast(values, kept)

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
    ordered = kinds if kept.precision > 11 else [*kinds[1:], kinds[0]]
    return [
        # A power of one in a format of few bits: 1 - beta^t is 0 and no weight ever moves.
        Power(f"{kind} in {name}{of}", family, detail, betas, both(power, source), own)
        for source, of in (("asked", ""), ("beta", ", in force"))
        for kind, family, detail, betas, power in ordered
    ]


_STEPS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "lr / c1": lambda lr, c1: cast(cast(lr, SINGLE) / cast(c1, SINGLE), SINGLE),
    "(1 / c1) * lr": lambda lr, c1: cast(cast(1 / cast(c1, SINGLE), SINGLE) * cast(lr, SINGLE), SINGLE),
}
"""lr over c1 in float32 tensors."""


def _steps_in_float32(format: Format) -> Iterator[Power]:
    """lr over c1 as a float32 tensor beside float64 weights, as torch has it where lr is one: c1 is lr over that."""
    formed = next(one for one in _rounded(SINGLE, format) if one.family == "beta-power")
    for base, order, joined in (*product((EXACT, formed), _STEPS, (False,)), *product((formed,), _STEPS, (True,))):

        def divisors(
            p: Asked, t: np.ndarray, base: Power = base, order: str = order, joined: bool = joined
        ) -> Divisors:
            c1, c2 = base.of(p, t)
            step = _STEPS[order](p.lr, c1)
            # 1 - beta^t is a float32 as well, where beta^t is one.
            c2 = c2 if base is EXACT else cast(c2, SINGLE)
            if joined:
                # torch's differentiable Adam divides sqrt(v) by the product of sqrt(c2) and the step, a float32.
                c2 = (cast(cast(np.sqrt(c2), SINGLE) * step, SINGLE) / step) ** 2
            return p.lr / step, c2

        told = f", as is its product with sqrt(1 - beta2^t), and {formed.detail}" if joined else ""
        told = told or ("" if base is EXACT else f", and {formed.detail}")
        family = "beta-power" if base is formed else "hyperparameter-rounding"
        detail = f"{order.replace('c1', '(1 - beta1^t)')} is kept in float32{told}"
        name = f"{base.name}, {order} in float32" + ", times sqrt(c2)" * joined
        # Four half units: the root is a library's, eps over the step is rounded twice.
        yield Power(name, family, detail, base.beta, divisors, slack=4 * roundoff(SINGLE) if joined else 0.0)


def _product(beta: np.ndarray, t: np.ndarray, format: Format) -> np.ndarray:
    """Repeated products, each rounded to the format; t: whole numbers of at least 0."""
    # beta^t by repeated products rounds t times, a power once.
    made = np.ones(len(t))
    whole = np.maximum(t, 0).astype(np.int64)
    for one in np.unique(beta).tolist():
        there = beta == one
        made[there] = _products(one, 1 << int(whole[there].max()).bit_length(), format)[whole[there]]
    return made


@cache
def _products(beta: float, length: int, format: Format) -> np.ndarray:
    # In the format itself: each product is rounded before the next.
    with np.errstate(under="ignore"):
        products = np.multiply.accumulate(np.full(length - 1, beta, format.dtype))
    return np.append(1.0, products.astype(np.float64))


@dataclass(frozen=True, slots=True)
class Correction:
    """A way to correct the bias: law, count, and power, each on its own."""

    law: Law = LAWS[0]
    count: Count = PLAIN_COUNT
    power: Power = EXACT

    @property
    def name(self) -> str:
        """Of what departs from the paper; "both" where nothing does."""
        parts = [
            self.law.name if self.law.detail else "",
            self.count.name if self.count.detail else "",
            self.power.name,
        ]
        return "; ".join(one for one in parts if one) or self.law.name

    @property
    def text(self) -> str:
        """c1 and c2 as formulas."""
        t = "t" if self.count is PLAIN_COUNT else "n"
        told = self.law.text.format(f"{self.power.beta}1^{t}", f"{self.power.beta}2^{t}")
        return told if self.count is PLAIN_COUNT else f"{told}; n = {self.count.text}"

    @property
    def cost(self) -> float:
        """Number of departures; of a law without a name half a one more."""
        return (
            bool(self.law.detail) * (1 + 0.5 * (self.law not in LAWS))
            + bool(self.count.detail)
            + bool(self.power.family)
        )

    def divisors(self, moves: Asked, t: np.ndarray) -> Divisors:
        """c1 and c2 of points, (points,) each. t: number of steps or gradients so far."""
        counted = self.count.of(moves, t)
        c1, c2 = self.power.of(moves, counted)
        if self.count.guarded:
            c1, c2 = np.where(counted > 0, c1, 1.0), np.where(counted > 0, c2, 1.0)
        return np.asarray(c1**self.law.p), np.asarray(c2**self.law.q)

    @property
    def of_exponents(self) -> bool:
        """Whether both divisors are 1 or 1 - beta^n, however that is rounded, so that `exponents` is all of it."""
        law, family = self.law, self.power.family
        return {law.p, law.q} <= {0, 1} and family in ("", "beta-power", "hyperparameter-rounding")

    def exponents(self, moves: Placed, t: np.ndarray) -> np.ndarray:
        """n of the divisors of m and of v, (2, points), inf where one is 1. t: number of steps or gradients so far."""
        counted = self.count.of(moves, t)
        if self.count.guarded:
            counted = np.where(counted > 0, counted, np.inf)
        return np.stack([counted if power else np.full(len(t), np.inf) for power in (self.law.p, self.law.q)])

    @property
    def findings(self) -> Iterator[Finding]:
        """What it departs in from the paper."""
        evidence = {"divisors": self.text}
        if self.law.detail:
            yield Finding("bias-correction", self.law.detail, evidence)
        if self.count.detail:
            yield Finding("step-count", self.count.detail, evidence)
        if self.power.family:
            yield Finding(self.power.family, self.power.detail, evidence, self.power.benign)


PAPER = Correction()
