"""report.html of changes: written again, shown with a run, and what is wrong with a document is one line."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from parity.api.changes import leave_page
from parity.baseline.document import FILES
from parity.cli.console import show_kept
from parity.report.html import templates as pages

HAT = ("numpy.adam.hat", "numpy.adam.outside")


@pytest.fixture
def kept(tmp_path, documents):
    """The folder of a command that left a document."""

    def keep(kind="upgrade", **more):
        folder = tmp_path / f"kept-{kind}"
        folder.mkdir(exist_ok=True)
        (folder / FILES[kind]).write_text(json.dumps({**documents[kind], **more}))
        return folder

    return keep


@pytest.mark.parametrize("kind", FILES)
def test_a_folder_of_changes_has_its_page_written_again(command, kept, kind):
    folder = kept(kind)
    assert command("report", folder) == (0, f"{folder / 'report.html'}\n", "")
    first = (folder / "report.html").read_bytes()
    assert b"adams" in first
    assert command("report", folder)[0] == 0
    assert (folder / "report.html").read_bytes() == first
    assert not (folder / "report.md").exists()


def test_changes_are_shown_with_a_run(command, run_small, kept, documents, tmp_path):
    run_small(*HAT, hyper={"eps": 1e-3})
    run, file = tmp_path / "run", tmp_path / "baseline.json"
    file.write_text(json.dumps(documents["baseline"]))
    assert command("report", run)[0] == 0
    page, text = (run / "report.html").read_text(), (run / "report.md").read_text()
    assert 'id="changes"' not in page
    assert 'href="#changes"' not in page
    assert "## Upgrades" not in text
    assert command("report", run, "--changes", kept("matrix"), "--changes", file)[0] == 0
    page, text = (run / "report.html").read_text(), (run / "report.md").read_text()
    assert page.count('<section id="changes"') == 1
    assert page.index('id="accuracy"') < page.index('id="changes"') < page.index('id="method"')
    assert '<a href="#changes">Upgrades</a>' in page
    assert 'id="change-0"' in page
    assert 'id="change-1"' in page
    assert "1.0 changed; of 1.5 nothing can be told." in page
    assert text.index("## Upgrades and baselines") < text.index("## Environment")
    assert "1 of 6 entries changed." in text


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"schema": 2}, "schema 2; this parity reads schema 1"),
        ({"finished": False}, "parity upgrade did not come to its end; run it again"),
        ({"counts": {}}, "altered (counts are not those of its entries)"),
    ],
)
def test_a_document_that_cannot_be_read_is_one_line_and_no_report_is_written(
    command, run_small, kept, tmp_path, more, told
):
    run_small(*HAT, hyper={"eps": 1e-3})
    (tmp_path / "run" / "report.md").unlink()
    folder = kept(**more)
    line = f"parity: {folder / 'upgrade.json'}: {told}\n"
    assert command("report", tmp_path / "run", "--changes", folder) == (4, "", line)
    assert command("report", folder) == (4, "", line)
    assert not (tmp_path / "run" / "report.md").exists()
    assert not (folder / "report.html").exists()


def test_a_run_directory_is_no_changes(command, run_small, tmp_path, kept):
    run_small(*HAT, hyper={"eps": 1e-3})
    code, out, err = command("report", tmp_path / "run", "--changes", tmp_path / "run")
    assert (code, out) == (4, "")
    assert "run: nothing of parity upgrade, matrix or bisect here" in err
    assert command("report", kept(), "--changes", kept())[0] == 4


def test_without_jinja_there_is_no_page_and_one_line(command, kept, monkeypatch, tmp_path, write_case):
    monkeypatch.setattr(pages, "NEEDED", ("no_such_package",))
    folder = kept()
    line = "parity: no report.html: no_such_package missing; pip install 'parity[report]'\n"
    assert command("report", folder) == (4, "", line)
    assert not (folder / "report.html").exists()
    # A page that cannot be made is refused before anything is recorded.
    case, root = write_case(), tmp_path / "baselines"
    assert command("baseline", "check", case, "-o", root, "--html", tmp_path / "page.html") == (4, "", line)


def test_a_command_whose_page_cannot_be_made_leaves_none_and_says_why_in_a_line(kept, monkeypatch):
    folder, told = kept(), StringIO()
    leave_page(folder)
    show_kept(Console(file=told, width=200), folder)
    assert (folder / "report.html").exists()
    assert told.getvalue() == f"kept: {folder}\n"
    (folder / "report.html").unlink()
    monkeypatch.setattr(pages, "NEEDED", ("no_such_package",))
    leave_page(folder)
    show_kept(Console(file=told, width=200), folder)
    assert not (folder / "report.html").exists()
    assert told.getvalue().splitlines()[2:] == ["no report.html: no_such_package missing; pip install 'parity[report]'"]


def test_a_baseline_is_shown_where_it_is_asked_for(command, write_case, tmp_path):
    case, root, page = write_case(), tmp_path / "baselines", tmp_path / "pages" / "page.html"
    target = ("-i", "numpy.adam.hat")
    assert command("baseline", "save", case, *target, "-o", root, "-q")[0] == 0
    assert command("baseline", "check", case, *target, "-o", root, "-q", "--html", page)[0] == 0
    text = page.read_text()
    assert "all 18 digests are the same.</strong>" in text
    assert "Is it still the same?" in text
    assert "parity baseline check …/small.toml -i numpy.adam.hat -o …/baselines" in text.replace("&#39;", "")
    assert str(tmp_path) not in text
    (saved,) = root.iterdir()
    answer = tmp_path / "answer.json"
    assert command("baseline", "diff", saved, saved, "-q", "--html", page, "--json", answer)[0] == 0
    assert json.loads(answer.read_text())["command"] == ["parity", "baseline", "diff", str(saved), str(saved)]
    assert "all 18 digests are the same.</strong>" in page.read_text()
