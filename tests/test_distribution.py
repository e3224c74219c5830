"""The wheel and the sdist hold what they need and nothing of this machine, and work in an empty environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest

from parity.core.version import VERSION

pytest.importorskip("hatchling", reason="hatchling is not installed")

ROOT = Path(__file__).parent.parent
MY_ADAM = (
    (ROOT / "docs" / "same.md").read_text(encoding="utf-8").split("`my_adam.py`:\n\n```python\n")[1].split("```")[0]
)
UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
PYTHONS = ("3.11", "3.12", "3.13")


def built(source: Path, folder: Path) -> tuple[ZipFile, Path]:
    """The wheel and the sdist of a source, without a network."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", folder]
    finished = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=200)
    assert finished.returncode == 0, finished.stderr
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return ZipFile(wheel), sdist


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[ZipFile, Path]:
    return built(ROOT, tmp_path_factory.mktemp("dist"))


def contents(wheel: ZipFile) -> dict[str, bytes]:
    return {name: wheel.read(name) for name in wheel.namelist()}


def test_a_wheel_holds_the_package_and_the_cases_and_nothing_else(handed_out: tuple[ZipFile, Path]) -> None:
    held = contents(handed_out[0])
    told = f"parity-{VERSION}.dist-info"
    ours = {
        path.relative_to(ROOT).as_posix(): path
        for path in (ROOT / "parity").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    shipped = {
        f"parity/{path.relative_to(ROOT).as_posix()}": path for path in (ROOT / "cases").rglob("*") if path.is_file()
    }
    assert {name for name in held if not name.startswith(told)} == {*ours, *shipped}
    assert "parity/py.typed" in held
    assert all(held[name] == path.read_bytes() for name, path in (ours | shipped).items())
    assert held[f"{told}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert not [name for name, text in held.items() if str(ROOT).encode() in text or str(Path.home()).encode() in text]


def test_what_is_said_of_it(handed_out: tuple[ZipFile, Path]) -> None:
    told = message_from_bytes(contents(handed_out[0])[f"parity-{VERSION}.dist-info/METADATA"])
    assert (told["Name"], told["Version"], told["License-Expression"]) == ("parity", VERSION, "Apache-2.0")
    assert told.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    classifiers = told.get_all("Classifier", [])
    assert {f"Programming Language :: Python :: {one}" for one in PYTHONS} <= {*classifiers}
    assert "Typing :: Typed" in classifiers
    assert all("extra ==" in one or "torch" not in one for one in told.get_all("Requires-Dist", []))


def test_an_sdist_makes_the_same_wheel(handed_out: tuple[ZipFile, Path], tmp_path: Path) -> None:
    wheel, sdist = handed_out
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    again, _ = built(source, tmp_path / "dist")
    assert contents(again) == contents(wheel)
    assert (source / "tests" / "test_distribution.py").exists()


def python_of(version: str) -> str:
    """The path of a Python that is here; without one the test is skipped."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    asked = subprocess.run([str(UV), "python", "find", "--no-project", version], capture_output=True, text=True)
    for path in (asked.stdout.strip(), shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python")):
        # A shim of pyenv may stand for a version that is switched off.
        if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            return str(path)
    pytest.skip(f"no Python {version} here")


class Installed:
    """An environment with nothing but a distribution and what that asks for, and a folder outside of the checkout."""

    def __init__(self, folder: Path, version: str, what: Path, more: Sequence[str] = ()) -> None:
        self.folder, self.bin = folder, folder / "venv" / "bin"
        (folder / "my_adam.py").write_text(MY_ADAM, encoding="utf-8")
        self.run(str(UV), "venv", "--quiet", "--python", python_of(version), folder / "venv")
        python = self.bin / "python"
        self.run(str(UV), "pip", "install", "--quiet", "--python", python, what, *more)

    def run(self, *words: object, code: int = 0) -> str:
        """What a command says, which is warned of nothing."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PARITY", "PYTHON"))}
        environment["PYTHONWARNINGS"] = ",".join(
            f"error::{kind}Warning" for kind in ("Deprecation", "Future", "Syntax")
        )
        finished = subprocess.run(
            [str(word) for word in words], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=900
        )
        assert finished.returncode == code, finished.stdout + finished.stderr
        assert "Warning" not in finished.stderr
        return finished.stdout

    def parity(self, *words: str, code: int = 0) -> str:
        return self.run(self.bin / "parity", *words, code=code)


def smoke(installed: Installed) -> None:
    """The four questions, and where it stands."""
    place = installed.run(installed.bin / "python", "-c", "import parity; print(parity.__file__, parity.run.__doc__)")
    assert str(installed.folder / "venv") in place
    assert installed.parity("--version") == f"parity, version {VERSION}\n"
    assert "Commands:" in installed.parity("--help")
    assert "numpy.adam.outside" in installed.parity("list", "implementations")
    mine = ("-i", "my_adam.py:run", "-d", "float32")
    told = installed.parity(
        "run", *mine, "-i", "numpy.adam.outside", "-k", "constant", "--no-explain", "-o", "runs/one"
    )
    assert told.splitlines()[-1].startswith("1 of 1 pairs as expected; ")
    read = " ".join(installed.parity("identify", "my_adam.py:run", "-d", "float64").split())
    assert "epsilon outside" in read
    assert " elements, 0 differ" in read
    assert installed.parity("baseline", "save", *mine, "-k", "constant").endswith("2 entries in 1 cells\n")
    assert installed.parity("baseline", "check", *mine, "-k", "constant").splitlines()[-1].startswith("2 identical; ")


@pytest.mark.network
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", PYTHONS)
@pytest.mark.parametrize("what", ["wheel", "sdist"])
def test_it_works_in_an_empty_environment(
    version: str, what: str, handed_out: tuple[ZipFile, Path], tmp_path: Path
) -> None:
    wheel, sdist = handed_out
    smoke(Installed(tmp_path, version, sdist if what == "sdist" else Path(str(wheel.filename))))


@pytest.mark.network
@pytest.mark.timeout(1200)
def test_a_framework_beside_it_is_found(handed_out: tuple[ZipFile, Path], tmp_path: Path) -> None:
    """Without one all others are told to be missing; with one it works, on a Python for which nothing is pinned."""
    installed = Installed(tmp_path, "3.12", Path(str(handed_out[0].filename)))
    lines = [line.split() for line in installed.parity("doctor", code=1).splitlines()]
    assert [" ".join(line[1:5]) for line in lines if line[:1] == ["torch.adam.fused"]] == ["torch is not installed"]
    installed.run(str(UV), "pip", "install", "--quiet", "--python", installed.bin / "python", "torch==2.13.0")
    told = installed.parity("run", "-i", "torch.adam.f*", "-k", "constant", "-d", "float32", "-o", "runs/torch")
    assert told.splitlines()[-1].startswith("2 of 2 pairs as expected; ")
    lines = [line.split() for line in installed.parity("doctor", code=1).splitlines()]
    assert [line[1] for line in lines if line[:1] == ["torch.adam.fused"]] == ["works"]
