"""``parity compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parity.cli import options

if TYPE_CHECKING:
    from parity.case.expectation import Expectation

NOTHING_COMPARED = 5


@click.command("compare", short_help="Compare two kept traces, bit by bit.")
@click.argument("actual", type=click.Path(path_type=Path))
@click.argument("expected", type=click.Path(path_type=Path))
@click.option("--within", multiple=True, metavar="Q:METRIC=LIMIT",
              help="Budget, e.g. 'w:max_steps=1e-3' or '*:max_ulp=4'. Repeatable; none asks for equality.")  # fmt: skip
@options.json_file()
@options.color()
def command(actual: Path, expected: Path, within: tuple[str, ...], json_file: str | None, color: str) -> int:
    """Compare the trace folders ACTUAL and EXPECTED (from 'parity run --keep-traces').

    Exit code 0 where they are equal or within the budget, 1 where not, 5 where they do not answer
    the same question.
    """
    from parity.api import explain as api
    from parity.case.expectation import Kind
    from parity.cli.console import console, write_answer
    from parity.report.terminal import distance_table, verdict_line

    found = api.compare(actual, expected, _expectation(within))
    if json_file:
        write_answer(json_file, _answer(found))
    screen = console(color, stderr=json_file == "-")
    if found.distances:
        screen.print(distance_table(found.distances))
    screen.print(verdict_line(found.verdict))
    if found.verdict.kind is Kind.NOT_COMPARABLE:
        return NOTHING_COMPARED
    return 0 if found.verdict.as_expected else 1


def _expectation(within: tuple[str, ...]) -> Expectation | None:
    from pydantic import ValidationError

    from parity.case.expectation import Budget, Expectation
    from parity.core.errors import UsageError, nearest
    from parity.core.state import QUANTITIES

    if not within:
        return None
    budgets: dict[str, dict[str, float]] = {}
    for text in within:
        quantity, colon, rest = text.partition(":")
        metric, equals, limit = rest.partition("=")
        if not colon or not equals:
            raise UsageError(f"--within {text!r}: allowed: QUANTITY:METRIC=LIMIT, e.g. w:max_steps=1e-3")
        for word, allowed in ((quantity, (*QUANTITIES, "*")), (metric, Budget.model_fields)):
            if word not in allowed:
                raise UsageError(f"--within {text!r}: {word!r} is unknown; {nearest(word, allowed)}")
        try:
            budgets.setdefault(quantity, {})[metric] = float(limit)
        except ValueError:
            raise UsageError(f"--within {text!r}: {limit!r} is not a number") from None
    try:
        return Expectation.model_validate(
            {
                "actual": "*",
                "expected": "*",
                "verdict": "WITHIN",
                "within": budgets,
                "because": "asked for by --within",
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--within {'.'.join(map(str, first['loc'][1:]))}: {first['msg']}") from None


def _answer(found: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter

    from parity.comparison.distance import Distance
    from parity.comparison.verdict import Verdict

    return {
        "actual": found.actual,
        "expected": found.expected,
        "verdict": TypeAdapter(Verdict).dump_python(found.verdict, mode="json"),
        "distances": TypeAdapter(tuple[Distance, ...]).dump_python(found.distances, mode="json"),
    }
