"""One release held against another, each in an environment of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from parity.api.baselines import OnDone, the_baseline, unheard
from parity.api.changes import PAGE, leave_page
from parity.api.question import OnBuild, asked_for, cells_of, counted, unseen, with_candidates
from parity.api.release import sides_at
from parity.baseline.document import FILES, Document, head, make_room, placing, selecting
from parity.baseline.environments.installs import SHELF, passing
from parity.baseline.saving import Selection
from parity.baseline.side import (
    Place,
    Side,
    able_somewhere,
    check_place,
    keep_side,
    pinned,
    recorded_side,
    saved_side,
    settle,
)
from parity.baseline.upgrade import Upgraded, hold_sides, selected
from parity.core.errors import UsageError
from parity.core.files import write_atomically, write_json
from parity.report.upgrade import upgrade_lines, upgrade_to_json

RESULT = FILES[Document.UPGRADE]
SUMMARY = "summary.md"
SIDES = ("before", "after")


def upgrade(
    before: Place,
    after: Place,
    cases: Sequence[Path | str] = (),
    implementations: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    *,
    keyword: str = "",
    timeout: float | None = 300.0,
    output: Path | str = Path("runs/upgrade"),
    cluster: str = "",
    discard: bool = False,
    on_build: OnBuild = unseen,
    on_done: OnDone = unheard,
) -> Upgraded:
    """Record the same inputs on both sides, and hold every entry of the one against the other's.

    before, after: the sides. One that is given by its variables alone, or, where the other one is, not at all, is this
    Python. cases, dtypes, keyword: as in `run`. implementations: none for those that stand on what is pinned. timeout:
    seconds a worker may take for one answer, None for ever. output: keeps both baselines, the result, a summary and a
    page. cluster: as `matrix` has it, for sides with pins. discard: environments that are built for it are removed when
    both sides are recorded. on_build: called with what is built and a line of the installer. on_done: called with the
    name of a cell that is recorded, how many are, and of how many. ParityError where a side cannot be had,
    NothingCompared where the two have nothing in common.
    """
    places = dict(zip(SIDES, (before, after), strict=True))
    check_sides(before, after)
    if cluster and not (before.pins and after.pins):
        raise UsageError(f"--cluster {cluster}: only a side with pins is recorded elsewhere, and not both have them")
    asked = asked_for(cases, dtypes, keyword, timeout)
    saved = {side: the_baseline(place.baseline) for side, place in places.items() if place.baseline is not None}
    folder = Path(output)
    make_room(folder, RESULT, (*SIDES, SUMMARY, PAGE, SHELF), [one.folder for one in saved.values()])
    command = ("parity", "upgrade", *placing(places.values()), *selecting(cases, implementations, dtypes, keyword))
    write_json(folder / RESULT, {**head(Document.UPGRADE, command), "finished": False})
    sides: dict[str, Side] = {side: saved_side(baseline) for side, baseline in saved.items()}
    if cluster:
        sides, names = _recorded_elsewhere(cluster, places, asked, implementations, folder, discard, on_done)
    else:
        with passing(folder if discard else None) as where:
            sites = {
                side: settle(place, partial(on_build, place.flag), where)
                for side, place in places.items()
                if side not in saved
            }
            pythons = [site.python for site in sites.values()]
            pins = pinned(places.values())
            selection, unmets = with_candidates(asked, implementations, pins, pythons, [*saved.values()])
            names = {one.name for one in selection.candidates}
            on_cell = counted(cells_of(asked) * len(sites), on_done)
            for (side, site), unmet in zip(sites.items(), unmets, strict=True):
                sides[side] = recorded_side(site, selection, unmet, folder / side, on_cell(side))
                keep_side(sides[side], folder / side)
    among = partial(selected, asked, names)
    found = replace(hold_sides(sides["before"], sides["after"], asked.cases, among), command=command)
    write_json(folder / RESULT, {"finished": True, **upgrade_to_json(found)})
    write_atomically(folder / SUMMARY, "".join(f"{line}\n" for line in upgrade_lines(found)))
    leave_page(folder)
    return found


def _recorded_elsewhere(
    cluster: str, places: Mapping[str, Place], asked: Selection, targets: Sequence[str], folder: Path, discard: bool,
    on_done: OnDone,
) -> tuple[dict[str, Side], set[str]]:  # fmt: skip
    """Both sides, recorded by the workers of a cluster, and the names of the implementations that can run on one."""
    sides, cells = {}, cells_of(asked)
    with sides_at(cluster, asked, targets, folder, discard) as begin:
        begun = {side: begin(place, pinned(places.values()), side) for side, place in places.items()}
        for done, (side, recorded) in enumerate(begun.items(), start=1):
            sides[side] = recorded()
            on_done(f"{side}: {cells} cells", done * cells, len(begun) * cells)
    unmets = [side.unmet for side in sides.values()]
    return sides, able_somewhere(list(unmets[0]), targets, unmets, ())


def check_sides(before: Place, after: Place) -> None:
    """UsageError or ParityError where two sides cannot be had, or are none; nothing is built for that."""
    # One that is not given is what the other one is without its variables.
    here = not (before.named or after.named) and bool(before.variables or after.variables)
    for place in (before, after):
        check_place(place, here=here)
    if before.baseline is not None and after.baseline is not None:
        raise UsageError("both sides are saved baselines: 'parity baseline diff' holds them against each other")
    if before.beside and not before.pins and not after.pins:
        raise UsageError("--with names packages of an environment that is built, and neither side has pins")
