"""report.html: values to one page of HTML, with everything it needs inside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from parity.engine.findings import Severity
from parity.engine.record import Run
from parity.numerics.formats import FORMATS
from parity.report import accounts
from parity.report.html import bundle, wording
from parity.report.html.method import budget_rows, worker_rows
from parity.report.html.templates import asset, lacking, templates
from parity.report.panels.heat import Spot
from parity.report.panels.panels import Panels
from parity.report.panels.view import View

if TYPE_CHECKING:
    from jinja2 import Environment

NEEDED = ("jinja2", "plotly")

SCRIPTS = ("charts.js", "copy.js", "follow.js", "script.js")

MOST_SPOTS = 20_000
"""Verdicts up to which every table stands in the page; of more, each is drawn when its pair is opened."""


@dataclass(frozen=True, slots=True)
class PairSection:
    """A pair on the page: its number, its spots by case, and its views where it is looked at closely.

    packed: every view as HTML with what its chart is drawn from, deflated; shown: the one that stands in the page.
    cases: the table of all its spots as HTML, and packed_cases deflated where a page has too many of them.
    """

    number: int
    actual: str
    expected: str
    spots: dict[str, dict[str, Spot]]
    places: dict[tuple[str, str], int]
    views: tuple[View, ...]
    shown: int | None
    html: str
    packed: str
    cases: str
    packed_cases: str


def missing() -> tuple[str, ...]:
    """Packages that the page needs and that are not installed."""
    return lacking(NEEDED)


def render_page(run: Run, panels: Panels) -> str:
    """The page of a run; `missing` says whether it can be made."""
    environment = templates()
    sections = tuple(_sections(panels, environment))
    return environment.get_template("page.html.j2").render(
        run=run,
        panels=panels,
        sections=sections,
        numbers={(one.actual, one.expected): one.number for one in sections},
        findings=[one for one in run.findings if one.severity is not Severity.NOTE],
        notes=[one for one in run.findings if one.severity is Severity.NOTE],
        bits=accounts.answer_line(run),
        left_open=list(accounts.open_lines(run)),
        budgets=list(budget_rows(run)),
        workers=list(worker_rows(run)),
        spots=bundle.island(_spots(panels, sections)),
        plotly=bundle.packed(bundle.plotly_source()) if any(one.packed for one in sections) else "",
        style=asset("style.css"),
        scripts=[asset(name) for name in SCRIPTS],
    )


def _sections(panels: Panels, environment: Environment) -> Iterator[PairSection]:
    """Pairs in the order of the conclusions, then all others."""
    spots: dict[tuple[str, str], dict[str, dict[str, Spot]]] = {}
    for spot in panels.heat.spots:
        spots.setdefault((spot.actual, spot.expected), {}).setdefault(spot.case, {})[spot.dtype] = spot
    first = [(one.actual, one.expected) for one in panels.conclusions]
    template, table = (environment.get_template(name) for name in ("view.html.j2", "cases.html.j2"))
    for number, pair in enumerate(dict.fromkeys([*first, *spots])):
        found = panels.views.get(pair)
        views = () if found is None else found.views
        told = [template.render(view=view, key=f"{number}-{place}") for place, view in enumerate(views)]
        places = {(view.judged.case, view.judged.dtype): place for place, view in enumerate(views)}
        cases = table.render(number=number, spots=spots[pair], places=places, dtypes=panels.heat.matrix.dtypes)
        yield PairSection(
            number=number,
            actual=pair[0],
            expected=pair[1],
            spots=spots[pair],
            places=places,
            views=views,
            shown=None if found is None else found.shown,
            html="" if found is None or found.shown is None else told[found.shown],
            packed=_packed(views, told),
            cases=cases,
            packed_cases=bundle.packed(cases) if len(panels.heat.spots) > MOST_SPOTS else "",
        )


def _packed(views: tuple[View, ...], told: list[str]) -> str:
    if not views:
        return ""
    return bundle.packed(bundle.island([[text, bundle.chart(view)] for text, view in zip(told, views, strict=True)]))


def _spots(panels: Panels, sections: tuple[PairSection, ...]) -> dict[str, object]:
    """What the filters of the matrix look up: by case, then pair and dtype."""
    dtypes = [dtype for dtype in FORMATS if dtype in panels.heat.matrix.dtypes]
    by_case: dict[str, list[list[object]]] = {}
    for section in sections:
        for case, row in section.spots.items():
            for dtype, spot in row.items():
                by_case.setdefault(case, []).append([section.number, dtypes.index(dtype), *_spot(spot)])
    return {"dtypes": dtypes, "cases": by_case}


def _spot(spot: Spot) -> list[object]:
    told = "" if spot.first is None else f"from step {spot.first:,}\n{wording.apart(spot.ulp, spot.lr)}"
    return [str(spot.kind), wording.SYMBOLS[spot.kind], spot.heat, int(spot.as_expected), told]
