"""Baselines on disk: written whole or not at all, and checked to the last bit when they are read."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.baseline.entry import STEP_CHARACTERS, Entry, kept_steps
from parity.baseline.predicted import twin_from_json, twin_to_json
from parity.comparison.trace import hyper_from_json, hyper_to_json
from parity.core.digest import DIGEST_CHARACTERS, digest_of
from parity.core.environment import lacking
from parity.core.errors import NothingCompared, ParityError, nearest
from parity.core.files import json_in, json_text, write_atomically, write_json
from parity.core.version import VERSION
from parity.numerics.formats import format_named

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 3, "dict_size": 1 << 24}]
"""Implementations of one case share most of their bytes, however far apart."""


def pack(entries: Sequence[Entry], environments: Sequence[dict[str, Any]]) -> bytes:
    """One line of JSON, then digests and gaps of all entries in its order; xz. environments: those of the baseline."""
    header = {"entries": [_header(entry, environments) for entry in entries]}
    parts = [json.dumps(header, sort_keys=True, separators=(",", ":")).encode(), b"\n"]
    for entry in entries:
        for name in sorted(entry.digests):
            parts.append(bytes.fromhex("".join(entry.digests[name])))
    for entry in entries:
        for name in sorted(entry.gaps):
            parts.append(np.ascontiguousarray(entry.gaps[name]).tobytes())
    return lzma.compress(b"".join(parts), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, filters=_FILTERS)


def unpack(content: bytes, case: str, dtype: str, environments: Sequence[dict[str, Any]]) -> tuple[Entry, ...]:
    """The inverse; LZMAError, ValueError, KeyError, IndexError or TypeError where it is not what was packed."""
    told, _, rest = lzma.decompress(content, format=lzma.FORMAT_XZ).partition(b"\n")
    headers = json_in(told)["entries"]
    width = format_named(dtype).dtype.itemsize
    place = 0
    digests: list[dict[str, tuple[str, ...]]] = []
    for header in headers:
        found = {}
        for name in header["quantities"]:
            length = DIGEST_CHARACTERS // 2 + (header["steps"] + 1) * STEP_CHARACTERS // 2
            found[name] = _digests(_cut(rest, place, length).hex())
            place += length
        digests.append(found)
    entries = []
    for header, found in zip(headers, digests, strict=True):
        gaps = {}
        shape = (len(kept_steps(header["steps"])), header["size"])
        for name in header["quantities"]:
            unsigned = np.dtype(f"u{header.get('widths', {}).get(name, width)}")
            length = shape[0] * shape[1] * unsigned.itemsize
            gaps[name] = np.frombuffer(_cut(rest, place, length), unsigned).reshape(shape)
            place += length
        entries.append(_entry(header, case, dtype, found, gaps, environments))
    if place != len(rest):
        raise ValueError(f"{len(rest) - place} bytes too many")
    return tuple(entries)


def _header(entry: Entry, environments: Sequence[dict[str, Any]]) -> dict[str, Any]:
    width = format_named(entry.dtype).dtype.itemsize
    wide = {name: rows.itemsize for name, rows in entry.gaps.items() if rows.itemsize != width}
    return {
        **({"widths": wide} if wide else {}),
        "implementation": entry.implementation,
        "case_digest": entry.case_digest,
        "input_digest": entry.input_digest,
        "steps": entry.steps,
        "size": next(iter(entry.gaps.values())).shape[1],
        "hyper": hyper_to_json(entry.hyper),
        "quantities": sorted(entry.digests),
        "twin": twin_to_json(entry.twin),
        "known": entry.known,
        "kept_digest": entry.kept_digest,
        "environment": environments.index(dict(entry.environment)),
    }


def _entry(
    header: dict[str, Any],
    case: str,
    dtype: str,
    digests: dict[str, tuple[str, ...]],
    gaps: dict[str, np.ndarray],
    environments: Sequence[dict[str, Any]],
) -> Entry:
    return Entry(
        case=case,
        dtype=dtype,
        implementation=str(header["implementation"]),
        case_digest=str(header["case_digest"]),
        input_digest=str(header["input_digest"]),
        steps=int(header["steps"]),
        hyper=hyper_from_json(header["hyper"]),
        digests=digests,
        twin=twin_from_json(header["twin"]),
        known=bool(header["known"]),
        gaps=gaps,
        kept_digest=str(header["kept_digest"]),
        environment=environments[header["environment"]],
    )


def _cut(content: bytes, place: int, length: int) -> bytes:
    if place + length > len(content):
        raise ValueError(f"{place + length - len(content)} bytes are missing")
    return content[place : place + length]


def _digests(characters: str) -> tuple[str, ...]:
    rows = characters[DIGEST_CHARACTERS:]
    steps = (rows[place : place + STEP_CHARACTERS] for place in range(0, len(rows), STEP_CHARACTERS))
    return characters[:DIGEST_CHARACTERS], *steps


SCHEMA = 2
INDEX = "baseline.json"
SEAL = "seal"
SUFFIX = ".xz"


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was kept in one environment.

    folder: with baseline.json and one file for each case and dtype. version: of the parity that saved it.
    environments: of the processes that made the traces, mostly one. cells: by case and dtype, the name of the file and
    the implementations in it.
    """

    folder: Path
    version: str
    environments: tuple[dict[str, Any], ...]
    cells: Mapping[tuple[str, str], tuple[str, tuple[str, ...]]]

    @property
    def name(self) -> str:
        """Of the folder: what tells its environment from others."""
        return self.folder.name

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum((self.folder / name).stat().st_size for name in (INDEX, *(file for file, _ in self.cells.values())))

    def places(self) -> Iterator[tuple[str, str, str]]:
        """Case, dtype and implementation of every entry, in order."""
        for (case, dtype), (_, names) in self.cells.items():
            for name in names:
                yield case, dtype, name

    def entries(self, case: str, dtype: str) -> dict[str, Entry]:
        """Those of a case and dtype by implementation, empty where there are none; ParityError where altered."""
        if (case, dtype) not in self.cells:
            return {}
        file, names = self.cells[case, dtype]
        path = self.folder / file
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ParityError(f"{path}: missing, though {INDEX} lists it") from None
        except OSError as error:
            raise ParityError(f"{path}: cannot be read ({error.strerror})") from None
        if _file_name(case, dtype, content) != file:
            raise ParityError(f"{path}: truncated or altered (its content is not what its name is the digest of)")
        try:
            entries = unpack(content, case, dtype, self.environments)
        except (lzma.LZMAError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
            raise ParityError(f"{path}: cannot be understood by this parity ({error})") from None
        if tuple(entry.implementation for entry in entries) != names:
            raise ParityError(f"{path}: holds other implementations than {INDEX} says")
        return {entry.implementation: entry for entry in entries}


def environment_name(environments: Iterable[Mapping[str, Any]]) -> str:
    """The folder of an environment: its Python, and a digest of all that is known of it."""
    told = sorted(json.dumps(one, sort_keys=True) for one in environments)
    version = json.loads(told[0])["python"]
    return f"python{version}-{digest_of(json.dumps(told).encode())[:8]}"


def distinct_environments(entries: Iterable[Entry], known: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Environments of entries, each once, without those that are known."""
    found: list[dict[str, Any]] = []
    for entry in entries:
        environment = dict(entry.environment)
        if environment not in found and environment not in known:
            found.append(environment)
    return found


def write_baseline(root: Path, cells: Iterable[Sequence[Entry]], keep: Baseline | None = None) -> Baseline:
    """Write entries as a baseline, cell by cell, in place of what was there at once.

    root: the folder of all environments. cells: the entries of one case and dtype each. keep: the baseline to be
    brought up to date; what is not written anew stays in it. Until the very last moment whoever reads finds the old
    one. ParityError where it cannot be written, then the old one stays; NothingCompared where there are no entries.
    """
    written = dict(keep.cells) if keep is not None else {}
    environments = list(keep.environments) if keep is not None else []
    folder = keep.folder if keep is not None else None
    made: list[Path] = []
    try:
        for entries in filter(None, cells):
            case, dtype, _ = entries[0].place
            new = {entry.implementation: entry for entry in entries}
            members = {**(keep.entries(case, dtype) if keep is not None else {}), **new}
            environments += distinct_environments(entries, environments)
            folder = folder or root / environment_name(environments)
            folder.mkdir(parents=True, exist_ok=True)
            kept = [members[name] for name in sorted(members)]
            content = pack(kept, environments)
            path = folder / _file_name(case, dtype, content)
            if not path.exists():
                made.append(path)
                write_atomically(path, content)
            written[case, dtype] = path.name, tuple(entry.implementation for entry in kept)
        if folder is None:
            raise NothingCompared("nothing was recorded: there is no baseline to write")
        index = _index(environments, written)
        write_json(folder / INDEX, {**index, SEAL: _seal(index)})
    except BaseException as error:
        for path in made:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            where = folder or root
            raise ParityError(f"{where}: cannot be written ({error.strerror}); what was there stays") from None
        raise
    _sweep(folder, {file for file, _ in written.values()})
    return Baseline(folder, VERSION, tuple(environments), dict(sorted(written.items())))


def read_baseline(folder: Path) -> Baseline:
    """Read and check what a baseline says of itself; ParityError, one line naming the file, where it is not sound."""
    path = folder / INDEX
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParityError(f"{folder}: no baseline here, {INDEX} is missing") from None
    except (OSError, ValueError) as error:
        raise ParityError(f"{path}: cannot be read ({error})") from None
    try:
        told = json_in(text)
        same = text == json_text(told)
    except ValueError as error:
        raise ParityError(f"{path}: truncated or altered ({error})") from None
    schema = told.get("schema") if isinstance(told, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise ParityError(f"{path}: schema {schema} is newer than this parity, which reads {SCHEMA}; upgrade parity")
    if isinstance(schema, int) and not isinstance(schema, bool) and 0 < schema < SCHEMA:
        raise ParityError(
            f"{path}: schema {schema}, of an older parity with other digests; this one reads {SCHEMA}; "
            f"make it again with 'parity baseline save'"
        )
    unsealed = {key: value for key, value in told.items() if key != SEAL} if isinstance(told, dict) else {}
    # Also the text: a bit flipped in a blank leaves the values as they are.
    if schema != SCHEMA or told.get(SEAL) != _seal(unsealed) or not same:
        raise ParityError(f"{path}: altered (its content does not belong to its seal)")
    try:
        cells = {
            (case, dtype): (str(cell["file"]), tuple(cell["implementations"]))
            for case, dtypes in told["cells"].items()
            for dtype, cell in dtypes.items()
        }
        for file, _ in cells.values():
            if Path(file).name != file or "\0" in file:
                raise ValueError(f"{file[:80]!r} is no name of a file in it")
        environments: tuple[dict[str, Any], ...] = tuple(map(dict, told["environments"]))
        for one in environments:
            if lacks := lacking(one):
                raise ValueError(f"an environment lacks {lacks}")
        if not environments:
            raise ValueError("it has no environment")
        return Baseline(folder, str(told["parity"]), environments, cells)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ParityError(f"{path}: cannot be understood by this parity ({error})") from None


def baselines_in(root: Path) -> tuple[Baseline, ...]:
    """All baselines of a folder, by name; ParityError where there is none, or one is not sound."""
    if (root / INDEX).exists():
        return (read_baseline(root),)
    folders = sorted(path.parent for path in root.glob(f"*/{INDEX}")) if root.is_dir() else []
    if not folders:
        beside = [path.name for path in root.parent.iterdir() if path.is_dir()] if root.parent.is_dir() else []
        raise ParityError(f"{root}: no baseline here; save one with 'parity baseline save -o {root}'"
                          + (f" ({nearest(root.name, beside)})" if beside else ""))  # fmt: skip
    return tuple(map(read_baseline, folders))


def holds_baseline(root: Path) -> bool:
    """Whether a folder has a baseline, sound or not."""
    return (root / INDEX).exists() or any(root.glob(f"*/{INDEX}"))


def obtained_beside(root: Path) -> Path:
    """Where what is not as in the baselines of a folder is written."""
    return root.with_name(f"{root.name}.obtained")


def check_files(baseline: Baseline) -> None:
    """ParityError where a file of a baseline is missing, truncated or altered."""
    for case, dtype in baseline.cells:
        baseline.entries(case, dtype)


def _index(environments: list[dict[str, Any]], cells: Mapping[tuple[str, str], tuple[str, tuple[str, ...]]]) -> Any:
    told: dict[str, dict[str, Any]] = {}
    for (case, dtype), (file, names) in cells.items():
        told.setdefault(case, {})[dtype] = {"file": file, "implementations": list(names)}
    return {"schema": SCHEMA, "parity": VERSION, "environments": environments, "cells": told}


def _seal(index: Mapping[str, Any]) -> str:
    return digest_of(json.dumps(index, sort_keys=True, separators=(",", ":")).encode())


def _file_name(case: str, dtype: str, content: bytes) -> str:
    return f"{case}.{dtype}.{digest_of(content)}{SUFFIX}"


def _sweep(folder: Path, wanted: set[str]) -> None:
    """Remove files of earlier writings, whole or not."""
    for path in folder.iterdir():
        if path.name not in wanted and (path.name.endswith(SUFFIX) or path.name.endswith(".tmp")):
            path.unlink(missing_ok=True)
