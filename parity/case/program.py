"""How initial weights and gradients come about: the tables of a case file that are told apart by `kind`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from parity.case.recording import Recording, recording_in

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
OneOf = TypeVar("OneOf", "Uniform", "UniformWeights")
Share = Annotated[float, Field(ge=0, le=1)]
Step = Annotated[int, Field(ge=1, le=2**53)]
"""No more than a double counts."""
Place = Annotated[str, Field(pattern=r"^[^\x00]+$")]
"""Of a file or a folder."""

BELL_PLACES = math.sqrt((2**32 - 1) / 3)
"""Standard deviation of the sum of four uniform integers below 2^16."""

BELL_LIMIT = math.sqrt(12.0)
"""The sum of four uniforms ends at 2, which is so many of its standard deviations, 1 / sqrt(3)."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Gradients(_Table):
    none_steps: tuple[Step, ...] = Field((), description="Steps (from 1) at which the gradient is None.")
    none_every: Step | None = Field(None, description="The gradient is None at every k-th step.")
    nan_steps: tuple[Step, ...] = Field((), description="Steps at which its first element is NaN.")
    inf_steps: tuple[Step, ...] = Field((), description="Steps at which its first element is inf.")

    def not_finite(self, step: int) -> float | None:
        """What its first element is at this 1-based step, NaN or inf; None for a number."""
        return math.nan if step in self.nan_steps else math.inf if step in self.inf_steps else None

    def is_none(self, step: int) -> bool:
        """Whether there is no gradient at this 1-based step."""
        return step in self.none_steps or (self.none_every is not None and step % self.none_every == 0)


class Bell(_Gradients):
    """Near-normal numbers, fresh at every step: sum of four uniforms, mean 0, standard deviation `scale`."""

    kind: Literal["bell"]
    scale: Positive

    def smallest(self) -> float:
        """Smallest magnitude but zero that can occur: one place of the sums."""
        return self.scale / BELL_PLACES

    def largest(self) -> float:
        """Greatest magnitude that can occur: sqrt(12) standard deviations."""
        return self.scale * BELL_LIMIT


class Uniform(_Gradients):
    """Numbers from [low, high), fresh at every step."""

    kind: Literal["uniform"]
    low: Finite
    high: Finite

    def smallest(self) -> float:
        """Smallest magnitude but zero that can occur: 0 where the range holds 0."""
        return 0.0 if self.low <= 0 <= self.high else min(abs(self.low), abs(self.high))

    def largest(self) -> float:
        """Greatest magnitude that can occur."""
        return max(abs(self.low), abs(self.high))

    @model_validator(mode="after")
    def _in_order(self) -> Uniform:
        return _ordered(self)


class Decades(_Gradients):
    """Magnitudes spread evenly over the powers of two from low to high, one for each element.

    An element keeps its magnitude over the steps; a bell factor of standard deviation 1 changes it
    from step to step. A share `zeros` of the elements has gradient 0 at every step.
    """

    kind: Literal["decades"]
    low: Positive
    high: Positive
    zeros: Share = 0.0

    def smallest(self) -> float:
        """Smallest magnitude but zero that can occur: one place of the bell at magnitude `low`."""
        return self.low / BELL_PLACES

    def largest(self) -> float:
        """Greatest magnitude that can occur: sqrt(12) times `high`."""
        return self.high * BELL_LIMIT

    @model_validator(mode="after")
    def _a_binade_apart(self) -> Decades:
        if self.high < 4 * self.low:
            raise ValueError("'high' has to be at least four times 'low'")
        return self


class Constant(_Gradients):
    """The same number everywhere, at every step."""

    kind: Literal["constant"]
    value: Finite

    def smallest(self) -> float:
        """Smallest magnitude but zero that can occur."""
        return abs(self.value)

    def largest(self) -> float:
        """Greatest magnitude that can occur."""
        return abs(self.value)


class Flipping(_Gradients):
    """The same number everywhere: `value` at odd steps, -`value` at even ones."""

    kind: Literal["flipping"]
    value: Finite

    def smallest(self) -> float:
        """Smallest magnitude but zero that can occur."""
        return abs(self.value)

    def largest(self) -> float:
        """Greatest magnitude that can occur."""
        return abs(self.value)


class Zero(_Gradients):
    """Zero everywhere, at every step."""

    kind: Literal["zero"]

    def smallest(self) -> float:
        """Smallest magnitude but zero that can occur: none does."""
        return math.inf

    def largest(self) -> float:
        """Greatest magnitude that can occur."""
        return 0.0


class Rows(_Gradients):
    """Row-sparse: at every step each row (first axis) is a bell with chance `density`, otherwise zero."""

    kind: Literal["rows"]
    density: Share
    scale: Positive

    def smallest(self) -> float:
        """Smallest magnitude but zero that can occur: one place of the sums."""
        return self.scale / BELL_PLACES

    def largest(self) -> float:
        """Greatest magnitude that can occur: sqrt(12) standard deviations."""
        return self.scale * BELL_LIMIT


class Recorded(_Gradients):
    """Gradients of a real training; `folder` is relative to the case file."""

    kind: Literal["recorded"]
    folder: Place

    def recording(self) -> Recording:
        """What was recorded; its arrays are read where they are asked for."""
        return recording_in(Path(self.folder))

    def smallest(self) -> float:
        """Smallest magnitude but zero that can occur in the recording."""
        return self.recording().magnitudes[0]

    def largest(self) -> float:
        """Greatest magnitude in the recording."""
        return self.recording().magnitudes[1]


class UniformWeights(_Table):
    """Numbers from [low, high)."""

    kind: Literal["uniform"]
    low: Finite
    high: Finite

    def largest(self) -> float:
        """Greatest magnitude that can occur."""
        return max(abs(self.low), abs(self.high))

    @model_validator(mode="after")
    def _in_order(self) -> UniformWeights:
        return _ordered(self)


class ConstantWeights(_Table):
    """The same number everywhere."""

    kind: Literal["constant"]
    value: Finite

    def largest(self) -> float:
        """Greatest magnitude that can occur."""
        return abs(self.value)


class ZeroWeights(_Table):
    """Zero everywhere."""

    kind: Literal["zero"]

    def largest(self) -> float:
        """Greatest magnitude that can occur."""
        return 0.0


class RecordedWeights(_Table):
    """What a real training began with; `folder` is relative to the case file, quantity: w, or a moment."""

    kind: Literal["recorded"]
    folder: Place
    quantity: Literal["w", "m", "v", "vmax"] = "w"

    def recording(self) -> Recording:
        """What was recorded; its arrays are read where they are asked for."""
        return recording_in(Path(self.folder))

    def largest(self) -> float:
        """Greatest magnitude in the recording."""
        recording = self.recording()
        return max(
            float(abs(recording.values(self.quantity, one.name, 0)).max(initial=0)) for one in recording.parameters
        )


Gradients = Annotated[
    Bell | Uniform | Decades | Constant | Flipping | Zero | Rows | Recorded, Field(discriminator="kind")
]
Weights = Annotated[UniformWeights | ConstantWeights | ZeroWeights | RecordedWeights, Field(discriminator="kind")]


class Start(_Table):
    """The state that a parameter begins with: how many steps were counted, and its moments.

    vmax: under AMSGrad, as the implementation stores it; left out, it is v.
    """

    steps: Step
    m: Weights
    v: Weights
    vmax: Weights | None = None

    @model_validator(mode="after")
    def _squares(self) -> Start:
        for name, table in (("v", self.v), ("vmax", self.vmax)):
            least = table.low if isinstance(table, UniformWeights) else getattr(table, "value", 0.0)
            if least < 0:
                raise ValueError(f"'{name}' is a mean of squares: at least 0")
        return self


def _ordered(program: OneOf) -> OneOf:
    if program.low >= program.high:
        raise ValueError("'low' has to be below 'high'")
    return program
