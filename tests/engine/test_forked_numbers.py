"""A forked worker computes what one that is started cold computes: the same digests of every state."""

from __future__ import annotations

import itertools
from fnmatch import fnmatchcase

import pytest

import parity
from parity.case.case import RESTARTED
from parity.case.catalogue import select_cases
from parity.engine.forking import COLD
from parity.engine.plan import pairs_of
from parity.implementations.registry import shipped_implementations

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(2400), pytest.mark.thorough]

SOME = "same or tiny"
"""Every dtype; and subnormal numbers, as whether they are flushed is a setting that a process hands to its children."""


@pytest.mark.parametrize(
    ("keyword", "targets"),
    [(SOME, ("numpy.*", "torch.*")), pytest.param("", (), marks=pytest.mark.exhaustive)],
    ids=["some", "all"],
)
def test_digests_are_those_of_a_cold_start(request, tmp_path, monkeypatch, caplog, keyword, targets):
    def by_place(run):
        return {(cell.case, cell.dtype, one.name): one.digests for cell in run.cells for one in cell.outcomes}

    def digests(name, jobs):
        caplog.clear()
        options = parity.Options(timeout=600, jobs=jobs)
        with caplog.at_level("INFO", "parity"):
            run = parity.run(
                output=tmp_path / name, keyword=keyword, implementations=targets, options=options, explained=False
            )
        return by_place(run), {one.getMessage() for one in caplog.records if one.name == "parity"}

    monkeypatch.delenv(COLD, raising=False)
    if keyword:
        forked, told = digests("forked", 2)
    else:
        run, told = request.getfixturevalue("whole_catalogue")
        forked = by_place(run)
    assert not told
    monkeypatch.setenv(COLD, "1")
    # Every job starts processes of its own.
    cold, told = digests("cold", 1 if keyword == SOME else 2)
    shipped = shipped_implementations().items()
    usual = [(name, one) for name, one in shipped if not one.on_request]
    asked = {name: one for name, one in usual if any(fnmatchcase(name, target) for target in targets or "*")}
    frameworks = {one.framework for one in asked.values()}
    # What restarts has processes of its own.
    restarted = {f"{framework} {RESTARTED}" for framework in frameworks} if not keyword else set()
    assert told == {f"worker {name} is started cold: {COLD} is set" for name in frameworks | restarted}
    assert forked == cold
    # Rows that no case of the selection holds against another are not run.
    names = [*asked, *(name + RESTARTED for name in asked)]
    cases = [(case, names if case.restart else list(asked)) for case in select_cases(keyword=keyword)]
    pairs = (pairs_of(case, parties, dtype) for case, parties in cases for dtype in case.dtypes)
    named = {name.removesuffix(RESTARTED) for pair in itertools.chain.from_iterable(pairs) for name in pair}
    assert {name.removesuffix(RESTARTED) for _, _, name in forked} == named
    assert sum(bool(one) for one in forked.values()) >= 4 * len(named)


@pytest.mark.parametrize("verbose", [True, False])
def test_a_cold_start_is_told_where_one_looks_closely(process, write_case, verbose):
    arguments = ["run", write_case(), "-i", "numpy.adam.hat", "-i", "numpy.adam.outside", *["-v"] * verbose]
    told = process(*arguments, **{COLD: "1"}).communicate(timeout=120)[1]
    assert ("parity: worker numpy is started cold: PARITY_COLD is set\n" in told) is verbose
