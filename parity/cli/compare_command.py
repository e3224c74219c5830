"""``parity compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parity.cli import options

if TYPE_CHECKING:
    from parity.case.expectation import Expectation
    from parity.explain.trainings import Trainings

NOTHING_COMPARED = 5


@click.command("compare", short_help="Two recorded trainings, or two kept traces: where they part, and why.")
@click.argument("actual", type=click.Path(path_type=Path))
@click.argument("expected", type=click.Path(path_type=Path))
@click.option("--within", multiple=True, metavar="Q:METRIC=LIMIT",
              help="Budget, e.g. 'w:max_steps=1e-3' or '*:max_ulp=4'. Repeatable; none asks for equality.")  # fmt: skip
@click.option("--map", "map_file", type=click.Path(path_type=Path), metavar="FILE",
              help="TOML: which parameter of EXPECTED is which of ACTUAL; recordings only.")  # fmt: skip
@click.option("--write-map", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the pairs that were found as such a FILE; recordings only.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
              help="Write divergence.parquet, trainings.json, report.md and report.html; recordings only.")  # fmt: skip
@click.option("--csv", is_flag=True, help="With -o: the table as divergence.csv too; large.")
@options.json_file()
@options.color()
def command(
    actual: Path,
    expected: Path,
    within: tuple[str, ...],
    map_file: Path | None,
    write_map: Path | None,
    output: Path | None,
    csv: bool,
    json_file: str | None,
    color: str,
) -> int:
    """Compare ACTUAL and EXPECTED: two recordings (of parity.record), or trace folders (of 'parity run --keep-traces').

    Of two trainings it says who is to blame: the start, the gradients (data or model), or the optimizer. Exit code 0
    where they are equal, alike but for rounding, or within the budget, 1 where not, 5 where they have nothing in
    common.
    """
    from parity.api import trainings
    from parity.core.errors import UsageError

    if trainings.are_recordings(actual, expected):
        if within:
            raise UsageError("--within belongs to two traces; these are recordings")
        if csv and output is None:
            raise UsageError("--csv belongs to -o DIR")
        found = trainings.compare_trainings(actual, expected, map_file, output=output, csv=csv)
        if write_map is not None:
            trainings.write_map(found, write_map)
        _show_trainings(found, output, json_file, color)
        return 0 if found.alike else 1
    for name, given in (("--map", map_file), ("--write-map", write_map), ("-o", output), ("--csv", csv)):
        if given:
            raise UsageError(f"{name} belongs to two recordings; these are traces")
    from parity.api import explain as api
    from parity.case.expectation import Kind
    from parity.cli.console import console, write_answer
    from parity.report.terminal import distance_table, verdict_line

    divergence = api.compare(actual, expected, _expectation(within))
    if json_file:
        write_answer(json_file, _answer(divergence))
    screen = console(color, stderr=json_file == "-")
    if divergence.distances:
        screen.print(distance_table(divergence.distances))
    screen.print(verdict_line(divergence.verdict))
    if divergence.verdict.kind is Kind.NOT_COMPARABLE:
        return NOTHING_COMPARED
    return 0 if divergence.verdict.as_expected else 1


def _show_trainings(found: Trainings, output: Path | None, json_file: str | None, color: str) -> None:
    from parity.cli.console import console, show_kept, write_answer
    from parity.report import trainings as told

    if json_file:
        write_answer(json_file, told.trainings_to_json(found))
    screen = console(color, stderr=json_file == "-")
    for one in told.trainings_on_terminal(found):
        screen.print(one)
    if output is not None:
        show_kept(screen, output)


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
