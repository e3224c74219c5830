"""What the tests of all rows share: one small set of parameters, orbits as the engine copies them, equality of bits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from parity.core.state import State
from parity.implementations.implementation import Implementation
from parity.numerics.formats import FORMATS, to_bits

SHAPES = {"matrix": (3, 4), "vector": (7,), "scalar": (), "empty": (0,)}
STEPS = 10
FLOAT64, FLOAT32, BFLOAT16 = (FORMATS[name].dtype for name in ("float64", "float32", "bfloat16"))

Gradients = list[dict[str, np.ndarray | None]]

BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
"""Of Keras in this process, which can hold no other."""

each_dtype = pytest.mark.parametrize("dtype", [form.dtype for form in FORMATS.values()], ids=list(FORMATS))


def each(rows: Sequence[Implementation]) -> pytest.MarkDecorator:
    """Of what torch compiles for seconds, only `make test-all` asks everything."""
    marks = {row.name: [pytest.mark.exhaustive] for row in rows if row.name == "torch.adam.compiled"}
    return pytest.mark.parametrize(
        "row", [pytest.param(row, marks=marks.get(row.name, ()), id=row.name) for row in rows]
    )


def here(rows: Iterable[Implementation]) -> tuple[Implementation, ...]:
    """Those that this process can run; those of other backends have one of their own, see test_keras_backends.py."""
    return tuple(row for row in rows if row.options.get("backend", BACKEND) == BACKEND)


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def draw(dtype: np.dtype, seed: int = 20) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: frozen(np.asarray(random.standard_normal(shape)).astype(dtype)) for name, shape in SHAPES.items()}


def draw_gradients(dtype: np.dtype, missing: dict[int, tuple[str, ...]] | None = None) -> Gradients:
    """missing: parameters without a gradient, by step."""
    random = np.random.default_rng(21)
    gradients: Gradients = []
    for step in range(1, STEPS + 1):
        drawn = {name: np.asarray(random.standard_normal(shape) * 2.0 ** (3 - step)) for name, shape in SHAPES.items()}
        gone = (missing or {}).get(step, ())
        gradients.append({name: None if name in gone else frozen(array.astype(dtype)) for name, array in drawn.items()})
    return gradients


def memory(elements: int, shift: int = 0) -> np.ndarray:
    """float32 zeros that begin so many bytes behind a multiple of 64."""
    block = np.zeros(4 * elements + 128, np.uint8)
    offset = -block.ctypes.data % 64 + shift
    return block[offset : offset + 4 * elements].view(np.float32)


def orbit(states: Iterator[State]) -> list[State]:
    """All states, copied as the engine does."""

    def copied(part: Any) -> Any:
        return part and {name: array.copy() for name, array in part.items()}

    return [State(*map(copied, state[:4]), average=copied(state.average)) for state in states]


def assert_same_bits(actual: list[State], expected: list[State]) -> None:
    assert len(actual) == len(expected) > 0
    for step, (left, right) in enumerate(zip(actual, expected, strict=True), start=1):
        for quantity in State._fields:
            ours, theirs = getattr(left, quantity), getattr(right, quantity)
            assert (ours is None) == (theirs is None), quantity
            if theirs is None:
                continue
            assert list(ours) == list(theirs)
            for name, array in theirs.items():
                assert ours[name].dtype == array.dtype, (quantity, name)
                assert ours[name].shape == array.shape, (quantity, name)
                assert np.array_equal(to_bits(ours[name]), to_bits(array)), (step, quantity, name)
