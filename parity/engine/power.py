"""How many wrong Adams each budget catches, and how many of them are named: `make power` computes, a report shows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from parity.case.case import Case
from parity.case.expectation import Expectation
from parity.core.digest import SEAL, digest_of, seal_of
from parity.core.errors import ParityError
from parity.core.files import write_json

SCHEMA = 2
FILE = "power.json"

UNKNOWN_CASE = "no shipped case of this name"
CASE_CHANGED = "case changed: make power"
BUDGET_CHANGED = "budget changed: make power"

PREFIX, STORE = "numpy.adam.", ".store"
OUTSIDE = f"{PREFIX}outside"

FEW = 0.5
"""A budget that catches a smaller share of the wrong Adams is called weak."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What one budget catches.

    reference: the from-scratch Adam beside which the wrong ones stand. expectations: of the case, by their
    patterns, that come to this budget. caught, applicable, total: wrong Adams whose verdict is not as
    expected; that differ from the right one here at all; that there are. missed: applicable, not caught.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    reference: str
    budget: str
    expectations: list[str]
    caught: int
    applicable: int
    total: int
    missed: str


@dataclass(frozen=True, slots=True)
class CasePower:
    """The figures of a case: by dtype, then by what the budget allows for. digest: that of the case."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    digest: str
    dtypes: dict[str, dict[str, Figure]]


class Asked(StrEnum):
    """Which Adams were asked for their name."""

    ONE_FAULT = "wrong in one way"
    TWO_FAULTS = "wrong in two ways"
    RIGHT = "right, rounding elsewhere"
    SHIPPED = "shipped"


@dataclass(frozen=True, slots=True)
class Naming:
    """How many Adams of a kind `parity identify` names in a dtype.

    family: of the fault, or one of both; empty for all. asked: of which at least one bit is another than that of the
    right Adam, and all that are right. named: told whole, with nothing left. falsely: told to depart in what they do
    not. seconds: of an answer, on average; where probes are run in this process, without them.
    """

    # Not strict: a run is read from values of Python, in which a word is no member of an enumeration.
    __pydantic_config__ = ConfigDict(extra="forbid")

    kind: Asked
    dtype: str
    family: str
    asked: int
    named: int
    falsely: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PowerTable:
    """Everything that cases/power.json holds. seal: digest of the rest, against changes by hand."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    schema: int
    cases: dict[str, CasePower]
    names: list[Naming]
    seal: str


@dataclass(frozen=True, slots=True)
class Power:
    """The power of one budget in one cell of a run.

    pairs: that are held to it. unknown: why there are no figures. holds: those pairs, empty where they were not
    written down.
    """

    case: str
    dtype: str
    budget: str
    pairs: int
    caught: int = 0
    applicable: int = 0
    missed: tuple[str, ...] = ()
    unknown: str = ""
    holds: tuple[tuple[str, str], ...] = ()

    @property
    def weak(self) -> bool:
        """Whether most wrong Adams pass."""
        return not self.unknown and self.caught < FEW * self.applicable


Held = tuple[Case, str, str, Expectation, tuple[str, str]]
"""A pair as its budget sees it: case, dtype, reference, expectation, and who it is."""

_TABLE = TypeAdapter(PowerTable)


def reference_of(expected: str, convention: str | None, expectation: Expectation) -> str:
    """The from-scratch Adam that stands for the expected side of a pair; empty where its convention is unknown.

    A budget without limit on w asks about m and v only, which do not depend on where epsilon stands: OUTSIDE then.
    """
    if expected.endswith(STORE):
        return expected
    if "w" in expectation.unbounded:
        return OUTSIDE
    return f"{PREFIX}{convention}" if convention else ""


def budget_name(reference: str, expectation: Expectation) -> str:
    """What a budget allows for, in words; two in one cell may share them, their digests tell them apart."""
    parts: list[str] = [expectation.rounding or "stated"]
    exact = [name for name, budget in (expectation.within or {}).items() if 0 in budget.limits().values()]
    if exact:
        parts.append(f"{' '.join(exact)} equal")
    if expectation.nonfinite:
        parts.append("NaN allowed")
    if not expectation.moves:
        parts.append("w stands still")
    return f"{', '.join(parts)} / {reference or 'unknown convention'}"


def budget_digest(reference: str, expectation: Expectation) -> str:
    """Of everything a verdict depends on but the distances; not of names, reasons or what the budget is called."""
    within = {name: budget.limits() for name, budget in (expectation.within or {}).items()}
    limits = {name: {metric: float(limit).hex() for metric, limit in one.items()} for name, one in within.items()}
    judged = [
        reference,
        limits,
        sorted(expectation.unbounded),
        expectation.nonfinite,
        expectation.moves,
        expectation.rounding is None,
    ]
    return digest_of(json.dumps(judged, sort_keys=True).encode())


def powers_of(table: PowerTable, held: Iterable[Held]) -> tuple[Power, ...]:
    """The power of every budget that pairs of a run are held to, each once, in the order of the pairs."""
    found: dict[tuple[str, str, str], list[Held]] = {}
    for one in held:
        case, dtype, reference, expectation, _ = one
        found.setdefault((case.name, dtype, budget_digest(reference, expectation)), []).append(one)
    return tuple(_power(table, pairs, digest) for (_, _, digest), pairs in found.items())


def _power(table: PowerTable, held: Sequence[Held], digest: str) -> Power:
    case, dtype, reference, expectation, _ = held[-1]
    power = Power(
        case.name, dtype, budget_name(reference, expectation), len(held), holds=tuple(pair for *_, pair in held)
    )
    known = table.cases.get(case.name)
    if known is None:
        return replace(power, unknown=UNKNOWN_CASE)
    if known.digest != case.digest():
        return replace(power, unknown=CASE_CHANGED)
    for figure in known.dtypes.get(dtype, {}).values():
        if figure.budget == digest:
            missed = tuple(figure.missed.split())
            return replace(power, caught=figure.caught, applicable=figure.applicable, missed=missed)
    return replace(power, unknown=BUDGET_CHANGED)


def write_power(path: Path, cases: Mapping[str, CasePower], names: Sequence[Naming]) -> None:
    """Write a table with its seal."""
    content = {
        "schema": SCHEMA,
        "cases": {name: asdict(power) for name, power in cases.items()},
        "names": [asdict(one) for one in names],
    }
    write_json(path, {**content, SEAL: seal_of(content)})


def read_power(folder: Path) -> PowerTable:
    """The table of a folder of cases, an empty one where there is none; ParityError where it was altered."""
    path = folder / FILE
    if not path.exists():
        return PowerTable(SCHEMA, {}, [], "")
    try:
        text = path.read_bytes()
        content, table = json.loads(text), _TABLE.validate_json(text)
    except (ValidationError, ValueError, OSError):
        raise ParityError(f"{path}: damaged, or of another schema; make power writes it anew") from None
    if table.schema != SCHEMA:
        raise ParityError(f"{path}: schema {table.schema}; this parity reads schema {SCHEMA}")
    if table.seal != seal_of(content):
        raise ParityError(f"{path}: altered by hand; its figures are computed: make power writes it anew")
    return table
