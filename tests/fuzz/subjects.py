"""Kinds of input: what a valid one is, which commands read it, and when a green answer would be a wrong one."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import subprocess
import sys
import tempfile
import tomllib
import unittest.mock
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
from damage import ODD_NUMBERS, ODD_WORDS, Damaged, damaged_bytes, damaged_json, damaged_tree
from rules import check_answer, fails, limited, seen, told

import parity
from parity.api.baselines import save_baseline
from parity.case.catalogue import load_case_file, shipped_cases
from parity.case.recording import read_recording
from parity.cli.main import COMMANDS, cli
from parity.core.digest import SEAL, seal_of
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.engine.candidates import describe_plugin
from parity.engine.local import LocalWorker, local_candidate
from parity.engine.plan import Cell
from parity.engine.record import read_run
from parity.engine.run import Options, run_one
from parity.engine.workers import Workers
from parity.implementations.registry import shipped_implementations

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


class Cases(Subject):
    """Case files, with a base and a recording that they name."""

    name = "case"

    def prepare(self):
        record_into(self.work / "recording")
        files = sorted(shipped_cases().glob("*.toml"))
        self.texts = [CASE.encode(), *(one.read_bytes() for one in files)]
        recorded = load_tree(CASE.encode())
        recorded["parameters"] = [
            {"name": one.name, "shape": list(one.shape), "weights": {"kind": "recorded", "folder": "recording"},
             "gradients": {"kind": "recorded", "folder": "recording"}}
            for one in read_recording(self.work / "recording").parameters
        ]  # fmt: skip
        self.trees = [recorded, *map(load_tree, self.texts)]
        self.path = self.work / "case.toml"

    def ask(self, random):
        place = random.randrange(len(self.trees)) if random.random() < 0.5 else 0
        if random.random() < 0.4:
            content = damaged_bytes(random, self.texts[place % len(self.texts)])
        else:
            tree = damaged_tree(random, self.trees[place])
            try:
                content = "".join(f"{json.dumps(key)} = {written('', one)}\n" for key, one in tree.items()).encode()
            except UnicodeEncodeError:
                content = b"\xed\xa0"
        self.path.write_bytes(content)
        code, _, _ = self.answered(["run", self.path, "-k", "no such case", "-o", self.made / "run"])
        if code == 5:
            self._is_a_question(random)
        return f"{code} of {content[:200]!r}"

    def _is_a_question(self, random):
        """What was taken for a case has a digest, hyperparameters and expectations, and is planned or refused."""
        with limited():
            for case in load_case_file(self.path):
                case.digest()
                case.hyper_for(Hyper())
                for dtype in case.dtypes:
                    case.expectation_for("torch.adam.forloop", "numpy.adam.outside", dtype)
                    case.expectation_for(*ADAMS, dtype)
                size, steps = case.layout().size, case.steps
                if size * steps < 3000 and random.random() < 0.05:
                    case_run(self, case)
                elif size * steps > 1 << 50:
                    code, _, err = told(["run", self.path, "-q", *selected(ADAMS), "-o", self.made / "run"])
                    check_answer(code, err)
                    assert code in (2, 4, 5), (code, err)
                return


def case_run(subject, case):
    """A case is run for real, by two Adams that need no framework."""
    output = subject.made / "run"
    code, _, _ = subject.answered(["run", subject.path, "-q", *selected(ADAMS), "-o", output], but=(subject.made,))
    if (output / "run.json").exists() and code in (0, 1):
        code, _, _ = subject.answered(["report", output], but=(subject.made,))
        assert code == 0


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


class Recordings(Subject):
    """Recorded trainings: the header, the journal, rows of bits."""

    name = "recording"

    def prepare(self):
        for name in ("one", "two"):
            record_into(self.work / name)
        self.damaged = Damaged(self.work / "one", contents(self.work / "one"))
        self.sound, self.rows = self._meaning(), self._rows()

    def _rows(self):
        return {one: [row.tobytes() for row in found.rows(one)] for found in [read_recording(self.work / "one")]
                for one in ("gradients", *found.quantities)}  # fmt: skip

    def _meaning(self):
        found = read_recording(self.work / "one")
        rows = {one: [row.tobytes() for row in found.rows(one)] for one in ("gradients", *found.quantities)}
        begun = [found.row(one, 1, before=True).tobytes() for one in found.quantities]
        steps = [(one.number, one.t, one.groups, one.none, one.moved) for one in found.journal]
        return rows, begun, steps, found.parameters, found.told

    def ask(self, random):
        done = self.damaged.damage(random, self.outside)
        try:
            code, _, _ = self.answered(["run", self.work / "one", "-k", "no such case", "-o", self.made / "run"])
            if code == 5 or random.random() < 0.1:
                if code == 5 and self._rows() != self.rows:
                    fails("read as sound, and other bits stand in it")
                sides = ["one", "two"] if random.random() < 0.5 else ["two", "one"]
                code, out, _ = self.answered(["compare", *(self.work / one for one in sides)])
                if code == 0 and self._meaning() != self.sound:
                    fails(f"alike though the recording means something else: {out}")
        finally:
            self.damaged.restore()
        return f"{done}: {code}"


class Traces(Subject):
    """Kept traces and their input."""

    name = "trace"

    def prepare(self):
        make_run(self.work)
        self.root = self.work / "run" / "traces" / "small" / "float32"
        names = sorted(one.name for one in self.root.iterdir() if (one / "trace.json").is_file())
        self.folder = self.root / names[0]
        self.twin = self.work / "twin"
        for name, content in contents(self.folder).items():
            (self.twin / name).parent.mkdir(parents=True, exist_ok=True)
            (self.twin / name).write_bytes(content)
        self.damaged = Damaged(self.folder, contents(self.folder))
        self.rows = self._rows()
        self.input = Damaged(self.root / "input", contents(self.root / "input"))

    def _rows(self):
        return {one.name: (np.load(one).tobytes(), np.load(one).dtype, np.load(one).shape)
                for one in sorted(self.folder.glob("*.npy"))}  # fmt: skip

    def ask(self, random):
        if random.random() < 0.1:
            done = self.input.damage(random, self.outside)
            try:
                code, _, _ = self.answered(["identify", "--trace", self.folder])
            finally:
                self.input.restore()
            return f"{done}: {code}"
        done = self.damaged.damage(random, self.outside)
        try:
            if random.random() < 0.3 and done.startswith("trace.json") and (self.folder / "trace.json").is_file():
                (self.folder / "trace.json").write_bytes(
                    damaged_json(random, self.damaged.whole["trace.json"], resealed_trace)
                )
                done = "trace.json: sealed anew"
            sides = [self.folder, self.twin][:: random.choice((1, -1))]
            code, out, _ = self.answered(["compare", *sides])
            if code == 0:
                if self._rows() != self.rows:
                    fails(f"equal though other bits stand there: {out}")
        finally:
            self.damaged.restore()
        return f"{done}: {code}"


def resealed_trace(told):
    """A header with a seal that fits."""
    from parity.comparison.trace import _seal

    return {**told, "seal": _seal(told)}


def make_run(folder):
    """A run directory with traces, of a case beside it."""
    (folder / "small.toml").write_text(CASE)
    parity.run([folder / "small.toml"], ADAMS, output=folder / "run", options=parity.Options(keep_traces=True))


class Runs(Subject):
    """Run directories: run.json, tables, explanations."""

    name = "run"

    def prepare(self):
        (self.work / "small.toml").write_text(CASE)
        parity.run([self.work / "small.toml"], ADAMS, output=self.work / "run")
        for page in ("report.md", "report.html"):
            (self.work / "run" / page).unlink(missing_ok=True)
        self.damaged = Damaged(self.work / "run", contents(self.work / "run"))
        self.damaged.whole = {name: one for name, one in self.damaged.whole.items() if not name.startswith("logs")}
        self.sound = read_run(self.work / "run")

    def ask(self, random):
        folder = self.work / "run"
        if random.random() < 0.5:
            content = damaged_json(random, self.damaged.whole["run.json"], lambda one: {**one, SEAL: seal_of(one)})
            (folder / "run.json").write_bytes(content)
            done = "run.json: sealed anew"
        else:
            done = self.damaged.damage(random, self.outside)
        try:
            code, out, _ = self.answered(["report", folder, "--certificate", *ADAMS, "-o", self.made], but=(self.made,))
            if code == 0:
                fails(f"certified, which the sound run is not: {out}")
            if code != 4 or random.random() < 0.02:
                if done.endswith("anew") or random.random() < 0.02:
                    code, _, _ = self.answered(["report", folder], but=(folder,))
                else:
                    try:
                        if read_run(folder) != self.sound:
                            fails("read as sound, and is another run")
                    except ParityError:
                        pass
        finally:
            self.damaged.restore()
        return f"{done}: {code}"


class Baselines(Subject):
    """Baselines: the index and packed cells."""

    name = "baseline"

    def prepare(self):
        (self.work / "small.toml").write_text(CASE)
        save_baseline(self.work / "kept", [self.work / "small.toml"], ADAMS)
        self.folder = next(one for one in (self.work / "kept").iterdir() if one.is_dir())
        self.damaged = Damaged(self.folder, contents(self.folder))
        twin = self.work / "twin" / self.folder.name
        twin.mkdir(parents=True)
        for name, content in self.damaged.whole.items():
            (twin / name).write_bytes(content)

    def ask(self, random):
        if random.random() < 0.3:
            (self.folder / "baseline.json").write_bytes(
                damaged_json(random, self.damaged.whole["baseline.json"], resealed_baseline)
            )
            done = "baseline.json: sealed anew"
        else:
            done = self.damaged.damage(random, self.outside)
        try:
            code, out, _ = self.answered(["baseline", "list", "-o", self.work / "kept"])
            other, out = None, ""
            if random.random() < (0.02 if code == 4 else 0.1):
                sides = [self.work / "kept", self.work / "twin"][:: random.choice((1, -1))]
                other, out, _ = self.answered(["baseline", "diff", *sides])
            if not done.endswith("anew") and 0 in (code, other):
                if any((self.folder / name).read_bytes() != one for name, one in self.damaged.whole.items()):
                    fails(f"sound though the bytes are others: {out}")
        finally:
            self.damaged.restore()
        return f"{done}: {code} {other}"


def resealed_baseline(told):
    """An index whose seal and text fit."""
    from parity.baseline.store import _seal

    return {**told, SEAL: _seal({key: one for key, one in told.items() if key != SEAL})}


class Maps(Subject):
    """Maps from parameters to parameters."""

    name = "map"

    def prepare(self):
        for name in ("one", "two"):
            record_into(self.work / name)
        names = [one.name for one in read_recording(self.work / "one").parameters]
        self.tree = {"parameters": {name: name for name in names}}
        self.path = self.work / "map.toml"

    def ask(self, random):
        tree = damaged_tree(random, self.tree)
        text = "".join(f"{json.dumps(key)} = {written('', one)}\n" for key, one in tree.items())
        content = text.encode(errors="replace")
        if random.random() < 0.5:
            content = damaged_bytes(random, content)
        self.path.write_bytes(content)
        code, _, _ = self.answered(["compare", self.work / "one", self.work / "two", "--map", self.path])
        other, _, _ = self.answered(
            ["migrate", self.work / "none.keras", "--to", "torch", "-o", self.made / "x.pt", "--map", self.path]
        )
        assert other in (2, 4)
        return f"{code} of {content[:200]!r}"


def commands_of(group, words=()):
    """Every command with the words that lead to it."""
    with click.Context(cli) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                yield from commands_of(command, (*words, name))
            else:
                yield (*words, name), command


@contextlib.contextmanager
def no_process():
    """The machine starts no more processes, as where its table of them is full."""
    from parity.engine import forking, process

    def full(*_, **__):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def unforked(*_):
        raise forking.NotForked("no more processes")

    with unittest.mock.patch.object(subprocess.Popen, "__init__", full):
        with unittest.mock.patch.object(process, "fork_worker", unforked):
            yield


class NoProcess(Subject):
    """Command lines: every subcommand with every option, where no process can be started."""

    name = "command line"

    def prepare(self):
        (self.work / "small.toml").write_text(CASE)
        self.commands = list(commands_of(cli))
        assert {words[0] for words, _ in self.commands} == set(COMMANDS)
        # No terminal can hand over a zero byte.
        odd = [*(one for one in ODD_WORDS if "\x00" not in one), *map(str, ODD_NUMBERS)]
        known = """small.toml nowhere small.toml/x keras torch numpy.adam.hat numpy.adam.outside small.toml:run
            os:getcwd cases 0 1 a=b w:max_ulp=3 hat outside keras==3.3.3 numpy same-and( XLA_FLAGS=1 small -- -x float64
            made/new.json"""
        self.words = [*odd, *known.split(), "same and (", "--help"]

    def ask(self, random):
        words, command = random.choice(self.commands)
        arguments = list(words)
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                if random.random() < 0.85:
                    arguments += [random.choice(self.words) for _ in range(random.choice((1, 1, 1, 2)))]
            elif random.random() < 0.25:
                arguments.append(random.choice(parameter.opts))
                if not getattr(parameter, "is_flag", False):
                    arguments += [random.choice(self.words) for _ in range(max(1, parameter.nargs))]
        if random.random() < 0.1:
            arguments.insert(random.randrange(len(arguments) + 1), random.choice(self.words))
        if any("-k" in one.opts for one in command.params) and "report" not in words:
            arguments[len(words) : len(words)] = ["-k", "same-hyperparameters"]
        here = os.getcwd()
        os.chdir(self.made)
        (self.made / "small.toml").write_text(CASE)
        try:
            before = seen(self.room, (self.made,))
            with no_process():
                code, _, err = told(arguments)
            check_answer(code, err)
            wrote = set(seen(self.room, (self.made,)).items()) ^ set(before.items())
            if wrote and not any("outside" in one for one in arguments):
                fails(f"wrote {sorted(wrote)[:3]}")
        finally:
            os.chdir(here)
        return f"{code} {arguments}"


class Lying:
    """A worker in this process, some of whose answers are others than were made."""

    def __init__(self, name, random):
        self.own = LocalWorker(shipped_implementations()[name])
        self.environment, self.random = self.own.environment, random
        self.send, self.close, self.end, self.kill = self.own.send, self.own.close, self.own.end, self.own.kill

    def receive(self, timeout):
        answer = self.own.receive(timeout)
        return damaged_tree(self.random, answer) if self.random.random() < 0.3 else answer

    def ask(self, message, timeout):
        self.send(message)
        return self.receive(timeout)


class Answers(Subject):
    """What worker processes answer: frames that cannot be read, and answers that say something else."""

    name = "answer"

    def prepare(self):
        (self.work / "small.toml").write_text(CASE)
        (self.case,) = load_case_file(self.work / "small.toml")
        self.candidates = tuple(local_candidate(shipped_implementations()[name]) for name in ADAMS)
        self.frames = self.work / "frames"
        self.program = self.work / "worker"
        self.program.write_text(f"#!/bin/sh\nread request\ncat {self.frames}\n")
        self.program.chmod(0o755)
        hello = {"protocol": 1, "environment": {"python": "3"}, "ok": True}
        described = {"ok": True, "name": "user.f", "dtypes": ["float32"], "convention": None,
                     "defaults": {"lr": "0x1p-3", "beta1": "0x1p-1", "beta2": "0x1p-1", "eps": "0x1p-9",
                                  "weight_decay": "0x0p+0", "decoupled": False, "amsgrad": False}}  # fmt: skip
        self.told = [hello, described]
        self.threads = ThreadPoolExecutor(2)
        assert all(one.failure is None for one in self._cell(None).outcomes)

    def ask(self, random):
        if random.random() < 0.8:
            return self._lied(random)
        lines = [json.dumps(one) for one in self.told]
        place = random.randrange(2)
        lines[place] = json.dumps(damaged_tree(random, self.told[place]))
        content = ("\n".join(lines) + "\n").encode()
        if random.random() < 0.4:
            content = damaged_bytes(random, content)
        self.frames.write_bytes(content)
        try:
            with limited():
                describe_plugin("x.py:f", self.made, 2.0, str(self.program))
        except ParityError as error:
            return f"{error} of {content[:200]!r}"
        return f"taken: {content[:200]!r}"

    def _lied(self, random):
        before = seen(self.room, (self.made,))
        try:
            with limited():
                found = self._cell(random)
        except ParityError as error:
            return f"lied: {error}"
        # An answer cannot make equal what is not.
        assert not any(one.distances and not any(each.differing for each in one.distances) for one in found.pairs)
        assert seen(self.room, (self.made,)) == before
        return f"lied: {[one.failure for one in found.outcomes]}"

    def _cell(self, random):
        workers = Workers(self.made / "logs", 0)
        cell = Cell(self.case, "float32", self.candidates, (ADAMS,))
        for one in self.candidates:
            lying = random is not None and random.random() < 0.6
            workers.admit(
                one.worker, Lying(one.name, random) if lying else LocalWorker(shipped_implementations()[one.name])
            )
        return run_one(cell, workers, self.made, Options(), self.threads, None)


KINDS = (Cases, Recordings, Traces, Runs, Baselines, Maps, Answers, NoProcess)
