"""How the tensors of a case stand in one flat row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


def check_shape(value: object) -> None:
    """ValueError where what a file says is no list of whole numbers of at least 0."""
    if not isinstance(value, list) or not all(type(one) is int and one >= 0 for one in value):
        raise ValueError(f"{str(value)[:40]!r} is no shape")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A named tensor; shape () is 0-d, a 0 in the shape is an empty tensor; dtype: its own, empty for the case's."""

    name: str
    shape: tuple[int, ...]
    dtype: str = ""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Layout:
    """Parameters packed one after another, without gaps, into rows of `size` elements."""

    parameters: tuple[Parameter, ...]

    @property
    def size(self) -> int:
        """Elements of one row."""
        return sum(parameter.size for parameter in self.parameters)

    @property
    def mixed(self) -> bool:
        """Whether any parameter has a dtype of its own."""
        return any(one.dtype for one in self.parameters)

    def slices(self) -> Iterator[tuple[Parameter, slice]]:
        """Every parameter with its place in a row."""
        offset = 0
        for parameter in self.parameters:
            yield parameter, slice(offset, offset + parameter.size)
            offset += parameter.size

    def views(self, row: np.ndarray) -> dict[str, np.ndarray]:
        """Views of a row (size,) by parameter name, each in its own shape; no copy."""
        return {parameter.name: row[place].reshape(parameter.shape) for parameter, place in self.slices()}
