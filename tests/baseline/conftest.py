"""A package index of a few wheels, so that environments are built for real and nothing is downloaded."""

from __future__ import annotations

import importlib.metadata
import os
import zipfile
from pathlib import Path

import pytest
import uv

REAL = ("numpy", "ml_dtypes")


def wheel(folder, name, version, requires=(), pure=True, files=()):
    """Write a wheel with these (path, bytes); its path."""
    home = f"{name}-{version}.dist-info"
    asked = "".join(f"Requires-Dist: {one}\n" for one in requires)
    files = [
        (f"{name}.py", f"__version__ = {version!r}\n".encode()),
        *files,
        (f"{home}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{asked}".encode()),
        (f"{home}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: {str(pure).lower()}\nTag: py3-none-any\n".encode()),
    ]
    record = "".join(f"{path},,\n" for path, _ in files) + f"{home}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in files:
            archive.writestr(path, content)
        archive.writestr(f"{home}/RECORD", record)


def wheel_of_installed(folder, name):
    """Pack an installed package into a wheel again, without its tests."""
    distribution = importlib.metadata.distribution(name)
    tag = next(line for line in distribution.read_text("WHEEL").splitlines() if line.startswith("Tag: "))[5:]
    kept = [
        file
        for file in distribution.files
        if ".." not in file.parts and "tests" not in file.parts and file.suffix != ".pyc" and file.name != "RECORD"
    ]
    home = next(file.parts[0] for file in kept if file.name == "METADATA")
    with zipfile.ZipFile(folder / f"{name}-{distribution.version}-{tag}.whl", "w") as archive:
        for file in kept:
            archive.write(file.locate(), str(file))
        archive.writestr(f"{home}/RECORD", "".join(f"{file},,\n" for file in [*kept, f"{home}/RECORD"]))


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """A folder with NumPy and ml_dtypes as they are here, and packages that get in each other's way."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in REAL:
        wheel_of_installed(folder, name)
    for version in ("1.0", "2.0", "2.1"):
        wheel(folder, "young", version, requires=["extra_part"] if version == "1.0" else [])
        wheel(folder, "compiled", version, pure=False)
    wheel(folder, "extra_part", "7.0")
    wheel(folder, "demanding", "1.0", requires=["young>=2.0", "compiled>=2.0"])
    return folder


@pytest.fixture
def index(wheels, monkeypatch, tmp_path):
    """The wheels as all that pip and uv know of, in subprocesses too; uv is not found, so that pip is taken."""
    (tmp_path / "nothing").mkdir()
    settings = {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_COMPILE": "1",
        "UV_NO_CONFIG": "1",
        "UV_DEFAULT_INDEX": (tmp_path / "nothing").as_uri(),
        "UV_FIND_LINKS": str(wheels),
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "PARITY_CACHE": str(tmp_path / "cache"),
        "PATH": os.defpath,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return wheels


UV = os.pathsep.join([str(Path(uv.find_uv_bin()).parent), os.defpath])


@pytest.fixture
def quick_index(index, monkeypatch):
    """The index with uv, which takes a tenth of the time."""
    monkeypatch.setenv("PATH", UV)


@pytest.fixture(params=["pip", "uv"])
def installer(request, index, monkeypatch):
    """The index with each of the installers."""
    monkeypatch.setenv("PATH", {"pip": os.defpath, "uv": UV}[request.param])
    return request.param
