"""A run has as many files open as it needs, where the system lets a process begin with fewer."""

from __future__ import annotations

import subprocess
import sys

import pytest

FEW = """\
import resource, runpy
resource.setrlimit(resource.RLIMIT_NOFILE, (64, {most}))
runpy.run_module("parity", run_name="__main__")
"""


@pytest.fixture
def restarted(tmp_path):
    """Run a case of many rows in four lanes, in a process that may have so many files open."""

    def run(most):
        command = ["run", "-k", "restart", "-i", "numpy.adam.*", "-j", "4", "-q", "-o", tmp_path / "run"]
        code = FEW.format(most=most)
        return subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=120)

    return run


def test_a_run_of_more_rows_than_a_process_may_have_files_open_at_first(restarted):
    done = restarted("resource.getrlimit(resource.RLIMIT_NOFILE)[1]")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_system_does_not_allow_is_one_line(restarted):
    done = restarted(64)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert done.stderr.endswith(
        "Too many open files, more than one process may have here (ulimit -n); fewer at a time: -j 1\n"
    )
