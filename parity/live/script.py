"""Run a script as Python would, and record the optimizers that it makes, without a line of it being changed."""

from __future__ import annotations

import gc
import importlib.util
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from parity.core.errors import ParityError, UsageError
from parity.live import keras_optimizer, torch_optimizer
from parity.live.recorder import Progress, Wanted


class Recordings:
    """Those of one script, an optimizer each: the first at `path`, the others beside it, numbered from 2.

    code: with which the script ended, as a process would.
    """

    def __init__(self, path: Path, wanted: Wanted, overwrite: bool) -> None:
        self._path, self._wanted, self._overwrite = path, wanted, overwrite
        self._stack = ExitStack()
        self._known: dict[int, Any] = {}
        self.made: list[tuple[Path, Progress]] = []
        self.code = 0

    def begin(self, optimizer: Any, model: Any = None) -> bool:
        """Record an optimizer from now on, where it is one of the family and not known yet; whether it is."""
        if id(optimizer) in self._known:
            return False
        # It is kept, so that no other one can have its number.
        self._known[id(optimizer)] = optimizer
        for module in (torch_optimizer, keras_optimizer):
            if module.is_of_family(optimizer):
                number = len(self.made) + 1
                path = self._path if number == 1 else self._path.with_name(f"{self._path.name}-{number}")
                try:
                    entered = module.recording(path, optimizer, model, self._wanted, self._overwrite)
                    self.made.append((path, self._stack.enter_context(entered)))
                except ParityError as error:
                    # The script knows nothing of it, and goes on.
                    print(f"parity: nothing is recorded: {error}", file=sys.stderr)
                    return False
                return True
        return False

    def close(self) -> None:
        """The script has ended."""
        self._stack.close()


def run_script(script: Path, arguments: Sequence[str], path: Path, wanted: Wanted, overwrite: bool) -> Recordings:
    """Run a script as ``python script arguments`` does, and record what it trains.

    Where it raises, its traceback is printed and its code is 1. UsageError where there is no such script.
    """
    if not script.is_file():
        raise UsageError(f"there is no script {str(script)!r}")
    if path.exists() and not overwrite:
        raise UsageError(f"recording {str(path)!r} exists; --overwrite replaces a recording")
    recordings = Recordings(path, wanted, overwrite)
    before = sys.argv, sys.path[0]
    sys.argv, sys.path[0] = [str(script), *arguments], str(script.resolve().parent)
    try:
        with _hooked(recordings):
            runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        recordings.code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        recordings.code = 1
        # What lies above the script's own lines is ours.
        lines = error.__traceback__
        while lines is not None and lines.tb_frame.f_code.co_filename != str(script):
            lines = lines.tb_next
        traceback.print_exception(type(error), error, lines or error.__traceback__)
    finally:
        recordings.close()
        sys.argv, sys.path[0] = before
    return recordings


@contextmanager
def _hooked(recordings: Recordings) -> Iterator[None]:
    """Whatever is imported meanwhile tells of its optimizers."""
    finder = _AfterImport(
        {
            "torch.optim.optimizer": lambda module: _watch_torch(module, recordings),
            "keras.src.trainers.trainer": lambda module: _watch_fit(module, recordings),
            "keras.src.optimizers.base_optimizer": lambda module: _watch_apply(module, recordings),
        }
    )
    sys.meta_path.insert(0, finder)
    try:
        for name, hook in finder.hooks.items():
            if name in sys.modules:
                hook(sys.modules[name])
        yield
    finally:
        sys.meta_path.remove(finder)


class _AfterImport(MetaPathFinder):
    """Calls a hook with a module once it has been imported."""

    def __init__(self, hooks: dict[str, Callable[[ModuleType], None]]) -> None:
        self.hooks = hooks
        self._finding = False

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """That of the other finders, whose loader calls the hook at its end."""
        if name not in self.hooks or self._finding:
            return None
        self._finding = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._finding = False
        if spec is None or spec.loader is None:
            return None
        execute, hook = spec.loader.exec_module, self.hooks[name]

        def executed(module: ModuleType) -> None:
            execute(module)
            hook(module)

        spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec


def _watch_torch(module: Any, recordings: Recordings) -> None:
    """Before the first step of an optimizer; its own hooks, which are added then, are called after this one."""

    def before(optimizer: Any, *_: Any) -> None:
        recordings.begin(optimizer, _owner(optimizer))

    module.register_optimizer_step_pre_hook(before)


def _watch_fit(module: Any, recordings: Recordings) -> None:
    compiling = module.Trainer.compile

    def compiled(self: Any, *arguments: Any, **options: Any) -> Any:
        told = compiling(self, *arguments, **options)
        if self.optimizer is not None:
            recordings.begin(self.optimizer, self)
        return told

    module.Trainer.compile = compiled


def _watch_apply(module: Any, recordings: Recordings) -> None:
    applying = module.BaseOptimizer.apply

    def applied(self: Any, *arguments: Any, **options: Any) -> Any:
        if recordings.begin(self):
            # Now it has a method of its own, which calls this one again.
            return self.apply(*arguments, **options)
        return applying(self, *arguments, **options)

    module.BaseOptimizer.apply = applied


def _owner(optimizer: Any) -> Any:
    """The module that has all parameters of an optimizer, of several the one with the shortest names; None for none."""
    import torch

    wanted = {id(one) for group in optimizer.param_groups for one in group["params"]}
    owners: list[tuple[int, int, Any]] = []
    # By its type alone: asking some objects for anything warns that they are deprecated.
    for module in [one for one in gc.get_objects() if issubclass(type(one), torch.nn.Module)]:
        names = {id(one): name for name, one in module.named_parameters()}
        if wanted <= names.keys():
            owners.append((sum(len(names[one]) for one in wanted), len(owners), module))
    return min(owners)[2] if owners else None
