"""Flags with ini keys of the same names, markers, and the keys under which a session keeps what it has."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from parity.baseline.check import Checked
    from parity.engine.record import Run

FOLDER = "parity_folder"
"""Under which a process of pytest-xdist is told the folder of the session."""

FOLDER_KEY: pytest.StashKey[Path] = pytest.StashKey()
DESK: pytest.StashKey[Any] = pytest.StashKey()
RUN: pytest.StashKey[Run] = pytest.StashKey()
HELD: pytest.StashKey[Checked] = pytest.StashKey()

CHECKED = ("parity_report", "parity_baseline", "parity_implementations", "parity_timeout")
"""Flags that are checked before anything is collected."""

DTYPES = ("float64", "float32", "float16", "bfloat16")

MARKERS = (
    "parity(case, dtype, within, nonfinite): defaults for the fixture 'parity'; also on every pair of a case file",
    *(f"parity_{dtype}: pairs of case files in {dtype}" for dtype in DTYPES),
)


def add(parser: pytest.Parser) -> None:
    """Add every flag and its ini key."""
    group = parser.getgroup("parity", "parity of Adam implementations")

    def option(name: str, help: str, kind: Any, **settings: Any) -> None:
        dest = name.replace("-", "_")
        group.addoption(f"--{name}", dest=dest, default=None, help=help, **settings)
        parser.addini(dest, f"As --{name}.", type=kind, default=None)

    option("parity-report", "Write the report of the session into DIR, as 'parity run -o DIR' does.", "string",
           metavar="DIR")  # fmt: skip
    option("parity-baseline", "Hold what every implementation computes against the baseline in DIR, bit by bit; what "
           "is missing or changed fails.", "string", metavar="DIR")  # fmt: skip
    group.addoption("--parity-update", dest="parity_update", action="store_true",
                    help="Take what is missing or changed into the baseline of --parity-baseline.")  # fmt: skip
    option("parity-implementations", "Of case files: only pairs of NAME, a pattern of names, or your own "
           "'file.py:attribute', 'module:attribute'; repeatable.", "args", metavar="NAME", action="append")  # fmt: skip
    option("parity-timeout", "Seconds a worker may take for one answer (300).", "string", metavar="S", type=float)
    option("parity-explain", "Say why pairs differ (the default).", "bool", action="store_true")
    group.addoption("--no-parity-explain", dest="parity_explain", action="store_false", default=None,
                    help="Do not say why pairs differ; faster.")  # fmt: skip


def value(config: pytest.Config, name: str) -> Any:
    """What the command line says, else the ini file, else None."""
    told = config.getoption(name)
    return told if told is not None else config.getini(name)


def given(config: pytest.Config) -> bool:
    """Whether anything was asked for that has to be checked."""
    return config.getoption("parity_update") or any(value(config, name) for name in CHECKED)


def report(config: pytest.Config) -> Path | None:
    """Where the report goes."""
    return _path(config, "parity_report")


def baseline(config: pytest.Config) -> Path | None:
    """The folder of the baselines that are held against."""
    return _path(config, "parity_baseline")


def _path(config: pytest.Config, name: str) -> Path | None:
    """A path of the ini file is relative to it."""
    told = value(config, name)
    if not told:
        return None
    written = config.getoption(name) is not None
    start: Path = config.invocation_params.dir if written else config.rootpath
    return start.joinpath(str(told))


def folder(config: pytest.Config) -> Path:
    """The folder of the session, which all its processes share."""
    if FOLDER_KEY not in config.stash:
        workerinput = getattr(config, "workerinput", None)
        if workerinput is not None:
            config.stash[FOLDER_KEY] = Path(workerinput[FOLDER])
        else:
            config.stash[FOLDER_KEY] = report(config) or Path(tempfile.mkdtemp(prefix="parity-"))
    return config.stash[FOLDER_KEY]
