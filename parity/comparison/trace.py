"""The trace folder: the bits of w, m, v after every step; the only thing that crosses processes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from parity.core.digest import digest_of, quick_digest_of
from parity.core.errors import ParityError
from parity.core.files import json_in, write_json
from parity.core.hyper import Hyper, Numbers
from parity.core.layout import Layout, Parameter, check_shape
from parity.core.parsing import ONE_TREE
from parity.core.stages import stages_from_json, stages_to_json
from parity.core.state import QUANTITIES
from parity.numerics.formats import Format, format_named, formats_in, widest

SCHEMA = 2
HEADER = "trace.json"
SEAL = "seal"


@dataclass(frozen=True, slots=True)
class Trace:
    """The orbit of one implementation on one case in one dtype.

    folder: holds trace.json and w.npy, m.npy, v.npy (vmax.npy), each of shape (steps + 1, size),
    row 0 the initial state, unsigned integer bits. case, case_digest,
    input_digest: the question; two traces can be compared where the input digests are equal.
    formats: by quantity, that of each parameter; a file has the width of the one that holds them all exactly.
    digests: per quantity, one per row. environment: of the process that made it.
    """

    folder: Path
    case: str
    case_digest: str
    input_digest: str
    implementation: str
    format: Format
    formats: Mapping[str, tuple[Format, ...]]
    hyper: Hyper
    layout: Layout
    steps: int
    digests: dict[str, tuple[str, ...]]
    environment: dict[str, Any]
    _mapped: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def quantities(self) -> tuple[str, ...]:
        """Those that are stored, in the order in which a step computes them."""
        return tuple(quantity for quantity in QUANTITIES if quantity in self.digests)

    def stored(self, quantity: str) -> Format:
        """In which the rows of a quantity stand."""
        return widest(self.formats[quantity])

    def array(self, quantity: str) -> np.ndarray:
        """(steps + 1, size) in the format in which they are stored, memory-mapped, read-only."""
        if quantity not in self._mapped:
            self._mapped[quantity] = open_rows(self.folder, quantity, "r").view(self.stored(quantity).dtype)
        return self._mapped[quantity]


def hyper_to_json(hyper: Hyper) -> dict[str, Any]:
    """Hyperparameters with every float as a hex float, so that no bit is lost."""

    def told(value: Numbers) -> str | list[str]:
        return [one.hex() for one in value] if isinstance(value, tuple) else float(value).hex()

    return {
        "lr": told(hyper.lr),
        "beta1": told(hyper.beta1),
        "beta2": told(hyper.beta2),
        "eps": float(hyper.eps).hex(),
        "weight_decay": float(hyper.weight_decay).hex(),
        "decoupled": hyper.decoupled,
        "amsgrad": hyper.amsgrad,
        **({"groups": {name: hyper_to_json(own) for name, own in hyper.groups}} if hyper.groups else {}),
        **({"stages": stages_to_json(hyper.stages)} if hyper.stages.names else {}),
    }


def hyper_from_json(fields: dict[str, Any]) -> Hyper:
    """The inverse of hyper_to_json."""

    def read(value: str | list[str]) -> Numbers:
        return tuple(map(float.fromhex, value)) if isinstance(value, list) else float.fromhex(value)

    return Hyper(
        lr=read(fields["lr"]),
        beta1=read(fields["beta1"]),
        beta2=read(fields["beta2"]),
        eps=float.fromhex(fields["eps"]),
        weight_decay=float.fromhex(fields["weight_decay"]),
        decoupled=bool(fields["decoupled"]),
        amsgrad=bool(fields["amsgrad"]),
        groups=tuple((name, hyper_from_json(own)) for name, own in fields.get("groups", {}).items()),
        stages=stages_from_json(fields.get("stages", {})),
    )


def layout_to_json(layout: Layout) -> list[dict[str, Any]]:
    """Names, shapes and offsets of a row's parameters."""
    return [
        {"name": parameter.name, "shape": list(parameter.shape), "offset": place.start}
        | ({"dtype": parameter.dtype} if parameter.dtype else {})
        for parameter, place in layout.slices()
    ]


def layout_from_json(fields: list[dict[str, Any]]) -> Layout:
    """The inverse of layout_to_json; ValueError where a shape is none."""
    for one in fields:
        check_shape(one["shape"])
    return Layout(tuple(Parameter(one["name"], tuple(one["shape"]), one.get("dtype", "")) for one in fields))


def create_rows(folder: Path, quantity: str, rows: int, layout: Layout, format: Format) -> np.ndarray:
    """A new array file of zero bits, (rows, layout.size), mapped for writing; sparse until written."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{quantity}.npy"
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=format.unsigned, shape=(rows, layout.size))
    return mapped.view(np.ndarray)


def open_rows(folder: Path, quantity: str, mode: Literal["r", "r+", "c"]) -> np.ndarray:
    """Map an array file: 'r' to read, 'r+' to write, 'c' for private changes that nobody sees."""
    with ONE_TREE:
        rows: np.ndarray = np.load(folder / f"{quantity}.npy", mmap_mode=mode, allow_pickle=False)
    # As a plain array: every slice of a np.memmap pays for its subclass.
    return rows.view(np.ndarray)


def write_header(
    folder: Path,
    *,
    case: str,
    case_digest: str,
    input_digest: str,
    implementation: str,
    format: Format,
    hyper: Hyper,
    layout: Layout,
    steps: int,
    quantities: tuple[str, ...],
    environment: dict[str, Any],
    formats: Mapping[str, Sequence[str]] | None = None,
) -> Trace:
    """Digest the rows that are there and seal the folder with trace.json, its own digest in it.

    formats: of each parameter, for the quantities that are not in the format of the weights.
    """
    digests = {quantity: row_digests(open_rows(folder, quantity, "r")) for quantity in quantities}
    header = {
        "schema": SCHEMA,
        "case": case,
        "case_digest": case_digest,
        "input_digest": input_digest,
        "implementation": implementation,
        "dtype": format.name,
        "hyper": hyper_to_json(hyper),
        "parameters": layout_to_json(layout),
        "steps": steps,
        **({"formats": {quantity: list(names) for quantity, names in formats.items()}} if formats else {}),
        "digests": digests,
        "environment": environment,
    }
    write_json(folder / HEADER, {**header, SEAL: _seal(header)})
    return _trace(folder, header)


def _seal(header: dict[str, Any]) -> str:
    """Digest of everything in a header but the seal, as JSON with sorted keys and no spaces."""
    unsealed = {key: value for key, value in header.items() if key != SEAL}
    return digest_of(json.dumps(unsealed, sort_keys=True, separators=(",", ":")).encode())


def row_digests(rows: np.ndarray) -> list[str]:
    """One digest per row of bits."""
    return [quick_digest_of(np.ascontiguousarray(row)) for row in rows]


def read_trace(folder: Path) -> Trace:
    """Read and check a trace folder.

    ParityError, one line naming the file, where it is missing, from a newer schema, truncated, or
    altered (a row's digest differs).
    """
    path = folder / HEADER
    try:
        header = json_in(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParityError(f"{folder}: no trace here, {HEADER} is missing") from None
    except (ValueError, OSError) as error:
        raise ParityError(f"{path}: cannot be read ({error})") from None
    schema = header.get("schema") if isinstance(header, dict) else None
    if schema != SCHEMA:
        older = isinstance(schema, int) and schema < SCHEMA
        advice = "; make it again with 'parity run --keep-traces'" if older else ""
        raise ParityError(f"{path}: schema {schema!r}; this parity reads schema {SCHEMA}{advice}")
    if header.get(SEAL) != _seal(header):
        raise ParityError(f"{path}: altered (its content does not belong to its seal)")
    try:
        trace = _trace(folder, header)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ParityError(
            f"{path}: altered, {error.args[0] if error.args else error!r} is missing or malformed"
        ) from None
    if "w" not in trace.digests:
        raise ParityError(f"{path}: altered, the digests of w are missing")
    for quantity in trace.digests:
        _check_rows(trace, quantity)
    return trace


def _trace(folder: Path, header: dict[str, Any]) -> Trace:
    format, layout = format_named(header["dtype"]), layout_from_json(header["parameters"])
    wider = {name: tuple(map(format_named, own)) for name, own in header.get("formats", {}).items()}
    if not layout.parameters or any(len(own) != len(layout.parameters) for own in wider.values()):
        raise ValueError("a format for every parameter")
    hyper, steps = hyper_from_json(header["hyper"]), int(header["steps"])
    for own in (hyper, *(one for _, one in hyper.groups)):
        if any(isinstance(one, tuple) and len(one) < steps for one in (own.lr, own.beta1, own.beta2)):
            raise ValueError("a step size, or a beta, of every step")
    return Trace(
        folder=folder,
        case=str(header["case"]),
        case_digest=str(header["case_digest"]),
        input_digest=str(header["input_digest"]),
        implementation=str(header["implementation"]),
        format=format,
        formats={quantity: wider.get(quantity, formats_in(layout, format)) for quantity in header["digests"]},
        hyper=hyper,
        layout=layout,
        steps=steps,
        digests={quantity: tuple(digests) for quantity, digests in header["digests"].items()},
        environment=dict(header["environment"]),
    )


def _check_rows(trace: Trace, quantity: str) -> None:
    path = trace.folder / f"{quantity}.npy"
    shape, unsigned = (trace.steps + 1, trace.layout.size), trace.stored(quantity).unsigned
    try:
        rows = open_rows(trace.folder, quantity, "r")
    except FileNotFoundError:
        raise ParityError(f"{path}: missing, though {HEADER} lists it") from None
    except Exception as error:  # An altered header leads NumPy into its tokenizer: errors of any kind.
        raise ParityError(f"{path}: truncated or altered ({' '.join(str(error).split())})") from None
    if rows.shape != shape or rows.dtype != unsigned:
        raise ParityError(f"{path}: {rows.dtype} {rows.shape} where {unsigned} {shape} was written")
    if len(trace.digests[quantity]) != trace.steps + 1:
        raise ParityError(
            f"{trace.folder / HEADER}: {len(trace.digests[quantity])} digests of {quantity}, {trace.steps + 1} expected"
        )
    for step, digest in enumerate(row_digests(rows)):
        if digest != trace.digests[quantity][step]:
            raise ParityError(f"{path}: altered at step {step} (its digest differs from {HEADER})")
