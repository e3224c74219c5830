"""The numbers of a step that are the same for every element."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from types import MappingProxyType

import numpy as np

from parity.adam.arithmetic import working_format
from parity.adam.convention import Convention
from parity.adam.forms import Factors
from parity.adam.kernels import Operation, Program, compiled
from parity.core.hyper import Hyper
from parity.numerics.formats import FORMATS, Format
from parity.numerics.rounding import round_to

AHEAD = 64
"""Steps whose scalars are formed together where they are asked for one by one."""

Scalars = Mapping[str, np.ndarray]
"""By name, each an array (steps,) of the working format."""

Exponents = Sequence[int] | np.ndarray
"""The t of the bias correction of steps, (steps,), or those of m and those of v, (2, steps)."""

ArraySquareRoot = Callable[[np.ndarray], np.ndarray]
"""A library's square root: an array of one of the four formats to another of its shape and dtype."""

_LINE = re.compile(r"(?P<format>\w+) (?P<name>\w+) = (?P<expression>.+?)(?: as (?P<kept>\w+))?$")


def scalars(
    hyper: Hyper,
    convention: Convention,
    factors: Factors,
    lr: Sequence[float],
    counts: Exponents,
    format: Format,
    library: ArraySquareRoot | None = None,
) -> Scalars:
    """Every factor of the steps whose step sizes are `lr` and whose t of the bias correction are `counts`.

    counts: (steps,), or (2, steps), those of m and those of v; inf where nothing is corrected, as beta**inf is 0.
    Betas that change have to be those of these steps, as `Hyper.over` gives them.

    format: that of the weights. What rounding does: in float16, eps = 1e-8 is 0, so that a gradient of zero gives
    0 / 0 = NaN; in bfloat16, beta2 = 0.999 is 1 while 1 - beta2 is 0.001, so that v never decays. Neither is guarded
    against. Without bias correction, powers of the betas are 0. library: takes a `root`; where it is not given, it is
    the IEEE one. Whoever asks again gets the same arrays, read-only.
    """
    library = library if "root(" in factors.value else None
    numbers = np.asarray(counts, np.float64)
    if numbers.shape != (1,) or np.isinf(numbers).any() or hyper.lr_changes or hyper.betas_change:
        of_m, of_v = np.broadcast_to(numbers, (2, numbers.shape[-1])).tolist()
        return _scalars(hyper, convention, factors, tuple(lr), (tuple(of_m), tuple(of_v)), format, library)
    # Who takes one step takes the next ones too, and all of them cost what one does.
    place = int(numbers[0]) % AHEAD
    coming = tuple(float(number) for number in range(int(numbers[0]) - place, int(numbers[0]) - place + AHEAD))
    ahead = _scalars(hyper, convention, factors, (*lr,) * AHEAD, (coming, coming), format, library)
    return {name: values[place : place + 1] for name, values in ahead.items()}


@lru_cache(maxsize=128)
def _scalars(
    hyper: Hyper,
    convention: Convention,
    factors: Factors,
    lr: tuple[float, ...],
    counts: tuple[tuple[float, ...], tuple[float, ...]],
    format: Format,
    library: ArraySquareRoot | None,
) -> Scalars:
    formats = {**FORMATS, "double": FORMATS["float64"], "dtype": format, "working": working_format(format)}
    values = {
        "lr": np.array(lr, np.float64),
        "t": np.array(counts if convention.bias_correction else np.full_like(counts, np.inf)),
        **{
            name: np.broadcast_to(np.asarray(value, np.float64), len(lr))
            for name, value in (
                ("beta1", hyper.beta1),
                ("beta2", hyper.beta2),
                ("eps", hyper.eps),
                ("wd", hyper.weight_decay),
            )
        },
    }
    with np.errstate(all="ignore"):
        for computes, program, keeps in _lines(factors.whole):
            arithmetic = _ScalarArithmetic(formats[computes], library)
            name, value = arithmetic.line(program, values)
            values[name] = _kept(value, formats[keeps])
        found = {name: _kept(value, formats["working"]) for name, value in values.items() if name != "t"}
    for value in found.values():
        if value.flags.writeable:
            value.flags.writeable = False
    return MappingProxyType(found)


@cache
def _lines(text: str) -> tuple[tuple[str, Program, str], ...]:
    """(format in which it computes, program of one line, format in which it is kept) of every line."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{line!r} is not 'format name = expression as format'")
        program = compiled(f"{match['name']} = {match['expression']}", (match["name"],))
        found.append((match["format"], program, match["kept"] or match["format"]))
    return tuple(found)


def _kept(values: np.ndarray, format: Format) -> np.ndarray:
    """`round_to`, without a copy of what is in the format already."""
    return values if values.dtype == format.dtype else round_to(values, format)


class _ScalarArithmetic:
    """Operations on arrays (steps,), each rounded to a format; t: (2, steps), those of m and of v."""

    def __init__(self, format: Format, library: ArraySquareRoot | None) -> None:
        self._format = format
        self._root = np.sqrt if library is None else library
        self._working = working_format(format)

    def line(self, program: Program, values: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray]:
        """Target and value of a line."""
        rows: dict[str, np.ndarray] = {}
        size = len(values["lr"])
        for operation in program.operations:
            operands = [
                np.full(size, one) if isinstance(one, float) else rows[one] if one in rows else values[one]
                for one in operation.operands
            ]
            rows[operation.result] = self._apply(operation, operands)
        target = program.operations[-1].result
        return target, rows[target]

    def _apply(self, operation: Operation, operands: list[np.ndarray]) -> np.ndarray:
        operands = [_kept(one, self._format) for one in operands]
        if operation.name in _POWERS:
            bases, exponents = operands[0], operands[1].astype(np.float64)
            if operation.operands[1] == "t":
                exponents = exponents[int(str(operation.operands[0])[-1]) - 1]
            none = np.isinf(exponents)
            powers = _POWERS[operation.name](bases, np.where(none, 1, exponents), self._format)
            return np.where(none, np.zeros_like(powers), powers)
        wide = [_kept(one, self._working) for one in operands]
        match operation.name:
            case "copy":
                return _kept(wide[0], self._format)
            case "root":
                return _kept(self._root(wide[0]), self._format)
        return _kept(getattr(np, operation.name)(*wide), self._format)


def _raised(bases: np.ndarray, exponents: np.ndarray, format: Format) -> np.ndarray:
    """The C library's ``pow`` of doubles or ``powf`` of the rest, rounded to the format."""
    working = working_format(format)
    power = _power if working.name == "float64" else _single_power()
    powers = [power(float(base), float(exponent)) for base, exponent in zip(bases, exponents, strict=True)]
    return _kept(_kept(np.array(powers, np.float64), working), format)


def _power(base: float, exponent: float) -> float:
    if base < 0 and exponent != int(exponent):
        return float("nan")
    return float(base**exponent)


@cache
def _single_power() -> Callable[[float, float], float]:
    """``powf``, which is no more than nearly the rounded ``pow``: 6 of 30,000 powers of betas differ.

    Differs from: `np.power` of float32, which has a vector routine of its own. Where the C library cannot be loaded,
    the rounded ``pow``.
    """
    name = ctypes.util.find_library("m")
    if name is None:
        return _power
    function = ctypes.CDLL(name).powf
    function.restype, function.argtypes = ctypes.c_float, (ctypes.c_float, ctypes.c_float)
    return lambda base, exponent: float(function(base, exponent))


def _multiplied(bases: np.ndarray, exponents: np.ndarray, format: Format) -> np.ndarray:
    """``((b * b) * b) ...``, each product rounded to the format; one base for all exponents of at least 1."""
    if not len(exponents):
        return bases
    counts = exponents.astype(np.int64)
    powers = np.full(max(int(counts.max()), 1), bases[0])
    for place in range(1, len(powers)):
        powers[place] = powers[place - 1] * bases[0]
    chosen: np.ndarray = powers[np.maximum(counts, 1) - 1]
    return chosen


def _squared(bases: np.ndarray, exponents: np.ndarray, format: Format) -> np.ndarray:
    """Binary exponentiation, from the lowest bit on, each product rounded to the format."""
    counts = exponents.astype(np.int64)
    square, power, started = bases.copy(), np.ones_like(bases), np.zeros(len(counts), bool)
    while counts.any():
        odd = (counts & 1).astype(bool)
        power = np.where(odd, np.where(started, power * square, square), power)
        started |= odd
        counts >>= 1
        square = square * square
    return power


_POWERS = {"power": _raised, "repeated": _multiplied, "squaring": _squared}
