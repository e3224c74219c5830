"""What a from-scratch Adam says a trace holds, so that a baseline keeps only what differs from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np

from parity.adam.arithmetic import Arithmetic, Exceptional, Rounding, SquareRoot, Subnormals
from parity.adam.convention import AverageStart, ClipFactor, Convention, Epsilon, Maximum, ScaleRange, StepCount
from parity.adam.forms import (
    Averaging,
    Clipping,
    DecayGradient,
    DecayWeights,
    Factors,
    FirstMoment,
    Largest,
    Rates,
    Reduction,
    SecondMoment,
    Update,
)
from parity.adam.twin import Twin
from parity.core.hyper import Hyper
from parity.explain.inputs import Inputs
from parity.explain.running import Adam, free_run
from parity.numerics.formats import to_bits

_Form = TypeVar("_Form", bound=StrEnum)

_PLACES = ("tail", "only", "rows", "alone", "zero_dimensional")


def predict(twin: Twin, hyper: Hyper, inputs: Inputs, steps: Sequence[int]) -> dict[str, np.ndarray]:
    """The bits of w, m, v (vmax) after those steps, (len(steps), size), where a twin runs freely on the inputs.

    A square root of a framework's own library, of elements or of scalars, is taken as the IEEE one: it needs no
    framework, and any prediction serves, as what differs from it is kept.
    """
    plain = replace(twin, arithmetic=replace(twin.arithmetic, square_root=SquareRoot.IEEE))
    adam = Adam(plain.in_force(hyper, max(steps, default=0), inputs.format), plain, np.sqrt)
    kept: dict[str, list[np.ndarray]] = {}
    wanted = set(steps)
    for block, rows in free_run(adam, inputs.start(), inputs.layout, inputs.blocks()):
        places = [place for place, step in enumerate(block.steps) if step in wanted]
        for name, states in rows.items():
            kept.setdefault(name, []).append(to_bits(np.ascontiguousarray(states[places])))
    return {name: np.concatenate(parts) for name, parts in kept.items()}


@dataclass(frozen=True, slots=True)
class Foreign:
    """A twin of another parity, some choice of which this one does not know; told: as that one wrote it."""

    told: dict[str, Any]


def twin_to_json(twin: Twin | Foreign) -> dict[str, Any]:
    """All choices of a twin, forms as the programs that they are, whatever the blanks in them."""
    return twin.told if isinstance(twin, Foreign) else _plain(asdict(twin))


def twin_from_json(told: dict[str, Any]) -> Twin | Foreign:
    """The inverse."""
    try:
        return _twin(told)
    except (ValueError, KeyError, TypeError):
        return Foreign(told)


def _twin(told: dict[str, Any]) -> Twin:
    convention, arithmetic = told["convention"], told["arithmetic"]
    return Twin(
        Convention(
            Epsilon(convention["epsilon"]),
            bool(convention["bias_correction"]),
            StepCount(convention["step_count"]),
            Maximum(convention["maximum"]),
            ClipFactor(convention.get("clip_factor", ClipFactor.EXACT)),
            bool(convention.get("lazy_rows", False)),
            AverageStart(convention.get("average_start", AverageStart.FIRST_WEIGHTS)),
            bool(convention.get("counts_left_out", False)),
            ScaleRange(convention.get("scale_range", ScaleRange.FINITE)),
        ),
        Arithmetic(
            _form(Factors, arithmetic["factors"]),
            _form(FirstMoment, arithmetic["first_moment"]),
            _form(SecondMoment, arithmetic["second_moment"]),
            _form(Update, arithmetic["update"]),
            _form(DecayGradient, arithmetic["decay_gradient"]),
            _form(DecayWeights, arithmetic["decay_weights"]),
            _form(Largest, arithmetic["maximum"]),
            Rounding(arithmetic["rounding"]),
            SquareRoot(arithmetic["square_root"]),
            Subnormals(arithmetic["subnormals"]),
            int(arithmetic["lanes"]),
            clipping=Clipping(arithmetic.get("clipping", Clipping.PLAIN)),
            reduction=Reduction(arithmetic.get("reduction", Reduction.EXACT)),
            averaging=Averaging(arithmetic.get("averaging", Averaging.PRODUCTS)),
            **{name: _exceptional(arithmetic[name]) for name in _PLACES if name in arithmetic},
            threads=int(arithmetic.get("threads", 1)),
            grain=int(arithmetic.get("grain", 0)),
            shards=int(arithmetic.get("shards", 1)),
            decays_by_zero=bool(arithmetic.get("decays_by_zero", False)),
        ),
        float(told["eps_for_zero"]),
        Rates(told.get("rates", Rates.DOUBLE)),
        tuple((str(stage), str(why)) for stage, why in told.get("open_around", ())),
        str(told.get("open_scalars", "")),
        bool(told.get("scalars_of_first", False)),
    )


def _exceptional(told: dict[str, Any]) -> Exceptional:
    return Exceptional(
        _form_if_any(FirstMoment, told["first_moment"]),
        _form_if_any(SecondMoment, told["second_moment"]),
        _form_if_any(Update, told["update"]),
        _form_if_any(DecayGradient, told["decay_gradient"]),
        _form_if_any(DecayWeights, told["decay_weights"]),
    )


def _form_if_any(kind: type[_Form], text: str | None) -> _Form | None:
    return None if text is None else _form(kind, text)


def _form(kind: type[_Form], text: str) -> _Form:
    """The form with that program; ValueError where there is none."""
    found = next((one for one in kind if _collapsed(one) == _collapsed(text)), None)
    return kind(text) if found is None else found


def _collapsed(text: str) -> str:
    return " ".join(text.split())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return _collapsed(value) if isinstance(value, str) else value
