"""The optimizers that are no Adam: names, variants, formulas, and the numbers that are usual."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from parity.identify.ball import Ball
from parity.identify.relative_steps import (
    Slot,
    acprop,
    adabelief,
    adadelta,
    adafactor,
    adagrad,
    adamax,
    adamax_inside,
    adamp,
    adan,
    ademamix,
    adopt,
    amsgrad,
    asgd,
    corrected,
    dampened,
    first_moment,
    ftrl,
    lamb,
    laprop,
    lars,
    lion,
    nadam,
    nadam_kernel,
    nadam_optax,
    novograd,
    optimistic,
    radam_optax,
    radam_torch,
    rmsprop,
    rprop,
    second_moment,
    sgd,
    yogi,
)

Numbers = Mapping[str, tuple[float | str, ...]]


class Rule(NamedTuple):
    """An optimizer: its name, in which variant, its formula, the change it makes (subtracted from w).

    numbers: those that are its own, each with the values that are usual, or the name of what was asked; the first that
    fits is in force. whole: it needs whole tensors. Two of one formula differ by what it does not say: the least v.
    """

    name: str
    variant: str
    text: str
    step: Callable[[Slot], Ball]
    numbers: Mapping[str, tuple[float | str, ...]] = MappingProxyType({})
    whole: bool = False


NOTHING = "nothing: no weight ever changes"

_MOMENTUM: tuple[float | str, ...] = (0.9, 0.95, 0.99, 0.8, 0.5, 0.85, 0.98, 0.999)
_RHO: tuple[float | str, ...] = (0.9, 0.99, 0.999, 0.95, 0.98)
_M, _V = "m = beta1 * m + (1 - beta1) * g\n", "v = beta2 * v + (1 - beta2) * g^2\n"
_HATS = "m_hat = m / (1 - beta1^t); v_hat = v / (1 - beta2^t)\n"


def _rules() -> Iterator[Rule]:
    yield Rule(NOTHING, "", "w = w", lambda s: 0 * s.g)
    yield Rule("SGD", "", "w = w - lr * g", lambda s: s["lr"] * s.g)
    momenta: Numbers = {"momentum": _MOMENTUM}
    for kind in ("", "Nesterov", "lr inside", "Nesterov, lr inside"):
        own, beside = ("lr * g", "b") if "lr inside" in kind else ("g", "lr * b")
        ahead = f"{own} + momentum * b" if "Nesterov" in kind else "b"
        update = ahead if "lr inside" in kind else beside.replace("b", f"({ahead})" if "Nesterov" in kind else "b")
        text = f"b = momentum * b + {own}\nw = w - {update}"
        yield Rule("SGD with momentum", kind, text, sgd(kind or "momentum"), momenta)
    for nesterov in (False, True):
        yield Rule(
            "SGD with momentum",
            "dampened" + ", Nesterov" * nesterov,
            "b = momentum * b + (1 - dampening) * g, g at the first step\n"
            f"w = w - lr * {'(g + momentum * b)' if nesterov else 'b'}",
            dampened(nesterov),
            {**momenta, "dampening": (0.9, 0.5, 0.1, 0.95, 0.99)},
        )
    yield Rule(
        "SGD with momentum", "an average of gradients", _M + "w = w - lr * m", lambda s: s["lr"] * first_moment(s)
    )
    yield Rule("sign descent", "", "w = w - lr * sign(g)", lambda s: s["lr"] * s.g.sign())
    yield Rule("Signum", "", "m = rho * m + (1 - rho) * g\nw = w - lr * sign(m)",
               lambda s: s["lr"] * s.mean("m", s.g, "rho").sign(), {"rho": _RHO})  # fmt: skip
    yield Rule("Lion", "", "w = w - lr * sign(beta1 * m + (1 - beta1) * g)\nm = rho * m + (1 - rho) * g", lion,
               {"rho": ("beta2", *_RHO)})  # fmt: skip
    for centred in (False, True):
        for inside in (False, True):
            root = "v - a^2" if centred else "v"
            under = f"sqrt({root} + eps)" if inside else f"(sqrt({root}) + eps)"
            average = "v = rho * v + (1 - rho) * g^2\n" + "a = rho * a + (1 - rho) * g\n" * centred
            told = ("eps inside the root" if inside else "eps outside the root") + ", centred" * centred
            numbers: Numbers = {"rho": ("beta2", *_RHO)}
            yield Rule("RMSprop", told, f"{average}w = w - lr * g / {under}", rmsprop(inside, centred, ""), numbers)
            for kind in ("momentum", "momentum, lr inside", "Nesterov", "Nesterov, lr inside"):
                lr = "lr * " if "lr inside" in kind else ""
                update = "(x + momentum * b)" if "Nesterov" in kind else "b"
                text = f"{average}x = {lr}g / {under}; b = momentum * b + x\nw = w - {'' if lr else 'lr * '}{update}"
                yield Rule("RMSprop", f"{told}, {kind}", text, rmsprop(inside, centred, kind), {**numbers, **momenta})
    for inside in (False, True):
        under = "sqrt(v + eps)" if inside else "(sqrt(v) + eps)"
        yield Rule("Adagrad", "eps inside the root" if inside else "eps outside the root",
                   f"v = v + g^2, from start on\nw = w - lr * g / {under}", adagrad(inside),
                   {"start": (0.0, 0.1, 1e-3, 1e-6)})  # fmt: skip
    yield Rule(
        "Adadelta",
        "",
        "v = rho * v + (1 - rho) * g^2\nx = sqrt(d + eps) / sqrt(v + eps) * g\nd = rho * d + (1 - rho) * x^2\n"
        "w = w - lr * x",
        adadelta,
        {"rho": ("beta2", *_RHO)},
    )
    ahead = (
        "mu = beta1 * (1 - 0.5 * 0.96^(t * psi)), of t and of t + 1; p: product of all mu up to t, and up to t + 1\n"
    )
    end = "w = w - lr * x / (sqrt(v / (1 - beta2^t)) + eps)"
    yield Rule("NAdam", "as in torch and Keras, mu warming up",
               f"{_M}{_V}{ahead}x = mu(t + 1) * m / (1 - p(t + 1)) + (1 - mu(t)) * g / (1 - p(t))\n{end}", nadam,
               {"psi": (0.004, 1.0)})  # fmt: skip
    yield Rule("NAdam", "as in optax, without a schedule of beta1",
               f"{_M}{_V}x = beta1 * m / (1 - beta1^(t + 1)) + (1 - beta1) * g / (1 - beta1^t)\n{end}",
               nadam_optax)  # fmt: skip
    yield Rule("NAdam", "as in TensorFlow's kernel, use_nesterov",
               f"{_M}{_V}x = beta1 * m + (1 - beta1) * g\n"
               "w = w - lr * sqrt(1 - beta2^t) / (1 - beta1^t) * x / (sqrt(v) + eps)",
               nadam_kernel)  # fmt: skip
    rectified = "rho = 2 / (1 - beta2) - 1 - 2 * t * beta2^t / (1 - beta2^t)\n"
    yield Rule("RAdam", "as in torch, eps beside sqrt(v)",
               f"{_M}{_V}{rectified}w = w - lr * m_hat, times r(rho) * sqrt(1 - beta2^t) / (sqrt(v) + eps) if rho > 5",
               radam_torch)  # fmt: skip
    yield Rule("RAdam", "as in optax, eps beside sqrt(v_hat)",
               f"{_M}{_V}{rectified}w = w - lr * m_hat, times r(rho) / (sqrt(v_hat) + eps) if rho >= 5",
               radam_optax)  # fmt: skip
    yield Rule("Adamax", "eps beside the maximum, as in Keras",
               f"{_M}u = max(beta2 * u, |g|)\nw = w - lr / (1 - beta1^t) * m / (u + eps)", adamax)  # fmt: skip
    yield Rule("Adamax", "eps inside the maximum, as in torch and optax",
               f"{_M}u = max(beta2 * u, |g| + eps)\nw = w - lr / (1 - beta1^t) * m / u", adamax_inside)  # fmt: skip
    for after in (True, False):
        for rooted in (True, False):
            plus = " + root" if rooted else ""
            text = f"{'m after' if after else 'm before'} the step in the error"
            yield Rule(
                "AdaBelief",
                text + (", root added at every step" if rooted else ""),
                f"{_M}s = beta2 * s + (1 - beta2) * (g - m)^2{plus}, {text}\n{_HATS.replace('v', 's')}"
                "w = w - lr * m_hat / (sqrt(s_hat) + eps)",
                adabelief(after, rooted),
                {"root": ("eps", 1e-16)} if rooted else {},
            )
    yield Rule("Yogi", "", f"v = v - (1 - beta2) * sign(v - g^2) * g^2; m and v from start on\n{_M}{_HATS}"
               "w = w - lr * m_hat / (sqrt(v_hat) + eps)", yogi, {"start": (0.0, 1e-6)})  # fmt: skip
    yield Rule("AMSGrad", "the maximum of the corrected v, unasked",
               f"{_M}{_V}{_HATS}x = max(x, v_hat)\nw = w - lr * m_hat / (sqrt(x) + eps)", amsgrad)  # fmt: skip
    yield Rule("LAMB", "", f"{_M}{_V}{_HATS}u = m_hat / (sqrt(v_hat) + eps) + weight_decay * w\n"
               "w = w - lr * |w| / |u| * u, of every tensor", lamb, whole=True)  # fmt: skip
    yield Rule("LARS", "", "u = g + weight_decay * w\nb = momentum * b + lr * trust * |w| / |u| * u\nw = w - b", lars,
               {**momenta, "trust": (0.001, 1.0)}, whole=True)  # fmt: skip
    yield Rule("LaProp", "", f"{_V}m = beta1 * m + (1 - beta1) * g / (sqrt(v_hat) + eps)\n"
               "w = w - lr * m / (1 - beta1^t)", laprop)  # fmt: skip
    for clipped in (True, False):
        held = ", held to (t - 1)^0.25" if clipped else ""
        yield Rule("ADOPT", "clipped" if clipped else "",
                   f"nothing at step 1 but v = g^2\nm = beta1 * m + (1 - beta1) * (g / max(sqrt(v), eps){held})\n{_V}"
                   "w = w - lr * m", adopt(clipped))  # fmt: skip
    yield Rule("AdEMAMix", "", f"{_M}{_V}s = beta3 * s + (1 - beta3) * g\n"
               "w = w - lr * (m_hat + alpha * s) / (sqrt(v_hat) + eps)", ademamix,
               {"beta3": (0.9999, 0.999), "alpha": (6.0, 5.0, 8.0)})  # fmt: skip
    yield Rule("Adan", "", "d = beta2 * d + (1 - beta2) * (g - g of the step before)\n"
               "n = beta3 * n + (1 - beta3) * (g + (1 - beta2) * (g - g of the step before))^2\n"
               "w = w - lr * (m_hat + (1 - beta2) * d_hat) / (sqrt(n_hat + root) + eps)", adan, 
               {"beta3": (0.99, 0.9), "root": (0.0, 1e-8)})  # fmt: skip
    for told, factored, slow, clamped in (
        ("as in torch", True, True, True), ("as in Keras", True, True, False),
        ("as in optax, small tensors not factored", False, False, False),
    ):  # fmt: skip
        yield Rule("Adafactor", told, "v: averages of g^2 with beta2 = 1 - t^-0.8"
                   + (", of matrices as rows times columns" if factored else "")
                   + "\nu = g / sqrt(v); u = u / max(1, rms(u))\nw = w - "
                   + ("min(lr, 1 / sqrt(t))" if slow else "lr") + " * max(0.001, rms(w)) * u",
                   adafactor(factored, slow, clamped), {} if clamped else {"least": (1e-30, "eps")},
                   whole=True)  # fmt: skip
    yield Rule("NovoGrad", "", "v = beta2 * v + (1 - beta2) * |g|^2, of every tensor\n"
               "m = beta1 * m + g / (sqrt(v) + eps)\nw = w - lr * m", novograd, whole=True)  # fmt: skip
    yield Rule("Ftrl", "", "z = z + g - (sqrt(v + g^2) - sqrt(v)) / lr * w; v = v + g^2, from start on\n"
               "w = -lr * z / sqrt(v)", ftrl, {"start": (0.1, 0.0)})  # fmt: skip
    yield Rule("Rprop", "", "step * 1.2 where the sign of g stays, * 0.5 where it turns, and g = 0 there\n"
               "w = w - step * sign(g)", rprop)  # fmt: skip
    yield Rule("ASGD", "", "w = w - lr / (1 + 1e-4 * lr * (t - 1))^0.75 * (g + 1e-4 * w)", asgd)
    yield Rule("optimistic gradient descent", "", "w = w - lr * (2 * g - g of the step before)", optimistic)
    yield Rule("ACProp", "", f"s = beta2 * s + (1 - beta2) * (g - m)^2 + root, m before the step\n{_M}"
               "w = w - lr * g / (sqrt(s_hat) + eps), s_hat of the step before", acprop,
               {"root": ("eps", 1e-16)})  # fmt: skip
    yield Rule("AdamP", "", f"{_M}{_V}{_HATS}u = m_hat / (sqrt(v_hat) + eps), less its part along w\n"
               "where g is all but orthogonal to w\nw = w - lr * u", adamp, whole=True)  # fmt: skip


RULES: tuple[Rule, ...] = tuple(_rules())
"""All that are known; what is rounding or a special case of another comes before it."""

ADAMS: tuple[Rule, ...] = (
    Rule("Adam", "eps outside", f"{_M}{_V}{_HATS}w = w - lr * m_hat / (sqrt(v_hat) + eps)",
         lambda s: corrected(s, first_moment(s) / s.left("beta1"), second_moment(s))),
    Rule("Adam", "without bias correction", f"{_M}{_V}w = w - lr * m / (sqrt(v) + eps)",
         lambda s: s["lr"] * first_moment(s) / (second_moment(s).root() + s["eps"])),
)  # fmt: skip
"""What a stranger is held against as well; none of them is given as a name."""
