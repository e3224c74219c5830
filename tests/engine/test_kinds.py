"""The same cells on every kind of machine: how far those are apart stands in the report, to the bit."""

from __future__ import annotations

import importlib.util
import json

import pyarrow.parquet as pq
import pytest

import parity
from parity.core.environment import describe_environment
from parity.engine.kinds import FOLDER, PARQUET, kinds_of
from parity.engine.record import read_run

pytestmark = pytest.mark.thorough


needs_distributed = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="needs distributed, of the extra cluster"
)
ASKED = ["-i", "torch.adam.forloop", "-i", "numpy.adam.outside", "-d", "float32"]
EXPECT = [{"actual": "torch.*", "expected": "numpy.*", "verdict": "ANY", "because": "Who runs it is asked."}]


def figures(tree):
    """Of a run: what another one of the same cells has too."""
    return {name: one for name, one in tree.items() if name not in ("seal", "kinds")}


@needs_distributed
@pytest.mark.frameworks
@pytest.mark.timeout(300)
def test_every_kind_is_held_against_the_first(process, command, write_case, workers, start_scheduler, tmp_path):
    _, scheduler = start_scheduler()
    asked = ["run", write_case(expect=EXPECT), *ASKED]
    for variables in ({}, {"ATEN_CPU_CAPABILITY": "default"}, {}):
        workers(1, scheduler, **variables)
    asker = process(*asked, "-o", "run", "--cluster", scheduler, "--each-kind")
    out, err = asker.communicate(timeout=120)
    assert (asker.returncode, len(err.splitlines())) == (0, 1)
    run = read_run(tmp_path / "run")
    assert [(one.name, one.workers) for one in run.kinds.machines] == [
        ("ATEN_CPU_CAPABILITY absent", 2), ("ATEN_CPU_CAPABILITY default", 1),
    ]  # fmt: skip

    # What is told of a kind is what its kept traces say.
    found = {one.implementation: one for one in run.kinds.rows}
    assert {*found} == {"torch.adam.forloop", "numpy.adam.outside"}
    folder = tmp_path / "run"
    for name, one in found.items():
        traces = [place / "traces" / "small" / "float32" / name for place in (folder / FOLDER / "2", folder)]
        held = parity.compare(*traces)
        assert one.differing == sum(each.differing for each in held.distances)
        assert one.compared == sum(each.compared for each in held.distances)
        weights = next(each for each in held.distances if each.quantity == "w")
        assert (one.ulp, one.lr) == (weights.worst_max_ulp.value, weights.worst_max_steps.value)
    assert found["torch.adam.forloop"].differing > 0 == found["numpy.adam.outside"].differing
    worker = {json.dumps(one["variables"].get("ATEN_CPU_CAPABILITY")) for one in run.workers.values()}
    assert worker == {"null"}

    # The kind is a column of the table, a section of either report, and told at the end.
    table = pq.read_table(folder / PARQUET)
    assert table.column_names == ["kind", "against", *pq.read_table(folder / "divergence.parquet").column_names]
    assert {*table["kind"].to_pylist()} == {"ATEN_CPU_CAPABILITY default"}
    assert {*table["against"].to_pylist()} == {"ATEN_CPU_CAPABILITY absent"}
    lines = (folder / "report.md").read_text().splitlines()
    (line,) = [one for one in lines if one.startswith("| torch.adam.forloop | ATEN")]
    assert "| ATEN_CPU_CAPABILITY default | float32 | differs in 1 of 1 cases from step " in line
    assert command("report", folder)[0] == 0
    page = (folder / "report.html").read_text()
    assert 'id="kinds"' in page
    assert line.split(" | ")[-1].removesuffix(" |") in page
    assert "differs in 1 of 1 cases from step " in " ".join(out.split())
    assert "identical in 1 of 1 cases" in " ".join(out.split())

    # The first kind is this machine: all else is what a run here leaves.
    here = process(*asked, "-o", "here", "--keep-traces")
    here.communicate(timeout=120)
    trees = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("run", "here")]
    assert figures(trees[0]) == figures(trees[1])
    assert "kinds" not in trees[1]

    # A cell that one kind lacks is asked of all again.
    before = (folder / "run.json").read_bytes()
    for part in (folder / FOLDER / "2" / "parts").iterdir():
        part.unlink()
    resumed = process(*asked, "-o", "run", "--cluster", scheduler, "--each-kind", "--resume")
    resumed.communicate(timeout=120)
    assert (resumed.returncode, (folder / "run.json").read_bytes()) == (0, before)


@needs_distributed
@pytest.mark.timeout(300)
def test_one_kind_is_told_to_be_one(process, write_case, tmp_path):
    case = write_case(expect=[{**EXPECT[0], "actual": "numpy.adam.hat"}])
    asked = ["-i", "numpy.adam.hat", "-i", "numpy.adam.outside"]
    asker = process("run", case, *asked, "-o", "run", "--cluster", "local:2", "--each-kind")
    out, _ = asker.communicate(timeout=120)
    assert asker.returncode == 0, out
    assert "Every worker was of one kind: there is nothing to hold against it." in out
    run = read_run(tmp_path / "run")
    assert ([one.workers for one in run.kinds.machines], run.kinds.rows) == ([2], ())


def test_without_a_cluster_there_is_but_one_kind(command, write_case, tmp_path):
    code, _, err = command("run", write_case(), "-i", "numpy.adam.*", "-o", tmp_path / "run", "--each-kind")
    assert (code, err.count("\n")) == (2, 1)
    assert "--each-kind belongs to --cluster ADDRESS" in err


def test_kinds_are_named_by_what_tells_them_apart():
    here = describe_environment()
    other = {**here, "cpus": 1000, "packages": {**here["packages"], "torch": "1.0"}}
    slow = {**here, "cpus": 1000}
    found = kinds_of({"a": other, "b": slow, "c": slow, "d": here, "e": slow}, here)
    torch = here["packages"].get("torch", "absent")
    assert [(one.name, one.workers) for one in found] == [
        (f"cpus {here['cpus']}, torch {torch}", 1),
        (f"cpus 1000, torch {torch}", 3),
        ("cpus 1000, torch 1.0", 1),
    ]
    assert found[0].environment == here
