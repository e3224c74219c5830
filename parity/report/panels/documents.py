"""What `parity upgrade`, `matrix`, `bisect` and `baseline check` wrote down, as a page reads it."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, NonNegativeInt, TypeAdapter, ValidationError

from parity.baseline.bisection import Decision
from parity.baseline.document import FILES, SCHEMA, Document
from parity.baseline.drift import Cause, Status, farthest
from parity.core.environment import Difference
from parity.core.errors import ParityError


def _hexadecimal(text: str) -> str:
    float.fromhex(text)
    return text


Hexadecimal = Annotated[str, AfterValidator(_hexadecimal)]
"""A float as `float.hex` writes it, NaN and inf among them."""


@dataclass(frozen=True, slots=True)
class DivergenceRow:
    """One kept step of one quantity of one parameter.

    max_steps: of the weights in units of lr, None for other quantities. Values: at worst_index, new and old.
    """

    quantity: str
    parameter: str
    step: NonNegativeInt
    elements: NonNegativeInt
    differing: NonNegativeInt
    max_abs: Hexadecimal
    max_ulp: NonNegativeInt
    max_steps: Hexadecimal | None
    worst_index: int
    actual_value: Hexadecimal | None
    expected_value: Hexadecimal | None

    @property
    def lr(self) -> float:
        """In units of lr; inf where one side is NaN, 0 where it has no such unit."""
        lr = 0.0 if self.max_steps is None else float.fromhex(self.max_steps)
        return math.inf if math.isnan(lr) else lr


@dataclass(frozen=True, slots=True)
class EntryChange:
    """How new bits differ from old ones: as `parity.baseline.drift.Change` has it."""

    first_step: NonNegativeInt
    quantities: tuple[str, ...]
    sentence: str
    explained: bool
    causes: tuple[Cause, ...]
    divergence: tuple[DivergenceRow, ...]

    @property
    def worst(self) -> tuple[DivergenceRow, ...]:
        """Rows that differ: the first, then the others, the farthest first."""
        differing = [one for one in self.divergence if one.differing]
        return (*differing[:1], *sorted(differing[1:], key=lambda one: -one.max_ulp))

    @property
    def weights(self) -> tuple[int, float]:
        """The largest distance of a weight in the kept steps, in ULP and in units of lr; 0 where none differs."""
        return farthest((one.max_ulp, one.lr) for one in self.worst if one.quantity == "w")


@dataclass(frozen=True, slots=True)
class HeldEntry:
    """What became of one entry: as `parity.baseline.drift.Drift` has it."""

    case: str
    dtype: str
    implementation: str
    status: Status
    detail: str
    compared: NonNegativeInt
    environment: tuple[Difference, ...]
    change: EntryChange | None


@dataclass(frozen=True, slots=True)
class RecordedFacts:
    """How many cells were recorded, and where."""

    cells: NonNegativeInt
    python: str
    platform: str
    processor: str


@dataclass(frozen=True, slots=True)
class HeldSide:
    """One side of an upgrade. notes: pins that stand although another package asks otherwise."""

    name: str
    recorded: RecordedFacts
    packages: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """Entries held against earlier ones. before, after: None where that was a baseline of this environment."""

    baseline: str
    recorded: RecordedFacts
    exit_code: int
    compared: NonNegativeInt
    counts: Mapping[Status, int]
    environment: tuple[Difference, ...]
    entries: tuple[HeldEntry, ...]
    before: HeldSide | None = None
    after: HeldSide | None = None


@dataclass(frozen=True, slots=True)
class HeldRelease:
    """A release of a matrix; held: None where there is nothing of it, and why says so."""

    why: str
    held: Held | None


@dataclass(frozen=True, slots=True)
class HeldMatrix:
    """Releases, in order, held against a reference."""

    package: str
    reference: str
    exit_code: int
    compared: NonNegativeInt
    order: tuple[str, ...]
    releases: Mapping[str, HeldRelease]


@dataclass(frozen=True, slots=True)
class HeldSearch:
    """A bisection: as `parity.baseline.bisection.Bisected` has it."""

    package: str
    exit_code: int
    releases: tuple[str, ...]
    decisions: tuple[Decision, ...]
    last_same: str
    first_changed: str | None
    suspects: tuple[str, ...]
    step: Held | None


Content = Held | HeldMatrix | HeldSearch

CONTENTS: Mapping[Document, Any] = {
    Document.UPGRADE: Held,
    Document.BASELINE: Held,
    Document.MATRIX: HeldMatrix,
    Document.BISECT: HeldSearch,
}


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """A document as it was read. version: of the parity that wrote it; command: the words that lead to it again."""

    kind: Document
    version: str
    command: tuple[str, ...]
    content: Content

    @property
    def holdings(self) -> tuple[Held, ...]:
        """All in it that was held against something."""
        match self.content:
            case Held():
                return (self.content,)
            case HeldMatrix(order=order, releases=releases):
                return tuple(held for one in order if (held := releases[one].held) is not None)
            case HeldSearch(step=step):
                return () if step is None else (step,)


def disagreement(document: ReadDocument) -> str:
    """Where a document contradicts itself; empty where it does not."""
    # Holdings of a matrix are looked up by its order, so that comes first.
    told = _of_content(document)
    return told or next(filter(None, map(_of_entries, document.holdings)), "")


def _of_content(document: ReadDocument) -> str:
    match document.content:
        case Held(before=before, after=after):
            sides = document.kind is Document.UPGRADE
            return "" if (before is not None) is (after is not None) is sides else "its sides are not there"
        case HeldMatrix(order=order, releases=releases, compared=compared):
            if sorted(order) != sorted(releases):
                return "order and releases name other releases"
            same = compared == sum(held.compared for held in document.holdings)
            return "" if same else "compared is not the sum of its releases"
        case HeldSearch() as search:
            return _of_search(search)


def _of_search(search: HeldSearch) -> str:
    told = {search.last_same, *search.suspects, *(one.release for one in search.decisions)}
    if not told <= {*search.releases}:
        return "it tells of a release that it does not search"
    first = search.suspects[0] if len(search.suspects) == 1 else None
    return "" if search.first_changed == first else "first_changed is not the one suspect"


def _of_entries(held: Held) -> str:
    counted = Counter(one.status for one in held.entries)
    if {status: count for status, count in held.counts.items() if count} != counted:
        return "counts are not those of its entries"
    if held.compared != sum(one.compared for one in held.entries):
        return "compared is not the sum of its entries"
    if any((one.change is None) is (one.status is Status.CHANGED) for one in held.entries):
        return "an entry that changed does not say how, or one that did not does"
    if len({(one.case, one.dtype, one.implementation) for one in held.entries}) != len(held.entries):
        return "an entry is there twice"
    return ""


_FOLDERS = re.compile(r"(?:(?<=file://)|(?<![\w/.)\]}]))/(?:[^\s/'\"<>|:;,()=]+/)+")

ELLIPSIS = "…/"

COMMANDS = "upgrade, matrix, bisect or baseline"

LONGEST = 200
"""Characters of what is wrong with a document."""


@dataclass(frozen=True, slots=True)
class _Head:
    document: Document
    parity: str
    command: tuple[str, ...]
    finished: bool = True


def document_in(folder: Path) -> Path | None:
    """The document of a folder that `parity upgrade`, `matrix` or `bisect` wrote; None where there is none.

    ParityError where there are several.
    """
    found = [folder / name for name in FILES.values() if (folder / name).is_file()]
    if len(found) > 1:
        raise ParityError(f"{folder}: holds {' and '.join(one.name for one in found)}; name one of them")
    return found[0] if found else None


def read_document(path: Path) -> ReadDocument:
    """Read a file, or that of a folder. ParityError, one line, where it is none of ours, altered, or not finished.

    Folders of the machine that it names are left out of every text.
    """
    file = document_in(path) if path.is_dir() else path
    if file is None:
        raise ParityError(f"{path}: nothing of parity upgrade, matrix or bisect here ({', '.join(FILES.values())})")
    return document_of(_loaded(file), str(file))


def document_of(content: Mapping[str, Any], file: str) -> ReadDocument:
    """The same of what is read already. file: how an error calls it."""
    try:
        content = _shortened(content)
    except RecursionError:
        raise ParityError(f"{file}: altered (it is nested too deeply)") from None
    schema = content.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise ParityError(f"{file}: was not written by parity {COMMANDS}, or by an older parity")
    if schema != SCHEMA:
        raise ParityError(f"{file}: schema {schema}; this parity reads schema {SCHEMA}")
    try:
        head = _adapter(_Head).validate_python(content)
        if not head.finished:
            raise ParityError(f"{file}: parity {head.document} did not come to its end; run it again")
        found: Content = _adapter(CONTENTS[head.document]).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
        raise ParityError(f"{file}: altered or truncated ({' '.join(told.split())[:LONGEST]})") from None
    document = ReadDocument(head.document, head.parity, head.command, found)
    contradiction = disagreement(document)
    if contradiction:
        raise ParityError(f"{file}: altered ({contradiction})")
    return document


def _loaded(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise ParityError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise ParityError(f"{file}: altered or truncated (it is no JSON)") from None
    if not isinstance(content, dict):
        raise ParityError(f"{file}: was not written by parity {COMMANDS}")
    return content


def _shortened(value: Any) -> Any:
    """Without folders, and with a question mark for what is no character."""
    match value:
        case str():
            # Half a character, as a crashed process may leave it, could not be written into a page.
            return without_folders(value.encode(errors="replace").decode())
        case list():
            return [_shortened(one) for one in value]
        case dict():
            return {key.encode(errors="replace").decode(): _shortened(one) for key, one in value.items()}
        case _:
            return value


def without_folders(text: str) -> str:
    """A text in which absolute paths have lost all but their names."""
    return _FOLDERS.sub(ELLIPSIS, text)


@cache
def _adapter(noun: Any) -> TypeAdapter[Any]:
    return TypeAdapter(noun)
