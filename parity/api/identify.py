"""Which Adam a target is, asked by its name, of this machine or of the workers of a cluster."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from parity.core.errors import ParityError, TargetError
from parity.engine.candidates import candidate_of
from parity.identify.answer import FAILED, Answer
from parity.identify.identify import identify as identify_candidate
from parity.identify.probing import LOG, OnProbe
from parity.numerics.formats import FORMATS, format_named


class Identified(NamedTuple):
    """A target, its answers by dtype, and where a log is kept, empty where nothing failed that left a word in it."""

    name: str
    answers: dict[str, Answer]
    log: str = ""


class Question(NamedTuple):
    """What is asked of a target; dtypes: all that it runs in where none is named."""

    dtypes: tuple[str, ...] = ()
    timeout: float | None = 300.0
    hide_moments: bool = False


def identify(
    target: str, dtypes: Iterable[str] = (), *, timeout: float | None = 300.0, hide_moments: bool = False
) -> dict[str, Answer]:
    """Ask a target the questions of `parity identify`, and say which Adam it is, by dtype.

    target: a name, or a plug-in ('module:attribute', 'file.py:attribute'). dtypes: the widest first whatever the
    order; all that it runs in where none is named. timeout: seconds the target may take for one question, None for
    ever. hide_moments: look at the weights only. ParityError for a bad name or dtype, or where no question has an
    answer.
    """
    return _identified(target, Question(tuple(dtypes), timeout, hide_moments), None, _unheard).answers


def identify_and_log(target: str, question: Question, on_done: OnProbe) -> Identified:
    """As `identify`, and the log of what failed is kept; an error line names it."""
    logs = Path(tempfile.mkdtemp(prefix="parity-identify-"))
    kept = ""
    try:
        found = _identified(target, question, logs, on_done)
        kept = _log_of(found, logs)
        return found._replace(log=kept)
    except TargetError as error:
        kept = _with_words(logs / LOG)
        raise TargetError(f"{error}; log: {kept}", error.traceback) if kept else error from None
    finally:
        if not kept:
            shutil.rmtree(logs, ignore_errors=True)


@contextmanager
def identified_at(
    cluster: str, targets: Sequence[str], question: Question
) -> Iterator[dict[str, Callable[[], Identified]]]:
    """By target what waits for the answer of the worker of a cluster that is asked; all are asked side by side."""
    from parity.engine.cluster import tasks_at
    from parity.engine.errand import Task, check_travels, files_for, keep_files

    with tasks_at(cluster) as ask:

        def begin(target: str) -> Callable[[], Identified]:
            check_travels(target)
            task = Task(target, _identified_there, (target, question), os.getcwd(), files_for([], [target]), target)
            answer = ask(task)

            def identified() -> Identified:
                found: Identified
                found, left = answer.result()
                logs = Path(tempfile.mkdtemp(prefix="parity-identify-"))
                keep_files(left, logs, cluster)
                kept = _log_of(found, logs)
                if not kept:
                    shutil.rmtree(logs)
                return found._replace(log=kept)

            return identified

        begun: dict[str, Callable[[], Identified]] = {}
        for target in targets:
            try:
                begun[target] = begin(target)
            except ParityError as error:
                begun[target] = partial(_raise, error)
        yield begun


def _raise(error: ParityError) -> Identified:
    raise error


def _identified_there(root: str, folder: Path, target: str, question: Question) -> Identified:
    from parity.engine.errand import target_below

    return _identified(target_below(root, target), question, folder, _unheard)


def _identified(target: str, question: Question, logs: Path | None, on_done: OnProbe) -> Identified:
    candidate = candidate_of(target, question.timeout)
    wanted = {format_named(dtype).name for dtype in question.dtypes} or set(candidate.dtypes)
    ordered = [dtype for dtype in FORMATS if dtype in wanted]
    answers = identify_candidate(
        candidate, ordered, timeout=question.timeout, hide_moments=question.hide_moments, logs=logs, on_done=on_done
    )
    return Identified(candidate.name, answers)


def _log_of(found: Identified, logs: Path) -> str:
    return _with_words(logs / LOG) if any(FAILED in answer.residual for answer in found.answers.values()) else ""


def _with_words(log: Path) -> str:
    """The path of a log that says anything; empty for another."""
    return str(log) if log.exists() and log.stat().st_size else ""


def _unheard(name: str, done: int, total: int) -> None:
    """Nobody watches."""
