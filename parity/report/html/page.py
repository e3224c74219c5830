"""The budgets of a run, with how many wrong Adams each of them catches, and its processes, as rows of text."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parity.core.environment import MACHINE
from parity.engine.findings import Severity
from parity.engine.record import Run
from parity.numerics.formats import FORMATS, format_named
from parity.report import names, twins
from parity.report.explanation import TERMS
from parity.report.figures import class_text, power_text
from parity.report.html import wording
from parity.report.html.templates import asset, lacking, templates
from parity.report.markdown import answer_line
from parity.report.panels.curve import density_of, histogram_of, shares_of
from parity.report.panels.maps import Spot
from parity.report.panels.panels import Panels
from parity.report.panels.view import View

if TYPE_CHECKING:
    from jinja2 import Environment

NAMES = 6


def budget_rows(run: Run) -> Iterator[tuple[str, str, str, int, str]]:
    """Case, dtype, budget and its reference, pairs that are held to it, what it catches."""
    for one in run.powers:
        yield one.case, one.dtype, one.budget, one.pairs, power_text(one, NAMES)


def worker_rows(run: Run) -> Iterator[tuple[str, str, str, str]]:
    """Processes that saw the same, by name; their Python, packages, and instruction sets and threads in force."""
    seen: dict[tuple[str, str, str], list[str]] = {}
    for name, worker in sorted(run.workers.items()):
        packages, in_force = (
            ", ".join(f"{what} {told}" for what, told in worker.get(key, {}).items()) for key in ("packages", MACHINE)
        )
        seen.setdefault((worker["python"], packages, in_force), []).append(name)
    for (python, packages, in_force), workers in seen.items():
        yield ", ".join(workers), python, packages, in_force


LEVEL = 9


def packed(text: str) -> str:
    """Text deflated, in base64: the same text, the same characters."""
    return base64.b64encode(zlib.compress(text.encode(), LEVEL)).decode()


def island(value: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can end that element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def chart(view: View) -> dict[str, Any]:
    """What the charts of a view are drawn from; noise: the floor of w in units of lr, None where there is none."""
    one = view.explanation
    found: dict[str, Any] = {
        "steps": view.curves.steps,
        "first": view.curves.first,
        "noise": one.meaning.noise if one is not None and one.meaning.noise > 0 else None,
        "curves": [[curve.quantity, curve.metric, curve.values] for curve in view.curves.curves],
    }
    if one is not None and one.spread:
        densities = [density_of(spread, format_named(one.dtype)) for spread in one.spread]
        found["histograms"] = [[each.quantity, sorted(histogram_of(each).items())] for each in one.spread]
        found["densities"] = [[each.quantity, each.starts, each.cells] for each in densities]
        farthest = max(distance for each in densities for _, distance, _ in each.cells)
        found["classes"] = [class_text(distance) for distance in range(farthest + 1)]
    if one is not None and one.split:
        shares = shares_of(one)
        terms = [
            [place, name, shares.by_term[term]]
            for place, (term, name) in enumerate(TERMS.items())
            if term in shares.by_term
        ]
        found["shares"] = {"steps": shares.steps, "terms": terms}
    return found


def plotly_source() -> str:
    """plotly.min.js as the installed Plotly has it."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


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
        bits=answer_line(run),
        left_open=list(twins.open_lines(run)),
        budgets=list(budget_rows(run)),
        names=names,
        workers=list(worker_rows(run)),
        spots=island(_spots(panels, sections)),
        plotly=packed(plotly_source()) if any(one.packed for one in sections) else "",
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
            packed_cases=packed(cases) if len(panels.heat.spots) > MOST_SPOTS else "",
        )


def _packed(views: tuple[View, ...], told: list[str]) -> str:
    if not views:
        return ""
    return packed(island([[text, chart(view)] for text, view in zip(told, views, strict=True)]))


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
