"""Documents of their own on disk: one page, with everything it needs inside, and its Markdown."""

from __future__ import annotations

from pathlib import Path

from parity.core.errors import UsageError
from parity.core.files import json_text, write_atomically
from parity.core.version import VERSION
from parity.explain.trainings import Trainings
from parity.report import atlas as told_of_atlas
from parity.report import certificate, refusal, trainings
from parity.report import side_by_side as told
from parity.report.certificate_page import MARK, STEM, file_stem, render_certificate
from parity.report.html.templates import asset, missing, templates
from parity.report.panels.atlas import Atlas
from parity.report.panels.certificate import Certificate
from parity.report.panels.changes import Changes
from parity.report.panels.side_by_side import SideBySide
from parity.report.panels.trainings import chart_of
from parity.report.side_by_side import render_side_by_side


def render_certificate_page(one: Certificate) -> str:
    """The page; `parity.report.html.templates.missing` says whether it can be made."""
    return (
        templates()
        .get_template("certificate.html.j2")
        .render(
            one=one,
            mark=MARK,
            certificate=certificate,
            refusal=refusal,
            style=asset("style.css"),
            own_style=asset("certificate.css"),
        )
    )


def render_comparison(found: SideBySide) -> str:
    """The page of two runs; `parity.report.html.templates.missing` says whether it can be made."""
    style = asset("style.css")
    return templates().get_template("comparison.html.j2").render(found=found, told=told, style=style)


def render_trainings_page(found: Trainings) -> str:
    """The page of two trainings; `parity.report.html.templates.missing` says whether it can be made."""
    return (
        templates()
        .get_template("trainings.html.j2")
        .render(
            found=found,
            told=trainings,
            chart=chart_of(found.curve) if found.curve else None,
            version=VERSION,
            style=asset("style.css", "trainings.css"),
        )
    )


def render_changes(changes: Changes) -> str:
    """The page of one document; `parity.report.html.templates.missing` says whether it can be made."""
    return (
        templates()
        .get_template("changes_page.html.j2")
        .render(
            one=changes,
            version=VERSION,
            style=asset("style.css"),
            script=asset("copy.js", "follow.js"),
        )
    )


def render_atlas_page(atlas: Atlas) -> str:
    """The page of an atlas; `parity.report.html.templates.missing` says whether it can be made."""
    return (
        templates()
        .get_template("atlas.html.j2")
        .render(
            atlas=atlas,
            told=told_of_atlas,
            numbers={one.lineage.name: one.number for one in atlas.lines},
            version=VERSION,
            style=asset("style.css"),
            script=asset("copy.js", "follow.js"),
        )
    )


HEAD = 2_000
"""Bytes within which a certificate has its title."""


def write_certificate(one: Certificate, output: Path | str) -> tuple[Path, ...]:
    """Write both into a folder, the page only where Jinja2 is installed; what was written."""
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"-o {folder}: is a file, not a folder")
    folder.mkdir(parents=True, exist_ok=True)
    texts = {".md": render_certificate(one)}
    if not missing():
        texts[".html"] = render_certificate_page(one)
    # What was made with more packages than there are now would tell of an earlier run.
    (folder / f"{file_stem(one)}.html").unlink(missing_ok=True)
    for ending, text in texts.items():
        write_atomically(folder / f"{file_stem(one)}{ending}", text)
    return tuple(folder / f"{file_stem(one)}{ending}" for ending in texts)


def remove_certificates(folder: Path) -> None:
    """Those of an earlier run; a file that only bears such a name stays."""
    for path in sorted(folder.glob(f"{STEM}*")):
        if path.suffix in (".md", ".html") and path.is_file() and MARK.encode() in path.read_bytes()[:HEAD]:
            path.unlink()


COMPARISON = "comparison.md"
COMPARISON_PAGE = "comparison.html"


def write_comparison(found: SideBySide, folder: Path) -> tuple[Path, ...]:
    """Write both, the page only where Jinja2 is installed; what was written."""
    texts = {COMPARISON: render_side_by_side(found)}
    if not missing():
        texts[COMPARISON_PAGE] = render_comparison(found)
    folder.mkdir(parents=True, exist_ok=True)
    remove_comparison(folder)
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return tuple(folder / name for name in texts)


def remove_comparison(folder: Path) -> None:
    """What stands there tells of other runs."""
    for name in (COMPARISON, COMPARISON_PAGE):
        (folder / name).unlink(missing_ok=True)


TRAININGS = "trainings.json"
TRAININGS_REPORT, TRAININGS_PAGE = "report.md", "report.html"


def write_trainings(found: Trainings, folder: Path) -> tuple[Path, ...]:
    """Write the answer as JSON, as Markdown, and as a page where Jinja2 is installed; what was written."""
    texts = {
        TRAININGS: json_text(trainings.trainings_to_json(found)),
        TRAININGS_REPORT: trainings.render_trainings(found),
    }
    if not missing():
        texts[TRAININGS_PAGE] = render_trainings_page(found)
    # What was made with more packages than there are now would tell of an earlier comparison.
    (folder / TRAININGS_PAGE).unlink(missing_ok=True)
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return tuple(folder / name for name in texts)
