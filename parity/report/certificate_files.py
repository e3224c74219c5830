"""A certificate on disk, as Markdown and as HTML."""

from __future__ import annotations

from pathlib import Path

from parity.core.errors import UsageError
from parity.core.files import write_atomically
from parity.report.certificate import MARK, STEM, file_stem, render_certificate
from parity.report.html.certificate import render_certificate_page
from parity.report.html.templates import missing
from parity.report.panels.certificate import Certificate

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
