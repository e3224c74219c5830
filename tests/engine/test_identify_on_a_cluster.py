"""Several targets at once, here or on a cluster: each has the answer that it has alone, or its line."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("distributed") is None, reason="needs distributed, of the extra cluster"
    ),
    pytest.mark.timeout(300),
    pytest.mark.thorough,
]

BESIDE = "RATE = 1.01"
IMPORTS = "sys.path.insert(0, str(Path(__file__).parent)); import beside"
FASTER = ("f(hyper.lr_at(t))", "f(beside.RATE * hyper.lr_at(t))")

WAITS = """\
note = Path(os.environ["NOTES"])
if not note.exists():
    note.write_text(str(os.getpid()))
    time.sleep(600)"""


@pytest.fixture
def folder(tmp_path, adam_text, monkeypatch):
    """A folder to ask in, with targets of one's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "beside.py").write_text(BESIDE)
    (tmp_path / "mine" / "faster.py").write_text(adam_text("faster", first=IMPORTS, swap=[FASTER]))
    (tmp_path / "raises.py").write_text(adam_text("raises", first="raise ValueError(f'planted in {__file__}')"))
    return tmp_path


@pytest.fixture
def ask(command, folder):
    """Identify targets: (exit code, standard output without the names of logs, standard error, JSON by target)."""

    def call(*words):
        code, out, err = command("identify", *words, "-d", "float64", "--json", "answer.json")
        told = json.loads((folder / "answer.json").read_text())
        kept = re.compile(r"log: +\S+")
        return code, kept.sub("log: ?", " ".join(out.split())), kept.sub("log: ?", err), told["targets"]

    return call


def without_logs(told):
    return {name: {**one, "error": re.sub(r"; log: .*", "", one.get("error", ""))} for name, one in told.items()}


def test_each_has_its_answer_or_its_line_here_and_there(ask):
    targets = ("numpy.adam.hat", "mine/faster.py:faster", "raises.py:raises", "numpy.adam.hut", "none.py:run")
    code, out, err, told = ask(*targets)
    assert code == 4
    assert list(told) == sorted(targets)
    assert told["numpy.adam.hat"]["verdict"] == "identified"
    causes = told["mine/faster.py:faster"]["causes"]
    assert "1.01" in causes[0]["detail"]
    lines = err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["raises.py:raises", "numpy.adam.hut", "none.py:run"]
    assert "planted in" in lines[0]
    assert "did you mean 'numpy.adam.hat'" in lines[1]
    assert "there is no file 'none.py'" in lines[2]
    there = ask(*targets, "--cluster", "local:2")
    assert (there[0], there[1]) == (code, out)
    assert re.sub("; log: .*", "", there[2]) == re.sub("; log: .*", "", err)
    assert without_logs(there[3]) == without_logs(told)


def test_one_alone_keeps_its_exit_code_and_its_json(command, folder):
    assert command("identify", "raises.py:raises", "-d", "float64")[0] == 4
    code, out, _ = command("identify", "numpy.adam.hat", "-d", "float64", "--cluster", "local:1", "--json", "-")
    assert (code, json.loads(out)["target"]) == (0, "numpy.adam.hat")


def test_a_trace_is_read_here(command, folder):
    (folder / "trace").mkdir()
    code, _, err = command("identify", "trace", "numpy.adam.hat", "--cluster", "local:1")
    assert (code, err) == (2, "parity: --cluster: a trace is read here\n")


@pytest.mark.frameworks
def test_a_worker_with_another_release_is_not_asked_what_stands_on_it(ask, workers, scheduler, other_packages):
    workers(1, PYTHONPATH=other_packages("torch", torch="1.0.1"))
    code, _, err, told = ask("torch.adam.forloop", "numpy.adam.hat", "--cluster", scheduler)
    assert code == 4
    assert "torch.adam.forloop: no worker at" in told["torch.adam.forloop"]["error"]
    assert "has what is here: torch 1.0.1 there, 2." in err
    assert told["numpy.adam.hat"]["verdict"] == "identified"


def test_a_worker_that_is_lost_costs_its_time(ask, folder, adam_text, workers, scheduler, wait_for, process):
    (folder / "waits.py").write_text(adam_text("waits", before=WAITS))
    note = folder / "note"
    first = workers(1, NOTES=str(note))[0]
    asker = process("identify", "waits.py:waits", "-d", "float64", "--cluster", scheduler)
    wait_for(note.exists)
    workers(1, NOTES=str(note))
    first.kill()
    out, err = asker.communicate(timeout=120)
    assert (asker.returncode, err) == (0, "")
    assert "bit for bit" in out
