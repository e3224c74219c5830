"""A forked worker computes what one that is started cold computes: the same digests of every state."""

from __future__ import annotations

import pytest

import parity
from parity.engine.forking import COLD
from parity.implementations.registry import shipped_implementations

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(900)]


@pytest.mark.parametrize("keyword", ["same", pytest.param("", marks=pytest.mark.exhaustive)], ids=["one", "all"])
def test_digests_are_those_of_a_cold_start(tmp_path, monkeypatch, keyword):
    def digests(name):
        options = parity.Options(timeout=600, jobs=2)
        run = parity.run(output=tmp_path / name, keyword=keyword, options=options, explained=False)
        return {(cell.case, cell.dtype, one.name): one.digests for cell in run.cells for one in cell.outcomes}

    forked = digests("forked")
    monkeypatch.setenv(COLD, "1")
    cold = digests("cold")
    assert forked == cold
    # Two rows of the from-scratch Adam are named by no shipped case.
    named = {name for name in shipped_implementations() if not name.endswith(("hat.store", "inside.store"))}
    assert {name for _, _, name in forked} == named
    assert sum(bool(one) for one in forked.values()) >= 4 * 14


@pytest.mark.parametrize("verbose", [True, False])
def test_a_cold_start_is_told_where_one_looks_closely(command, tmp_path, monkeypatch, verbose, write_case, caplog):
    monkeypatch.setenv(COLD, "1")
    with caplog.at_level("INFO" if verbose else "WARNING", "parity"):
        assert command("run", write_case(), "-i", "numpy.adam.*", "-o", tmp_path / "run")[0] in (0, 1)
    told = [one.getMessage() for one in caplog.records]
    assert told == ["worker numpy is started cold: PARITY_COLD is set"] * verbose
