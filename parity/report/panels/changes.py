"""What became of entries as a map: implementations by releases, or by dtypes where there is one release only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.baseline.document import Document
from parity.baseline.drift import GREEN, Group, Status, grouped
from parity.core.environment import PACKAGES, Difference
from parity.numerics.formats import FORMATS
from parity.report.panels.documents import (
    Held,
    HeldEntry,
    HeldMatrix,
    HeldSearch,
    HeldSide,
    ReadDocument,
    read_document,
)
from parity.report.panels.maps import heat_of


@dataclass(frozen=True, slots=True)
class ChangeColumn:
    """A release or a dtype. why: there is nothing of a release, empty where there is. same: nothing in it changed, and
    everything could be told; changed: something did."""

    name: str
    why: str
    same: bool
    changed: bool


@dataclass(frozen=True, slots=True)
class ChangeField:
    """The entries of one implementation in one column.

    counts: by what became of them, in the order of `Status`. Of those that changed: first, the earliest step;
    explained, how many are to the last bit; ulp, lr, the weights at their worst; heat, the level of lr. worst: of the
    entries that are not identical, the one to look at first; None where all are.
    """

    counts: tuple[tuple[Status, int], ...]
    first: int | None
    explained: int
    ulp: int
    lr: float
    heat: int
    worst: HeldEntry | None

    @property
    def entries(self) -> int:
        """How many there are."""
        return sum(count for _, count in self.counts)


@dataclass(frozen=True, slots=True)
class ChangeMap:
    """Fields by implementation and the name of a column; a column lacks implementations of which it has no entry."""

    columns: tuple[ChangeColumn, ...]
    rows: Mapping[str, Mapping[str, ChangeField]]


def weights_of(entry: HeldEntry) -> tuple[float, int]:
    """How far the weights of an entry moved, in units of lr, then in ULP; less than nothing where nobody knows."""
    return (-1.0, -1) if entry.change is None else entry.change.weights[::-1]


def map_of_releases(matrix: HeldMatrix) -> ChangeMap:
    """A column for every release, in order."""
    columns = [(one, matrix.releases[one]) for one in matrix.order]
    return _mapped(
        [(name, found.why, () if found.held is None else found.held.entries) for name, found in columns],
    )


def map_of_dtypes(held: Held) -> ChangeMap:
    """A column for every dtype, by precision."""
    there = {one.dtype for one in held.entries}
    dtypes = [*(one for one in FORMATS if one in there), *sorted(there - {*FORMATS})]
    return _mapped([(dtype, "", [one for one in held.entries if one.dtype == dtype]) for dtype in dtypes])


def _mapped(columns: Sequence[tuple[str, str, Sequence[HeldEntry]]]) -> ChangeMap:
    names = dict.fromkeys(one.implementation for _, _, entries in columns for one in entries)
    rows = {
        name: {
            column: change_field([one for one in entries if one.implementation == name])
            for column, _, entries in columns
            if any(one.implementation == name for one in entries)
        }
        for name in names
    }
    return ChangeMap(tuple(_column(*one) for one in columns), rows)


def _column(name: str, why: str, entries: Sequence[HeldEntry]) -> ChangeColumn:
    statuses = {one.status for one in entries}
    # A release that could not be held has no entry, and is not the same for that.
    return ChangeColumn(name, why, bool(statuses) and statuses <= GREEN, Status.CHANGED in statuses)


def change_field(entries: Sequence[HeldEntry]) -> ChangeField:
    """Fold entries."""
    counted = Counter(one.status for one in entries)
    changes = [one.change for one in entries if one.change is not None]
    ulp, lr = (max((one.weights[place] for one in changes), default=0) for place in (0, 1))
    return ChangeField(
        counts=tuple((status, counted[status]) for status in Status if counted[status]),
        first=min((one.first_step for one in changes), default=None),
        explained=sum(one.explained for one in changes),
        ulp=int(ulp),
        lr=float(lr),
        heat=heat_of(float(lr)),
        worst=max((one for one in entries if one.status is not Status.IDENTICAL), key=weights_of, default=None),
    )


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What differs between the environments of two sides. releases: for which it is so; empty where there are none."""

    releases: tuple[str, ...]
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Entries with the same fate. releases: that share it to the last figure; empty where there are none."""

    number: int
    releases: tuple[str, ...]
    group: Group[HeldEntry]
    surroundings: tuple[Surroundings, ...]


@dataclass(frozen=True, slots=True)
class EnvironmentTable:
    """What differs between environments: a row for each thing, a value for each column.

    others: the same of packages that no Adam here stands on directly.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    others: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """A document and what follows from it.

    number: of the document among those of the page. moved: pins of packages that both sides have, where they differ.
    total: all entries together. changed, untold: blocks of entries with other bits, and of those of which nothing is
    said of the bits. notes: pins that stood although another package asks otherwise. places: by release (empty where
    there is none), implementation, dtype and status, the number of a block.
    """

    number: int
    document: ReadDocument
    moved: tuple[Difference, ...]
    map: ChangeMap | None
    total: ChangeField
    compared: int
    changed: tuple[Block, ...]
    untold: tuple[Block, ...]
    notes: tuple[str, ...]
    environment: EnvironmentTable
    places: Mapping[tuple[str, str, str, Status], int]

    @property
    def worst(self) -> Block | None:
        """The block of the entry that changed most; None where nothing changed."""
        return max(self.changed, key=lambda one: weights_of(one.group.worst), default=None)


def read_changes(paths: Sequence[Path]) -> tuple[Changes, ...]:
    """What files or folders hold; ParityError, one line, where one is none of ours, altered, or not finished."""
    return tuple(changes_of(read_document(path), number) for number, path in enumerate(dict.fromkeys(paths)))


def changes_of(document: ReadDocument, number: int = 0) -> Changes:
    """From a document."""
    held = document.holdings
    blocks = _blocks(document)
    return Changes(
        number=number,
        document=document,
        moved=_moved(held[0]) if isinstance(document.content, Held) else (),
        map=_map(document),
        total=change_field([entry for one in held for entry in one.entries]),
        compared=sum(one.compared for one in held),
        changed=tuple(one for one in blocks if one.group.status is Status.CHANGED),
        untold=tuple(one for one in blocks if one.group.status is not Status.CHANGED),
        notes=tuple(dict.fromkeys(f"{side.name}: {note}" for side in _sides(held) for note in side.notes)),
        environment=_environment(document),
        places={
            (release, block.group.implementation, block.group.dtype, block.group.status): block.number
            for block in blocks
            for release in block.releases or ("",)
        },
    )


def _releases(document: ReadDocument) -> Iterator[tuple[str, Held]]:
    """What was held by release; the name is empty where there is none."""
    match document.content:
        case HeldMatrix(order=order):
            found = {name: release.held for name, release in document.content.releases.items()}
            yield from ((name, held) for name in order if (held := found[name]) is not None)
        case _:
            yield from (("", held) for held in document.holdings)


def _map(document: ReadDocument) -> ChangeMap | None:
    match document.content:
        case HeldMatrix() as matrix:
            return map_of_releases(matrix)
        case Held() as held:
            return map_of_dtypes(held)
        case HeldSearch(step=step):
            return None if step is None else map_of_dtypes(step)


def _blocks(document: ReadDocument) -> tuple[Block, ...]:
    """Groups, those of several releases that are alike as one; by implementation, then by precision."""
    alike: dict[object, tuple[Group[HeldEntry], list[tuple[str, tuple[Difference, ...]]]]] = {}
    for release, held in _releases(document):
        for group in grouped(held.entries):
            fate = tuple((one.case, one.detail, one.change) for one in group.drifts)
            _, found = alike.setdefault((group.implementation, group.dtype, group.status, group.of, fate), (group, []))
            found += [(release, differences) for differences in dict.fromkeys(one.environment for one in group.drifts)]
    dtypes = list(FORMATS)
    ordered = sorted(
        alike.values(),
        key=lambda one: (one[0].implementation, dtypes.index(one[0].dtype) if one[0].dtype in dtypes else len(dtypes)),
    )
    return tuple(
        Block(number, tuple(dict.fromkeys(release for release, _ in found if release)), group, _gathered(found))
        for number, (group, found) in enumerate(ordered)
    )


def _gathered(found: Iterable[tuple[str, tuple[Difference, ...]]]) -> tuple[Surroundings, ...]:
    """Releases with the same differences together."""
    releases: dict[tuple[Difference, ...], list[str]] = {}
    for release, differences in found:
        releases.setdefault(differences, []).extend([release] if release else [])
    return tuple(Surroundings(tuple(names), differences) for differences, names in releases.items())


def _sides(held: Iterable[Held]) -> Iterator[HeldSide]:
    for one in held:
        yield from (side for side in (one.before, one.after) if side is not None)


def _moved(held: Held) -> tuple[Difference, ...]:
    """Pins with another release; empty where a side is no list of pins."""
    if held.before is None or held.after is None:
        return ()
    left, right = pins_of(held.before.name), pins_of(held.after.name)
    both = (name for name in left if name in right)
    return tuple(Difference(name, left[name], right[name]) for name in both if left[name] != right[name])


def pins_of(name: str) -> dict[str, str]:
    """Releases by package, of a side that is called by its pins; empty for any other side."""
    words = [word.partition("==") for word in name.split()]
    return {package: release for package, _, release in words} if all(one[1] for one in words) else {}


def _environment(document: ReadDocument) -> EnvironmentTable:
    if isinstance(document.content, HeldMatrix):
        columns, rows = _of_releases(document.content, dict(_releases(document)))
    else:
        columns = ("baseline", "now") if document.kind is Document.BASELINE else ("before", "after")
        rows = {one.what: (one.before, one.after) for held in document.holdings for one in held.environment}
    installed = {name for side in _sides(document.holdings) for name in side.packages} - {*PACKAGES}
    return EnvironmentTable(
        columns,
        tuple((what, values) for what, values in rows.items() if what not in installed),
        tuple((what, values) for what, values in rows.items() if what in installed),
    )


def _of_releases(
    matrix: HeldMatrix, releases: Mapping[str, Held]
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """A column for each release and one for what they are held against."""
    first = any(held.before is not None and held.before.name == matrix.reference for held in releases.values())
    named: dict[str, str] = {}
    told: dict[str, dict[str, str]] = {}
    for release, held in releases.items():
        for one in held.environment:
            named[one.what], value = (one.before, one.after) if first else (one.after, one.before)
            told.setdefault(one.what, {})[release] = value
    rows = {what: (*(values.get(one, named[what]) for one in releases), named[what]) for what, values in told.items()}
    return (*releases, matrix.reference), rows
