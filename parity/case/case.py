"""The noun: a question put to every Adam."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, LiteralString

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from parity.case.around import ParameterHyper, StagesTable
from parity.case.budget import Magnitudes, rounding_budget, widest
from parity.case.expectation import Expectation, FormatName
from parity.case.program import Gradients, Recorded, RecordedWeights, Start, Weights
from parity.case.recording import check_recording
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.core.layout import Layout, Parameter
from parity.core.shown import Shown
from parity.core.stages import Stages, stages_to_json
from parity.core.state import QUANTITIES
from parity.numerics.formats import format_named

Default = Literal["default"]
DEFAULT: Default = "default"
RESTARTED = ".restarted"
"""What the name of an implementation ends in as it was saved, and loaded by another process."""

DIGEST_VERSION = 1
"""Part of every case digest: another generator of weights or gradients is another question."""


def _case_error(template: LiteralString, **values: Any) -> PydanticCustomError:
    return PydanticCustomError("case", template, values)


def _number_or_default(value: Any, *, below_one: bool) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value == DEFAULT or (number and 0 <= value < (1 if below_one else math.inf)):
        return value
    allowed = "a number in [0, 1)" if below_one else "a finite number of at least 0"
    raise _case_error('{given} is not allowed; allowed: {allowed}, or "default"', given=repr(value), allowed=allowed)


def _one_or_every(value: Any, what: str, *, below_one: bool) -> Any:
    if not isinstance(value, list | tuple):
        return _number_or_default(value, below_one=below_one)
    for step, one in enumerate(value, start=1):
        if one == DEFAULT or one != _number_or_default(one, below_one=below_one):
            raise _case_error("no {what} {given} at step {step}", what=what, given=repr(one), step=step)
    return tuple(float(one) for one in value)


class HyperTable(BaseModel):
    """What is asked of every Adam; "default" takes each implementation's own.

    lr: step size, beta1, beta2: in [0, 1); one number or one for each step. eps: added to the
    denominator where the implementation puts it. weight_decay: decoupled, or L2.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    lr: float | tuple[float, ...] | Default = 1e-3
    beta1: float | tuple[float, ...] | Default = 0.9
    beta2: float | tuple[float, ...] | Default = 0.999
    eps: float | Default = 1e-8
    weight_decay: float | Default = 0.0
    decoupled: bool = False
    amsgrad: bool = False

    @field_validator("beta1", "beta2", mode="before")
    @classmethod
    def _decay_rate(cls, value: Any) -> Any:
        return _one_or_every(value, "decay rate", below_one=True)

    @field_validator("eps", "weight_decay", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return _number_or_default(value, below_one=False)

    @field_validator("lr", mode="before")
    @classmethod
    def _step_size(cls, value: Any) -> Any:
        return _one_or_every(value, "step size", below_one=False)


class Sampled(BaseModel):
    """Which elements of a tensor a parameter is: spans (start, stop) of it, flat, the first from 0; shape: its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    shape: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


class CaseParameter(BaseModel):
    """A tensor of a case: its name, shape (() is 0-d, a 0 is empty), and where its numbers come from.

    dtype: its own, left out for that in which the case runs. rows: whether its gradients are handed over as rows, those
    along its first axis that are not 0 throughout. hyper: hyperparameters of its own. start: the state that it begins
    with; left out, moments are zero and no step was counted. sampled: of which tensor it is a part, left out where it
    is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1)]
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    weights: Weights
    gradients: Gradients
    dtype: FormatName | None = None
    rows: bool = False
    hyper: ParameterHyper | None = None
    start: Start | None = None
    sampled: Sampled | None = None

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """Of the tensor of which it is a part, or its own."""
        return self.shape if self.sampled is None else self.sampled.shape

    @property
    def whole_size(self) -> int:
        """Elements of that tensor."""
        return math.prod(self.whole_shape)

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """Where its elements stand in that tensor."""
        return ((0, self.whole_size),) if self.sampled is None else self.sampled.spans


class Case(Shown, BaseModel):
    """Parameters, initial weights, gradient sequence, hyperparameters, steps, dtypes, expectations.

    name: the file's stem, with the swept values in brackets for a member of a sweep. summary: one
    sentence. why: what it shows and which failures it catches. expect: first match wins; the last
    `inherited` of them come from the base file. recorded: the folder of the recording that the case is, empty for none.
    stages: what is done around the step. restart: steps after which every implementation saves, and a new process loads
    and goes on, beside the one that does not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1)]
    summary: Annotated[str, Field(min_length=10)]
    why: Annotated[str, Field(min_length=10)]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    steps: Annotated[int, Field(ge=1)]
    dtypes: Annotated[tuple[FormatName, ...], Field(min_length=1)]
    hyper: HyperTable = HyperTable()
    stages: StagesTable = StagesTable()
    parameters: Annotated[tuple[CaseParameter, ...], Field(min_length=1)]
    expect: tuple[Expectation, ...] = ()
    inherited: Annotated[int, Field(ge=0)] = 0
    recorded: str = ""
    restart: tuple[Annotated[int, Field(ge=1)], ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Case:
        names = Counter(parameter.name for parameter in self.parameters)
        for name, times in names.items():
            if times > 1:
                raise _case_error("parameters: the name {name} is given {times} times", name=repr(name), times=times)
        for name, what in (("lr", "step sizes"), ("beta1", "decay rates"), ("beta2", "decay rates")):
            value = getattr(self.hyper, name)
            if isinstance(value, tuple) and len(value) != self.steps:
                raise _case_error(
                    "hyper.{name}: {given} {what} for {steps} steps; allowed: one number, or one for each step",
                    name=name,
                    given=len(value),
                    what=what,
                    steps=self.steps,
                )
        if self.stages.schedule is not None and isinstance(self.hyper.lr, tuple):
            raise _case_error("hyper.lr: a schedule begins with one lr, not with one for each step")
        if self.stages.schedule is not None and self.stages.schedule.beta1 and isinstance(self.hyper.beta1, tuple):
            raise _case_error("hyper.beta1: a schedule that has beta1 takes no other for each step")
        if self.stages.state is not None:
            rows, mixed = any(one.rows for one in self.parameters), self.layout().mixed
            for what, given in {"restart": self.restart, "start": self.begun, "dtype": mixed, "rows": rows}.items():
                if given:
                    raise _case_error("stages.state: it goes with no {what} of a case or parameter", what=what)
        if any(later <= one for one, later in pairwise((*self.restart, self.steps))):
            raise _case_error(
                "restart: {given} is not allowed; allowed: steps in ascending order, each below steps = {steps}",
                given=list(self.restart),
                steps=self.steps,
            )
        whole = next((one.name for one in self.parameters if one.rows and not one.shape), None)
        if whole is not None:
            raise _case_error("parameters: {name} has no rows: its shape is []", name=repr(whole))
        if self.layout().size == 0:
            raise _case_error("parameters: every tensor is empty, nothing would be compared")
        return self

    def layout(self) -> Layout:
        """The parameters, packed into rows."""
        return Layout(tuple(Parameter(one.name, one.shape, one.dtype or "") for one in self.parameters))

    def _shown(self) -> tuple[str, ...]:
        """What an implementation may show."""
        return tuple(one for one in QUANTITIES if one != "average" or self.around().shows_average)

    def around(self) -> Stages:
        """What is done around the step, and who has its gradients as rows."""
        return replace(self.stages.stages(), rows=tuple(one.name for one in self.parameters if one.rows))

    @property
    def begun(self) -> bool:
        """Whether any parameter begins with a state."""
        return any(one.start is not None for one in self.parameters)

    def digest(self) -> str:
        """SHA-256 of everything that determines the answers; of no name, prose, dtype or expectation."""
        parameters = [one.model_dump(mode="json") for one in self.parameters]
        for told, parameter in zip(parameters, self.parameters, strict=True):
            if isinstance(parameter.gradients, Recorded):
                told["gradients"]["folder"] = parameter.gradients.recording().gradients_digest
            _leave_out_what_is_usual(told, parameter)
        question = {
            "version": DIGEST_VERSION,
            "seed": self.seed,
            "steps": self.steps,
            "hyper": self.hyper.model_dump(mode="json"),
            "parameters": parameters,
            **({"restart": self.restart} if self.restart else {}),
            **({"stages": stages_to_json(self.around())} if self.around().names else {}),
        }
        text = json.dumps(_hex_floats(question), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def hyper_for(self, defaults: Hyper) -> Hyper:
        """The hyperparameters of one run: an entry "default" is the implementation's own."""
        asked = dict(self.hyper)
        own = {name: getattr(defaults, name) for name, value in asked.items() if value == DEFAULT}
        hyper = replace(Hyper(), **{**asked, **own}, stages=self.around())
        groups = tuple((one.name, replace(hyper, **one.hyper.told())) for one in self.parameters if one.hyper)
        return replace(hyper, groups=groups)

    def compared_with(self, actual: str, names: Iterable[str], dtype: str) -> tuple[str, ...]:
        """Those among names that an expectation holds an implementation against."""
        speaking = tuple(_speaking(self, actual, dtype))
        return tuple(name for name in names if _first(speaking, actual, name) is not None)

    def expectation_for(self, actual: str, expected: str, dtype: str) -> Expectation | None:
        """What this pair has to come to, its budgets filled in; None where it is not to be compared."""
        place = _first(_speaking(self, actual, dtype), actual, expected)
        if place is None or self.expect[place].rounding is None:
            return None if place is None else self.expect[place]
        expectation = self.expect[place]
        magnitudes = Magnitudes(
            weight=max(one.weights.largest() for one in self.parameters),
            smallest=min(one.gradients.smallest() for one in self.parameters),
            largest=max(one.gradients.largest() for one in self.parameters),
        )
        hyper = self.hyper_for(Hyper())
        derived = widest(
            [
                rounding_budget(format_named(own), asked, self.steps, magnitudes, expectation.rounding or "operations")
                for asked, own in dict.fromkeys((hyper.of(one.name), one.dtype or dtype) for one in self.parameters)
            ]
        )
        within = {**derived, **(expectation.within or {})}
        unbounded = () if "*" in within else tuple(name for name in self._shown() if name not in within)
        return expectation.model_copy(update={"within": within, "unbounded": unbounded})


def _leave_out_what_is_usual(told: dict[str, Any], parameter: CaseParameter) -> None:
    """So that a case which does without what came later keeps its digest."""
    tables = [(told["weights"], parameter.weights)]
    # A stage, as it is told.
    del told["rows"]
    for key in ("hyper", "dtype", "sampled"):
        if getattr(parameter, key) is None:
            del told[key]
    for key in ("nan_steps", "inf_steps"):
        if not getattr(parameter.gradients, key):
            del told["gradients"][key]
    if parameter.start is None:
        del told["start"]
    else:
        for key in ("m", "v", "vmax"):
            tables.append((told["start"][key], getattr(parameter.start, key)))
    for table, program in tables:
        if isinstance(program, RecordedWeights):
            table["folder"] = program.recording().digest_before(program.quantity)
            if program.quantity == "w":
                del table["quantity"]


def check_recorded(case: Case) -> None:
    """ParityError where a case asks a recording for what it does not hold, or the recording is damaged."""
    checked: set[Path] = set()
    for place, parameter in enumerate(case.parameters):
        started = () if parameter.start is None else (parameter.start.m, parameter.start.v, parameter.start.vmax)
        for program in (parameter.weights, parameter.gradients, *started):
            if not isinstance(program, RecordedWeights | Recorded):
                continue
            recording = program.recording()
            if recording.folder not in checked:
                check_recording(recording)
                checked.add(recording.folder)
            shape = recording.parameter(parameter.name).shape_kept
            if shape != parameter.shape:
                raise ParityError(
                    f"parameters.{place}.shape: {parameter.name!r} was recorded in {recording.folder.name!r} "
                    f"as {list(shape)}, not as {list(parameter.shape)}"
                )
            if isinstance(program, RecordedWeights) and program.quantity not in recording.quantities:
                raise ParityError(
                    f"parameters.{place}: {program.quantity} was not recorded in {recording.folder.name!r}; "
                    f"allowed: {', '.join(recording.quantities)}"
                )
            if isinstance(program, Recorded) and case.steps > recording.steps:
                raise ParityError(
                    f"steps: {case.steps} asked, recording {recording.folder.name!r} holds {recording.steps}"
                )


def unmatched_expectations(
    case: Case, pairs: list[tuple[str, str]], dtypes: tuple[str, ...] | None = None
) -> tuple[Expectation, ...]:
    """The case's own expectations that no (actual, expected) pair comes to: stale, or hidden by another.

    pairs: every pair of known implementations. dtypes: those looked at, by default the case's.
    """
    used = used_expectations(case, pairs, dtypes)
    return tuple(one for place, one in enumerate(own_expectations(case)) if place not in used)


def used_expectations(
    case: Case, pairs: list[tuple[str, str]], dtypes: tuple[str, ...] | None = None
) -> frozenset[int]:
    """Places in `case.expect` that are the first match of at least one pair in at least one dtype."""
    others: dict[str, list[str]] = {}
    for actual, expected in pairs:
        others.setdefault(actual, []).append(expected)
    places = {
        _first(speaking, actual, expected)
        for dtype in (case.dtypes if dtypes is None else dtypes)
        for actual, own in others.items()
        for speaking in [tuple(_speaking(case, actual, dtype))]
        for expected in own
    }
    return frozenset(place for place in places if place is not None)


def _speaking(case: Case, actual: str, dtype: str) -> Iterator[tuple[int, Expectation]]:
    """The expectations that speak of an implementation in a dtype, each with its place."""
    return ((place, one) for place, one in enumerate(case.expect) if one.speaks_of(actual, dtype))


def _first(speaking: Iterable[tuple[int, Expectation]], actual: str, expected: str) -> int | None:
    """Where the first expectation stands that speaks of a pair; one that restates needs a later one."""
    first = None
    for place, expectation in speaking:
        if actual != expected and expectation.expects(expected):
            first = place if first is None else first
            if not expectation.restates:
                return first
    return None


def own_expectations(case: Case) -> tuple[Expectation, ...]:
    """The expectations that stand in the case's own file."""
    return case.expect[: len(case.expect) - case.inherited]


def unused_base_expectations(cases: tuple[Case, ...], pairs: list[tuple[str, str]]) -> tuple[Expectation, ...]:
    """Expectations of base files that no case of a whole catalogue comes to: stale."""
    inherited: dict[str, Expectation] = {}
    used: set[str] = set()
    for case in cases:
        places = used_expectations(case, pairs)
        for place in range(len(case.expect) - case.inherited, len(case.expect)):
            text = case.expect[place].model_dump_json()
            inherited[text] = case.expect[place]
            if place in places:
                used.add(text)
    return tuple(expectation for text, expectation in inherited.items() if text not in used)


def _hex_floats(value: Any) -> Any:
    match value:
        case float():
            return value.hex()
        case dict():
            return {key: _hex_floats(one) for key, one in value.items()}
        case list() | tuple():
            return [_hex_floats(one) for one in value]
        case _:
            return value
