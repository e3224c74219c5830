"""A worker driven by hand, as its protocol is documented: JSON lines over pipes, arrays in files."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from parity.comparison.trace import create_rows, hyper_to_json
from parity.core.hyper import Hyper
from parity.core.layout import Layout, Parameter
from parity.numerics.formats import FORMATS

LAYOUT = Layout((Parameter("a", (2,)), Parameter("b", ())))
FLOAT = FORMATS["float64"]
STEPS = 3


class Hand:
    """Writes a line, reads a line."""

    def __init__(self, process):
        self.process = process

    def __call__(self, op, **message):
        self.process.stdin.write(json.dumps({"op": op, **message}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def worker():
    with subprocess.Popen(
        [sys.executable, "-m", "parity.engine.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield Hand(process)
        process.kill()


@pytest.fixture
def files(tmp_path):
    """The message that starts a run, and the arrays of its files."""
    arrays = {
        "weights": create_rows(tmp_path / "in", "weights", 1, LAYOUT, FLOAT),
        "gradients": create_rows(tmp_path / "in", "gradients", STEPS + 1, LAYOUT, FLOAT),
        **{name: create_rows(tmp_path / "out", name, STEPS + 1, LAYOUT, FLOAT) for name in ("w", "m", "v", "vmax")},
    }
    path = tmp_path / "out" / "progress.npy"
    arrays["progress"] = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint64, shape=(1,))
    arrays["weights"].view(float)[0] = [1, 2, 3]
    arrays["gradients"].view(float)[1:] = np.arange(9).reshape(3, 3) - 4
    message = {
        "target": "numpy.adam.outside",
        "dtype": "float64",
        "parameters": [{"name": "a", "shape": [2], "offset": 0}, {"name": "b", "shape": [], "offset": 2}],
        "hyper": hyper_to_json(Hyper(lr=0.5)),
        "steps": STEPS,
        "batch": 2,
        "rows": STEPS + 1,
        "input": str(tmp_path / "in"),
        "output": str(tmp_path / "out"),
    }
    return message, arrays


def test_a_whole_run(worker, files):
    message, arrays = files
    hello = worker("hello")
    assert (hello["ok"], hello["protocol"]) == (True, 1)
    assert hello["environment"]["packages"]["numpy"]
    assert worker("start", run=4, **message) == {"ok": True}
    assert not arrays["w"][1:].any()
    answer = worker("advance", run=4, until=2, none={"2": ["b"]})
    assert answer == {"ok": True, "step": 2, "quantities": ["m", "v", "w"]}
    assert arrays["progress"][0] == 2
    assert worker("advance", run=4, until=3, none={})["step"] == 3
    finished = worker("finish", run=4)
    assert finished.pop("ok")
    assert list(finished) == ["machine"]
    assert "torch threads" not in finished["machine"]
    w = arrays["w"].view(float)
    assert w[0].tolist() == [1, 2, 3]
    assert w[1].tolist() == pytest.approx([1.5, 2.5, 3.5])
    assert w[2][2] == w[1][2]
    assert arrays["m"].view(float)[1].tolist() == pytest.approx([-0.4, -0.3, -0.2])
    worker.process.stdin.write('{"op": "quit"}\n')
    worker.process.stdin.flush()
    assert worker.process.wait(10) == 0


def test_describe_answers_from_the_registry_alone(worker):
    answer = worker("describe", target="torch.adam.fused")
    assert answer["ok"]
    assert (answer["name"], answer["needs"], answer["missing"]) == ("torch.adam.fused", ["torch"], [])
    assert answer["convention"] == "outside"
    assert float.fromhex(answer["defaults"]["eps"]) == 1e-8


def test_a_plugin_that_needs_what_is_missing(worker, files, tmp_path):
    (tmp_path / "needy.py").write_text(
        "from parity import Implementation\nadam = Implementation('needy', print, needs=('no_such_framework',))\n"
    )
    target = f"{tmp_path / 'needy.py'}:adam"
    assert worker("describe", target=target)["missing"] == ["no_such_framework"]
    answer = worker("start", run=0, **files[0] | {"target": target})
    assert answer == {"ok": False, "kind": "missing", "reason": "no_such_framework is not installed"}


def test_a_failure_ends_its_run_and_nothing_else(worker, files, adam_text, tmp_path):
    (tmp_path / "bad.py").write_text(adam_text("bad", before="if t == 2: raise ValueError('planted')"))
    message, _ = files
    worker("start", run=0, **message | {"target": f"{tmp_path / 'bad.py'}:bad"})
    worker("start", run=1, **message)
    failed = worker("advance", run=0, until=3, none={})
    assert (failed["ok"], failed["kind"]) == (False, "raised")
    assert failed["reason"].startswith("ValueError: planted (bad.py:")
    assert not worker("advance", run=0, until=3, none={})["ok"]
    assert worker("advance", run=1, until=3, none={})["ok"]
    assert worker("drop", run=1) == {"ok": True}
    assert not worker("finish", run=1)["ok"]


@pytest.mark.parametrize(("op", "told"), [("helo", "did you mean 'hello'?"), ("start", "KeyError")])
def test_a_request_that_cannot_be_understood_is_answered(worker, op, told):
    answer = worker(op)
    assert not answer["ok"]
    assert told in answer["reason"]
    assert worker("hello")["ok"]
