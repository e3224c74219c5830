"""A recording is a case: what was given to one optimizer is given to all, beside what the one made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from parity.case.case import Case, CaseParameter, HyperTable
from parity.case.expectation import Expectation
from parity.case.program import Recorded, RecordedWeights, Start
from parity.case.recording import RecordedParameter, Recording, check_recording, recording_in
from parity.core.errors import ParityError

RECORDED = "recorded"
"""The name of what happened, as a party of its own."""

CHANGING = ("lr", "beta1", "beta2")
"""What may be another number at every step."""

SCALARS_IN_FLOAT32 = ("keras", "tf_keras", "tensorflow")


def cases_of_recording(folder: Path) -> tuple[Case, ...]:
    """A case for every group of a recorded optimizer: Adam is element-wise, so that groups are independent.

    ParityError, one line, where the recording is damaged, or holds what no case can ask.
    """
    recording = recording_in(folder)
    check_recording(recording)
    groups = sorted({one.group for one in recording.parameters})
    return tuple(_case(recording, group, len(groups) > 1) for group in groups)


def _case(recording: Recording, group: int, several: bool) -> Case:
    name = recording.folder.resolve().name + (f"[group={group}]" if several else "")
    parameters = [one for one in recording.parameters if one.group == group]
    _check_replayable(recording, name, parameters)
    optimizer, known = recording.told["optimizer"], recording.told["implementation"]
    program: dict[str, Any] = {"kind": "recorded", "folder": str(recording.folder.absolute())}
    return Case(
        name=name,
        summary=f"{recording.steps:,} steps that {optimizer} took.",
        why="What an optimizer was given in a real training, and what it made of it.",
        steps=recording.steps,
        dtypes=(recording.dtype,),  # type: ignore[arg-type]
        hyper=_hyper(recording, name, group),
        parameters=tuple(
            CaseParameter(
                name=one.name,
                shape=one.shape_kept,
                weights=RecordedWeights(**program),
                gradients=Recorded(**program),
                start=_start(recording, one, program),
            )
            for one in parameters
        ),
        expect=_expected(known, str(recording.told["framework"])),
        recorded=str(recording.folder.absolute()),
    )


def _start(recording: Recording, parameter: RecordedParameter, program: dict[str, Any]) -> Start | None:
    """The state it begins with; None before a first step."""
    steps = _counted(recording, parameter)
    if not steps:
        return None
    moments = {
        quantity: RecordedWeights(**program, quantity=quantity)
        for quantity in ("m", "v", "vmax")
        if quantity in recording.quantities
    }
    return Start(steps=steps, **moments)


def _counted(recording: Recording, parameter: RecordedParameter) -> int:
    return int(recording.told["t"][recording.parameters.index(parameter)])


def _check_replayable(recording: Recording, name: str, parameters: Sequence[RecordedParameter]) -> None:
    counted = [recording.told["t"], *(step.t for step in recording.journal)]
    leap = max(now - then for two in pairwise(counted) for then, now in zip(*two, strict=True))
    if recording.every > 1 or leap > 1:
        raise ParityError(
            f"recording {name!r}: its steps count by {max(recording.every, leap)}; only one that counts every step can "
            "be replayed"
        )
    if not recording.step(1).groups or not all(all(step.groups) for step in recording.journal):
        raise ParityError(f"recording {name!r}: its hyperparameters are not known; record it with hyper=")
    if any(_counted(recording, one) for one in parameters) and not {"m", "v"} <= set(recording.quantities):
        raise ParityError(
            f"recording {name!r} begins with a state that was not recorded (moments=False); "
            "only one that begins with a first step can be replayed without"
        )
    moved = next((step for step in recording.journal if {one.name for one in parameters} & set(step.moved)), None)
    if moved is not None:
        raise ParityError(
            f"recording {name!r}: before step {moved.number} somebody else changed the weights of {moved.moved[0]!r}; "
            "no optimizer can be held to that"
        )


def _hyper(recording: Recording, name: str, group: int) -> HyperTable:
    """The hyperparameters of a group; a learning rate, and betas, of every step where they change."""
    told = [step.groups[min(group, len(step.groups) - 1)] for step in recording.journal]
    try:
        return _hyper_of(recording, name, [_named(one) for one in told])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise ParityError(f"recording {name!r}: its hyperparameters are none that an Adam takes ({what})") from None


def _hyper_of(recording: Recording, name: str, named: Sequence[Mapping[str, Any]]) -> HyperTable:
    constant = [{key: value for key, value in one.items() if key not in CHANGING} for one in named]
    for step, one in enumerate(constant, start=1):
        if one != constant[0]:
            changed = next(key for key in one if one[key] != constant[0].get(key))
            raise ParityError(f"recording {name!r}: {changed} changes at step {step}; only lr and the betas may")
    rates = {key: [float(one[key]) for one in named] for key in CHANGING}
    changing: dict[str, Any] = {key: one[0] if len(set(one)) == 1 else tuple(one) for key, one in rates.items()}
    return HyperTable(**changing, **constant[0])


def _named(group: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a group under parity's names: torch's, or Keras's."""
    if "betas" in group:
        beta1, beta2 = group["betas"]
        decoupled = bool(group.get("decoupled_weight_decay", False))
        names = {"eps": group["eps"], "weight_decay": group["weight_decay"], "decoupled": decoupled}
    else:
        beta1, beta2 = group["beta_1"], group["beta_2"]
        decay = float(group.get("weight_decay") or 0.0)
        names = {"eps": group["epsilon"], "weight_decay": decay, "decoupled": decay != 0}
    numbers = {"beta1": float(beta1), "beta2": float(beta2), **names, "amsgrad": bool(group.get("amsgrad", False))}
    return {"lr": group["lr"], **numbers}


def _expected(known: str | None, framework: str) -> tuple[Expectation, ...]:
    """What happened is the Adam that it is said to be, and all others are reported; else any has to be explained."""
    rounding: Literal["scalars", "operations"] = "scalars" if framework in SCALARS_IN_FLOAT32 else "operations"
    others = Expectation(
        actual=RECORDED,
        expected="*",
        verdict="ANY",
        rounding=rounding if known is None else None,
        because="Nobody says which Adam it is: what differs by more than rounding has to be explained."
        if known is None
        else "Whichever way it comes out: another Adam on these gradients.",
    )
    if known is None:
        return (others,)
    itself = Expectation(
        actual=RECORDED,
        expected=known,
        verdict="WITHIN",
        rounding=rounding,
        because="It is what was recorded, perhaps on another machine.",
    )
    return (itself, others)
