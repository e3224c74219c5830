"""``parity identify``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parity.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from parity.api.identify import Identified
    from parity.case.case import Case
    from parity.identify.answer import Answer


@click.command("identify", short_help="Say which Adam a target is.")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("-d", "--dtype", "dtypes", multiple=True, metavar="DTYPE",
              help="float64, float32, float16 or bfloat16. Repeatable.  [all it runs in]")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=300.0, show_default=True,
              metavar="S", help="Seconds the target may take for one probe.")  # fmt: skip
@click.option("--case", "case_name", metavar="CASE",
              help="Of a trace: the case file, or the shipped case, that makes its gradients again.")  # fmt: skip
@click.option("--input", "input_folder", type=click.Path(path_type=Path), metavar="DIR",
              help="Of a trace: where its weights.npy and gradients.npy are.  [input, in it or beside it]")  # fmt: skip
@click.option("--show", is_flag=True, help="Show every number that was read, as --json has them.")
@click.option("--hide-moments", is_flag=True, help="Look at the weights only.")
@click.option("--cluster", default="", metavar="ADDRESS",
              help="Ask on workers of the Dask scheduler there, or on so many here: local:4.")  # fmt: skip
@options.json_file()
@options.traceback()
@options.color()
def command(
    targets: tuple[str, ...],
    dtypes: tuple[str, ...],
    timeout: float,
    case_name: str | None,
    input_folder: Path | None,
    show: bool,
    hide_moments: bool,
    cluster: str,
    json_file: str | None,
    traceback: bool,
    color: str,
) -> int:
    """Say which Adam TARGET is: its formula, its hyperparameters, its arithmetic, and where it departs.

    TARGET is the name of an implementation, your own ('file.py:run', 'module:run', 'torch.optim:Adam'), a trace folder
    (from 'parity run --keep-traces'), or a recording (of parity.record). What your own cannot do it refuses by 'raise
    parity.Unsupported(...)' before its first state: such a question is left out. Of several each has its answer, or the
    line that says why it has none. Exit code 0 where it is identified or explained and nothing unexplained is left, 1
    where it is not, or fails in a dtype or at a question.
    """
    from parity.api.identify import Identified, Question, identified_at, identify_and_log
    from parity.cli.console import console, show_traceback, write_answer
    from parity.cli.progress import progress
    from parity.core.errors import ParityError, TargetError, UsageError

    asked = list(dict.fromkeys(targets))
    traces = [target for target in asked if _is_trace(target)]
    if traces and (dtypes or cluster):
        raise UsageError(
            "--dtype: a trace has the dtype it was made in" if dtypes else "--cluster: a trace is read here"
        )
    for option, given in (("--case", case_name), ("--input", input_folder)):
        if given is not None and len(traces) < len(asked):
            other = next(target for target in asked if target not in traces)
            raise UsageError(f"{option}: is for a trace folder, and {other!r} is none")
    question = Question(dtypes, timeout, hide_moments)
    screen, watched = console(color, stderr=json_file == "-"), console(color, stderr=True)
    told: dict[str, Any] = {}
    codes: list[int] = []
    with ExitStack() as ends:
        away = ends.enter_context(identified_at(cluster, asked, question)) if cluster else {}
        for target in asked:
            try:
                if target in traces:
                    found = Identified(*_of_folder(Path(target), case_name, input_folder, hide_moments))
                elif target in away:
                    found = away[target]()
                else:
                    with progress(watched, not watched.is_terminal, "questions") as on_done:
                        found = identify_and_log(target, question, on_done)
            except ParityError as error:
                if len(asked) == 1:
                    raise
                if traceback and isinstance(error, TargetError):
                    show_traceback(error.traceback)
                watched.print(f"parity: {target}: {error}", markup=False, highlight=False, soft_wrap=True)
                told[target] = {"error": str(error)}
                codes.append(error.exit_code)
                continue
            told[target] = _json(found)
            if traceback:
                for text in dict.fromkeys(text for one in found.answers.values() for text in one.tracebacks):
                    show_traceback(text)
            if len(told) > 1:
                screen.print()
            _show(screen, found, numbers=show)
            codes.append(0 if all(answer.sound for answer in found.answers.values()) else 1)
    if json_file:
        write_answer(json_file, told[asked[0]] if len(asked) == 1 else {"targets": told})
    return max(codes)


def _show(screen: Console, found: Identified, *, numbers: bool) -> None:
    from parity.report.identity import identity_parts

    for place, (dtype, answer) in enumerate(found.answers.items()):
        if place:
            screen.print()
        for part in identity_parts(found.name, dtype, answer):
            screen.print(part)
        if numbers:
            screen.print(json.dumps(answer.to_json(), indent=2, default=str), markup=False, highlight=False)
    if found.log:
        screen.print(f"\nlog: {found.log}", markup=False, style="dim")


def _is_trace(target: str) -> bool:
    """Whether a target names a folder, there or not; a name of an implementation has no slash."""
    return Path(target).is_dir() or ("/" in target and ":" not in target and not target.endswith(".py"))


def _of_folder(
    folder: Path, case_name: str | None, input_folder: Path | None, hide_moments: bool
) -> tuple[str, dict[str, Answer]]:
    """Of a recording, or of a trace."""
    from parity.case.recording_header import HEADER

    if (folder / HEADER).is_file():
        return _of_recording(folder, hide_moments)
    return _of_trace(folder, case_name, input_folder, hide_moments)


def _of_trace(
    folder: Path, case_name: str | None, input_folder: Path | None, hide_moments: bool
) -> tuple[str, dict[str, Answer]]:
    from parity.identify.from_trace import read_observation
    from parity.identify.identify import identify_observation

    case = _case(case_name) if case_name is not None else None
    trace, observation = read_observation(folder, input_folder, case, hide_moments=hide_moments)
    return trace.implementation, {trace.format.name: identify_observation(observation, trace.implementation)}


def _of_recording(folder: Path, hide_moments: bool) -> tuple[str, dict[str, Answer]]:
    """By dtype, and by group where the optimizer has several."""
    from parity.case.recording import recording_in
    from parity.case.replay import cases_of_recording
    from parity.identify.from_trace import observation_from_recording
    from parity.identify.identify import identify_observation

    told, cases = recording_in(folder).told, cases_of_recording(folder)
    known = told["implementation"] or ""
    answers = {}
    for case in cases:
        group = case.name[case.name.rindex("[") :] if len(cases) > 1 else ""
        observation = observation_from_recording(case, hide_moments=hide_moments)
        answers[f"{case.dtypes[0]}{group}"] = identify_observation(observation, known)
    return str(told["optimizer"]), answers


def _case(name: str) -> Case:
    """The one case of a file, or the shipped case of that name."""
    from parity.case.catalogue import select_cases
    from parity.core.errors import ParityError, nearest

    if Path(name).exists():
        found = select_cases([name])
        if len(found) > 1:
            raise ParityError(f"--case {name!r}: {len(found)} cases; name the one of the trace, from the shipped ones")
        return found[0]
    shipped = {case.name: case for case in select_cases()}
    if name not in shipped:
        raise ParityError(f"--case {name!r}: neither a file nor a shipped case; {nearest(name, shipped)}")
    return shipped[name]


def _json(found: Identified) -> dict[str, Any]:
    """The widest dtype's answer, and that of every dtype."""
    told = {dtype: answer.to_json() for dtype, answer in found.answers.items()}
    widest = next(iter(told))
    return {**told[widest], "target": found.name, "dtype": widest, "dtypes": told}
