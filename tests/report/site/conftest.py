"""The site as `make docs` builds it, in a folder of the session, without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

ALONE = """
import socket, sys
def refuse(*_):
    raise AssertionError("the network is asked for")
socket.socket.connect = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
code = cli(sys.argv[1:], standalone_mode=False)
heavy = {"torch", "tensorflow", "keras", "jax", "numba"} & set(sys.modules)
sys.exit(f"loaded: {heavy}" if heavy else code)
"""
"""MkDocs where nobody answers; it may load nothing that is slow."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", ALONE, "build", "--strict", "--quiet", "--site-dir", folder]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert finished.returncode == 0, finished.stderr
    return folder
