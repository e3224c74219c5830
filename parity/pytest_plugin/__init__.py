"""The pytest plug-in: hooks, the fixture `parity`, and `catalogue`; the rest is imported when it is first used.

Flags and markers are listed in `parity.pytest_plugin.options`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parity.case.case_file import is_case_file
from parity.pytest_plugin import options

if TYPE_CHECKING:
    from parity.implementations.implementation import Implementation, Run
    from parity.pytest_plugin.fixture import Parity


def pytest_addoption(parser: pytest.Parser) -> None:
    """Flags, each with an ini key of the same name."""
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Markers."""
    for marker in options.MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Check what was asked for before anything is collected."""
    if options.given(session.config) and not hasattr(session.config, "workerinput"):
        from parity.pytest_plugin.desk import check

        check(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process of pytest-xdist the folder that all of them share."""
    node.workerinput[options.FOLDER] = str(options.folder(node.config))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A case file, by its schema line or its keys; any TOML file that is named."""
    if file_path.suffix == ".toml" and (parent.session.isinitpath(file_path) or is_case_file(file_path)):
        from parity.pytest_plugin.items import CaseFile

        return CaseFile.from_parent(parent, path=file_path)
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Plan the pairs that are left after selection, and hold their cases' expectations to what there is."""
    if options.DESK in config.stash:
        from parity.pytest_plugin.items import plan

        plan(session, items)


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Parity:
    """Assert that an Adam is the same as another, or which Adam it is."""
    from parity.pytest_plugin.fixture import Parity

    return Parity(request.node)


def catalogue(
    target: str | Implementation | Run,
    *,
    against: Sequence[str] = (),
    cases: Sequence[Path | str] = (),
    keyword: str = "",
    dtypes: Sequence[str] = (),
    expected_failures: Mapping[str, str] | None = None,
) -> Callable[..., None]:
    """A test function that holds an Adam against others in every case and dtype: ``test_mine = catalogue("mine:run")``.

    target: 'module:attribute', 'file.py:attribute', a name, or an Adam itself, which then runs in the process of the
    tests. against: names or patterns, none for Algorithm 1 of the paper. cases: files or folders, none for those that
    are shipped; keyword: only cases whose names match. dtypes: none for all of a case. expected_failures: reasons by
    id, as {"huge[float16]": "..."}; one that passes, or that matches no test, is a failure.
    """
    from parity.pytest_plugin.listed import listed

    return listed(target, against, cases, keyword, dtypes, expected_failures or {})


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """End the workers; where all tests are done, put together the run they made."""
    if options.FOLDER_KEY in session.config.stash:
        from parity.pytest_plugin.finish import finish

        finish(session, exitstatus)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Pairs by verdict, and how much was compared."""
    if options.RUN in config.stash:
        from parity.pytest_plugin.finish import summarize

        summarize(terminalreporter, config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what an error left behind."""
    if options.FOLDER_KEY in config.stash:
        from parity.pytest_plugin.finish import clean

        clean(config)
