"""``killed.py KIND N SEED``: N kills at random moments, by a process that forks before it has threads."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from kills import ended, forked, nobody_left
from subject import ADAMS, CASE, selected

import parity.api.baselines
import parity.api.report
import parity.api.run
import parity.api.upgrade
import parity.cli.baseline_command
import parity.cli.report_command
import parity.cli.run_command
import parity.cli.upgrade_command
import parity.report.html.documents
from parity.api.upgrade import RESULT
from parity.baseline.store import baselines_in, check_files, holds_baseline
from parity.case.recording import check_recording, read_recording
from parity.core.errors import ParityError
from parity.engine.record import read_run
from parity.engine.run import PARTS, read_part
from parity.report.panels.documents import read_document


def tables(folder):
    """What a run has computed, as bytes: its table, and the tables of its cells."""
    return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*.parquet"))}


class Killed:
    """Something that writes. room: where; log: what the last one said."""

    def __init__(self, room):
        self.room, self.log = room, room / "log"
        (room / "one.toml").write_text(CASE)
        (room / "two.toml").write_text(CASE.replace("seed = 7", "seed = 8"))
        begun = time.monotonic()
        self.prepare()
        self.seconds = time.monotonic() - begun

    def whole(self, arguments):
        """Do it to its end."""
        code = ended(forked(arguments, self.room, "whole", self.log))
        assert code == 0, (code, self.log.read_text())

    def prepare(self):
        """What is there before, and what an uninterrupted one leaves."""
        self.arguments = ["run", "one.toml", "two.toml", "-q", *selected(ADAMS), "-j", "2", "-o"]
        self.whole([*self.arguments, "whole"])
        self.sound = tables(self.room / "whole")

    def writes(self):
        """What is killed."""
        shutil.rmtree(self.room / "cut", ignore_errors=True)
        return [*self.arguments, "cut"]

    def check(self):
        """What was whole is whole, and what was cut is completed to the same bytes."""
        folder = self.room / "cut"
        kept = 0
        for cell in (folder / PARTS).glob("*.json") if folder.is_dir() else ():
            if not cell.name.endswith("explanations.json"):
                case, _, dtype = cell.stem.partition("__")
                kept += read_part(folder, f"{case} {dtype}") is not None
        if (folder / "run.json").exists():
            read_run(folder)
        self.whole([*self.arguments, "cut", "--resume"])
        assert tables(folder) == self.sound
        read_run(folder)
        assert not list(folder.glob(".*")), list(folder.glob(".*"))
        return kept


class KilledSave(Killed):
    def prepare(self):
        self.arguments = ["baseline", "save", "one.toml", "two.toml", "-q", *selected(ADAMS), "-o", "kept", "--update"]
        self.whole(self.arguments)
        self.sound = self._content()

    def _content(self):
        (found,) = baselines_in(self.room / "kept")
        check_files(found)
        return {name: (found.folder / name).read_bytes() for name, _ in found.cells.values()}

    def writes(self):
        return self.arguments

    def check(self):
        assert self._content() == self.sound
        self.whole(self.arguments)
        assert self._content() == self.sound
        (found,) = baselines_in(self.room / "kept")
        assert len(list(found.folder.iterdir())) == 1 + len(found.cells)
        return 1


class KilledUpgrade(Killed):
    """A saved baseline against this Python with one thread; its folder holds a whole answer when it is begun anew."""

    def prepare(self):
        cases = ["one.toml", "two.toml"]
        self.whole(["baseline", "save", *cases, "-q", *selected(ADAMS), "-o", "kept"])
        sides = ["--before-baseline", "kept", "--after-env", "OMP_NUM_THREADS=1"]
        self.arguments = ["upgrade", *cases, "-q", *selected(ADAMS), *sides, "-o", "up"]
        self.before = self._content("kept")
        self.whole(self.arguments)
        self.sound = self._content("up")

    def _content(self, name):
        return {one: one.read_bytes() for one in sorted((self.room / name).rglob("*")) if one.is_file()}

    def writes(self):
        return self.arguments

    def check(self):
        assert self._content("kept") == self.before
        (saved,) = baselines_in(self.room / "kept")
        check_files(saved)
        # What it had written so far is whole, or says that it is not.
        told = json.loads((self.room / "up" / RESULT).read_text()) if (self.room / "up" / RESULT).exists() else {}
        if told.get("finished"):
            assert told == json.loads(self.sound[self.room / "up" / RESULT])
        else:
            assert "did not come to its end" in refused(read_document, self.room / "up") or not told
        after = self.room / "up" / "after"
        for one in baselines_in(after) if holds_baseline(after) else ():
            check_files(one)
        self.whole(self.arguments)
        assert self._content("up") == self.sound
        return bool(told)


def refused(call, *arguments):
    """The line of an error that a call raises; empty where it raises none."""
    try:
        call(*arguments)
    except ParityError as error:
        return str(error)
    return ""


class KilledReport(Killed):
    def prepare(self):
        self.whole(["run", "one.toml", "-q", *selected(ADAMS), "-o", "run"])
        self.arguments = ["report", "run"]
        self.whole(self.arguments)
        self.sound = self._pages()

    def _pages(self):
        return {
            one: one.read_bytes()
            for one in sorted((self.room / "run").rglob("*"))
            if one.is_file() and "logs" not in one.parts
        }

    def writes(self):
        return self.arguments

    def check(self):
        left = {one: content for one, content in self._pages().items() if not one.name.startswith(".")}
        assert left == self.sound
        self.whole(self.arguments)
        assert self._pages() == self.sound
        return 1


class KilledRecording(Killed):
    STEPS = 150

    def prepare(self):
        import torch  # noqa: F401

        self.place = 0
        begun = time.monotonic()
        self.whole(self._train)
        self.taken = time.monotonic() - begun
        self.sound = self._read()
        assert self.sound.steps == self.STEPS

    def _train(self):
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(40, 5))
        optimizer = torch.optim.Adam([weight], lr=0.1)
        with parity.record(self.room / "made" / str(self.place), optimizer):
            for _ in range(self.STEPS):
                weight.grad = torch.sin(weight.detach())
                optimizer.step()
                time.sleep(0.001)

    def _read(self):
        return read_recording(self.room / "made" / str(self.place))

    def writes(self):
        self.place += 1
        return self._train

    def check(self):
        try:
            found = self._read()
        except ParityError as error:
            told = str(error)
            assert "holds no whole step" in told or "has no recording.json" in told, told
            return 0
        check_recording(found)
        for quantity in ("gradients", *found.quantities):
            rows = zip(found.rows(quantity), self.sound.rows(quantity), strict=False)
            assert all(one.tobytes() == two.tobytes() for one, two in rows)
        return found.steps


# The last one imports torch, which the others do not need.
KINDS = {
    "run": Killed, "baseline save": KilledSave, "upgrade": KilledUpgrade, "report": KilledReport,
    "record": KilledRecording,
}  # fmt: skip


def main():
    asked, times, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for kind in KINDS if asked == "all" else [asked]:
        kill(kind, times, seed)


def kill(kind, times, seed):
    """So many times, at moments that the seeds choose; and look after it each time."""
    room = Path(tempfile.mkdtemp(prefix="killed-"))
    dead = kept = 0
    try:
        one = KINDS[kind](room)
        length = getattr(one, "taken", one.seconds if kind != "report" else one.seconds / 2)
        for number in range(seed, seed + times):
            after, mark = Random(f"{kind} {number}").random() * length, f"{os.getpid()}-{number}"
            pid = forked(one.writes(), room, mark, one.log)
            try:
                dead += ended(pid, after) < 0
                assert nobody_left(mark), "processes are left"
                kept += bool(one.check())
            except BaseException:
                print(f"{kind}: kill {number} after {after:.3f} s (killed.py '{kind}' 1 {number})", flush=True)
                raise
    finally:
        shutil.rmtree(room, ignore_errors=True)
    print(f"{kind}: kills {seed} to {seed + times - 1}: {dead} while it ran, {kept} left something whole")


if __name__ == "__main__":
    main()
