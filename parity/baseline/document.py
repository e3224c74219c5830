"""What the commands about upgrades and baselines leave as JSON: the kinds of documents, and the head of each."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from parity.core.version import VERSION

SCHEMA = 1


class Document(StrEnum):
    """By the command that leaves it."""

    UPGRADE = "upgrade"
    MATRIX = "matrix"
    BISECT = "bisect"
    BASELINE = "baseline"


FILES = {
    Document.UPGRADE: "upgrade.json",
    Document.MATRIX: "matrix.json",
    Document.BISECT: "bisect.json",
}
"""In the folder of the command; of a baseline there is only what ``--json`` writes."""


def head(document: Document, command: Sequence[str] = ()) -> dict[str, Any]:
    """What every document begins with. command: the words that lead to it again."""
    return {"schema": SCHEMA, "document": str(document), "parity": VERSION, "command": list(command)}
