"""Straight-line programs: formulas as text, compiled to operations on arrays.

A program is a list of lines ``target = expression`` parted by ``;``. An expression is made of names, numbers,
``+ - * /``, unary ``-`` and the functions of `FUNCTIONS`. Each operator is one operation in floating point, in the
order in which Python would evaluate them, and each line stands for one kernel: one call that reads its
operands from memory and writes its target.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache

from parity.core.parsing import ONE_TREE

FUNCTIONS = {
    "fma": 3,
    "sqrt": 1,
    "rsqrt": 1,
    "maximum": 2,
    "larger": 2,
    "lerp": 3,
    "blend": 3,
    "power": 2,
    "repeated": 2,
    "squaring": 2,
    "root": 1,
}
"""Names of functions with their number of arguments.

fma(a, b, c): a * b + c with one rounding. rsqrt(a): 1 / sqrt(a), rounded to the working format only in between.
maximum(a, b): NaN where either is; larger(a, b): b where a < b, else a. lerp(a, b, x): from a to b by the scalar x,
``fma(x, b - a, a)``, and ``fma(x - 1, b - a, b)`` where x is 1/2 or more; blend(a, b, x): the same with a product and a
sum in place of each fma. power(b, t): b to the power t, as the
line's format has it; repeated(b, t): the same by t - 1 multiplications; squaring(b, t): the product of those among
b, b^2, b^4, ... that the bits of t name; root(a): sqrt(a) by the framework's own library. The last four are
for scalars only.
"""

_OPERATORS = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide", ast.Pow: "power"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: its name, the names of its operands, and where the result goes.

    Names that begin with ``%`` are intermediate. Operands that are numbers stand as floats. ends_line: the result is
    what the kernel writes.
    """

    name: str
    operands: tuple[str | float, ...]
    result: str
    ends_line: bool


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled text."""

    text: str
    operations: tuple[Operation, ...]


@cache
def compiled(text: str, arrays: tuple[str, ...]) -> Program:
    """The program of a text; targets among `arrays` keep their names, all others are intermediate.

    ValueError where a line is not ``name = expression`` in the language above.
    """
    return _Compiler(arrays).program(text)


class _Compiler:
    """Turns expressions into operations and names their results."""

    def __init__(self, arrays: tuple[str, ...]) -> None:
        self._arrays = frozenset(arrays)
        self._locals: dict[str, str] = {}
        self._operations: list[Operation] = []
        self._names = 0

    def program(self, text: str) -> Program:
        for line in filter(None, (line.strip() for line in text.replace(";", "\n").splitlines())):
            self._line(line)
        return Program(text, tuple(self._operations))

    def _line(self, line: str) -> None:
        with ONE_TREE:
            tree = ast.parse(line)
        match tree.body:
            case [ast.Assign(targets=[ast.Name(id=target)], value=value)]:
                pass
            case _:
                raise ValueError(f"{line!r} is not 'name = expression'")
        name, places = self._operands(value, line)
        if target not in self._arrays and target not in self._locals:
            self._locals[target] = self._name()
        self._operations.append(Operation(name, tuple(places), self._locals.get(target, target), ends_line=True))

    def _operands(self, node: ast.expr, line: str) -> tuple[str, list[str | float]]:
        name, operands = self._parts(node, line)
        places = [self._value(operand, line) for operand in operands]
        if name in ("lerp", "blend"):
            start, end, _ = places
            difference = self._name()
            self._operations.append(Operation("subtract", (end, start), difference, ends_line=False))
            places.append(difference)
        return name, places

    def _parts(self, node: ast.expr, line: str) -> tuple[str, list[ast.expr]]:
        match node:
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
                return _OPERATORS[type(operator)], [left, right]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return "negative", [operand]
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if FUNCTIONS.get(name) == len(args):
                return name, list(args)
            case ast.Name() | ast.Constant():
                return "copy", [node]
            case _:
                raise ValueError(f"{ast.unparse(node)!r} in {line!r} is no operation; allowed: + - * / {[*FUNCTIONS]}")

    def _value(self, node: ast.expr, line: str) -> str | float:
        """Where the value of an expression stands, after the operations that make it."""
        match node:
            case ast.Name(id=name):
                return self._locals.get(name, name)
            case ast.Constant(value=float() | int() as number):
                return float(number)
        name, places = self._operands(node, line)
        result = self._name()
        self._operations.append(Operation(name, tuple(places), result, ends_line=False))
        return result

    def _name(self) -> str:
        self._names += 1
        return f"%{self._names - 1}"
