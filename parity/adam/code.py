"""Programs as numbers, and engines that carry them out: one piece of machine code for all formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.numerics.jit import Kernel, compiled_text

Line = tuple[str, Sequence[str | float], str]
"""Name of an operation, names and numbers of its operands, name of the result."""

MOST_OPERANDS = 4


@dataclass(frozen=True, slots=True)
class Code:
    """Lines as numbers. operations: int64 (lines, 6): code, row of the result, rows of up to four operands.

    Every row is written once. inputs: names of the first rows, numbers among them. ends: rows in which every name
    stands at the end.
    """

    operations: np.ndarray
    inputs: tuple[str | float, ...]
    ends: Mapping[str, int]

    @property
    def rows(self) -> int:
        """Of memory that it needs."""
        return len(self.inputs) + len(self.operations)


def assembled(lines: Sequence[Line], codes: Mapping[str, int]) -> Code:
    """The code of lines run one after another; codes: of the operations."""
    inputs: list[str | float] = []
    written: set[str] = set()
    for _, operands, result in lines:
        inputs += [one for one in dict.fromkeys(operands) if one not in written and one not in inputs]
        written.add(result)
    rows: dict[str | float, int] = {name: row for row, name in enumerate(inputs)}
    made = np.zeros((len(lines), 2 + MOST_OPERANDS), np.int64)
    for place, (name, operands, result) in enumerate(lines):
        made[place, : 2 + len(operands)] = codes[name], len(inputs) + place, *(rows[one] for one in operands)
        rows[result] = len(inputs) + place
    return Code(made, tuple(inputs), {name: row for name, row in rows.items() if isinstance(name, str)})


def engine(expressions: Mapping[str, str], memory: str, target: str, names: Mapping[str, Any]) -> Kernel:
    """``execute(operations, *memory, width)``: carries out operations on the first `width` elements of rows.

    expressions: what element i of the result is, by the name of the operation, whose code is its place; in terms of
    a, b, c, d, the rows of its operands. memory: names of the arrays of rows; target: element i of the result, in
    terms of `into`; names: what expressions use.
    """
    loops = {f"{name}_rows": _loop(name, one, memory, target, names) for name, one in expressions.items()}
    calls = [
        f"        if code == {code}:\n            {name}({memory}, into, a, b, c, d, width)\n"
        for code, name in enumerate(loops)
    ]
    text = f"""
def execute(operations, {memory}, width):
    for place in range(operations.shape[0]):
        code, into, a, b, c, d = operations[place]
{"".join(calls)}"""
    return compiled_text(text, "execute", **loops)


def _loop(name: str, expression: str, memory: str, target: str, names: Mapping[str, Any]) -> Kernel:
    # Apart from all others, so that each becomes vector instructions.
    text = f"""
def {name}_rows({memory}, into, a, b, c, d, width):
    for i in range(width):
        {target} = {expression}
"""
    return compiled_text(text, f"{name}_rows", **names)
