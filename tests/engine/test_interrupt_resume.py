"""Ctrl-C leaves a readable run, ``--resume`` completes it, and neither can turn a run green."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

import parity
from parity.core.errors import ParityError, UsageError
from parity.engine.record import SCHEMA, read_run

pytestmark = pytest.mark.thorough


PAIR = ("numpy.adam.hat", "numpy.adam.outside")

WAITS = """\
if os.environ.get('PLANTED_WAIT') and weights['bias'].size == 6:
    time.sleep(600)"""


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, case_text, adam_text, interruptible):
    """A run that got SIGINT in its second of three cells: (exit code, folder, arguments, output)."""
    folder = tmp_path_factory.mktemp("interrupted")
    cases = {"first": 5, "second": 6, "third": 7}
    for name, size in cases.items():
        parameters = [{"name": "kernel", "shape": [3, 4]}, {"name": "bias", "shape": [size]}]
        (folder / f"{name}.toml").write_text(case_text(parameters=parameters))
    (folder / "plugin.py").write_text(adam_text("plugin", before=WAITS))
    paths = [str(folder / f"{name}.toml") for name in cases]
    arguments = ["run", *paths, "-i", f"{folder / 'plugin.py'}:plugin", "-i", "numpy.adam.hat", "-q"]
    with subprocess.Popen(
        [*interruptible, *arguments, "-o", folder / "cut"],
        env={**os.environ, "PLANTED_WAIT": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not (folder / "cut" / "parts" / "first__float32.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "Traceback" not in err
    return process.returncode, folder / "cut", arguments, out


def test_an_interrupted_run_is_readable_and_says_so(interrupted):
    code, folder, _, out = interrupted
    assert code == 2
    run = read_run(folder)
    assert (run.complete, run.stopped, run.exit_code) == (False, "interrupted", 2)
    assert (run.counts.cells, run.counts.cells_planned) == (1, 3)
    assert all(one.verdict.as_expected for one in run.verdicts)
    assert "**This run is not complete** (interrupted): 1 of 3 cells were run." in (folder / "report.md").read_text()
    assert "interrupted: 1 of 3 cells" in out
    assert list(parity.divergence_frame(folder).case.unique()) == ["first"]
    assert not list(folder.glob(".*"))


def test_resume_completes_it_and_equals_a_run_that_was_not_interrupted(interrupted, process, tmp_path):
    _, cut, arguments, _ = interrupted
    folder = shutil.copytree(cut, tmp_path / "cut")
    kept = folder / "parts" / "first__float32.json"
    before = kept.stat().st_mtime_ns
    resumed = process(*arguments, "-o", "cut", "--resume")
    whole = process(*arguments, "-o", "whole")
    assert [one.wait(60) for one in (resumed, whole)] == [0, 0]
    assert kept.stat().st_mtime_ns == before
    for name in ("run.json", "divergence.parquet", "report.md"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_resuming_with_fewer_cases_is_refused(interrupted, command):
    """Otherwise an incomplete run would end green."""
    _, folder, arguments, _ = interrupted
    code, _, err = command(*arguments, "-o", folder, "--resume", "-k", "first")
    assert code == 2
    assert err.startswith(f"parity: --resume: the run in {folder} also holds second and 1 more; select")
    assert read_run(folder).stopped == "interrupted"


def test_resuming_with_fewer_implementations_is_refused(run_small, write_adam, tmp_path):
    run_small(*PAIR, write_adam())
    with pytest.raises(UsageError, match=r"also holds small float32 user\.plugin / numpy\.adam\.outside; select"):
        run_small(*PAIR, options=parity.Options(resume=True))


def finished(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "parts").glob("*.json")}


def test_resume_computes_again_what_answers_another_question(run_small, tmp_path):
    run_small(*PAIR)
    before = finished(tmp_path / "run")
    resume = parity.Options(resume=True)
    run_small(*PAIR, options=resume)
    assert finished(tmp_path / "run") == before
    assert run_small(*PAIR, seed=8, options=resume).exit_code == 0
    assert finished(tmp_path / "run") != before


def test_resume_computes_again_what_a_changed_plugin_made(run_small, write_adam):
    assert run_small(write_adam()).exit_code == 0
    wrong = write_adam(swap=[("1 - hyper.beta2**t", "1.0")])
    assert run_small(wrong, options=parity.Options(resume=True)).exit_code == 1


def test_resume_computes_again_what_a_module_beside_a_plugin_made(run_small, write_adam, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write_adam()
    beside = tmp_path / "beside"
    (tmp_path / "front.py").write_text("from beside import behind as run\n")
    beside.mkdir()
    (beside / "__init__.py").write_text("from beside.inner import behind\n")
    inner = (tmp_path / "plugin.py").read_text().replace("plugin", "behind")
    (beside / "inner.py").write_text(inner)
    front = f"{tmp_path / 'front.py'}:run"
    assert run_small(front).exit_code == 0
    before = finished(tmp_path / "run")
    resume = parity.Options(resume=True)
    assert run_small(front, options=resume).exit_code == 0
    assert finished(tmp_path / "run") == before
    assert "1 - hyper.beta2**t" in inner
    (beside / "inner.py").write_text(inner.replace("1 - hyper.beta2**t", "1.0"))
    assert run_small(front, options=resume).exit_code == 1


def test_a_plugin_that_imports_what_is_installed_elsewhere_is_computed_again(run_small, write_adam, tmp_path):
    target = write_adam()
    (tmp_path / "plugin.py").write_text("import rich\n" + (tmp_path / "plugin.py").read_text())
    assert run_small(target).exit_code == 0
    before = finished(tmp_path / "run")
    assert run_small(target, options=parity.Options(resume=True)).exit_code == 0
    assert finished(tmp_path / "run") != before


def test_resume_computes_again_what_a_plugin_module_made(run_small, write_adam, tmp_path, monkeypatch):
    """Its code lies somewhere, and nobody knows whether it changed."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write_adam()
    assert run_small("plugin:plugin").exit_code == 0
    write_adam(swap=[("1 - hyper.beta2**t", "1.0")])
    assert run_small("plugin:plugin", options=parity.Options(resume=True)).exit_code == 1


def test_resume_keeps_a_red_verdict_red(run_small, write_adam):
    wrong = write_adam(swap=[("1 - hyper.beta2**t", "1.0")])
    assert run_small(wrong).exit_code == 1
    assert run_small(wrong, options=parity.Options(resume=True)).exit_code == 1


@pytest.mark.parametrize(
    "part", ["small__float32.json", "small__float32.parquet", "small__float32.explanations.json", "../run.json"]
)
def test_a_damaged_run_directory_is_one_line_that_names_the_file(run_small, tmp_path, part):
    run_small(*PAIR)
    path = tmp_path / "run" / "parts" / part
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ParityError) as caught:
        run_small(*PAIR, options=parity.Options(resume=True))
    assert str(path.resolve()) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_newer_run_is_refused(run_small, tmp_path):
    run_small(*PAIR)
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": SCHEMA + 1}))
    with pytest.raises(ParityError, match=f"schema {SCHEMA + 1}; this parity reads schema {SCHEMA}"):
        read_run(tmp_path / "run")


def test_stopping_after_the_first_failure_is_red_and_keeps_what_is_done(command, write_case, write_adam, tmp_path):
    wrong = write_adam(swap=[("1 - hyper.beta2**t", "1.0")])
    cases = [write_case(name) for name in ("a", "b", "c")]
    code, out, _ = command("run", *cases, "-i", wrong, "-x", "-q", "-o", tmp_path / "run")
    assert code == 1
    assert "stopped after 1 pairs that are not as expected: 1 of 3 cells" in " ".join(out.split())
    run = read_run(tmp_path / "run")
    assert not run.complete
    assert [cell.case for cell in run.cells] == ["a"]


def test_an_interrupt_before_the_first_cell_leaves_a_readable_run(run_small, monkeypatch, tmp_path):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("parity.engine.run.wait", interrupt)
    run = run_small(*PAIR)
    assert run.exit_code == 2
    assert read_run(tmp_path / "run") == run
    assert "0 of 1 cells" in (tmp_path / "run" / "report.md").read_text()
