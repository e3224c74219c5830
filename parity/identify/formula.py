"""The rule that was found, in words for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.identify.moment import Moment
from parity.identify.moments import Moments
from parity.identify.observation import Observation, Probe
from parity.identify.points import Points
from parity.identify.update import Form
from parity.identify.weights import Weights

_FORMS = {Form.OUTSIDE: "outside", Form.HAT: "hat", Form.INSIDE: "inside", Form.TWICE: "inside and outside",
          Form.NESTEROV: "outside", Form.NESTEROV_HAT: "hat", Form.NO_ROOT: "outside"}  # fmt: skip


def convention_of(
    points: Points, found: Moments, moved: Weights, observations: Sequence[Observation]
) -> dict[str, Any]:
    """Choices of the formula by name, and the hyperparameters in force where the first probe asks for others."""
    rule = moved.rule
    if rule is None:
        return {}
    asked = observations[0].probe.hyper
    first = points.at(points.probe == 0)
    lr = np.ones(1) if not len(first) else first.lr
    distinct = bool((points.seen != points.step).any())
    decays = {one for one in moved.decay.values() if one}
    return {
        "epsilon": "undetermined" if rule.eps.name == "none" else _FORMS[rule.form],
        "bias_correction": rule.correction.name,
        "step_count": ("per_parameter" if rule.count == "seen" else "global") if distinct else "undetermined",
        "weight_decay": sorted(decays | {f"g = g + {what} * w" for k, what in found.couplings.values() if k}),
        "amsgrad": any(one.probe.hyper.amsgrad for one in observations)
        and not any(one.family == "amsgrad" for one in moved.findings),
        "hyperparameters": {
            "lr": _in_force(rule.lr, float(lr[0])),
            "beta1": float(found.beta1[points.probe == 0][0]) if len(first) else asked.beta1,
            "beta2": float(found.beta2[points.probe == 0][0]) if len(first) else asked.beta2,
            "eps": _in_force(rule.eps, asked.eps),
        },
    }


def _in_force(choice: Any, asked: float) -> float | str:
    if choice.name == "asked":
        return asked
    if choice.name == "factor":
        return float(choice.number * asked)
    if choice.name == "constant":
        return float(choice.number)
    return str(choice.name)


def formula_of(found: Moments, moved: Weights, observations: Sequence[Observation]) -> str:
    """The rule as lines of text, in the order in which a step computes them."""
    rule = moved.rule
    if rule is None:
        return ""
    probes = [one.probe for one in observations]
    coupled = {number: f"g = g + {what} * w" for number, (k, what) in found.couplings.items() if k}
    lines = _by_decay(coupled, probes)
    lines.append(_average("m", "beta1", found.m_rule, found.m))
    lines.append("v = max(beta2 * v, g^2)" if found.v_rule == "max" else _average("v", "beta2", found.v_rule, found.v))
    if any(one.probe.hyper.amsgrad for one in observations) and not any(
        one.family == "amsgrad" for one in moved.findings
    ):
        always = all(one.hyper.amsgrad for one in probes)
        lines.append(("" if always else "if amsgrad: ") + "vmax = max(vmax, v), in the place of v")
    counted = "gradients of the parameter" if rule.count == "seen" else "steps"
    lines.append(f"{rule.correction.text}; t: {counted}")
    lines += _by_decay({number: text for number, text in moved.decay.items() if text}, probes)
    lines.append(f"w = w - {rule.form.value}")
    return "\n".join(lines)


def _by_decay(lines: Mapping[int, str], probes: Sequence[Probe]) -> list[str]:
    """Lines by number of the probe, each once, with the kind of decay at which it is done, where both are asked for."""
    asked = {number: one.hyper.decoupled for number, one in enumerate(probes) if one.hyper.weight_decay}
    told = []
    for line in sorted(set(lines.values())):
        kinds = {asked[number] for number, one in lines.items() if one == line}
        condition = "" if kinds == set(asked.values()) else f"if {'' if kinds == {True} else 'not '}decoupled: "
        told.append(condition + line)
    return told


def _average(name: str, beta: str, fresh: str, moment: Moment | None) -> str:
    factor = f"(1 - {beta})"
    if moment is not None and any("lacks the factor" in one.detail for one in moment.findings):
        return f"{name} = {beta} * {name} + {fresh}"
    scale = "" if moment is None or moment.scale == 1 else f"{moment.scale:g} * "
    return f"{name} = {beta} * {name} + {factor} * {scale}{fresh}"
