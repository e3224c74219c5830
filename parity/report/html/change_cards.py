"""Cards of what changed: against a baseline, by an upgrade, release by release."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from parity.baseline.bisection import Bisected
from parity.baseline.check import Checked
from parity.baseline.drift import GREEN, Drift, grouped
from parity.baseline.upgrade import ReleaseMatrix, Upgraded
from parity.core.environment import Difference
from parity.report import upgrade
from parity.report.drift import BASELINE, Wording, change_rows, group_text, tally
from parity.report.html.card import Card, Rows, rows_of, stacked
from parity.report.upgrade import bisected_summary


def checked_card(checked: Checked) -> Card:
    """What became of the entries, group by group."""
    return Card(
        f"{BASELINE.title}: {tally(checked)}",
        _tone_of_drifts(checked.drifts),
        (f"{_compared(checked)}, against {checked.baseline.name}.", *_same(checked.environment, BASELINE)),
        (*_groups(checked), *_environment(checked.environment, BASELINE)),
    )


def drift_card(drift: Drift) -> Card:
    """What became of one entry."""
    title = f"{drift.implementation} on {drift.case} in {drift.dtype}: {drift.status}"
    change = drift.change
    headers = ("quantity", "parameter", "step", "differing", "ULP", "lr", "new", "old")
    kept = () if change is None else (map(stacked, row) for row in change_rows(change))
    rows = rows_of("Kept steps that differ", headers, kept, range(2, 8))
    told = (drift.detail or f"{drift.compared:,} digests are the same.",)
    return Card(title, _tone_of_drifts([drift]), told, (*rows, *_environment(drift.environment, BASELINE)))


def upgraded_card(upgraded: Upgraded) -> Card:
    """What an upgrade changed."""
    checked = upgraded.checked
    compared = f"{_compared(checked)}, {upgraded.before.name} against {upgraded.after.name}."
    return Card(
        f"{upgrade.WORDING.title}: {tally(checked)}",
        _tone_of_drifts(checked.drifts),
        (compared, *upgrade.notes_of(upgraded), *_same(checked.environment, upgrade.WORDING)),
        (*_groups(checked), *_environment(checked.environment, upgrade.WORDING)),
    )


def bisected_card(bisected: Bisected) -> Card:
    """Which release changed it."""
    decisions = ((one.release, str(one.answer), one.why) for one in bisected.decisions)
    return Card(
        bisected_summary(bisected),
        "other" if bisected.first else "alarm",
        tables=rows_of("Decisions, in their order", ("release", "answer", "why"), decisions),
    )


def releases_card(found: ReleaseMatrix) -> Card:
    """Implementations by releases."""
    rows = ((name, *(upgrade.cell_text(one, name) for one in found.columns)) for name in found.implementations)
    return Card(
        upgrade.matrix_summary(found),
        "same" if not found.exit_code else "other",
        tuple(upgrade.remarks(found)),
        rows_of("", ("implementation", *(one.release for one in found.columns)), rows),
    )


def _compared(checked: Checked) -> str:
    return f"{checked.compared:,} digests of steps were compared"


def _tone_of_drifts(drifts: Sequence[Drift]) -> str:
    return "same" if all(one.status in GREEN for one in drifts) else "alarm"


def _same(environment: Sequence[Difference], wording: Wording) -> Iterator[str]:
    if not environment:
        yield wording.same


def _groups(checked: Checked) -> tuple[Rows, ...]:
    rows = (
        (one.implementation, one.dtype, str(one.status), f"{len(one.drifts):,} of {one.of:,}", group_text(one))
        for one in grouped(checked.drifts)
    )
    return rows_of("Not identical", ("implementation", "dtype", "status", "cases", "what"), rows, (3,))


def _environment(environment: Iterable[Difference], wording: Wording) -> tuple[Rows, ...]:
    rows = ((one.what, one.before, one.after) for one in environment)
    return rows_of("Environment", ("", wording.before, wording.after), rows)
