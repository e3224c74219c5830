"""A framework's own square root, asked in its worker process."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType

import numpy as np

from parity.comparison.trace import create_rows
from parity.core.errors import ParityError
from parity.core.layout import Layout, Parameter
from parity.engine.process import WorkerFailed, WorkerProcess
from parity.engine.protocol import RADICANDS, ROOTS
from parity.numerics.formats import Format, format_of
from parity.numerics.rounding import round_to
from parity.numerics.ulp import ulp_distance

MOST_ULP = {False: 1, True: 2}
"""From the correctly rounded root, and from its reciprocal: a library's error must not hide a wrong formula."""

REMEMBERED, SHORT = 1024, 4096
"""Arrays whose roots are remembered, of so many elements at most: many an Adam that is tried takes the same ones."""

SMALLEST = 1 << 16
"""Elements of a file at least: it is made anew only where a longer block comes."""


class LibrarySquareRoot:
    """The square root of an implementation's framework, or its reciprocal: an array of a format to its roots.

    A context manager: the process starts with the first call and ends with the block; calls from several threads take
    turns. ParityError where the process fails, or where a root is further than `MOST_ULP` from the correctly
    rounded one. reciprocal: of 1 / sqrt(x). python: the interpreter whose
    framework is asked, empty for this one; variables: of its environment, beside those of this process.
    """

    def __init__(
        self,
        target: str,
        timeout: float | None = 300.0,
        python: str = "",
        variables: Mapping[str, str] = MappingProxyType({}),
        *,
        reciprocal: bool = False,
    ) -> None:
        self.target, self.reciprocal = target, reciprocal
        self._python, self._variables = python, variables
        self._timeout = timeout
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="parity-root-")
        self._process: WorkerProcess | None = None
        self._files: dict[str, tuple[Path, np.ndarray, np.ndarray]] = {}
        self._known: dict[tuple[str, bytes], np.ndarray] = {}

    def __enter__(self) -> LibrarySquareRoot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None
        self._files.clear()
        self._folder.cleanup()

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Roots of an array of any shape, in its dtype."""
        format = format_of(values)
        if not values.size:
            return np.array(values)
        if values.size > SHORT:
            return self._asked(values, format)
        key = format.name, values.tobytes()
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[key] = self._asked(values, format)
        return known.reshape(values.shape).copy()

    def _asked(self, values: np.ndarray, format: Format) -> np.ndarray:
        with self._lock:
            folder, radicands, roots = self._mapped(format, values.size)
            radicands[: values.size].view(format.dtype)[:] = values.reshape(-1)
            self._ask(folder, format, values.size)
            found: np.ndarray = roots[: values.size].view(format.dtype).reshape(values.shape).copy()
        self._check(values, found, format)
        return found

    def _mapped(self, format: Format, count: int) -> tuple[Path, np.ndarray, np.ndarray]:
        if format.name not in self._files or self._files[format.name][1].size < count:
            length = max(count, SMALLEST)
            folder = Path(self._folder.name) / format.name / str(length)
            layout = Layout((Parameter("values", (length,)),))
            radicands, roots = (create_rows(folder, name, 1, layout, format)[0] for name in (RADICANDS, ROOTS))
            self._files[format.name] = folder, radicands, roots
        return self._files[format.name]

    def _ask(self, folder: Path, format: Format, count: int) -> None:
        message = {
            "op": "square_root",
            "target": self.target,
            "dtype": format.name,
            "count": count,
            "reciprocal": self.reciprocal,
            "folder": str(folder.resolve()),
        }
        try:
            if self._process is None:
                self._process = WorkerProcess(
                    f"square root of {self.target}",
                    Path(self._folder.name) / "worker.log",
                    self._python,
                    self._variables,
                    framework=self.target.partition(".")[0],
                )
            answer = self._process.ask(message, self._timeout)
        except WorkerFailed as failure:
            self._process = None
            raise ParityError(f"the square root of {self.target}: {failure.reason}") from None
        if not answer["ok"]:
            raise ParityError(f"the square root of {self.target}: {answer['reason']}")

    def _check(self, values: np.ndarray, found: np.ndarray, format: Format) -> None:
        if self.reciprocal:
            # What is below the normal numbers may be taken for 0.
            judged = values >= np.finfo(values.dtype).tiny
            values, found = values[judged], found[judged]
        with np.errstate(all="ignore"):
            wide = values.astype(np.longdouble if self.reciprocal else np.result_type(values.dtype, np.float32))
            true = 1 / np.sqrt(wide) if self.reciprocal else np.sqrt(wide)
            distance = ulp_distance(found, round_to(true, format))
        if (distance > MOST_ULP[self.reciprocal]).any():
            worst, most = int(np.argmax(distance.reshape(-1))), MOST_ULP[self.reciprocal]
            operand, root = (float(one.reshape(-1)[worst]) for one in (values, found))
            raise ParityError(
                f"the square root of {self.target} is wrong: {'1 / ' * self.reciprocal}sqrt({operand:g}) = {root:g}; "
                f"allowed: at most {most} ULP from the correctly rounded {'reciprocal' if self.reciprocal else 'root'}"
            )
