"""``parity identify``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parity.cli import options

if TYPE_CHECKING:
    from parity.case.case import Case
    from parity.cli.progress import OnDone
    from parity.identify.answer import Answer


@click.command("identify", short_help="Say which Adam a target is.")
@click.argument("target")
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
@options.json_file()
@options.traceback()
@options.color()
def command(
    target: str,
    dtypes: tuple[str, ...],
    timeout: float,
    case_name: str | None,
    input_folder: Path | None,
    show: bool,
    hide_moments: bool,
    json_file: str | None,
    traceback: bool,
    color: str,
) -> int:
    """Say which Adam TARGET is: its formula, its hyperparameters, its arithmetic, and where it departs.

    TARGET is the name of an implementation, your own ('file.py:run', 'module:run', 'torch.optim:Adam'), a trace folder
    (from 'parity run --keep-traces'), or a recording (of parity.record). What your own cannot do it refuses by 'raise
    parity.Unsupported(...)' before its first state: such a question is left out. Exit code 0 where it is identified or
    explained and nothing unexplained is left, 1 where it is not, or fails in a dtype or at a question.
    """
    from parity.case.recording_header import HEADER
    from parity.cli.console import console, show_traceback, write_answer
    from parity.cli.progress import progress
    from parity.core.errors import UsageError
    from parity.report.identity import identity_parts

    log = ""
    if _is_trace(target):
        if dtypes:
            raise UsageError("--dtype: a trace has the dtype it was made in")
        if (Path(target) / HEADER).is_file():
            name, answers = _of_recording(Path(target), hide_moments)
        else:
            name, answers = _of_trace(Path(target), case_name, input_folder, hide_moments)
    else:
        for option, given in (("--case", case_name), ("--input", input_folder)):
            if given is not None:
                raise UsageError(f"{option}: is for a trace folder, and {target!r} is none")
        watched = console(color, stderr=True)
        with progress(watched, not watched.is_terminal, "questions") as on_done:
            name, answers, log = _of_candidate(target, dtypes, timeout, hide_moments, on_done)
    if json_file:
        write_answer(json_file, _json(name, answers))
    for text in dict.fromkeys(text for answer in answers.values() for text in answer.tracebacks if traceback):
        show_traceback(text)
    screen = console(color, stderr=json_file == "-")
    for place, (dtype, answer) in enumerate(answers.items()):
        if place:
            screen.print()
        for part in identity_parts(name, dtype, answer):
            screen.print(part)
        if show:
            screen.print(json.dumps(answer.to_json(), indent=2, default=str), markup=False, highlight=False)
    if log:
        screen.print(f"\nlog: {log}", markup=False, style="dim")
    return 0 if all(answer.sound for answer in answers.values()) else 1


def _is_trace(target: str) -> bool:
    """Whether a target names a folder, there or not; a name of an implementation has no slash."""
    return Path(target).is_dir() or ("/" in target and ":" not in target and not target.endswith(".py"))


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


def _of_candidate(
    target: str, dtypes: tuple[str, ...], timeout: float, hide_moments: bool, on_done: OnDone
) -> tuple[str, dict[str, Answer], str]:
    """Its name, its answers, and where the log is kept; empty where nothing failed that left a word in it."""
    import shutil
    import tempfile

    from parity.core.errors import TargetError
    from parity.explain.explain import candidate_of
    from parity.identify.answer import FAILED
    from parity.identify.identify import identify
    from parity.identify.probing import LOG
    from parity.numerics.formats import FORMATS, format_named

    asked = {format_named(dtype).name for dtype in dtypes}
    candidate = candidate_of(target, timeout)
    ordered = [dtype for dtype in FORMATS if dtype in (asked or candidate.dtypes)]
    logs = Path(tempfile.mkdtemp(prefix="parity-identify-"))
    log = logs / LOG
    kept = ""
    try:
        answers = identify(candidate, ordered, timeout=timeout, hide_moments=hide_moments, logs=logs, on_done=on_done)
        if any(FAILED in answer.residual for answer in answers.values()):
            kept = _with_words(log)
    except TargetError as error:
        kept = _with_words(log)
        raise TargetError(f"{error}; log: {kept}", error.traceback) if kept else error from None
    finally:
        if not kept:
            shutil.rmtree(logs, ignore_errors=True)
    return candidate.name, answers, kept


def _with_words(log: Path) -> str:
    """The path of a log that says anything; empty for another."""
    return str(log) if log.exists() and log.stat().st_size else ""


def _json(name: str, answers: dict[str, Answer]) -> dict[str, Any]:
    """The widest dtype's answer, and that of every dtype."""
    told = {dtype: answer.to_json() for dtype, answer in answers.items()}
    widest = next(iter(told))
    return {**told[widest], "target": name, "dtype": widest, "dtypes": told}
