"""A cell that another machine is asked to run: what it is sent with, and the process that runs it there.

Every file lies there below a folder of its own at the path that it has here, and the process works in the folder in
which it was asked, so that all it tells reads as if it had been run here.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import select
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from parity.case.case import Case, CaseParameter
from parity.core.environment import PACKAGES
from parity.core.errors import ParityError, UsageError
from parity.core.files import write_atomically
from parity.engine.account import Explaining
from parity.engine.explanations import SUFFIX
from parity.engine.host import receive, send
from parity.engine.plan import Candidate, Cell
from parity.engine.room import check_room
from parity.engine.run import PARTS, Options, run_one
from parity.engine.sources import sources_of
from parity.engine.workers import LOGS, Workers
from parity.implementations.registry import PREFIX, check_target, shipped_implementations

IDLE_SECONDS = 60.0
"""After which a process that nobody asks ends: whoever began it may be gone."""

_MOMENTS = ("m", "v", "vmax")
_ALSO = {"tensorflow": ("tensorflow-cpu",), "jax": ("jaxlib",)}
"""Distributions that bring a module, beside the one of its name."""


class Errand(NamedTuple):
    """A cell, its key, how it is run and explained, by which lane, in which folder, and what it needs.

    files: contents by absolute path. refused: why what a worker of that name serves is not run.
    """

    cell: Cell
    key: str
    options: Options
    explains: Callable[[], AbstractContextManager[Explaining]] | None
    lane: int
    folder: str
    files: dict[str, bytes]
    refused: dict[str, str]


class Task(NamedTuple):
    """Anything else that another machine is asked, in which folder, and what that needs.

    function: called with where files lie there, a folder for what it leaves, and the arguments. files: contents by
    absolute path. target: an implementation whose frameworks have to be those that are here; empty for none.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    folder: str
    files: dict[str, bytes]
    target: str = ""


def packages_of(target: str) -> tuple[str, ...]:
    """Those whose releases decide its numbers; all for a plug-in, which may import any."""
    shipped = shipped_implementations().get(target)
    if shipped is None:
        return PACKAGES
    modules = [module for need in shipped.needs for module in re.findall(r"[A-Za-z]\w*", need)]
    return tuple(package for module in modules for package in (module, *_ALSO.get(module, ())))


def files_of(cell: Cell) -> dict[str, bytes]:
    """Recordings and sources of plug-ins that a cell needs, by absolute path; UsageError where one cannot travel."""
    targets = [one.target for one in cell.candidates if one.plugin]
    for target in targets:
        check_travels(target)
    return files_for([cell.case], targets)


def check_travels(target: str) -> None:
    """ParityError where a target means nothing; UsageError where it is neither shipped, a framework's nor in files."""
    top = target.partition("?")[0].rpartition(":")[0].partition(".")[0]
    if target in shipped_implementations():
        return
    check_target(target)
    if not sources_of(target).files and not {top, *_ALSO.get(top, ())}.intersection(PACKAGES):
        raise UsageError(f"--cluster: {target!r} is installed here, and cannot travel; allowed: 'file.py:attribute'")


def files_for(cases: Iterable[Case], targets: Iterable[str]) -> dict[str, bytes]:
    """As `files_of`, of cases and plug-ins; of one that is installed where it is asked there is nothing."""
    folders = {folder for case in cases for folder in _folders(case)}
    paths = {one for folder in folders for one in Path(folder).rglob("*") if one.is_file()}
    for one in targets:
        paths |= sources_of(one).files
    return {os.path.abspath(path): path.read_bytes() for path in sorted(paths)}


def _folders(case: Case) -> set[str]:
    """Those of recordings."""
    programs = [getattr(one, name) for one in case.parameters for name in ("weights", "gradients")]
    starts = [one.start for one in case.parameters if one.start is not None]
    programs += [getattr(one, name) for one in starts for name in _MOMENTS]
    return {case.recorded, *(getattr(program, "folder", "") for program in programs)} - {""}


def _below(root: str, cell: Cell) -> Cell:
    """The same cell with every absolute path below a folder."""

    def target_of(one: Candidate) -> str:
        if one.target.startswith(PREFIX):
            return f"{PREFIX}{root}{os.path.abspath(one.target.removeprefix(PREFIX))}"
        return target_below(root, one.target) if one.plugin else one.target

    candidates = tuple(replace(one, target=target_of(one)) for one in cell.candidates)
    return replace(cell, case=case_below(root, cell.case), candidates=candidates)


def target_below(root: str, target: str) -> str:
    """The same plug-in, where its path is absolute, below a folder."""
    return root + target if os.path.isabs(target) else target


def case_below(root: str, case: Case) -> Case:
    """The same case with the folders of its recordings below another one."""

    def moved(program: Any) -> Any:
        if not getattr(program, "folder", ""):
            return program
        return program.model_copy(update={"folder": root + os.path.abspath(program.folder)})

    def placed(one: CaseParameter) -> CaseParameter:
        moments = {} if one.start is None else {name: moved(getattr(one.start, name)) for name in _MOMENTS}
        start = None if one.start is None else one.start.model_copy(update=moments)
        update = {"weights": moved(one.weights), "gradients": moved(one.gradients), "start": start}
        return one.model_copy(update=update)

    recorded = root + os.path.abspath(case.recorded) if case.recorded else ""
    return case.model_copy(update={"parameters": tuple(map(placed, case.parameters)), "recorded": recorded})


def serve(parent: int) -> None:
    """Run errands, each as its pickle comes on standard input, until nobody asks any more or the parent is gone."""
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with os.fdopen(os.dup(0), "rb") as requests, os.fdopen(os.dup(1), "wb") as answers, ExitStack() as ends:
        # What anybody prints must not end up among the answers.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        root = os.path.realpath(ends.enter_context(tempfile.TemporaryDirectory(prefix="parity-cluster-")))
        threads = ends.enter_context(ThreadPoolExecutor(os.cpu_count()))
        lane: Workers | None = None
        explaining: Explaining | None = None
        while _asked(requests) and (told := receive(requests)) is not None:
            errand: Errand | Task = pickle.loads(told)
            if isinstance(errand, Task):
                send(answers, pickled(_done(errand, root)))
                continue
            if lane is None:
                lane = Workers(Path(root) / "run" / LOGS, errand.lane)
                ends.callback(lane.close)
                ends.callback(lane.stop)
                explaining = None if errand.explains is None else ends.enter_context(errand.explains())
            try:
                found: dict[str, bytes] | str = _run(errand, root, lane, threads, explaining)
            except ParityError as error:
                found = str(error)
            except (OSError, MemoryError) as error:
                found = f"{errand.cell.name}: {getattr(error, 'strerror', None) or type(error).__name__}"
            send(answers, pickled(found))


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(1)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _asked(requests: BinaryIO) -> bool:
    return bool(select.select([requests], [], [], IDLE_SECONDS)[0])


def _run(
    errand: Errand, root: str, lane: Workers, threads: ThreadPoolExecutor, explaining: Explaining | None
) -> dict[str, bytes]:
    """What a cell leaves in the folder of a run, by path in it."""
    _unpack(errand, root)
    cell = _below(root, errand.cell)
    for one in [one for one in cell.candidates if one.plugin]:
        # A path may lead through folders in which nothing lies that is needed.
        os.makedirs(os.path.dirname(os.path.join(".", one.target)), exist_ok=True)
    folder = Path(root) / "run"
    (folder / PARTS).mkdir(parents=True, exist_ok=True)
    lane.refused = errand.refused
    check_room(cell, folder, explaining, kept=errand.options.keep_traces)
    run_one(cell, lane, folder, errand.options, threads, explaining, errand.key)
    return _packed(folder, root)


def _done(task: Task, root: str) -> tuple[Any, dict[str, bytes]] | ParityError:
    """What a function returned, and the files that it left by path; or what it raised, which is told as it was."""
    _unpack(task, root)
    folder = Path(root) / "left"
    folder.mkdir(exist_ok=True)
    try:
        return task.function(root, folder, *task.arguments), _packed(folder, root)
    except ParityError as error:
        _packed(folder, root)
        return error if not str(error).count(root) else type(error)(str(error).replace(root, ""))
    except (OSError, MemoryError) as error:
        return ParityError(f"{task.name}: {getattr(error, 'strerror', None) or type(error).__name__}")


def _frozen(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


def pickled(value: Any) -> bytes:
    """A value with its mappings that cannot be changed, which Python alone would not pickle."""
    written = io.BytesIO()
    pickler = pickle.Pickler(written)
    pickler.dispatch_table = {MappingProxyType: lambda one: (_frozen, (dict(one),))}
    pickler.dump(value)
    return written.getvalue()


def answered(answer: bytes, worker: str) -> Any:
    """What a worker answered; ParityError, naming it, where that is nothing that one answers."""
    try:
        return pickle.loads(answer)
    except Exception as error:
        raise ParityError(f"worker {worker}: its answer cannot be understood ({type(error).__name__})") from None


def keep_files(found: Any, folder: Path, worker: str, last: Path | None = None) -> None:
    """Write what a worker left, bytes by path, below a folder, one of them last; ParityError where it is none."""
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found):
        raise ParityError(f"worker {worker}: its answer is no table of files")
    home = os.path.realpath(folder)
    for name, content in found.items():
        place = os.path.realpath(os.path.join(home, name.replace("\0", "")))
        if not isinstance(content, bytes) or "\0" in name or not place.startswith(home + os.sep):
            raise ParityError(f"worker {worker}: its answer has a file that belongs nowhere ({name[:80]!r})")
    for name in sorted(found, key=lambda name: folder / name == last):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, found[name])


def _unpack(errand: Errand | Task, root: str) -> None:
    """Put its files where they belong, and work in its folder."""
    for name, content in errand.files.items():
        path = Path(root + name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    Path(root + errand.folder).mkdir(parents=True, exist_ok=True)
    os.chdir(root + errand.folder)


def _packed(folder: Path, root: str) -> dict[str, bytes]:
    """What lies in a folder, by path in it; all but logs is removed."""
    found: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            told = path.suffix in (".json", ".log") and not path.name.endswith(SUFFIX)
            found[str(path.relative_to(folder))] = content.replace(root.encode(), b"") if told else content
            if path.suffix != ".log":
                path.unlink()
    return found
