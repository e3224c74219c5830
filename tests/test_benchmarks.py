"""``python -m benchmarks``: its sections, its table, what it says of a wrong name; the figures are no test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough


ROOT = Path(__file__).parent.parent


def benchmarks(*arguments, blocked=()):
    """The command, modules of some names being absent."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({list(blocked)!r}))\n"
        "from benchmarks.__main__ import main\nsys.exit(main())"
    )
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_the_sections_are_those_of_the_table():
    told = benchmarks("--help").stdout
    assert "catalogue, metrics, adam, whole-run, gpt2, record, identify, start" in " ".join(told.split())


def test_an_unknown_section_is_one_line_with_the_nearest():
    done = benchmarks("start", "metric")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("unknown section 'metric'; allowed: adam, ")
    assert done.stderr.endswith("did you mean 'metrics'?\n")
    assert done.stderr.count("\n") == 1


def test_a_section_that_cannot_run_says_so(tmp_path):
    file = tmp_path / "figures.json"
    done = benchmarks("adam", "--json", str(file), blocked=["torch"])
    assert done.returncode == 1
    assert done.stderr == "adam: not measured: torch not installed\n"
    answer = json.loads(file.read_text())
    assert (answer["figures"], answer["not_measured"]) == ([], {"adam": "torch not installed"})


def test_a_command_that_fails_is_no_figure():
    from benchmarks.measure import CommandFailed, cost

    with pytest.raises(CommandFailed, match=r"exit code 3: so it is$"):
        cost([sys.executable, "-c", "import sys; print('so it is'); sys.exit(3)"])


def test_cpu_time_of_grandchildren_counts():
    from benchmarks.measure import cost

    burn = "import time\nwhile time.process_time() < 0.5: pass"
    alone = cost([sys.executable, "-c", "pass"]).cpu
    nested = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    assert cost([sys.executable, "-c", nested]).cpu > 0.4 + alone


@pytest.mark.timeout(300)
def test_start_is_measured_as_a_table_and_as_json(tmp_path):
    file = tmp_path / "figures.json"
    done = benchmarks("start", "--json", str(file))
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())["figures"]
    assert [one["unit"] for one in figures] == ["s", "s", "ms"]
    assert all(one["section"] == "start" for one in figures)
    assert all(one["measured"] > 0 for one in figures[:2])
    head, rule, *rows = done.stdout.splitlines()
    assert (head, rule) == ("| measured | figure | aim |", "| --- | --- | --- |")
    for row, one in zip(rows, figures, strict=True):
        what, measured, aim = (cell.strip() for cell in row.strip("|").split("|"))
        assert what == one["what"]
        assert measured.split(" (")[0] == f"{one['measured']:.2f} {one['unit']}"
        assert aim == f"at most {one['aim']:g} {one['unit']}"
        assert one["reached"] == ("not reached" not in measured)
