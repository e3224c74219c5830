"""Cells on a Dask cluster: what comes back is what a run here leaves, byte for byte, whoever is lost on the way."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import parity
from parity.case.catalogue import load_case_file
from parity.core.errors import ParityError
from parity.engine.candidates import select_candidates
from parity.engine.errand import files_of
from parity.engine.plan import plan_cells
from parity.engine.record import read_run

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("distributed") is None, reason="needs distributed, of the extra cluster"
    ),
    pytest.mark.timeout(300),
    pytest.mark.thorough,
]

DOCUMENT = Path(__file__).parents[2] / "docs" / "cluster.md"

WAITS = """\
import beside
if t == 2 and weights['bias'].size == 6 and beside.note('begun'):
    time.sleep(600)"""

BESIDE = """\
import os
from pathlib import Path

FOLDER = os.environ.get("NOTES")


def note(name):
    if not FOLDER or Path(FOLDER, name).exists():
        return False
    Path(FOLDER, name).write_text(str(os.getpid()))
    return True
"""

RAISES = "if t == 3: raise RuntimeError(f'lost in {__file__}')"


@pytest.fixture(scope="module")
def asked(tmp_path_factory, case_text, adam_text):
    """A folder with cases, a recorded one, and a plug-in that imports what lies beside it: (folder, arguments)."""
    folder = tmp_path_factory.mktemp("asked")
    for name, size in {"first": 5, "second": 6, "third": 7}.items():
        parameters = [{"name": "kernel", "shape": [3, 4]}, {"name": "bias", "shape": [size]}]
        (folder / f"{name}.toml").write_text(case_text(parameters=parameters, dtypes=["float32", "float64"]))
    recorded = Path(__file__).parents[2] / "cases"
    for name in ("digits-mlp.toml", "_base.toml"):
        shutil.copy(recorded / name, folder)
    shutil.copytree(recorded / "recorded", folder / "recorded")
    (folder / "mine").mkdir()
    (folder / "mine" / "plugin.py").write_text(
        "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent))\n"
        + adam_text("plugin", before=WAITS)
    )
    (folder / "mine" / "beside.py").write_text(BESIDE)
    (folder / "raises.py").write_text(adam_text("raises", before=RAISES))
    cases = [*(f"{name}.toml" for name in ("first", "second", "third")), "digits-mlp.toml"]
    targets = ["mine/plugin.py:plugin", str(folder / "raises.py") + ":raises", "numpy.adam.hat"]
    return folder, ["run", *cases, *(word for one in targets for word in ("-i", one)), "-d", "float32", "-q"]


@pytest.fixture(scope="module")
def ask(asked, interruptible):
    """Start a run in that folder."""

    def start(*more, **variables):
        folder, arguments = asked
        return subprocess.Popen(
            [*interruptible, *arguments, *map(str, more)], cwd=folder, env={**os.environ, **variables},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    return start


@pytest.fixture(scope="module")
def here(ask, tmp_path_factory):
    """The same run on this machine: (exit code, folder)."""
    folder = tmp_path_factory.mktemp("here") / "run"
    process = ask("-o", folder)
    process.communicate(timeout=120)
    run = read_run(folder)
    assert run.complete
    assert any("lost in /" in one.failure.reason for cell in run.cells for one in cell.outcomes if one.failure)
    return process.returncode, folder


def kept(folder):
    """Every file of a run but the logs, whose names tell who wrote them."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and "logs" not in path.parts}  # fmt: skip


def lane_of(note):
    """The worker of Dask to which the process that left a note belongs."""
    family = psutil.Process(int(note.read_text())).parents()
    return next(one for one in family if "distributed.cli.dask_worker" in one.cmdline())


def test_two_workers_leave_what_a_run_here_leaves(ask, here, workers, scheduler, tmp_path):
    code, folder = here
    # A nanny sets these, and with them the threads of frameworks.
    processes = workers(2, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    asker = ask("-o", tmp_path / "run", "--cluster", scheduler)
    _, err = asker.communicate(timeout=120)
    assert (asker.returncode, err) == (code, "")
    assert kept(tmp_path / "run") == kept(folder)
    for one in processes:
        assert not psutil.Process(one.pid).children(recursive=True)


def test_one_worker_does_too_and_a_cluster_here_is_ended(ask, here, tmp_path):
    code, folder = here
    asker = ask("-o", tmp_path / "run", "--cluster", "local:1", TMPDIR=str(tmp_path))
    _, err = asker.communicate(timeout=120)
    assert (asker.returncode, err) == (code, "")
    assert kept(tmp_path / "run") == kept(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_worker_that_is_killed_in_a_cell_loses_nothing(ask, here, workers, scheduler, wait_for, tmp_path):
    code, folder = here
    workers(2, NOTES=str(tmp_path))
    asker = ask("-o", tmp_path / "run", "--cluster", scheduler)
    wait_for((tmp_path / "begun").exists)
    worker = lane_of(tmp_path / "begun")
    family = worker.children(recursive=True)
    worker.kill()
    _, err = asker.communicate(timeout=120)
    assert (asker.returncode, err) == (code, "")
    assert kept(tmp_path / "run") == kept(folder)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


@pytest.mark.parametrize("who", ["scheduler", "worker"])
def test_a_cluster_that_goes_away_can_be_resumed(ask, here, start_scheduler, workers, wait_for, tmp_path, who):
    code, folder = here
    process, address = start_scheduler()
    (worker,) = workers(1, address, NOTES=str(tmp_path))
    asker = ask("-o", tmp_path / "run", "--cluster", address)
    wait_for((tmp_path / "begun").exists)
    (process if who == "scheduler" else worker).kill()
    out, err = asker.communicate(timeout=120)
    assert (asker.returncode, err) == (2, "")
    reason = {"scheduler": f"the scheduler at {address} went away", "worker": f"no worker is left at {address}"}[who]
    assert f"interrupted: {reason}; --resume goes on: 1 of 4 cells" in " ".join(out.split())
    assert read_run(tmp_path / "run").counts.cells == 1
    if who == "worker":
        return
    first = tmp_path / "run" / "parts" / "first__float32.json"
    before = first.stat().st_mtime_ns
    resumed = ask("-o", tmp_path / "run", "--resume")
    resumed.communicate(timeout=120)
    assert resumed.returncode == code
    assert first.stat().st_mtime_ns == before
    assert kept(tmp_path / "run") == kept(folder)


def test_ctrl_c_ends_everything(ask, wait_for, tmp_path):
    """As a terminal sends it, to all processes of the group, and more than once."""
    asker = ask("-o", tmp_path / "run", "--cluster", "local:1", NOTES=str(tmp_path), TMPDIR=str(tmp_path))
    wait_for((tmp_path / "begun").exists)
    family = psutil.Process(asker.pid).children(recursive=True)
    for _ in range(3):
        os.killpg(asker.pid, signal.SIGINT)
        time.sleep(0.05)
    out, err = asker.communicate(timeout=120)
    assert (asker.returncode, err) == (2, "")
    assert "interrupted: " in out
    assert not read_run(tmp_path / "run").complete
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "run"]


def test_a_worker_with_another_parity_takes_no_part(
    ask, workers, scheduler, first_on_the_path, other_packages, tmp_path
):
    source = Path(parity.__file__).parent
    for name, line in {
        "version": 'VERSION = "0.4.9"',
        "changed": 'VERSION = "' + parity.__version__ + '"  # changed',
    }.items():
        shutil.copytree(source, tmp_path / name / "parity", ignore=shutil.ignore_patterns("__pycache__"))
        file = tmp_path / name / "parity" / "core" / "version.py"
        file.write_text(file.read_text().replace(f'VERSION = "{parity.__version__}"', line))
        workers(1, PYTHONPATH=first_on_the_path(tmp_path / name))
    workers(1, PYTHONPATH=other_packages("numpy", numpy="1.0.1"))
    asker = ask("-o", tmp_path / "run", "--cluster", scheduler)
    _, err = asker.communicate(timeout=120)
    assert asker.returncode == 4
    assert err.startswith(f"parity: --cluster {scheduler}: no worker there can take part: ")
    reasons = (
        f"parity 0.4.9 there, {parity.__version__} here",
        f"parity {parity.__version__} there too, but not the same source",
        "numpy 1.0.1 there, ",
    )
    assert all(reason in err for reason in reasons)
    assert len(err.splitlines()) == 1


def without(package, folder):
    """All that can be imported here but a package: a PYTHONPATH for an interpreter that has nothing."""
    folder.mkdir()
    places = [Path(place) for place in sys.path if Path(place).name == "site-packages"]
    for one in (one for place in (Path(parity.__file__).parents[1], *places) for one in place.iterdir()):
        if not one.name.startswith((f"{package}-", "__")) and one.name not in (package, "tests"):
            with suppress(FileExistsError):
                (folder / one.name).symlink_to(one)
    return str(folder)


@pytest.mark.frameworks
def test_what_a_worker_cannot_run_is_skipped_with_the_reason(
    process, workers, scheduler, other_packages, write_case, tmp_path
):
    expect = [{"actual": "torch.*", "expected": "numpy.*", "verdict": "ANY", "because": "Who runs it is asked."}]
    asked = ["run", write_case(expect=expect), "-i", "torch.adam.forloop", "-i", "numpy.adam.hat", "-i",
             "numpy.adam.outside", "-q", "--no-explain"]  # fmt: skip
    workers(1, PYTHONPATH=other_packages("torch", torch="1.0.1"))
    workers(1, python=sys._base_executable, PYTHONPATH=without("torch", tmp_path / "without"))
    asker = process(*asked, "-o", "run", "--cluster", scheduler)
    _, err = asker.communicate(timeout=120)
    assert asker.returncode == 5
    assert len(err.splitlines()) == 2
    for what in ("1.0.1", "is absent"):
        assert f" does not run what needs another release: torch {what} there, 2." in err
    run = read_run(tmp_path / "run")
    reasons = {one.name: one.failure.reason.partition(",")[0] for one in run.cells[0].outcomes if one.failure}
    assert reasons in ({"torch.adam.forloop": "torch 1.0.1 there"}, {"torch.adam.forloop": "torch is absent there"})
    assert {str(one.verdict.kind) for one in run.verdicts} == {"SKIPPED"}
    workers(1)
    resumed = process(*asked, "-o", "run", "--cluster", scheduler, "--resume")
    _, err = resumed.communicate(timeout=120)
    assert (resumed.returncode, len(err.splitlines())) == (0, 2)
    assert not any(one.failure for one in read_run(tmp_path / "run").cells[0].outcomes)


@pytest.mark.parametrize(
    ("address", "code", "told"),
    [
        ("localhost", 4, "no scheduler answers there (missing port number in address 'localhost')"),
        ("local:0", 2, "'0' is no number of workers; allowed: local:4, or an address"),
        ("local:many", 2, "'many' is no number of workers; allowed: local:4, or an address"),
    ],
)
def test_an_address_that_is_none_is_one_line(command, write_case, tmp_path, address, code, told):
    found, _, err = command("run", write_case(), "-i", "numpy.adam.*", "-o", tmp_path / "run", "--cluster", address)
    assert err.startswith(f"parity: --cluster {address}: {told}")
    assert (found, len(err.splitlines())) == (code, 1)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nothing://here"])
def test_an_address_at_which_nobody_answers_is_one_line(process, write_case, address):
    asker = process("run", write_case(), "-i", "numpy.adam.*", "-q", "--cluster", address)
    _, err = asker.communicate(timeout=120)
    assert err.startswith(f"parity: --cluster {address}: no scheduler answers there (")
    assert (asker.returncode, len(err.splitlines())) == (4, 1)


def test_a_cell_that_no_worker_can_hold_is_one_line(process, write_case, scheduler, workers):
    parameters = [{"name": "w", "shape": [100_000_000_000]}]
    workers(1)
    asker = process("run", write_case(parameters=parameters), "-i", "numpy.adam.*", "-q", "--cluster", scheduler)
    _, err = asker.communicate(timeout=120)
    assert re.match(r"parity: worker tcp://\S+: small float32: 100,000,000,000 elements in ", err)
    assert (asker.returncode, len(err.splitlines())) == (4, 1)


def test_without_distributed_it_is_one_line(command, write_case, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, _, err = command("run", write_case(), "-i", "numpy.adam.*", "-o", tmp_path / "run", "--cluster", "local:1")
    assert (code, len(err.splitlines())) == (4, 1)
    assert err.startswith("parity: --cluster local:1: distributed is not installed; pip install 'parity[cluster]'")


def test_a_plugin_that_is_installed_cannot_travel(write_adam, write_case, monkeypatch, tmp_path):
    """Nobody knows whether the same one is installed there."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write_adam()
    candidates = select_candidates(["plugin:plugin"], tmp_path)
    (cell,) = plan_cells(load_case_file(write_case()), candidates, ["float32"], []).cells
    with pytest.raises(ParityError, match=r"'plugin:plugin' is installed here, and cannot travel; allowed: 'file\.py"):
        files_of(cell)


def test_what_is_shown_is_printed(process):
    """Of docs/cluster.md."""
    (shown,) = re.findall(r"```console\n\$ parity (.*)\n\.\.\.\n(.*)\n```", DOCUMENT.read_text(encoding="utf-8"))
    asker = process(*shlex.split(shown[0]))
    out, _ = asker.communicate(timeout=120)
    assert asker.returncode == 0
    assert out.splitlines()[-1] == shown[1]
