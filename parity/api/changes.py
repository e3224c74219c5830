"""report.html of what an upgrade, several releases, a search or a baseline came to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.core.errors import ParityError
from parity.core.files import write_atomically
from parity.report.html.documents import render_changes
from parity.report.html.templates import lacking_line, missing
from parity.report.panels.changes import changes_of
from parity.report.panels.documents import document_in, document_of, read_document

PAGE = "report.html"


def is_changes(path: Path) -> bool:
    """Whether a folder is one that `parity upgrade`, `matrix` or `bisect` keeps their answer in."""
    return path.is_dir() and document_in(path) is not None


def report_changes(folder: Path) -> Path:
    """Write the page of such a folder again; where it stands.

    ParityError where the answer is altered, not finished or of another schema, or where the page cannot be made.
    """
    check_page()
    write_atomically(folder / PAGE, render_changes(changes_of(read_document(folder))))
    return folder / PAGE


def write_page(answer: Mapping[str, Any], path: Path) -> None:
    """Write the page of an answer that has no folder."""
    check_page()
    write_atomically(path, render_changes(changes_of(document_of(answer, "answer"))))


def leave_page(folder: Path) -> None:
    """The page beside the answer, where it can be made."""
    if not missing():
        report_changes(folder)


def check_page() -> None:
    """ParityError, with what to install, where a page cannot be made."""
    if missing():
        raise ParityError(no_page())


def no_page() -> str:
    """Why there is no page."""
    return lacking_line(PAGE, missing())
