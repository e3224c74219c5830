"""The first release in which an Adam changes, or in which a user's own test turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from parity.api.baselines import OnDone, unheard
from parity.api.changes import PAGE, leave_page
from parity.api.question import OnBuild, asked_for, unseen
from parity.api.release import RELEASES, Line, recording_of, release_site
from parity.baseline.bisection import (
    Answer,
    Bisected,
    Decision,
    Judge,
    NoChange,
    OnDecided,
    Range,
    append,
    changed_places,
    decide,
    read_journal,
    run_check,
    search,
    standing,
    start_journal,
)
from parity.baseline.document import FILES, Document, make_room, repeated, selecting
from parity.baseline.environments.installs import SHELF, passing
from parity.baseline.environments.releases import between, check_release, releases_of
from parity.baseline.side import Side
from parity.baseline.upgrade import hold_sides
from parity.core.errors import UsageError
from parity.core.files import write_json
from parity.report.upgrade import bisected_to_json

LOG = "bisect.log"
RESULT = FILES[Document.BISECT]
CHECKS = "checks"


def candidates_between(asked: Range) -> tuple[str, ...]:
    """The releases from good to bad, both among them."""
    check_release("--good", asked.good)
    check_release("--bad", asked.bad)
    found = releases_of(asked.package, asked.good, pre=asked.pre)
    return between(found, asked.package, asked.good, asked.bad)


def bisect(
    asked: Range,
    cases: Sequence[Path | str] = (),
    implementations: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    *,
    keyword: str = "",
    timeout: float | None = 300.0,
    check: str = "",
    replay: Path | None = None,
    cluster: str = "",
    output: Path | str = Path("runs/bisect"),
    discard: bool = False,
    on_build: OnBuild = unseen,
    on_done: OnDone = unheard,
    on_decided: OnDecided = lambda decision, left: None,
) -> Bisected:
    """Find the first release whose traces differ from the good one's, or on which a command fails.

    asked: the releases. cases, implementations, dtypes, keyword, timeout: as in `upgrade`. check: a command for the
    shell, whose exit code decides instead. replay: a log, whose decisions are taken over. cluster: as `matrix` has it.
    output: keeps the log, and a baseline of every release that was recorded. discard: each environment that is built
    for it is removed once its release is recorded or checked. on_build, on_done: as in `upgrade`. on_decided: called
    with a decision, and how many releases were suspected before it. NothingCompared where good and
    bad have nothing in common, NoChange where they do not differ.
    """
    if check and (cases or implementations or dtypes or keyword):
        raise UsageError("--check decides by itself: leave out cases, -i, -d and -k")
    if check and cluster:
        raise UsageError("--check runs a command of this machine: leave out --cluster")
    selection = asked_for(cases, dtypes, keyword, timeout)
    releases = candidates_between(asked)
    question = _question(asked, cases, implementations, dtypes, keyword, check)
    known = read_journal(replay, question, releases) if replay is not None else ()
    folder = Path(output)
    inside = replay is not None and replay.resolve().parent == folder.resolve()
    own = () if inside else (RELEASES, CHECKS, SHELF)
    make_room(folder, LOG, (*own, RESULT, PAGE), [replay] if replay is not None and not inside else [])
    start_journal(folder / LOG, question, known)
    command = (*_asking(asked), *repeated("--check", [check] if check else []),
               *selecting(cases, implementations, dtypes, keyword))  # fmt: skip
    line = Line(asked.package, asked.beside, selection, tuple(implementations), folder, discard)

    def decided(decision: Decision, left: int) -> None:
        append(folder / LOG, decision)
        on_decided(decision, left)

    if check:
        judge = _checking(line, check, on_build)
        known = _turning(line.pin, releases, known, judge, decided)
        decisions = search(releases, known, judge, decided)
        found = Bisected(asked, releases, decisions, standing(releases, decisions), None, command)
    else:
        ends = (releases[0], releases[-1])
        with recording_of(line, ends, cluster, on_build, on_done) as recorded:
            judge = _holding(line, releases, recorded)
            decisions = search(releases, known, judge, decided)
            left = standing(releases, decisions)
            step = hold_sides(recorded(left.last), recorded(left.releases[-1]), selection.cases)
        found = Bisected(asked, releases, decisions, left, step, command)
    write_json(folder / RESULT, bisected_to_json(found))
    leave_page(folder)
    return found


def _holding(line: Line, releases: Sequence[str], recorded: Callable[[str], Side]) -> Judge:
    """By the traces: NoChange where those of the first and the last release do not differ."""
    good, bad, cases = releases[0], releases[-1], line.asked.cases
    before = recorded(good)
    changed = changed_places(hold_sides(before, recorded(bad), cases))
    if not changed:
        raise NoChange(f"no change between {line.pin(good)} and {line.pin(bad)}: every entry is the same, bit for bit")
    return lambda release: decide(release, changed, hold_sides(before, recorded(release), cases))


def _checking(line: Line, check: str, on_build: OnBuild) -> Judge:
    """By a user's command."""

    def judge(release: str) -> Decision:
        with passing(line.passing):
            python = release_site(line, release, on_build).python
            return Decision(release, *run_check(check, python, line.folder / CHECKS / f"{release}.log"))

    return judge


def _turning(
    pin: Callable[[str], str], releases: Sequence[str], known: Sequence[Decision], judge: Judge, decided: OnDecided
) -> tuple[Decision, ...]:
    """What is known, with both ends; NoChange where a user's command does not turn between them."""
    answers = {one.release: one for one in known}
    for release, wanted in ((releases[0], Answer.SAME), (releases[-1], Answer.CHANGED)):
        if release not in answers:
            answers[release] = judge(release)
            decided(answers[release], len(releases) - 1)
        if answers[release].answer is not wanted:
            why = answers[release].why
            raise NoChange(f"no change to search: --check gives {why} on {pin(release)}, where it should "
                              + ("be 0" if wanted is Answer.SAME else "be none of 0 and 125"))  # fmt: skip
    return tuple(answers.values())


def _asking(asked: Range) -> tuple[str, ...]:
    ends = ("--package", asked.package, "--good", asked.good, "--bad", asked.bad)
    return ("parity", "bisect", *ends, *repeated("--with", asked.beside), *(["--pre"] if asked.pre else []))


def _question(
    asked: Range,
    cases: Sequence[Path | str],
    implementations: Sequence[str],
    dtypes: Sequence[str],
    keyword: str,
    check: str,
) -> dict[str, Any]:
    """All that decides what an answer means, as the log has it."""
    return {
        "package": asked.package,
        "good": asked.good,
        "bad": asked.bad,
        "with": list(asked.beside),
        "pre": asked.pre,
        "cases": [str(case) for case in cases],
        "implementations": list(implementations),
        "dtypes": list(dtypes),
        "keyword": keyword,
        "check": check,
    }
