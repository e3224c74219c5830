"""What is kept of what was run: traces, run directories, baselines."""

from __future__ import annotations

import numpy as np
from damage import Damaged, damaged_json
from rules import fails
from subject import ADAMS, CASE, Subject, contents

import parity
from parity.api.baselines import save_baseline
from parity.core.digest import SEAL, seal_of
from parity.core.errors import ParityError
from parity.engine.record import read_run


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
