"""What every kind of input has: rooms of its own, a small case, a small training, and the rules of an answer."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from rules import check_answer, fails, seen, told

CASE = """\
summary = "A small case, made to be damaged."
why = "Every file that a run leaves of it is small."
seed = 7
steps = 3
dtypes = ["float32", "float64"]

[hyper]
lr = 1e-3
eps = 1e-3

[[parameters]]
name = "kernel"
shape = [3, 4]
weights = { kind = "uniform", low = -1.0, high = 1.0 }
gradients = { kind = "bell", scale = 0.1 }

[[parameters]]
name = "bias"
shape = [5]
weights = { kind = "zero" }
gradients = { kind = "decades", low = 1e-3, high = 1.0 }

[[expect]]
actual = "numpy.adam.hat"
expected = "numpy.adam.outside"
verdict = "DIVERGED"
because = "Epsilon stands in another place."
"""

ADAMS = ("numpy.adam.hat", "numpy.adam.outside")

TRAINED = """\
import sys, torch, parity
torch.manual_seed(int(sys.argv[2]))
model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
optimizer = torch.optim.Adam([{"params": model[0].parameters(), "lr": 0.01}, {"params": model[2].parameters()}])
with parity.record(sys.argv[1], optimizer, model=model):
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()
"""


def written(path, value, depth=0):
    """A value as TOML, as far as that has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {written(path, one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(path, one) for one in value) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


def selected(names):
    """As a command line names implementations."""
    return [word for name in names for word in ("-i", name)]


def load_tree(content):
    """A TOML file as a tree."""
    return json.loads(json.dumps(tomllib.loads(content.decode())))


def record_into(folder):
    """Put the recording of a small training of torch there; it is trained once, in a process of its own."""
    for name, content in recorded().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@functools.cache
def recorded():
    """What such a training leaves, bytes by relative path."""
    with tempfile.TemporaryDirectory() as room:
        subprocess.run([sys.executable, "-c", TRAINED, "made", "0"], check=True, cwd=room)
        return contents(Path(room) / "made")


def contents(folder):
    """Bytes by relative path."""
    return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


class Subject:
    """A kind of input. room: a folder of its own, with `work` to run in, `outside` that nobody writes to, `made`."""

    name = ""

    def __init__(self, room):
        self.room = room
        self.work, self.outside, self.made = (room / one for one in ("work", "outside", "made"))
        for one in (self.work, self.outside, self.made):
            one.mkdir(parents=True)
        (self.outside / "kept").write_text("kept")
        self.prepare()

    def prepare(self):
        """Make what is damaged."""

    def ask(self, random):
        """Damage, ask, judge; what was done, in a few words."""
        raise NotImplementedError

    def answered(self, arguments, but=()):
        """The answer to a command, held to the rules that every answer obeys; but: where it may write."""
        before = seen(self.room, but)
        code, out, err = told(arguments)
        check_answer(code, err)
        if (after := seen(self.room, but)) != before:
            fails(f"{arguments}: wrote {sorted(set(after.items()) ^ set(before.items()))[:4]}")
        return code, out, err
