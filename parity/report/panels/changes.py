"""What an upgrade, several releases, a search or a baseline came to, as a page shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.baseline.document import Document
from parity.baseline.drift import Group, Status, grouped
from parity.core.environment import PACKAGES, Difference
from parity.numerics.formats import FORMATS
from parity.report.panels.change_map import (
    ChangeField,
    ChangeMap,
    change_field,
    map_of_dtypes,
    map_of_releases,
    weights_of,
)
from parity.report.panels.documents import Held, HeldEntry, HeldMatrix, HeldSearch, HeldSide, ReadDocument
from parity.report.panels.reading import read_document


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
