"""What an upgrade, several releases, a search or a baseline came to, in sentences and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parity.baseline.bisection import Answer
from parity.baseline.drift import GREEN, Status
from parity.numerics.ulp import NO_DISTANCE
from parity.report.drift import group_text
from parity.report.figures import steps_text, ulp_text
from parity.report.markup import escape, table
from parity.report.panels.changes import Block, Changes, EnvironmentTable
from parity.report.panels.documents import Held, HeldMatrix, HeldSearch

PINS_NAMED = 3

LISTED = 2
"""Releases in a row, beyond which only the first and the last are named."""


BLOCK_ROW = ("implementation", "dtype", "releases", "status", "cases", "what")
RELEASES = BLOCK_ROW.index("releases")

UNTOLD = (Status.INPUTS_CHANGED, Status.MISSING, Status.FAILED, Status.UNUSED)

MEANINGS = {
    Status.INPUTS_CHANGED: "got other inputs, so that nothing is said of the framework",
    Status.MISSING: "had nothing to be held against",
    Status.UNUSED: "stood in the baseline unasked for",
    Status.FAILED: "gave no trace now",
}


def subject(changes: Changes) -> str:
    """What was held against what, as short as it can be said."""
    match changes.document.content:
        case HeldMatrix(package=package) | HeldSearch(package=package):
            return package
        case Held(before=None, baseline=baseline):
            return f"baseline {baseline}"
        case Held(before=before, after=after):
            if changes.moved:
                told = [f"{one.what} {one.before} to {one.after}" for one in changes.moved[:PINS_NAMED]]
                more = len(changes.moved) - len(told)
                return ", ".join(told) + (f" and {more} more" if more > 0 else "")
            assert before is not None
            assert after is not None
            return f"{before.name} against {after.name}"


def answer(changes: Changes) -> str:
    """The answer in one sentence."""
    match changes.document.content:
        case HeldSearch() as search:
            return _found(search)
        case HeldMatrix() as matrix:
            return f"{subject(changes)}: {_releases_told(matrix, changes)}"
        case _:
            return f"{subject(changes)}: {_entries_told(changes)}"


def is_fine(changes: Changes) -> bool:
    """Whether the command said so by its exit code."""
    return changes.document.content.exit_code == 0


def _found(search: HeldSearch) -> str:
    if search.first_changed is not None:
        return (
            f"{search.package} {search.first_changed} is the first release that changes; "
            f"{search.last_same} is the last before it."
        )
    return (
        f"{search.package}: one of {', '.join(search.suspects)} is the first release that changes, and nobody can "
        f"tell which; {search.last_same} is the last that is the same."
    )


def _releases_told(matrix: HeldMatrix, changes: Changes) -> str:
    assert changes.map is not None
    columns, reference = changes.map.columns, matrix.reference.removeprefix(f"{matrix.package}==")
    same = [one.name for one in columns if one.same]
    if len(same) == len(columns):
        return f"{_all('release', len(same))} the same as {reference}, {_digests(changes.compared)}."
    changed = [one.name for one in columns if one.changed]
    untold = [one.name for one in columns if one.why]
    partly = [one.name for one in columns if not (one.same or one.changed or one.why)]
    told = (
        f"{len(same) or 'none'} of {len(columns):,} releases {'are' if len(same) > 1 else 'is'} the same as {reference}"
    )
    parts = [told + (f" ({ranged(same, matrix.order)})" if same else "")]
    parts += [f"{ranged(changed, matrix.order)} changed"] if changed else []
    parts += [f"of {ranged(partly, matrix.order)} not everything can be told"] if partly else []
    parts += [f"of {ranged(untold, matrix.order)} nothing can be told"] if untold else []
    return f"{'; '.join(parts)}."


def ranged(releases: Sequence[str], order: Sequence[str]) -> str:
    """Releases by name, or from the first to the last where none of the order is left out between them."""
    first = order.index(releases[0])
    if len(releases) > LISTED and tuple(releases) == tuple(order[first : first + len(releases)]):
        return f"{releases[0]} to {releases[-1]}"
    return ", ".join(releases)


def _entries_told(changes: Changes) -> str:
    counts = dict(changes.total.counts)
    entries, changed = changes.total.entries, counts.get(Status.CHANGED, 0)
    lost = sum(count for status, count in counts.items() if status not in GREEN and status is not Status.CHANGED)
    if changed:
        return f"{changed:,} of {_counted(entries, 'entry')} changed."
    if not changes.compared:
        return f"nothing was compared, of {_counted(entries, 'entry')}."
    if lost:
        return (
            f"what was compared is the same ({_digests(changes.compared)}), and of {lost:,} of "
            f"{_counted(entries, 'entry')} nothing can be told."
        )
    return f"{_digests(changes.compared)} are the same."


def details(changes: Changes) -> Iterator[str]:
    """Sentences after the answer: the worst, how much is explained, of what nothing can be told."""
    counts = dict(changes.total.counts)
    changed = counts.get(Status.CHANGED, 0)
    if isinstance(changes.document.content, HeldSearch) and changes.total.entries:
        yield f"From the one to the other {changed:,} of {_counted(changes.total.entries, 'entry')} changed."
    elif isinstance(changes.document.content, HeldMatrix) and changed:
        yield f"Over all releases {changed:,} of {_counted(changes.total.entries, 'entry')} changed."
    if changes.worst is not None:
        yield worst_sentence(changes.worst)
        yield _explained(changes.total.explained, changed)
    for status in UNTOLD:
        if counts.get(status):
            yield f"{_counted(counts[status], 'entry').capitalize()} {MEANINGS[status]} ({status})."


def worst_sentence(block: Block) -> str:
    """The entry that changed most."""
    entry = block.group.worst
    assert entry.change is not None
    where = f" (release {block.releases[0]})" if block.releases else ""
    place = f"{entry.implementation} on {entry.case} in {entry.dtype}{where}"
    return f"{place} changed most: {moved_text(*entry.change.weights)}, from step {entry.change.first_step:,} on."


def moved_text(ulp: int, lr: float) -> str:
    """How far weights moved in the kept steps."""
    if not ulp:
        return "no weight moved in the kept steps"
    if ulp == NO_DISTANCE:
        return "a weight is NaN or inf on one side"
    return f"w by {steps_text(lr)} ({ulp_text(ulp)})"


def _explained(explained: int, changed: int) -> str:
    if explained == changed:
        return "Every change is explained to the last bit." if changed > 1 else "It is explained to the last bit."
    if not explained:
        return "No change is explained to the last bit." if changed > 1 else "It is not explained to the last bit."
    return f"{explained:,} of the {changed:,} changes are explained to the last bit."


def status_text(counts: Sequence[tuple[Status, int]], entries: int) -> list[str]:
    """What became of the entries of a field, what is to be looked at first."""
    ordered = sorted(counts, key=lambda one: (one[0] is Status.IDENTICAL, one[0] is Status.UNUSED))
    return [f"{count:,}{f' of {entries:,}' if count < entries else ''} {status}" for status, count in ordered]


def section(found: Sequence[Changes]) -> str:
    """A section of report.md; empty where there is nothing."""
    if not found:
        return ""
    return "\n\n".join(["## Upgrades and baselines", *("\n\n".join(_lines(one)) for one in found)])


def _lines(changes: Changes) -> Iterator[str]:
    rest = " ".join(map(escape, details(changes)))
    yield f"**{escape(answer(changes))}** {rest}".rstrip()
    if isinstance(changes.document.content, HeldSearch):
        yield "\n".join(
            f"- {escape(one.release)}: {one.answer}" + (f" ({escape(one.why)})" if one.answer is Answer.UNTOLD else "")
            for one in changes.document.content.decisions
        )
    if changes.environment.rows:
        yield environment_markdown(changes.environment)
    blocks = [*changes.changed, *changes.untold]
    if blocks:
        rows = [_block_row(one) for one in blocks]
        # Releases have a column only where there are some.
        shown = [place for place in range(len(BLOCK_ROW)) if place != RELEASES or any(row[place] for row in rows)]
        yield table([BLOCK_ROW[one] for one in shown], [[escape(row[one]) for one in shown] for row in rows])
    absent = [one for one in changes.map.columns if one.why] if changes.map is not None else []
    if absent or changes.notes:
        told = [f"{one.name}: {one.why}" for one in absent]
        yield "\n".join(f"- {escape(line)}" for line in (*told, *changes.notes))
    yield f"{_digests(changes.compared, some=True)} compared."


def _block_row(block: Block) -> tuple[str, ...]:
    group = block.group
    cases = f"{len(group.drifts):,} of {group.of:,}"
    return group.implementation, group.dtype, ", ".join(block.releases), str(group.status), cases, group_text(group)


def environment_markdown(found: EnvironmentTable) -> str:
    """What differs between environments."""
    rows = [[escape(what), *map(escape, values)] for what, values in found.rows]
    return table(["environment", *map(escape, found.columns)], rows)


def _all(noun: str, count: int) -> str:
    return f"the one {noun} is" if count == 1 else f"all {count:,} {noun}s are"


def _digests(count: int, *, some: bool = False) -> str:
    digests = f"{count:,} digest{'' if count == 1 else 's'}"
    if some:
        return f"{digests} {'was' if count == 1 else 'were'}"
    return f"all {digests}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun.removesuffix('y')}{'y' if count == 1 else 'ies'}"
