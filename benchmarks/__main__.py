"""``python -m benchmarks [SECTION...]``: speed and memory, each measured side by side in one run, beside its aim."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from typing import Any, NamedTuple

from benchmarks.measure import CommandFailed, Figure
from parity.core.errors import nearest
from parity.implementations.need import unmet


class Section(NamedTuple):
    """module: of this package, with `figures`; needs: what has to be installed; most: seconds that it may take."""

    module: str
    needs: tuple[str, ...] = ()
    most: float = 180.0


SECTIONS = {
    "catalogue": Section("catalogue", ("torch", "tensorflow", "keras", "tf_keras", "jax", "optax")),
    "metrics": Section("metrics", ("torch",)),
    "adam": Section("adam", ("torch",)),
    "whole-run": Section("whole_run", ("torch", "tensorflow", "keras", "psutil")),
    "gpt2": Section("gpt2", ("torch", "tensorflow", "keras", "psutil"), 600.0),
    "record": Section("record", ("torch",)),
    "identify": Section("identify", ("torch",)),
    "start": Section("start", ("pytest",)),
}


def main(arguments: list[str] | None = None) -> int:
    """Print the table of the sections, all where none is named.

    Exit code 0, whether the aims are reached or not; 1 where a section that was named cannot run, or a command that
    is measured fails; 2 where a section is unknown.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; all where none is named"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; '-' is standard output")
    parser.add_argument("--quick", action="store_true", help="of the catalogue a part, named in its rows")
    asked = parser.parse_args(arguments)
    for name in asked.sections:
        if name not in SECTIONS:
            print(f"unknown section {name!r}; {nearest(name, SECTIONS)}", file=sys.stderr)
            return 2
    screen = sys.stderr if asked.json == "-" else sys.stdout
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    failed = False
    print("| measured | figure | aim |\n| --- | --- | --- |", file=screen, flush=True)
    for name in dict.fromkeys(asked.sections) or SECTIONS:
        missing = [need for need in SECTIONS[name].needs if unmet(need)]
        if missing:
            left_out[name] = f"{', '.join(missing)} not installed"
            failed |= name in asked.sections
            continue
        start = time.perf_counter()
        try:
            figures = importlib.import_module(f"benchmarks.{SECTIONS[name].module}").figures(asked.quick)
        except CommandFailed as error:
            left_out[name], failed = str(error), True
            continue
        seconds = time.perf_counter() - start
        for figure in figures:
            print(f"| {figure.what} | {_number(figure)} | {_aim(figure)} |", file=screen, flush=True)
            rows.append({"section": name, **figure._asdict(), "reached": figure.reached, "seconds": seconds})
        most = SECTIONS[name].most
        if seconds > most:
            print(f"{name} took {seconds:.0f} s, more than the {most:.0f} s that it may", file=sys.stderr)
    for name, reason in left_out.items():
        print(f"{name}: not measured: {reason}", file=sys.stderr)
    if asked.json:
        _write(asked.json, {"machine": _machine(), "figures": rows, "not_measured": left_out})
    return int(failed)


def _number(figure: Figure) -> str:
    return f"{figure.measured:.2f} {figure.unit}".rstrip() + ("" if figure.reached else " (not reached)")


def _aim(figure: Figure) -> str:
    return f"{'at least' if figure.at_least else 'at most'} {figure.aim:g} {figure.unit}".rstrip()


def _machine() -> dict[str, Any]:
    return {"processors": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}


def _write(file: str, answer: dict[str, Any]) -> None:
    text = json.dumps(answer, indent=1)
    if file == "-":
        print(text)
    else:
        with open(file, "w", encoding="utf-8") as out:
            out.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
