"""The tensors of a model, read from a file: the header of a safetensors file, or a list of names and shapes."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from parity.core.errors import ParityError
from parity.core.layout import check_shape

SAFETENSORS = ".safetensors"

METADATA = "__metadata__"
"""A key of a header that is no tensor."""

LARGEST_HEADER = 100_000_000
"""Bytes; longer ones safetensors refuses too."""

LARGEST_LIST = 1 << 28
"""Bytes of a list of shapes."""

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Names of formats by those that safetensors gives them."""


class Tensor(NamedTuple):
    """A tensor of a model; dtype: as the file has it, empty where it says none."""

    name: str
    shape: tuple[int, ...]
    dtype: str = ""


def tensors_in(path: Path, leave_out: Sequence[str] = ()) -> tuple[Tensor, ...]:
    """The tensors of a file in its order, but those whose names match a pattern of `leave_out`.

    path: ``*.safetensors``, of which only the header is read; any other holds JSON, ``{"name": [2, 3], ...}`` or
    ``[["name", [2, 3]], ...]``. dtype: names of formats. ParityError, one line without the file, where it is missing,
    damaged or empty, has a name twice, or a tensor of a dtype that no Adam takes.
    """
    if path.exists() and not path.is_file():
        raise ParityError("is no file")
    try:
        found = list(_header(path) if path.suffix == SAFETENSORS else _listed(path))
    except OSError as error:
        raise ParityError(f"cannot be read ({error.strerror})") from None
    except RecursionError:
        raise ParityError("not valid JSON: its brackets are nested too deeply") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise ParityError(" ".join(str(error).split())) from None
    twice = next((name for name, times in Counter(one.name for one in found).items() if times > 1), None)
    if twice is not None:
        raise ParityError(f"the name {twice!r} stands there more than once")
    for pattern in leave_out:
        if not any(fnmatchcase(one.name, pattern) for one in found):
            raise ParityError(f"leave_out: no tensor is called {pattern!r}")
    kept = [one for one in found if not any(fnmatchcase(one.name, pattern) for pattern in leave_out)]
    if not kept:
        raise ParityError("it holds no tensor" if not found else "leave_out leaves no tensor")
    return tuple(one._replace(dtype=_format_of(one)) for one in kept)


def _format_of(tensor: Tensor) -> str:
    if tensor.dtype and tensor.dtype not in DTYPES:
        allowed = ", ".join(DTYPES)
        raise ParityError(f"{tensor.name!r} is {tensor.dtype}; allowed: {allowed}, or its name in leave_out")
    return DTYPES.get(tensor.dtype, "")


def _header(path: Path) -> Iterator[Tensor]:
    """Those of a safetensors file: 8 bytes, the length of the header, little-endian; the header, JSON; the numbers.

    Source: safetensors, README.md, section "Format", 0.4.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        told = file.read(8)
        length = int.from_bytes(told, "little")
        if len(told) < 8 or length > min(LARGEST_HEADER, size - 8):
            raise ValueError(f"no safetensors file: {size:,} bytes hold no header of {length:,} bytes")
        header = _json(file.read(length))
    if not isinstance(header, list) or not all(isinstance(one, tuple) for one in header):
        raise ValueError("no safetensors file: its header is no JSON object")
    end = 0
    for name, entry in sorted(((key, one) for key, one in header if key != METADATA), key=_begins):
        fields = dict(entry)
        shape, dtype, (begin, stop) = _shape(name, fields["shape"]), str(fields["dtype"]), fields["data_offsets"]
        bits = _bits(dtype)
        if begin != end or (bits and (stop - begin) * 8 != math.prod(shape) * bits):
            raise ValueError(f"{name!r}: {dtype} {list(shape)} is not what bytes {begin:,} to {stop:,} hold")
        end = stop
        yield Tensor(name, shape, dtype)
    if 8 + length + end != size:
        raise ValueError(f"truncated or altered: {size:,} bytes, its header tells of {8 + length + end:,}")


def _bits(dtype: str) -> int:
    """Of one number of a dtype as safetensors names it (F32, BF16, I64, F8_E4M3, BOOL); 0 where the name says none."""
    digits = dtype.lstrip("CBFIU").partition("_")[0]
    return 8 if dtype == "BOOL" else int(digits) if digits.isdecimal() else 0


def _begins(item: tuple[str, Any]) -> tuple[int, int]:
    """Where the numbers of an entry begin and end; ValueError where the entry is none."""
    name, entry = item
    fields = dict(entry) if isinstance(entry, list) and all(isinstance(one, tuple) for one in entry) else {}
    missing = [key for key in ("dtype", "shape", "data_offsets") if key not in fields]
    if missing:
        raise ValueError(f"{name!r}: no {missing[0]} in the header")
    offsets = fields["data_offsets"]
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(one) is int and one >= 0 for one in offsets):
        raise ValueError(f"{name!r}: {str(offsets)[:40]!r} are no data_offsets")
    return offsets[0], offsets[1]


def _listed(path: Path) -> Iterator[Tensor]:
    if path.stat().st_size > LARGEST_LIST:
        raise ValueError(f"no list of shapes: {path.stat().st_size:,} bytes; a safetensors file ends in {SAFETENSORS}")
    found = _json(path.read_bytes())
    if not isinstance(found, list):
        raise ValueError('no list of shapes; allowed: {"name": [2, 3], ...} or [["name", [2, 3]], ...]')
    for one in found:
        if not isinstance(one, list | tuple) or len(one) != 2 or not isinstance(one[0], str):
            raise ValueError(f'{json.dumps(one)[:40]} is no ["name", shape]')
        yield Tensor(one[0], _shape(one[0], one[1]))


def _json(text: bytes) -> Any:
    """A document in which objects are lists of tuples, so that a key that stands there twice is seen."""
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_pairs)
    except UnicodeDecodeError as error:
        raise ValueError(f"not valid JSON: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error}") from None


def _pairs(items: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return list(items)


def _shape(name: str, value: Any) -> tuple[int, ...]:
    try:
        check_shape(value)
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from None
    if not name:
        raise ValueError("a tensor has no name")
    return tuple(value)
