"""One step of every optimizer that is no Adam, as its paper and the frameworks have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from parity.identify.ball import Ball, exact
from parity.numerics.formats import Format


@dataclass(slots=True)
class Slot:
    """What a rule sees at one step: gradient and weights, (size,) or a tensor's shape; its count; numbers in force.

    kept: what it has kept from the steps before, by name. unit: by how much numbers are rounded before they are used.
    """

    g: Ball
    w: Ball
    t: int
    asked: Mapping[str, float]
    kept: dict[str, Ball]
    unit: float
    format: Format

    def number(self, value: float, roundings: float = 1.0) -> Ball:
        """A number, rounded so often before it is used."""
        return Ball(np.asarray(value), np.asarray(roundings * self.unit * abs(value)), self.format)

    def __getitem__(self, name: str) -> Ball:
        return self.number(self.asked[name])

    def last(self, name: str, start: float = 0.0) -> Ball:
        """What was kept."""
        return self.kept.get(name) or exact(np.full(self.g.middle.shape, start), self.format)

    def keep(self, name: str, value: Ball) -> Ball:
        """Keep a value for the next step."""
        self.kept[name] = value
        return value

    def mean(self, name: str, new: Ball, beta: str, start: float = 0.0) -> Ball:
        """``beta * last + (1 - beta) * new``, kept."""
        return self.keep(name, self[beta] * self.last(name, start) + (1 - self[beta]) * new)

    def power(self, beta: str, t: int) -> Ball:
        """``beta^t``."""
        return self.number(self.asked[beta] ** t, t + 1)

    def left(self, beta: str, ahead: int = 0) -> Ball:
        """``1 - beta^t``, by which a moment is corrected."""
        return 1 - self.power(beta, self.t + ahead)


def first_moment(s: Slot) -> Ball:
    """``m = beta1 * m + (1 - beta1) * g``."""
    return s.mean("m", s.g, "beta1")


def second_moment(s: Slot) -> Ball:
    """``v = beta2 * v + (1 - beta2) * g^2``."""
    return s.mean("v", s.g.square(), "beta2")


def corrected(s: Slot, numerator: Ball, v: Ball) -> Ball:
    """``lr * numerator / (sqrt(v / (1 - beta2^t)) + eps)``."""
    return s["lr"] * numerator / ((v / s.left("beta2")).root() + s["eps"])


def nadam_optax(s: Slot) -> Ball:
    """Dozat 2016 without a schedule of beta1: each term has its own divisor."""
    ahead = s["beta1"] * (first_moment(s) / s.left("beta1", 1)) + (1 - s["beta1"]) * (s.g / s.left("beta1"))
    return corrected(s, ahead, second_moment(s))


def nadam_kernel(s: Slot) -> Ball:
    """TensorFlow's ApplyAdam with use_nesterov: both terms share the divisor."""
    alpha = s["lr"] * s.left("beta2").root() / s.left("beta1")
    return alpha * (s["beta1"] * first_moment(s) + (1 - s["beta1"]) * s.g) / (second_moment(s).root() + s["eps"])


def nadam(s: Slot) -> Ball:
    """Dozat 2016, section 3: beta1 warms up by psi, 0.004 in torch, 1 in Keras."""

    def mu(t: int) -> float:
        return s.asked["beta1"] * (1 - 0.5 * float(0.96 ** (t * s.asked["psi"])))

    u = [mu(t) for t in range(1, s.t + 2)]
    now, ahead = (1 - s.number(prod(u[: s.t + more]), s.t + 3) for more in (0, 1))
    m = first_moment(s)
    return corrected(s, s.number(u[-1], 3) * m / ahead + (1 - s.number(u[-2], 3)) * s.g / now, second_moment(s))


def rectification(s: Slot) -> tuple[Ball, Ball | None]:
    """m / (1 - beta1^t), and the rectification of RAdam; None as long as the variance is not known."""
    m_hat = first_moment(s) / s.left("beta1")
    most = 2 / (1 - s["beta2"]) - 1
    rho = most - s.number(2.0 * s.t) * s.power("beta2", s.t) / s.left("beta2")
    if abs(float(rho.middle) - 5) <= float(rho.radius):
        return m_hat, s.number(np.nan)
    if float(rho.middle) < 5:
        return m_hat, None
    return m_hat, ((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho)).root()


def radam_torch(s: Slot) -> Ball:
    """Liu et al. 2020, Algorithm 2, with eps beside sqrt(v)."""
    m_hat, rectified = rectification(s)
    v = second_moment(s)
    if rectified is None:
        return s["lr"] * m_hat
    return s["lr"] * m_hat * (s.left("beta2").root() / (v.root() + s["eps"])) * rectified


def radam_optax(s: Slot) -> Ball:
    """Liu et al. 2020, Algorithm 2, with eps beside sqrt(v_hat)."""
    m_hat, rectified = rectification(s)
    v = second_moment(s)
    return s["lr"] * m_hat if rectified is None else corrected(s, rectified * m_hat, v)


def adamax(s: Slot) -> Ball:
    """Kingma & Ba 2015, Algorithm 2, with eps beside the maximum."""
    u = s.keep("u", (s["beta2"] * s.last("u")).at_least(abs(s.g)))
    return s["lr"] * first_moment(s) / (s.left("beta1") * (u + s["eps"]))


def adamax_inside(s: Slot) -> Ball:
    """Kingma & Ba 2015, Algorithm 2, with eps inside the maximum."""
    u = s.keep("u", (s["beta2"] * s.last("u")).at_least(abs(s.g) + s["eps"]))
    return s["lr"] * first_moment(s) / s.left("beta1") / u


def adabelief(after: bool, beside: bool) -> Callable[[Slot], Ball]:
    """Zhuang et al. 2020, Algorithm 2. after: g less m of this step; beside: root is added to s at every step."""

    def step(s: Slot) -> Ball:
        before = s.last("m")
        m = first_moment(s)
        error = s.g - (m if after else before)
        fresh = s["beta2"] * s.last("s") + (1 - s["beta2"]) * error.square()
        fresh = s.keep("s", fresh + s["root"] if beside else fresh)
        return corrected(s, m / s.left("beta1"), fresh)

    return step


def yogi(s: Slot) -> Ball:
    """Zaheer et al. 2018, Algorithm 2, with bias correction as in optax."""
    start = s.asked["start"]
    v, square = s.last("v", start), s.g.square()
    v = s.keep("v", v - (1 - s["beta2"]) * (v - square).sign() * square)
    return corrected(s, s.mean("m", s.g, "beta1", start) / s.left("beta1"), v)


def amsgrad(s: Slot) -> Ball:
    """Reddi et al. 2018, of the corrected v."""
    largest = s.keep("largest", s.last("largest").at_least(second_moment(s) / s.left("beta2")))
    return s["lr"] * (first_moment(s) / s.left("beta1")) / (largest.root() + s["eps"])


def trusted(s: Slot, update: Ball, coefficient: float = 1.0) -> Ball:
    """An update of the length of the weights, times a coefficient; as it is where either has none."""
    if not (s.w.middle.any() and update.middle.any()):
        return update
    return s.number(coefficient) * s.w.norm() / update.norm() * update


def lamb(s: Slot) -> Ball:
    """You et al. 2020, Algorithm 2."""
    update = (first_moment(s) / s.left("beta1")) / ((second_moment(s) / s.left("beta2")).root() + s["eps"])
    return s["lr"] * trusted(s, update + s["decay"] * s.w)


def lars(s: Slot) -> Ball:
    """You et al. 2017."""
    update = trusted(s, s.g + s["decay"] * s.w, s.asked["trust"])
    return s.keep("m", s["momentum"] * s.last("m") + s["lr"] * update)


def laprop(s: Slot) -> Ball:
    """Ziyin et al. 2020, Algorithm 1: the gradient is divided before it is averaged."""
    m = s.mean("m", s.g / ((second_moment(s) / s.left("beta2")).root() + s["eps"]), "beta1")
    return s["lr"] * m / s.left("beta1")


def adopt(clipped: bool) -> Callable[[Slot], Ball]:
    """Taniguchi et al. 2024, Algorithm 1: v of the step before; clipped: their second version."""

    def step(s: Slot) -> Ball:
        if s.t == 1:
            s.keep("v", s.g.square())
            return 0 * s.g
        fresh = s.g / s.last("v").root().at_least(s["eps"])
        if clipped:
            limit = s.number(float(s.t - 1) ** 0.25, 3)
            fresh = fresh.at_most(limit).at_least(-limit)
        second_moment(s)
        return s["lr"] * s.mean("m", fresh, "beta1")

    return step


def ademamix(s: Slot) -> Ball:
    """Pagliardini et al. 2024, with a slow average that is not corrected."""
    slow = s.mean("slow", s.g, "beta3")
    return corrected(s, first_moment(s) / s.left("beta1") + s["alpha"] * slow, second_moment(s))


def adan(s: Slot) -> Ball:
    """Xie et al. 2022, Algorithm 1."""
    change = 0 * s.g if s.t == 1 else s.g - s.last("g")
    s.keep("g", s.g)
    m, v = first_moment(s), s.mean("d", change, "beta2")
    n = s.mean("n", (s.g + (1 - s["beta2"]) * change).square(), "beta3")
    u = m / s.left("beta1") + (1 - s["beta2"]) * (v / s.left("beta2"))
    return s["lr"] * u / ((n / s.left("beta3") + s["root"]).root() + s["eps"])


def adamp(s: Slot) -> Ball:
    """Heo et al. 2021, Algorithm 2."""
    denominator = (second_moment(s) / s.left("beta2")).root() + s["eps"]
    m = first_moment(s) / s.left("beta1")
    change = m / denominator
    w, g = s.w.middle.reshape(-1), s.g.middle.reshape(-1)
    if s.w.middle.ndim > 1:
        for rows in (len(s.w.middle), 1):
            one, other = w.reshape(rows, -1), g.reshape(rows, -1)
            cosine = np.abs((one * other).sum(1)) / np.maximum(
                np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1), 1e-8
            )
            if cosine.max() < 0.1 / np.sqrt(one.shape[1]):
                unit = one / (np.linalg.norm(one, axis=1, keepdims=True) + 1e-8)
                along = unit * (unit * change.middle.reshape(rows, -1)).sum(1, keepdims=True)
                change = change - exact(along.reshape(s.w.middle.shape), s.format)
                break
    return s["lr"] * change


def denominator(s: Slot, inside: bool, centred: bool) -> Ball:
    """The root of RMSprop's average, centred or not, with eps inside or outside."""
    v = s.mean("v", s.g.square(), "rho")
    if centred:
        v = v - s.mean("mean", s.g, "rho").square()
    return (v + s["eps"]).root() if inside else v.root() + s["eps"]


def rmsprop(inside: bool, centred: bool, kind: str) -> Callable[[Slot], Ball]:
    """Tieleman & Hinton 2012. kind: of momentum, empty for none."""

    def step(s: Slot) -> Ball:
        fresh = s.g / denominator(s, inside, centred)
        return gathered(s, fresh, kind)

    return step


def gathered(s: Slot, fresh: Ball, kind: str) -> Ball:
    """lr times momentum of an update, lr in the buffer or outside."""
    if not kind:
        return s["lr"] * fresh
    if "lr inside" in kind:
        fresh = s["lr"] * fresh
    b = s.keep("b", s["momentum"] * s.last("b") + fresh)
    b = fresh + s["momentum"] * b if "Nesterov" in kind else b
    return b if "lr inside" in kind else s["lr"] * b


def sgd(kind: str) -> Callable[[Slot], Ball]:
    """Steps along the gradient. kind: of momentum."""
    return lambda s: gathered(s, s.g, kind)


def dampened(nesterov: bool) -> Callable[[Slot], Ball]:
    """Momentum as torch has it: the first gradient is taken whole."""

    def step(s: Slot) -> Ball:
        fresh = s.g if s.t == 1 else (1 - s["dampening"]) * s.g
        b = s.keep("b", s["momentum"] * s.last("b") + fresh)
        return s["lr"] * (s.g + s["momentum"] * b if nesterov else b)

    return step


def adagrad(inside: bool) -> Callable[[Slot], Ball]:
    """Duchi et al. 2011. inside: eps inside the root."""

    def step(s: Slot) -> Ball:
        v = s.keep("v", s.last("v", s.asked["start"]) + s.g.square())
        return s["lr"] * s.g / ((v + s["eps"]).root() if inside else v.root() + s["eps"])

    return step


def adadelta(s: Slot) -> Ball:
    """Zeiler 2012, Algorithm 1."""
    v = s.mean("v", s.g.square(), "rho")
    moved = (s.last("d") + s["eps"]).root() / (v + s["eps"]).root() * s.g
    s.mean("d", moved.square(), "rho")
    return s["lr"] * moved


def lion(s: Slot) -> Ball:
    """Chen et al. 2023, Algorithm 2."""
    between = s["beta1"] * s.last("m") + (1 - s["beta1"]) * s.g
    s.mean("m", s.g, "rho")
    return s["lr"] * between.sign()


def adafactor(factored: bool, slow: bool, clamped: bool) -> Callable[[Slot], Ball]:
    """Shazeer & Stern 2018. factored: of matrices; slow: lr is at most 1/sqrt(t); clamped: eps as a least v."""

    def step(s: Slot) -> Ball:
        least = 2.0 ** (1 - s.format.precision) if clamped else s.asked["least"]
        square = s.g.square() if clamped else s.g.square() + s.number(least)
        s.asked = {**s.asked, "one": 1 - float(s.t) ** -0.8}
        if factored and s.g.middle.ndim > 1:
            r, c = (s.mean(name, square.mean(axis), "one") for name, axis in (("r", -1), ("c", -2)))
            v = r * c / (r.mean(-2).at_least(least) if clamped else r.mean(-2))
        else:
            v = s.mean("v", square, "one")
        u = s.g / (v.at_least(least**2) if clamped else v).root()
        size = float(np.sqrt(max(s.g.middle.size, 1)))
        u = u / (u.norm() / size).at_least(1.0)
        rate = min(s.asked["lr"], float(s.t) ** -0.5) if slow else s.asked["lr"]
        return s.number(rate, 3) * (s.w.norm() / size).at_least(1e-3) * u

    return step


def novograd(s: Slot) -> Ball:
    """Ginsburg et al. 2019: v is one number for every tensor."""
    square = s.g.norm().square()
    v = s.keep("v", square if s.t == 1 else s["beta2"] * s.kept["v"] + (1 - s["beta2"]) * square)
    fresh = s.g / (v.root() + s["eps"]) + s["decay"] * s.w
    return s["lr"] * s.keep("m", s["beta1"] * s.last("m") + fresh)


def ftrl(s: Slot) -> Ball:
    """McMahan et al. 2013, without regularisation."""
    before = s.last("v", s.asked["start"])
    v = s.keep("v", before + s.g.square())
    linear = s.keep("linear", s.last("linear") + s.g - (v.root() - before.root()) / s["lr"] * s.w)
    return s.w + linear / (v.root() / s["lr"])


def rprop(s: Slot) -> Ball:
    """Riedmiller & Braun 1993, as in torch."""
    turned = np.sign(s.g.middle * s.last("g").middle)
    factor = np.where(turned > 0, 1.2, np.where(turned < 0, 0.5, 1.0))
    size = s.keep("size", (s.last("size", s.asked["lr"]) * exact(factor, s.format)).at_most(50.0).at_least(1e-6))
    g = s.keep("g", s.g.where(turned >= 0, 0.0))
    return g.sign() * size


def asgd(s: Slot) -> Ball:
    """Polyak & Juditsky 1992, as in torch: the rate is a float32, formed of the lr of the step before."""
    lr = float(s.kept.get("lr", s["lr"]).middle)
    s.keep("lr", s["lr"])
    rate = lr / (1 + 1e-4 * lr * (s.t - 1)) ** 0.75
    return s.number(rate, 4 + 2.0**-24 / s.unit) * (s.g + s.number(1e-4) * s.w)


def optimistic(s: Slot) -> Ball:
    """Twice the gradient less the one before."""
    before = s.kept.get("g", s.g)
    s.keep("g", s.g)
    return s["lr"] * (2 * s.g - before)


def acprop(s: Slot) -> Ball:
    """Zhuang et al. 2021: AdaBelief's s of the step before, without momentum."""
    before, error = s.last("s"), s.g - s.last("m")
    s.keep("s", s["beta2"] * before + (1 - s["beta2"]) * error.square() + s["root"])
    first_moment(s)
    return (
        s["lr"] * s.g / (1 + s["eps"])
        if s.t == 1
        else s["lr"] * s.g / ((before / s.left("beta2", -1)).root() + s["eps"])
    )
