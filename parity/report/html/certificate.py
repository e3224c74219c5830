"""The certificate of a pair as one page of HTML, with everything it needs inside."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from parity.panels.certificate import Certificate
from parity.report import certified, certified_rows
from parity.report.certificate import MARK

FOLDER = Path(__file__).parent

NEEDED = ("jinja2",)


def missing() -> tuple[str, ...]:
    """Packages that the page needs and that are not installed."""
    return tuple(name for name in NEEDED if find_spec(name) is None)


def render_certificate_page(one: Certificate) -> str:
    """The page; `missing` says whether it can be made."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("certificate.html.j2").render(
        one=one,
        mark=MARK,
        certified=certified,
        rows=certified_rows,
        style=(FOLDER / "style.css").read_text(encoding="utf-8"),
        own_style=(FOLDER / "certificate.css").read_text(encoding="utf-8"),
    )
