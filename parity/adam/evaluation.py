"""Programs run on blocks of elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.adam.arithmetic import Arithmetic, Rounding, SquareRoot, Subnormals, working_format
from parity.adam.kernels import Operation, Program
from parity.core.errors import ParityError
from parity.numerics.flush import flush_subnormals
from parity.numerics.fma import fma
from parity.numerics.formats import Format

ArraySquareRoot = Callable[[np.ndarray], np.ndarray]
"""A library's square root: an array of one of the four formats to another of its shape and dtype."""

Operand = np.ndarray | np.generic


@dataclass(frozen=True, slots=True)
class Evaluator:
    """How single operations are carried out: what is rounded when, flushed, and which square root is asked.

    stored: format of the weights; library: has to be given where the arithmetic names it.
    """

    stored: Format
    rounding: Rounding
    flushes: bool
    library: ArraySquareRoot | None

    @property
    def working(self) -> Format:
        """The format of all arrays and scalars that are handed to `run`."""
        return working_format(self.stored)

    @property
    def in_place(self) -> bool:
        """Whether stored arrays are computed on as they are."""
        return self.working is self.stored and not self.flushes

    def run(self, program: Program, values: Mapping[str, Operand], scratch: np.ndarray) -> None:
        """Runs a program on arrays of one shape, in place.

        values: arrays and scalars of the working format by name; scratch: (rows, *shape), of as many rows as the
        program needs and one more, overwritten.
        """

        def operand(place: str | float) -> Any:
            if isinstance(place, float):
                return self.working.dtype.type(place)
            return scratch[int(place[1:])] if place.startswith("%") else values[place]

        for operation in program.operations:
            operands = [operand(one) for one in operation.operands]
            self.carry_out(operation, operands, operand(operation.result), scratch[-1])

    def carry_out(self, operation: Operation, operands: Sequence[Any], out: np.ndarray, spare: np.ndarray) -> None:
        """One operation, its result flushed and rounded as this arithmetic does; spare: of the shape of out."""
        self._apply(operation.name, operands, out)
        if self.flushes:
            flush_subnormals(out)
        if self.stored is not self.working and self._rounds(operation.ends_line):
            self._round(out, spare)

    def _apply(self, name: str, operands: Sequence[Any], out: np.ndarray) -> None:
        match name:
            case "fma":
                a, b, c = operands
                fma(a, b, c, out=out)
            case "lerp":
                start, end, weight, difference = operands
                if np.all(np.abs(weight) < 0.5):
                    fma(weight, difference, start, out=out)
                else:
                    fma(weight - weight.dtype.type(1), difference, end, out=out)
            case "sqrt" if self.library is not None:
                np.copyto(out, self.library(np.asarray(operands[0])))
            case "rsqrt":
                np.sqrt(operands[0], out=out)
                np.divide(self.working.dtype.type(1), out, out=out)
            case "larger":
                first, second = operands
                np.copyto(out, np.where(first < second, second, first))
            case "copy":
                np.copyto(out, operands[0])
            case _:
                getattr(np, name)(*operands, out=out)

    def _rounds(self, ends_line: bool) -> bool:
        return self.rounding is Rounding.EACH_OPERATION or (self.rounding is Rounding.EACH_KERNEL and ends_line)

    def _round(self, values: np.ndarray, spare: np.ndarray) -> None:
        """Rounds working values to the stored format, which they keep in the working format's dtype."""
        narrow = spare.reshape(-1).view(self.stored.dtype)[: values.size].reshape(values.shape)
        np.copyto(narrow, values, casting="unsafe")
        np.copyto(values, narrow)


def evaluator(arithmetic: Arithmetic, stored: Format, library: ArraySquareRoot | None) -> Evaluator:
    """The evaluator of an arithmetic; ParityError where it needs a library's square root and none is given."""
    asks = arithmetic.square_root is SquareRoot.LIBRARY
    if asks and library is None:
        raise ParityError("this arithmetic takes square roots by a framework's library, and none is given")
    flushes = arithmetic.subnormals is Subnormals.FLUSHED
    return Evaluator(stored, arithmetic.rounding, flushes, library if asks else None)
