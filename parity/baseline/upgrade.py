"""What an upgrade changed: one side held against the other, and each of several releases against the newest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from packaging.utils import canonicalize_name

from parity.baseline.check import Checked, hold
from parity.baseline.drift import GREEN, Drift, Status
from parity.baseline.saving import Selection
from parity.baseline.side import Side, Where
from parity.case.case import Case
from parity.core.environment import ABSENT, Difference
from parity.core.errors import NothingCompared
from parity.core.shown import Shown

Among = Callable[[Where], bool]


@dataclass(frozen=True, slots=True)
class Upgraded(Shown):
    """Two sides, and what became of every entry of the one in the other. command: the words that ask it again."""

    before: Side
    after: Side
    checked: Checked
    command: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 where something is not as it was, also where an implementation is there on one side only."""
        return self.checked.exit_code


def everything(where: Where) -> bool:
    """No entry is left out."""
    return True


def hold_sides(before: Side, after: Side, cases: Iterable[Case], among: Among = everything) -> Upgraded:
    """Hold one side against the other.

    cases: those that were recorded. among: which entries are looked at, where a baseline holds more. What only one
    side has is told with the reason. NothingCompared where the two have nothing in common.
    """
    _check_common(before, after, among)
    held = hold(before.baseline, after.baseline, {case.name: case for case in cases})
    wanted = (one for one in held.drifts if among((one.case, one.dtype, one.implementation)))
    drifts = tuple(_told(one, before, after) for one in wanted)
    environment = (*held.environment, *_other_packages(before, after, held.environment))
    return Upgraded(before, after, replace(held, drifts=drifts, environment=environment))


def selected(selection: Selection, names: Container[str], where: Where) -> bool:
    """Whether an entry is of a selected case and dtype, and of an implementation of these names."""
    case, dtype, name = where
    return case in {one.name for one in selection.cases} and dtype in selection.dtypes and name in names


def _check_common(before: Side, after: Side, among: Among) -> None:
    if any(among(where) for where in {*before.baseline.places()} & {*after.baseline.places()}):
        return
    reasons = [
        f"{name} on {one.name}: {reason}"
        for one, other in ((before, after), (after, before))
        for case, dtype, name in other.baseline.places()
        if (reason := one.reason((case, dtype, name)))
    ]
    told = f" ({reasons[0]})" if reasons else ""
    raise NothingCompared(f"nothing was compared: {before.name} and {after.name} have no entry in common{told}")


def _told(one: Drift, before: Side, after: Side) -> Drift:
    """What only one side has is lost or new, and it is said why."""
    where = one.case, one.dtype, one.implementation
    if one.status is Status.UNUSED:
        return replace(one, status=Status.FAILED, detail=f"only before: {after.reason(where) or 'not there after'}")
    if one.status is Status.MISSING:
        return replace(one, detail=f"only after: {before.reason(where) or 'not there before'}")
    return one


def _other_packages(before: Side, after: Side, known: tuple[Difference, ...]) -> Iterator[Difference]:
    """Releases that differ among packages that `parity.core.environment` does not list, of two built sides."""
    if not (before.packages and after.packages):
        return
    told = {canonicalize_name(one.what) for one in known}
    for name in sorted({*before.packages, *after.packages}):
        left, right = before.packages.get(name, ABSENT), after.packages.get(name, ABSENT)
        if left != right and name not in told:
            yield Difference(name, left, right)


@dataclass(frozen=True, slots=True)
class Column:
    """A release. held: against the reference, None where there is nothing of it; why: then says so."""

    release: str
    held: Upgraded | None
    why: str = ""

    def counted(self, implementation: str) -> Mapping[Status, int]:
        """How many entries of an implementation by what became of them."""
        drifts = self.held.checked.drifts if self.held is not None else ()
        return Counter(one.status for one in drifts if one.implementation == implementation)


@dataclass(frozen=True, slots=True)
class ReleaseMatrix(Shown):
    """Releases of a package, oldest first.

    reference: what they are held against, a release or a baseline. command: the words that ask it again.
    """

    package: str
    reference: str
    columns: tuple[Column, ...]
    command: tuple[str, ...] = ()

    @property
    def implementations(self) -> tuple[str, ...]:
        """Every one that some release or the reference has."""
        held = [one.held for one in self.columns if one.held is not None]
        return tuple(dict.fromkeys(one.implementation for upgraded in held for one in upgraded.checked.drifts))

    @property
    def compared(self) -> int:
        """Digests that were compared."""
        return sum(one.held.checked.compared for one in self.columns if one.held is not None)

    @property
    def exit_code(self) -> int:
        """1 where something is not the same, or a release could not be held."""
        same = all(
            one.held is not None and all(drift.status in GREEN for drift in one.held.checked.drifts)
            for one in self.columns
        )
        return 0 if same else 1
