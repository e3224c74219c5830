"""A new implementation gets the whole catalogue by being listed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from parity.api.claim import catalogue_cells
from parity.api.target import Target, candidate_from
from parity.core.errors import ParityError, nearest
from parity.engine.plan import Cell
from parity.pytest_plugin.desk import importable
from parity.pytest_plugin.fixture import Parity
from parity.pytest_plugin.told import NotAsExpected


def listed(
    target: Target,
    against: Sequence[str],
    cases: Sequence[Path | str],
    keyword: str,
    dtypes: Sequence[str],
    expected_failures: Mapping[str, str],
) -> Callable[..., None]:
    """See `parity.pytest_plugin.catalogue`; what is wrong with it is an error of collection, one line."""
    try:
        with importable():
            candidate, here = candidate_from(target)
        cells = {
            f"{cell.case.name}[{cell.dtype}]": cell
            for cell in catalogue_cells(candidate, against, cases, keyword, dtypes)
        }
        _check(expected_failures, list(cells))
    except ParityError as error:
        raise pytest.Collector.CollectError(str(error)) from None
    marks = {
        name: [pytest.mark.xfail(reason=reason, raises=NotAsExpected, strict=True)]
        for name, reason in expected_failures.items()
    }

    @pytest.mark.parametrize(
        "cell", [pytest.param(cell, id=name, marks=marks.get(name, ())) for name, cell in cells.items()]
    )
    def test(parity: Parity, cell: Cell) -> None:
        parity.hold(cell, here, reproducible=isinstance(target, str) and not cases)

    return test


def _check(expected_failures: Mapping[str, str], names: Sequence[str]) -> None:
    """ParityError for an entry without a reason, and for one that matches no test."""
    for name, reason in expected_failures.items():
        if not isinstance(reason, str) or not reason.strip():
            raise ParityError(f"expected_failures: {name!r} needs a reason")
        if name not in names:
            raise ParityError(
                f"expected_failures: {name!r} matches no test; {nearest(name, names, 'there are no tests')}"
            )
