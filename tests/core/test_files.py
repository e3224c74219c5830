"""Files: names that lead nowhere else, and errors that name the file that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.core.files import safe_name, write_atomically
from parity.engine.run import explanations_path, part_paths, traces_path

NASTY = (
    "../../x",
    "..",
    ".",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a b",
    "a\nb",
    "a\tb",
    "\x1b[31m",
    "%2F",
    "a%20b",
    "\u2028",
)
PLAIN = ("small", "epsilon[eps=1e-08]", "a-b_c.d", "<script>", "it's", "grün", "日本語", "-k", "a..b", "...b")


@pytest.mark.parametrize("name", NASTY)
def test_no_name_leads_out_of_its_folder(tmp_path, name):
    safe = safe_name(name)
    assert safe.isprintable()
    assert (tmp_path / safe).resolve().parent == tmp_path.resolve()
    paths = (*part_paths(tmp_path, f"{name} float32"), explanations_path(tmp_path, f"{name} float32"))
    assert {path.resolve().parent for path in paths} == {(tmp_path / "parts").resolve()}
    assert traces_path(tmp_path, name, "float32").resolve().parent.parent == (tmp_path / "traces").resolve()


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_name_stays(name):
    assert safe_name(name) == name


def test_two_names_never_share_one():
    names = (*NASTY, *PLAIN, "a__b", "a%2Fb", "%25", "%", "\u2000 3", "\u20003")
    assert len({safe_name(name) for name in names}) == len(set(names))
    stems = {part_paths(Path(), f"{name} float32")[0] for name in names}
    assert len(stems) == len(set(names))


def test_what_cannot_be_written_is_told_by_its_own_name(tmp_path):
    (tmp_path / "report.md").mkdir()
    with pytest.raises(OSError, match="Is a directory") as caught:
        write_atomically(tmp_path / "report.md", "text")
    assert caught.value.filename == str(tmp_path / "report.md")
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
