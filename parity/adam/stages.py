"""Which lines a step of Adam runs, in their order."""

from __future__ import annotations

from functools import cache

from parity.adam.arithmetic import Arithmetic
from parity.adam.kernels import Program, compiled
from parity.core.hyper import Hyper
from parity.core.stages import ClipBy, Stages

_ARRAYS = ("w", "m", "v", "vmax", "g")


@cache
def programs(arithmetic: Arithmetic, hyper: Hyper, has_eps: bool) -> tuple[Program, ...]:
    """What a step runs, in order: L2 or decoupled decay where asked, moments, AMSGrad's maximum where asked, update.

    has_eps: whether eps is not 0 once it is rounded.
    """
    texts: list[str] = []
    if hyper.weight_decay != 0 and not hyper.decoupled:
        texts.append(arithmetic.decay_gradient)
    elif hyper.weight_decay != 0 or arithmetic.decays_by_zero:
        texts.append(arithmetic.decay_weights)
    texts += [arithmetic.first_moment, arithmetic.second_moment]
    if hyper.amsgrad and "vmax" not in arithmetic.update:
        texts.append(arithmetic.maximum)
    texts.append(arithmetic.update)
    return tuple(compiled(_asked_for(text, hyper, has_eps), _ARRAYS) for text in texts)


def _formed(stages: Stages) -> bool:
    """Whether elements of the gradient are changed each on its own, so that a compiler may take that with the step."""
    return stages.maximize or (stages.clip is not None and stages.clip.by is ClipBy.VALUE)


def _asked_for(text: str, hyper: Hyper, has_eps: bool) -> str:
    """A program without the lines whose condition does not hold."""
    decays, clips = hyper.weight_decay != 0, hyper.stages.clip is not None
    l2 = decays and not hyper.decoupled
    # Only who has one beta for all steps asks.
    heavy = not isinstance(hyper.beta1, tuple) and 1 - hyper.beta1 >= 0.5
    asked = {
        "decoupled": decays and hyper.decoupled,
        "l2": l2,
        "without l2": not l2,
        "kept": not (l2 or hyper.stages.maximize or clips),
        "changed": l2 or hyper.stages.maximize or clips,
        "unclipped": not (l2 or clips),
        "clipped": l2 or clips,
        "together": hyper.stages.loss_scale is None,
        "apart": hyper.stages.loss_scale is not None,
        "light": not heavy,
        "heavy": heavy,
        "amsgrad": hyper.amsgrad,
        "given": not _formed(hyper.stages),
        "formed": _formed(hyper.stages),
        "with eps": has_eps,
        "without eps": not has_eps,
    }
    lines = [line.strip().rpartition(": ") for line in text.split(";")]
    return ";".join(line for condition, _, line in lines if asked.get(condition, True))
