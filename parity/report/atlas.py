"""An atlas of releases in words, in Markdown and as JSON values."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parity.baseline.drift import Status
from parity.baseline.lineage import Lineage, Station
from parity.core.environment import ABSENT
from parity.core.version import VERSION
from parity.report.changes import moved_text
from parity.report.drift import REASONS
from parity.report.figures import counted, steps_text
from parity.report.markup import escape, table
from parity.report.panels.atlas import PYTHON, Atlas, Change, Line, Row, dtypes_in_order, facts_of
from parity.report.panels.changes import ChangeField
from parity.report.upgrade import side_to_json, upgraded_to_json

SCHEMA = 1

NOT_RECORDED = "not recorded"

LEGEND = (
    "An entry is one implementation on one case in one dtype; it is held against the same entry of the release before, "
    "by a digest of the weights and of each moment after every step. = : every bit is the same; ≠ : some bit is not; "
    "+ : was not there before; − : is not there any more. lr is the unit of one full optimizer step; sizes are those "  # noqa: RUF001
    "of the kept steps: the first, the powers of two, the last."
)


def atlas_to_json(atlas: Atlas) -> dict[str, Any]:
    """What ``--json`` writes."""
    return {
        "schema": SCHEMA,
        "document": "atlas",
        "parity": VERSION,
        "compared": atlas.compared,
        "lines": {one.lineage.name: _line_to_json(one) for one in atlas.lines},
    }


def _line_to_json(line: Line) -> dict[str, Any]:
    lineage = line.lineage
    return {
        "title": lineage.title,
        "command": list(lineage.command),
        "order": [one.name for one in lineage.stations],
        "stations": {
            one.name: {"why": one.why, "side": None if one.side is None else side_to_json(one.side)}
            for one in lineage.stations
        },
        "same_since": {one.implementation: dict(one.since) for one in line.rows},
        "steps": {name: upgraded_to_json(step) for name, step in lineage.steps.items()},
    }


def headline(atlas: Atlas) -> str:
    """The answer in a sentence."""
    steps = sum(len(one.lineage.steps) for one in atlas.lines)
    same = sum(len(one.same) for one in atlas.lines)
    releases = sum(len(one.lineage.recorded) for one in atlas.lines)
    told = f"{counted(releases, 'release')} on {counted(len(atlas.lines), 'line')}, "
    return (
        f"{told}{counted(steps, 'step')} from one to the next: {same} changed no bit, {steps - same} did, or could "
        f"not be told; {atlas.compared:,} digests were compared."
    )


def line_answer(line: Line) -> str:
    """The same of a line."""
    lineage = line.lineage
    if not lineage.steps:
        return f"{lineage.title}: nothing was compared, of {counted(len(lineage.recorded), 'recorded release')}."
    changed = [name for name in lineage.steps if name not in line.same]
    digests = f"{lineage.compared:,} digests compared"
    if not changed:
        first, last = lineage.recorded[0].name, lineage.recorded[-1].name
        return f"{lineage.title}: no bit changed from {first} to {last}; {digests}."
    steps = f"{len(changed)} of {counted(len(lineage.steps), 'step')}"
    return f"{lineage.title}: {', '.join(changed)} changed something ({steps}); {digests}."


def any_changed(atlas: Atlas) -> bool:
    """Whether any step changed a bit."""
    return any(one.found for one in atlas.lines)


def again(lineage: Lineage) -> str:
    """The words that record a line again."""
    return shlex.join(lineage.command)


def since_text(row: Row) -> str:
    """Since when an implementation is what it is in the newest release."""
    by_station: dict[str, list[str]] = {}
    for dtype in dtypes_in_order([*row.since]):
        by_station.setdefault(row.since[dtype], []).append(dtype)
    if not by_station:
        return "not in the newest"
    if len(by_station) == 1:
        return next(iter(by_station))
    return "; ".join(f"{station} ({', '.join(dtypes)})" for station, dtypes in by_station.items())


def field_of(line: Line, station: str, implementation: str) -> ChangeField | None:
    """What a step did to an implementation; None where there is nothing of it."""
    found = line.changes.map if line.changes is not None else None
    return None if found is None else found.rows.get(implementation, {}).get(station)


def cell_lines(line: Line, station: Station, row: Row) -> list[str]:
    """What stands of an implementation in the column of a release."""
    if station.side is None:
        return [NOT_RECORDED]
    field = field_of(line, station.name, row.implementation)
    if station.name == line.lineage.recorded[0].name:
        return [counted(row.first, "entry").replace("entrys", "entries")] if row.first else ["none"]
    if field is None:
        return ["none"]
    counts = dict(field.counts)
    changed, same = counts.get(Status.CHANGED, 0), counts.get(Status.IDENTICAL, 0)
    told = [f"= {same:,}"] if same and not changed else []
    if changed:
        size = steps_text(field.lr) if field.lr else moved_text(field.ulp, field.lr)
        told = [f"≠ {changed:,} of {changed + same:,}", size]
    told += [f"{sign} {counts[status]:,}" for status, sign in SIGNS.items() if counts.get(status)]
    return told


SIGNS = {Status.MISSING: "+", Status.FAILED: "−", Status.INPUTS_CHANGED: "other inputs:"}  # noqa: RUF001


def kind_text(change: Change) -> str:
    """Whether a change is of arithmetic or of the formula, where that is known."""
    if not change.families:
        return "not explained"
    told = "formula" if change.formula else "arithmetic"
    if change.explained < change.entries:
        told += f", {change.explained:,} of {change.entries:,} explained"
    return told


def reasons_text(change: Change) -> Iterator[str]:
    """What is said of the entries, most frequent first."""
    for text, count in change.reasons[:REASONS]:
        yield text if len(change.reasons) == 1 else f"{count:,} of {change.entries:,}: {text}"
    more = len(change.reasons) - REASONS
    if more > 0:
        yield f"and {counted(more, 'other reason')}"


def size_text(change: Change) -> str:
    """How far weights moved, and where."""
    told = moved_text(change.ulp, change.lr)
    return f"{told}, in {change.case}" if change.ulp else told


def absent(line: Line) -> Iterator[tuple[str, str, str]]:
    """Release, implementation and why it has nothing of it; releases and implementations of which the same is said
    together."""
    for station in line.lineage.stations:
        if station.side is None:
            yield station.name, "", f"{NOT_RECORDED}: {station.why}"
    told: dict[tuple[str, str], list[str]] = {}
    for row in line.rows:
        releases: dict[str, list[str]] = {}
        for release, reasons in row.lacking.items():
            releases.setdefault("; ".join(reasons[:REASONS]) or "it was not asked for", []).append(release)
        for why, found in releases.items():
            told.setdefault((", ".join(found), why), []).append(row.implementation)
    for (found_in, why), names in told.items():
        yield found_in, ", ".join(names), why


def environment_rows(lineage: Lineage) -> list[tuple[str, tuple[str, ...]]]:
    """What decides the numbers: a row for Python and each package, a value for each recorded release."""
    facts = [facts_of(one) for one in lineage.recorded]
    names = dict.fromkeys([PYTHON, *sorted({name for one in facts for name in one})])
    return [(name, tuple(one.get(name, ABSENT) for one in facts)) for name in names]


def packages_of(station: Station) -> Mapping[str, str]:
    """All packages that its environment had, where parity built it."""
    return {} if station.side is None else station.side.packages


def rebuild_command(station: Station) -> str:
    """What installs its environment again, under the Python that it names."""
    pins = [f"{name}=={release}" for name, release in packages_of(station).items()]
    return shlex.join(["pip", "install", *pins]) if pins else ""


def places(lineage: Lineage) -> list[str]:
    """On what machines it was recorded."""
    found = [one.side.baseline.environments[0] for one in lineage.recorded if one.side is not None]
    return [*dict.fromkeys(f"{one['platform']}, {one['processor']}" for one in found)]


def render_atlas(atlas: Atlas) -> str:
    """The atlas as Markdown."""
    return "\n\n".join(_lines(atlas)) + "\n"


def _lines(atlas: Atlas) -> Iterator[str]:
    yield "# Atlas of releases"
    yield escape(headline(atlas))
    yield escape(LEGEND)
    yield table(OVERVIEW, [[escape(one) for one in row] for row in overview(atlas)])
    for line in atlas.lines:
        yield f"## {escape(line.lineage.name)}"
        yield from _of_line(line)


OVERVIEW = ("line", "implementation", "releases", "same since", "changed by", "w at most", "why")


def overview(atlas: Atlas) -> Iterator[tuple[str, ...]]:
    """Every implementation of every line in a row; those of which the same is said share one."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for line in atlas.lines:
        for row in line.rows:
            rows.setdefault((line.lineage.name, *_overview_row(line, row)), []).append(row.implementation)
    for (name, *rest), implementations in rows.items():
        yield name, ", ".join(implementations), *rest


def _overview_row(line: Line, row: Row) -> tuple[str, ...]:
    found = [one for one in line.found if row.implementation in one.implementations]
    stations = [one.name for one in line.lineage.recorded if one.name not in row.lacking]
    releases = f"{stations[0]} to {stations[-1]} ({len(stations)})" if len(stations) > 1 else ", ".join(stations)
    if not found:
        return releases or "none", since_text(row), "nothing", "", ""
    after = dict.fromkeys(f"{one.after} ({', '.join(_dtypes(found, one.after))})" for one in found)
    worst = {dtype: max(_sizes(found, dtype)) for dtype in dtypes_in_order([one.dtype for one in found])}
    sizes = "; ".join(f"{dtype}: {moved_text(ulp, lr)}" for dtype, (lr, ulp) in worst.items())
    families = dict.fromkeys(family for one in found for family, _ in one.families)
    kinds = dict.fromkeys("formula" if one.formula else "arithmetic" for one in found if one.families)
    explained, entries = sum(one.explained for one in found), sum(one.entries for one in found)
    why = f"{' and '.join(kinds)}: {', '.join(families)}" if families else ""
    told = f"{explained:,} of {entries:,} explained" if explained < entries else "explained"
    return releases, since_text(row), ", ".join(after), sizes, "; ".join(filter(None, [why, told]))


def _sizes(found: Sequence[Change], dtype: str) -> list[tuple[float, int]]:
    return [(one.lr, one.ulp) for one in found if one.dtype == dtype]


def _dtypes(found: Sequence[Change], after: str) -> list[str]:
    return dtypes_in_order([one.dtype for one in found if one.after == after])


def _of_line(line: Line) -> Iterator[str]:
    lineage = line.lineage
    yield f"**{escape(line_answer(line))}**"
    columns = ["implementation", *(one.name for one in lineage.stations), "same since"]
    yield table(
        [escape(one) for one in columns],
        [
            [escape(row.implementation), *(escape(", ".join(cell_lines(line, one, row))) for one in lineage.stations),
             escape(since_text(row))]
            for row in line.rows
        ],
    )  # fmt: skip
    if line.found:
        rows = [
            [
                f"{one.before} → {one.after}", ", ".join(one.implementations), one.dtype,
                f"{one.entries:,} of {one.of:,}", f"{one.first:,}", size_text(one), kind_text(one),
                "; ".join(reasons_text(one)),
            ]
            for one in line.found
        ]  # fmt: skip
        yield table(CHANGE_ROW, [[escape(one) for one in row] for row in rows])
    if lacking := [*absent(line)]:
        yield table(("release", "implementation", "why there is nothing"), [[*map(escape, row)] for row in lacking])
    if lineage.recorded:
        headers = ["environment", *(escape(one.name) for one in lineage.recorded)]
        yield table(headers, [[escape(name), *map(escape, values)] for name, values in environment_rows(lineage)])
    notes = [f"- recorded on {escape(place)}" for place in places(lineage)]
    notes += [f"- {escape(note)}" for one in lineage.recorded if one.side is not None for note in one.side.notes]
    notes += [f"- again: `{again(lineage)}`"]
    yield "\n".join(dict.fromkeys(notes))


CHANGE_ROW = ("step", "implementation", "dtype", "changed", "from step", "w at most", "kind", "what")
