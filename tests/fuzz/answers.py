"""What worker processes answer, and the workers of a cluster."""

from __future__ import annotations

import io
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

from damage import damaged_bytes, damaged_tree
from rules import limited, seen
from subject import ADAMS, CASE, Subject

from parity.case.catalogue import load_case_file
from parity.core.errors import ParityError
from parity.engine.candidates import describe_plugin
from parity.engine.cluster import There
from parity.engine.errand import Errand, answered
from parity.engine.host import end_there, receive, run_there
from parity.engine.local import LocalWorker, local_candidate
from parity.engine.plan import Cell
from parity.engine.run import Options, cell_key, run_one
from parity.engine.workers import Workers
from parity.implementations.registry import shipped_implementations


class Lying:
    """A worker in this process, some of whose answers are others than were made."""

    def __init__(self, name, random):
        self.own = LocalWorker(shipped_implementations()[name])
        self.environment, self.here, self.random = self.own.environment, self.own.here, random
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
        self.cell = Cell(self.case, "float32", self.candidates, (ADAMS,))
        self.left = {}
        asked = Errand(self.cell, cell_key(self.cell, False, False), Options(), None, 0, str(self.made), {}, {})
        try:
            self.left = pickle.loads(run_there("fuzz-0", pickle.dumps(asked), {}))
        finally:
            end_there("fuzz")
        assert There(None, 0, "far", self.made, Options(), None).keep(self.cell, self.left).pairs

    def ask(self, random):
        if random.random() < 0.5:
            return self._left(random)
        if random.random() < 0.6:
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

    def _left(self, random):
        """What a worker of a cluster leaves of a cell: frames, pickles that end early, files that belong elsewhere."""
        whole = dict(self.left)
        name = random.choice(sorted(whole))
        match random.randrange(6):
            case 0:
                whole[
                    random.choice((f"../{name}", str(self.outside / "kept"), "", ".", "parts", "a\0b", "x" * 5000, 3))
                ] = whole.pop(name)
            case 1:
                whole[name] = random.choice((None, "text", 3, [b""]))
            case 2:
                del whole[name]
            case 3:
                whole = random.choice((None, 3, [whole], [*whole], {1: b""}))
            case _:
                whole[name] = damaged_bytes(random, whole[name])
        answer = pickle.dumps(whole)
        frame = len(answer).to_bytes(8, "big") + answer
        if random.random() < 0.3:
            frame = frame[: random.randrange(len(frame))] if random.random() < 0.7 else random.randbytes(8) + answer
        before = seen(self.room, (self.made,))
        folder = self.made / "there"
        folder.mkdir(exist_ok=True)
        place = There(None, 0, "far", folder, Options(), None)
        try:
            with limited():
                told = receive(io.BytesIO(frame))
                found = None if told is None else place.keep(self.cell, answered(told, "far"))
        except (ParityError, OSError) as error:
            found = error
        assert seen(self.room, (self.made,)) == before
        return f"left: {str(found)[:80]}"

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
