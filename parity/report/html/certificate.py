"""The certificate of a pair as one page of HTML, with everything it needs inside."""

from __future__ import annotations

from parity.report import certified, certified_rows
from parity.report.certificate import MARK
from parity.report.html.templates import asset, templates
from parity.report.panels.certificate import Certificate


def render_certificate_page(one: Certificate) -> str:
    """The page; `parity.report.html.templates.missing` says whether it can be made."""
    return (
        templates()
        .get_template("certificate.html.j2")
        .render(
            one=one,
            mark=MARK,
            certified=certified,
            rows=certified_rows,
            style=asset("style.css"),
            own_style=asset("certificate.css"),
        )
    )
