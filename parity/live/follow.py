"""A second model, held to a recording at every step: on equal weights its gradients differ by the model alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.case.pairing import Pair, Pairing, pair_parameters, read_map
from parity.case.recording import RecordedParameter, Recording, check_recording, recording_in
from parity.case.recording_header import GRADIENTS
from parity.comparison.divergence import Label, Measured, to_table
from parity.comparison.recordings import LOCK, joined, measured_row
from parity.core.errors import ParityError, UsageError
from parity.explain.likeness import Gradient, likenesses, told_of
from parity.live import keras_lock, torch_lock
from parity.live.row import FORMAT_OF

if TYPE_CHECKING:
    import pyarrow as pa

Locked = torch_lock.Locked | keras_lock.Locked

FOLLOWED = "followed"
"""The name of the second model in a table."""

MOST = 12
"""Rows of what is printed."""

KINDS: dict[str, type[torch_lock.Locked] | type[keras_lock.Locked]] = {
    "torch.optim.optimizer.Optimizer": torch_lock.Locked,
    "keras.src.optimizers.base_optimizer.BaseOptimizer": keras_lock.Locked,
}
"""Whose optimizers can follow: what they make of a gradient is never seen, so that any will do."""

ALLOWED = "optimizers of torch.optim, and of keras.optimizers on tensorflow"


@dataclass(frozen=True, slots=True)
class FollowedStep:
    """How the gradients of every tensor stand to the recorded ones of a 1-based step of the training."""

    number: int
    gradients: tuple[Gradient, ...]


@dataclass(frozen=True)
class Followed:
    """What following a recording came to; it grows while the block runs, and stays as it is afterwards.

    recording: the folder's name. recorded: steps that it has. pairing: names of the model against names of the
    recording. steps: those that were compared, in order.
    """

    recording: str
    recorded: int
    pairing: Pairing
    _steps: list[FollowedStep] = field(default_factory=list, repr=False)
    _rows: dict[str, list[Measured]] = field(default_factory=dict, repr=False)
    _dtypes: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def steps(self) -> tuple[FollowedStep, ...]:
        """Those that were compared."""
        return tuple(self._steps)

    @property
    def first_unlike(self) -> FollowedStep | None:
        """The first step with a gradient that is more than rounding from the recorded one."""
        return next((step for step in self._steps if not all(one.alike for one in step.gradients)), None)

    @property
    def alike(self) -> bool:
        """Whether something was compared, all of it, and nothing but rounding parts the models."""
        return bool(self._steps) and self.first_unlike is None and not any(self.pairing.alone)

    @property
    def table(self) -> pa.Table:
        """A row for every step and tensor: columns of `parity.comparison.divergence.schema`, mode lock, gradients."""
        import pyarrow

        parts = [
            to_table(Label("", self._dtypes[name], FOLLOWED, self.recording, LOCK), [joined(rows)])
            for name, rows in self._rows.items()
        ]
        return pyarrow.concat_tables(parts) if parts else to_table(Label("", "", FOLLOWED, self.recording, LOCK), [])

    @property
    def sentence(self) -> str:
        """Whether it is the model, in one sentence."""
        if not self._steps:
            return f"nothing was compared: the optimizer took no step beside {self.recording}"
        unlike = self.first_unlike
        if unlike is not None:
            bad = [one for one in unlike.gradients if not one.alike]
            told = told_of(bad, len(unlike.gradients), unlike.number)
            return f"not the optimizer: on equal weights the gradients {told}"
        count = len(self._steps)
        steps = f"{count:,} steps" if count == self.recorded else f"{count:,} of {self.recorded:,} steps"
        only = [name for side in self.pairing.alone for name in side]
        if only:
            return f"alike over {steps} in what both have; not compared: {', '.join(only[:3])}"
        largest = max((one.difference for step in self._steps for one in step.gradients if one.ulp), default=0.0)
        if not largest:
            return f"the models are alike: all gradients are equal, bit for bit, over {steps}"
        return f"the models are alike: largest relative difference of a gradient {largest:.2g} over {steps}"

    def __str__(self) -> str:
        """Every tensor at its worst step, then the sentence."""
        worst: dict[str, tuple[int, Gradient]] = {}
        for step in self._steps:
            for one in step.gradients:
                before = worst.get(one.actual)
                if before is None or _severity(one) > _severity(before[1]):
                    worst[one.actual] = step.number, one
        found = sorted(worst.values(), key=lambda told: _severity(told[1]), reverse=True)
        rows = [("tensor", "recorded", "likeness", "difference", "worst step")]
        rows += [
            (one.actual, one.expected, str(one.likeness), f"{one.difference:.2g}", f"{number:,}")
            for number, one in found[:MOST]
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        more = [f"and {len(found) - MOST:,} more"] if len(found) > MOST else []
        return "\n".join([*lines, *more, self.sentence])


def _severity(one: Gradient) -> tuple[bool, float]:
    return not one.alike, one.difference if one.difference == one.difference else 0.0


@contextmanager
def follow(
    path: Path | str, optimizer: Any, *, model: Any = None, map: Mapping[str, str] | Path | str | None = None
) -> Iterator[Followed]:
    """Put the recorded weights and state under a model before every step that its optimizer takes in the block.

    So its gradients are compared with the recorded ones on equal weights at every step (mode lock): what they differ
    by is the difference of the models, or of the data. The n-th step in the block is held against the n-th recorded
    one, so the batches have to be the same. path: a recording of whole tensors. optimizer: of torch.optim, or of Keras
    on TensorFlow (eager, tf.function, fit). model: who gives the parameters their names, or a mapping from names; of
    Keras the one that is fitted. map: names of the recording by names of the model, or a file as `parity compare
    --write-map` writes it, for what initial values, layers and names do not tell.

    After the block the model holds the recorded weights and state of the last step that was compared. Where more steps
    are taken than were recorded, following ends with a line and training goes on; fewer are told. ParityError where
    tensors of the model are not in the recording, or it cannot be put under them as it is; UsageError for another
    optimizer.
    """
    recording = recording_in(Path(path))
    check_recording(recording)
    _check_whole(recording)
    locked = _locked(optimizer, model)
    begun = _Begun(locked)
    pairing = pair_parameters(begun, recording, _asked(map))
    _check_all(pairing, begun, recording)
    leader = _Leader(recording, pairing, locked)
    leader.put(0)
    with locked.hooked(leader.step):
        try:
            yield leader.followed
        finally:
            leader.put(leader.taken)


def _check_whole(recording: Recording) -> None:
    sampled = next((one.name for one in recording.parameters if not one.whole), None)
    if sampled is not None:
        raise ParityError(
            f"recording {recording.folder.name!r} holds a sample of {sampled!r} (elements={recording.elements}), "
            "and cannot be put under a model; record it without elements="
        )
    if recording.every > 1:
        raise ParityError(
            f"recording {recording.folder.name!r} holds one step in {recording.every}, and cannot be followed"
        )


def _locked(optimizer: Any, model: Any) -> Locked:
    kinds = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(optimizer).__mro__]
    found = next((one for name, one in KINDS.items() if name in kinds), None)
    if found is None or hasattr(optimizer, "inner_optimizer"):
        told = "; optax leaves its weights to its caller, who can set them" if _is_optax(optimizer) else ""
        raise UsageError(f"{kinds[0]} cannot follow a recording; allowed: {ALLOWED}{told}")
    locked = found(optimizer, model)
    if len(set(locked.names)) < len(locked.names):
        twice = next(name for name in locked.names if locked.names.count(name) > 1)
        raise ParityError(f"two parameters are called {twice!r}; give model= a mapping from names of your own")
    return locked


def _is_optax(optimizer: Any) -> bool:
    return type(optimizer).__module__.startswith("optax")


def _asked(given: Mapping[str, str] | Path | str | None) -> Mapping[str, str] | None:
    if given is None or isinstance(given, Mapping):
        return given
    return read_map(Path(given), "map")


def _check_all(pairing: Pairing, begun: _Begun, recording: Recording) -> None:
    """Whatever the model trains has to be led, by numbers that it can hold."""
    if pairing.alone[0]:
        raise ParityError(
            f"{', '.join(pairing.alone[0][:3])} of the model is not in recording {recording.folder.name!r}; "
            "map= says what it is called there"
        )
    for pair in pairing.pairs:
        one, two = begun.parameter(pair.actual).dtypes["w"], recording.parameter(pair.expected).dtypes["w"]
        if one != two and not np.can_cast(_dtype(two), _dtype(one)):
            raise ParityError(f"{pair.actual!r} is {one}, and was recorded in {two}, which it cannot hold")


def _dtype(name: str) -> np.dtype:
    return next(dtype for dtype, known in FORMAT_OF.items() if known == name)


class _Begun:
    """The model as it is when the block begins, as a pairing looks at it."""

    elements: int | None = None
    seed = 0

    def __init__(self, locked: Locked) -> None:
        self.folder = Path("the model")
        self.told = {"framework": locked.framework}
        self._weights = locked.weights()
        odd = next((name for name, one in self._weights.items() if one.dtype not in FORMAT_OF), None)
        if odd is not None:
            raise ParityError(f"{odd!r} is {self._weights[odd].dtype}; allowed: {', '.join(FORMAT_OF.values())}")
        self.parameters = tuple(
            RecordedParameter(name, one.shape, one.size, {"w": FORMAT_OF[one.dtype]})
            for name, one in self._weights.items()
        )

    def parameter(self, name: str) -> RecordedParameter:
        """The one of that name."""
        return next(one for one in self.parameters if one.name == name)

    def weights(self, name: str) -> np.ndarray:
        """What it begins with, flat."""
        return self._weights[name].reshape(-1)


class _Leader:
    """Compares what every step was given with what was recorded, and puts the recorded state under the model."""

    def __init__(self, recording: Recording, pairing: Pairing, locked: Locked) -> None:
        self._recording, self._locked = recording, locked
        self._pairs: dict[str, Pair] = {pair.actual: pair for pair in pairing.pairs}
        self._places = {one.name: place for place, one in enumerate(recording.parameters)}
        self.followed = Followed(recording.folder.name, recording.steps, pairing)
        self.taken = 0
        self._ended = False

    def put(self, row: int) -> None:
        """The state after a recorded step, or that before the first."""
        states = {
            quantity: {
                name: self._recording.values(quantity, pair.expected, row)[pair.place].reshape(pair.shape)
                for name, pair in self._pairs.items()
            }
            for quantity in self._recording.quantities
        }
        t = self._recording.step(row).t if row else self._recording.told["t"]
        self._locked.put(states, {name: int(t[self._places[pair.expected]]) for name, pair in self._pairs.items()})

    def _end(self, why: str) -> None:
        """Training goes on without being led."""
        self._ended = True
        print(f"parity: following ends after {self.taken} steps: {why}", file=sys.stderr)

    def step(self, gradients: Sequence[np.ndarray | None]) -> None:
        """A step was taken with these."""
        if self._ended:
            return
        if self.taken == self._recording.steps:
            self._end(f"{self.followed.recording} has no more")
            return
        if self._locked.grown:
            self._end("a parameter was added to the optimizer")
            return
        self.taken += 1
        number = int(self._recording.told.get("first", 1)) + self.taken - 1
        none = self._recording.step(self.taken).none
        sides = [
            (
                pair.actual,
                pair.expected,
                None if given is None else given.reshape(-1),
                None if pair.expected in none else self._recording.gradients(pair.expected, self.taken)[pair.place],
            )
            for pair, given in zip((self._pairs[name] for name in self._locked.names), gradients, strict=True)
        ]
        self.followed._steps.append(FollowedStep(number, tuple(likenesses(sides))))
        for name, _, one, two in sides:
            if one is not None and two is not None:
                self.followed._dtypes.setdefault(name, FORMAT_OF[one.dtype])
                row = measured_row(GRADIENTS, name, one, two, number)
                self.followed._rows.setdefault(name, []).append(row)
        self.put(self.taken)
