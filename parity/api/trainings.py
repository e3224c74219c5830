"""Two recorded trainings: where they part, and who is to blame."""

from __future__ import annotations

import json
from pathlib import Path

from parity.case.pairing import MAP_TABLE, read_map
from parity.case.recording import recording_in
from parity.case.recording_header import HEADER
from parity.comparison.divergence import to_table
from parity.core.errors import UsageError
from parity.core.files import write_atomically
from parity.engine.record import FILE as RUN
from parity.engine.tables import CSV, PARQUET, TableWriter, write_csv
from parity.explain.trainings import Trainings
from parity.explain.trainings import compare_trainings as compare
from parity.report.html.documents import write_trainings


def are_recordings(actual: Path | str, expected: Path | str) -> bool:
    """Whether both are recordings; UsageError where only one is."""
    found = [(Path(one) / HEADER).is_file() for one in (actual, expected)]
    if any(found) and not all(found):
        other = (actual, expected)[found.index(False)]
        raise UsageError(f"{other} is no recording, and can't be compared with one")
    return all(found)


def compare_trainings(
    actual: Path | str,
    expected: Path | str,
    map_file: Path | str | None = None,
    *,
    output: Path | str | None = None,
    csv: bool = False,
) -> Trainings:
    """Hold two recordings against each other.

    map_file: TOML with a table [parameters], names of `expected` by names of `actual`, for what cannot be told by
    value, shape and name. output: a folder for divergence.parquet (mode closed; divergence.csv too with csv),
    trainings.json, report.md and, where Jinja2 is installed, report.html. ParityError where a recording or the map is
    damaged, NothingCompared where they have nothing in common.
    """
    asked = None if map_file is None else read_map(Path(map_file), "--map")
    sides = recording_in(Path(actual)), recording_in(Path(expected))
    if output is None:
        return compare(*sides, asked)
    folder = _own_folder(Path(output))
    with TableWriter(folder / PARQUET) as table:
        found = compare(*sides, asked, lambda label, measured: table.write(to_table(label, [measured])))
    (folder / CSV).unlink(missing_ok=True)
    if csv:
        write_csv(folder)
    write_trainings(found, folder)
    return found


def _own_folder(folder: Path) -> Path:
    """Where an answer may be written; UsageError where it would lie over something else."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"-o {folder}: is a file, not a folder")
    for name, what in ((HEADER, "a recording"), (RUN, "a run")):
        if (folder / name).exists():
            raise UsageError(f"-o {folder}: holds {what}; name another folder")
    return folder


def write_map(found: Trainings, path: Path | str) -> None:
    """Write the pairs of a comparison as a map, with a remark where another would do as well."""
    lines = [
        f"# {found.expected.folder} by {found.actual.folder}; edit, and hand it over with --map.",
        f"[{MAP_TABLE}]",
    ]
    for pair in found.pairing.pairs:
        others = found.pairing.ambiguous.get(pair.actual, ())
        remark = f"  # or {', '.join(one for one in others if one != pair.expected)}" if others else ""
        lines.append(f"{json.dumps(pair.actual)} = {json.dumps(pair.expected)}{remark}")
    write_atomically(Path(path), "\n".join(lines) + "\n")
