"""Initial weights and gradients of a case, as bits: the same on every machine, any step on its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import cast

import numpy as np

from parity.case import program as programs
from parity.case.case import Case, CaseParameter
from parity.case.program import Gradients, Weights
from parity.numerics.formats import Format, formats_in, in_format, row_format
from parity.numerics.jit import compiled

BLOCK = 1 << 15
"""Elements made at a time: temporaries stay in the cache. A multiple of Philox's four words."""

PIECE = 1 << 17
"""Elements of one task where threads share the work."""

WEIGHTS, GRADIENTS, MAGNITUDES, ROWS = range(4)
"""What a stream of random words is for; part of the counter."""


class _Stream:
    """Words of Philox-4x64 for one parameter, addressed by (step, purpose, place).

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; the key is (seed,
    index of the parameter), the counter (place / 4, 0, purpose, step).
    """

    def __init__(self, seed: int, index: int) -> None:
        # Any seed sequence: without one NumPy asks the operating system for entropy, at 30 times the cost.
        self._philox = np.random.Philox(np.random.SeedSequence(0))
        self._key = np.array([seed, index], np.uint64)

    def words(self, step: int, purpose: int, start: int, stop: int) -> np.ndarray:
        """uint64 (stop - start,), word by word the same however the range is cut."""
        first = start // 4
        self._philox.state = {
            "bit_generator": "Philox",
            "state": {"counter": np.array([first, 0, purpose, step], np.uint64), "key": self._key},
            "buffer": np.zeros(4, np.uint64),
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }
        words = cast(np.ndarray, self._philox.random_raw(stop - 4 * first))
        return words[start - 4 * first :]


def fill_weights(case: Case, format: Format, row: np.ndarray) -> None:
    """Write the initial weights into `row` (layout.size,), unsigned bits of `row_format`, rounded to the format.

    A parameter with a dtype of its own is rounded to that.
    """
    for index, (parameter, place, own) in enumerate(_places(case, format)):
        table = parameter.weights
        with _bits_of(case, format, own, row[place]) as bits:
            if isinstance(table, programs.RecordedWeights):
                _round(_part_of(table.recording().weights(parameter.name), parameter), own, bits)
            else:
                _fill_blocks(table, case.seed, index, 0, parameter, own, bits, None)


def fill_start(case: Case, format: Format, rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Write the moments that a case begins with into rows m, v, vmax (layout.size,), bits as of the weights.

    Returns how many steps each parameter has counted, (parameters,). What has no state begins with zeros.
    """
    counts = np.zeros(len(case.parameters), np.int64)
    for index, (parameter, place, own) in enumerate(_places(case, format)):
        start = parameter.start
        if start is None:
            continue
        counts[index] = start.steps
        for number, (quantity, row) in enumerate(rows.items(), start=1):
            table = getattr(start, quantity) or start.v
            with _bits_of(case, format, own, row[place]) as bits:
                if isinstance(table, programs.RecordedWeights):
                    recorded = table.recording().values(table.quantity, parameter.name, 0)
                    _round(_part_of(recorded, parameter), own, bits)
                else:
                    _fill_blocks(table, case.seed, index, number, parameter, own, bits, None)
    return counts


def fill_gradients(
    case: Case, format: Format, step: int, row: np.ndarray, threads: ThreadPoolExecutor | None = None
) -> tuple[str, ...]:
    """Write the gradients of a 1-based step into `row` (layout.size,), bits as of the weights.

    Returns the names of the parameters whose gradient is None; their elements are zero bits. The
    numbers are made in float64 and rounded once, to nearest even, so that all dtypes see the same
    sequence. Nothing but integers and exactly rounded operations: no exp, log or cos.
    """
    absent = []
    for index, (parameter, place, own) in enumerate(_places(case, format)):
        table = parameter.gradients
        recorded = isinstance(table, programs.Recorded) and parameter.name in table.recording().step(step).none
        if table.is_none(step) or recorded:
            absent.append(parameter.name)
            row[place].fill(0)
            continue
        with _bits_of(case, format, own, row[place]) as bits:
            if isinstance(table, programs.Recorded):
                _round(_part_of(table.recording().gradients(parameter.name, step), parameter), own, bits)
            else:
                _fill_blocks(table, case.seed, index, step, parameter, own, bits, threads)
            broken = table.not_finite(step)
            if broken is not None and bits.size:
                _round(np.array([broken]), own, bits[:1])
    return tuple(absent)


def _part_of(recorded: np.ndarray, parameter: CaseParameter) -> np.ndarray:
    """Those elements of a recorded tensor that a parameter is, in float64."""
    flat = recorded.reshape(-1)
    return np.concatenate([flat[start:stop] for start, stop in parameter.spans]).astype(np.float64)


def _places(case: Case, format: Format) -> Iterator[tuple[CaseParameter, slice, Format]]:
    """Every parameter with its place in a row and its format."""
    layout = case.layout()
    for parameter, (_, place), own in zip(case.parameters, layout.slices(), formats_in(layout, format), strict=True):
        yield parameter, place, own


@contextmanager
def _bits_of(case: Case, format: Format, own: Format, stored: np.ndarray) -> Iterator[np.ndarray]:
    """Bits of a parameter's own format; what is written there is stored as the same numbers in that of the row."""
    wide = row_format(case.layout(), format)
    if own is wide:
        yield stored
        return
    bits = np.zeros(stored.size, own.unsigned)
    yield bits
    stored.view(wide.dtype)[...] = in_format(bits.view(own.dtype), wide)


def _fill_blocks(
    table: Weights | Gradients,
    seed: int,
    index: int,
    step: int,
    parameter: CaseParameter,
    format: Format,
    bits: np.ndarray,
    threads: ThreadPoolExecutor | None,
) -> None:
    same = _same_everywhere(table, step)
    if same is not None:
        one = np.zeros(1, format.unsigned)
        _round(np.array([same]), format, one)
        bits.fill(one[0])
        return

    def fill_piece(piece: tuple[int, int, int]) -> None:
        stream = _Stream(seed, index)
        start, stop, before = piece
        for first in range(start, stop, BLOCK):
            last = min(first + BLOCK, stop)
            part = bits[first - before : last - before]
            _round(_master(table, stream, step, parameter.whole_shape, first, last), format, part)

    spread: Callable[..., object] = map if threads is None else threads.map
    list(spread(fill_piece, _pieces(parameter)))  # type: ignore[call-overload]


def _pieces(parameter: CaseParameter) -> Iterator[tuple[int, int, int]]:
    """Start and stop of every task in the whole tensor, and how many elements before it are not in the parameter."""
    before, end = 0, 0
    for first, last in parameter.spans:
        before += first - end
        end = last
        for start in range(first, last, PIECE):
            yield start, min(start + PIECE, last), before


def _same_everywhere(table: Weights | Gradients, step: int) -> float | None:
    match table:
        case programs.Constant() | programs.ConstantWeights():
            return table.value
        case programs.Flipping():
            return table.value if step % 2 else -table.value
        case programs.Zero() | programs.ZeroWeights():
            return 0.0
        case _:
            return None


def _master(
    table: Weights | Gradients, stream: _Stream, step: int, shape: tuple[int, ...], start: int, stop: int
) -> np.ndarray:
    """Elements start to stop of one tensor in float64, before they are rounded to the dtype."""
    match table:
        case programs.UniformWeights():
            return _uniform(stream.words(step, WEIGHTS, start, stop), table.low, table.high)
        case programs.Uniform():
            return _uniform(stream.words(step, GRADIENTS, start, stop), table.low, table.high)
        case programs.Bell():
            return _bell(stream.words(step, GRADIENTS, start, stop), table.scale)
        case programs.Decades():
            bell = _bell(stream.words(step, GRADIENTS, start, stop), 1.0)
            bell *= _magnitudes(stream.words(0, MAGNITUDES, start, stop), table.low, table.high, table.zeros)
            return bell
        case programs.Rows():
            length = math.prod(shape[1:])
            first = start // length
            chosen = _share(stream.words(step, ROWS, first, (stop - 1) // length + 1)) < table.density
            bell = _bell(stream.words(step, GRADIENTS, start, stop), table.scale)
            return np.where(chosen[np.arange(start, stop) // length - first], bell, 0.0)
        case _:
            raise TypeError(f"no numbers for {table!r}")


def _share(words: np.ndarray) -> np.ndarray:
    """53 random bits as float64 in [0, 1)."""
    words >>= np.uint64(11)
    share = words.astype(np.float64)
    share *= 2.0**-53
    return share


def _uniform(words: np.ndarray, low: float, high: float) -> np.ndarray:
    share = _share(words)
    share *= high - low
    share += low
    return share


def _bell(words: np.ndarray, scale: float) -> np.ndarray:
    """The sum of the four 16-bit lanes of a word, centred and scaled: Irwin-Hall of order four."""
    bell = np.empty(words.size)
    _add_lanes(words, scale / programs.BELL_PLACES, bell)
    return bell


@compiled
def _add_lanes(words, scale, sums):  # type: ignore[no-untyped-def]
    for k in range(len(words)):
        word, lane = words[k], np.uint64(0xFFFF)
        total = (
            (word & lane) + (word >> np.uint64(16) & lane) + (word >> np.uint64(32) & lane) + (word >> np.uint64(48))
        )
        sums[k] = np.float64(np.int64(total) - 2 * 0xFFFF) * scale


def _magnitudes(words: np.ndarray, low: float, high: float, zeros: float) -> np.ndarray:
    """(1 + fraction) * 2^exponent, exponents evenly between those of low and high; 0 for a share."""
    lowest, highest = math.frexp(low)[1], math.frexp(high)[1] - 1
    # 12 bits say whether it is zero, 20 choose the exponent, 32 are the fraction.
    chosen = (words >> np.uint64(52)).astype(np.float64) * 2.0**-12 >= zeros
    binades = ((words >> np.uint64(32)) & np.uint64(0xF_FFFF)) * np.uint64(highest - lowest) >> np.uint64(20)
    fraction = (words & np.uint64(0xFFFF_FFFF)).astype(np.float64) * 2.0**-32
    magnitudes: np.ndarray = np.ldexp(1.0 + fraction, binades.astype(np.int32) + np.int32(lowest))
    return np.where(chosen, magnitudes, 0.0)


def _round(master: np.ndarray, format: Format, bits: np.ndarray) -> None:
    """Round float64 to the format, to nearest even, into its bits; too large becomes infinite."""
    with np.errstate(over="ignore", under="ignore"):
        if format.name == "bfloat16":
            bits[...] = _bfloat16_bits(master)
        else:
            bits.view(format.dtype)[...] = master


def _bfloat16_bits(master: np.ndarray) -> np.ndarray:
    # By way of float32 a number may be rounded twice, which is not rounding to nearest; rounding to odd
    # first (Boldo & Melquiond 2008) keeps what the second rounding has to know.
    single = master.astype(np.float32)
    bits = single.view(np.uint32)
    back = single.astype(np.float64)
    bits -= np.abs(back) > np.abs(master)
    bits |= back != master
    lowest_kept = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + lowest_kept) >> np.uint32(16)).astype(np.uint16)
