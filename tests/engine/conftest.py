"""A Dask cluster as it is met outside: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest


@pytest.fixture(scope="session")
def wait_for():
    """Wait until a condition holds."""

    def wait(condition, seconds=40):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    return wait


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Start processes of Dask, each with a log; they are ended with the module."""
    processes = []

    def start(what, *arguments, python=sys.executable, **variables):
        folder = tmp_path_factory.mktemp(what)
        log = folder / "log"
        with log.open("wb") as told:
            one = subprocess.Popen(
                [python, "-m", f"distributed.cli.dask_{what}", *arguments],
                # Nothing of it lies where a run is asked for.
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder), **variables},
                stdout=told,
                stderr=told,
            )
        processes.append(one)
        return one, log

    yield start
    for one in processes:
        one.kill()
        one.wait()


@pytest.fixture(scope="module")
def start_scheduler(started, wait_for):
    """Start a scheduler: its process and its address."""

    def start():
        process, log = started("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        wait_for(lambda: b"Scheduler at:" in log.read_bytes())
        line = next(line for line in log.read_text().splitlines() if "Scheduler at:" in line)
        return process, line.split()[-1]

    return start


@pytest.fixture(scope="module")
def scheduler(start_scheduler):
    """The address of one."""
    return start_scheduler()[1]


@pytest.fixture
def workers(started, scheduler, wait_for):
    """Start workers that end with the test."""
    mine = []

    def start(number=1, address=scheduler, **variables):
        new = [started("worker", address, "--no-nanny", "--no-dashboard", **variables) for _ in range(number)]
        mine.extend(process for process, _ in new)
        for _, log in new:
            wait_for(lambda log=log: b"Registered to:" in log.read_bytes())
        return [process for process, _ in new]

    yield start
    for one in mine:
        one.kill()
        one.wait()


@pytest.fixture(scope="session")
def first_on_the_path():
    """The PYTHONPATH on which a folder comes first."""
    return lambda folder: os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


@pytest.fixture
def other_packages(first_on_the_path, tmp_path):
    """A PYTHONPATH on which some packages are of another release, by name."""

    def make(name, **versions):
        for package, version in versions.items():
            folder = tmp_path / name / f"{package}-{version}.dist-info"
            folder.mkdir(parents=True)
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        return first_on_the_path(tmp_path / name)

    return make
