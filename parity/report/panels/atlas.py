"""Lines of releases as a page shows them: every step from one release to the next as a column of a map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from parity.baseline.document import Document, head
from parity.baseline.lineage import Lineage, Station, entries_of, same_since
from parity.core.environment import PACKAGES
from parity.explain.causes import FORMULA
from parity.numerics.formats import FORMATS
from parity.report.panels.changes import Block, Changes, changes_of
from parity.report.panels.documents import HeldEntry, document_of
from parity.report.upgrade import upgraded_to_json

PYTHON = "python"


@dataclass(frozen=True, slots=True)
class Change:
    """What one step changed of implementations that it changed alike.

    after: the release; before: the recorded one before it. entries, of: how many changed, of how many. first: step.
    ulp, lr: of the weights at their worst, in `case`. families: named causes by how many entries they are told of;
    formula: whether one is more than arithmetic. explained: how many entries are to the last bit.
    """

    before: str
    after: str
    implementations: tuple[str, ...]
    dtype: str
    entries: int
    of: int
    first: int
    ulp: int
    lr: float
    case: str
    families: tuple[tuple[str, int], ...]
    formula: bool
    explained: int
    reasons: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """An implementation on its line. first: entries of the oldest station; since: the first station of the newest
    bits, by dtype; lacking: why it is not there, by station."""

    implementation: str
    first: int
    since: Mapping[str, str]
    lacking: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of releases. changes: as a page of changes has them, a column for every step; None where there is none."""

    number: int
    lineage: Lineage
    changes: Changes | None
    rows: tuple[Row, ...]
    found: tuple[Change, ...]

    @property
    def same(self) -> tuple[str, ...]:
        """Steps that changed no bit of what is there before and after."""
        columns = self.changes.map.columns if self.changes is not None and self.changes.map is not None else ()
        return tuple(one.name for one in columns if one.name in self.lineage.steps and not one.changed)


@dataclass(frozen=True, slots=True)
class Atlas:
    """All lines."""

    lines: tuple[Line, ...]

    @property
    def compared(self) -> int:
        """Digests that were compared."""
        return sum(one.lineage.compared for one in self.lines)


def atlas_of(lineages: Sequence[Lineage]) -> Atlas:
    """Lines as they are shown, in that order."""
    return Atlas(tuple(_line(number, one) for number, one in enumerate(lineages)))


def _line(number: int, lineage: Lineage) -> Line:
    changes = _changes(number, lineage) if lineage.steps else None
    return Line(
        number,
        lineage,
        changes,
        tuple(_row(lineage, name) for name in lineage.implementations),
        () if changes is None else tuple(_found(lineage, changes)),
    )


def _changes(number: int, lineage: Lineage) -> Changes:
    """Every step as if its release was held against a reference, which is the release before it."""
    steps = {name: {"why": "", "held": upgraded_to_json(step)} for name, step in lineage.steps.items()}
    content = {
        **head(Document.MATRIX, lineage.command),
        "package": lineage.title,
        "reference": lineage.recorded[0].name,
        "exit_code": 0 if all(one.exit_code == 0 for one in lineage.steps.values()) else 1,
        "compared": lineage.compared,
        "order": list(steps),
        "releases": steps,
    }
    return changes_of(document_of(content, lineage.name), number)


def _row(lineage: Lineage, name: str) -> Row:
    first = sum(entries_of(lineage.recorded[0], name).values()) if lineage.recorded else 0
    lacking = {
        one.name: tuple(dict.fromkeys(_reasons(one, name)))
        for one in lineage.recorded
        if not entries_of(one, name)
    }  # fmt: skip
    return Row(name, first, same_since(lineage, name), lacking)


def _reasons(station: Station, name: str) -> Iterator[str]:
    """Why a station has nothing of an implementation."""
    assert station.side is not None
    yield from (lacks.replace("|", " or ") for lacks in station.side.unmet.get(name, ()))
    for one in station.side.failed:
        if one.implementation == name and one.failure is not None:
            yield one.failure.reason


def _found(lineage: Lineage, changes: Changes) -> Iterator[Change]:
    """Blocks of changed entries, by step; implementations of which the same is said are told together."""
    recorded = [one.name for one in lineage.recorded]
    alike: dict[object, tuple[list[str], str, Block]] = {}
    for after in lineage.steps:
        for block in changes.changed:
            if after in block.releases:
                key = (after, block.group.dtype, *_said(block))
                alike.setdefault(key, ([], after, block))[0].append(block.group.implementation)
    for names, after, block in alike.values():
        group = block.group
        (ulp, lr), reasons = _size(group.worst), group.reasons
        yield Change(
            before=recorded[recorded.index(after) - 1],
            after=after,
            implementations=tuple(names),
            dtype=group.dtype,
            entries=len(group.drifts),
            of=group.of,
            first=group.first_step,
            ulp=ulp,
            lr=lr,
            case=group.worst.case,
            families=_families(block),
            formula=any(family in set(FORMULA) for family, _ in _families(block)),
            explained=sum(one.change is not None and one.change.explained for one in group.drifts),
            reasons=reasons,
        )


def _said(block: Block) -> tuple[object, ...]:
    group = block.group
    return len(group.drifts), group.of, group.first_step, _size(group.worst), group.worst.case, group.reasons


def _size(entry: HeldEntry) -> tuple[int, float]:
    return (0, 0.0) if entry.change is None else entry.change.weights


def _families(block: Block) -> tuple[tuple[str, int], ...]:
    """Families of named causes, most frequent first."""
    found: dict[str, int] = {}
    for one in block.group.drifts:
        for family in dict.fromkeys(cause.family for cause in one.change.causes) if one.change is not None else ():
            found[family] = found.get(family, 0) + 1
    return tuple(sorted(found.items(), key=lambda one: -one[1]))


def facts_of(station: Station) -> dict[str, str]:
    """What decides the numbers of a station: its Python, the packages that an Adam stands on, and its variables."""
    assert station.side is not None
    environments = station.side.baseline.environments
    found = {PYTHON: str(environments[0]["python"])}
    for one in environments:
        found.update({name: str(release) for name, release in one["packages"].items() if name in PACKAGES})
    return {**found, **station.side.variables}


def dtypes_in_order(dtypes: Sequence[str]) -> list[str]:
    """By precision, as everywhere."""
    return [*(one for one in FORMATS if one in dtypes), *sorted({*dtypes} - {*FORMATS})]
