"""Notebooks of examples/: what they keep is what their cells give on this tree, and the site shows all of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[3] / "docs"))
import notebooks

pytest.importorskip("nbclient", reason="nbclient is not installed")

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "docs" / "notebooks.py"
KEPT = sorted((ROOT / "examples").glob("*.ipynb"))
MACHINES = re.compile(r"(?<=Digest: )[0-9a-f]{32}|(?<=against python)[\d.]+-[0-9a-f]{8}")
"""Names of what was computed on: the digest of a certificate, the folder of a baseline."""


def words(text: str) -> set[str]:
    """Those of a page or of an output, without tags."""
    return set(unescape(re.sub(r"<[^>]*>", " ", MACHINES.sub("...", text))).split())


def outputs(cell: dict[str, Any]) -> list[str]:
    """What a cell gave, one text each."""
    given = (one.get("text") or [text for lines in one["data"].values() for text in lines] for one in cell["outputs"])
    return [MACHINES.sub("...", "".join(one)) for one in given]


def cells(path: Path) -> list[dict[str, Any]]:
    return [one for one in json.loads(path.read_text(encoding="utf-8"))["cells"] if one["cell_type"] == "code"]


@pytest.mark.thorough
@pytest.mark.frameworks
@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_what_a_notebook_keeps_is_what_its_cells_give(kept: Path, tmp_path: Path) -> None:
    again = Path(shutil.copy(kept, tmp_path))
    command = [sys.executable, "-W", "error", PROGRAM, again]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert finished.returncode == 0, finished.stderr
    for number, (old, new) in enumerate(zip(cells(kept), cells(again), strict=True), start=1):
        assert outputs(old) == outputs(new), f"{kept.name}, cell {number}: old; `make notebooks` renews it"


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_what_a_notebook_keeps_came_in_one_go(kept: Path) -> None:
    ran = cells(kept)
    assert [one["execution_count"] for one in ran] == list(range(1, len(ran) + 1))
    assert not any(output["output_type"] == "error" for one in ran for output in one["outputs"])
    assert sum(len(one["outputs"]) for one in ran) >= 5


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_a_page_has_every_word_of_its_notebook(kept: Path) -> None:
    page = notebooks.page(kept)
    for one in json.loads(kept.read_text(encoding="utf-8"))["cells"]:
        assert "".join(one["source"]) in page
    shown = words(page)
    for one in cells(kept):
        for text in outputs(one):
            assert words(text) <= shown
