"""Recorded trainings."""

from __future__ import annotations

import json

import numpy as np
from damage import Damaged, damaged_json, damaged_tree
from rules import fails
from subject import Subject, contents, record_into

from parity.case.journal import JOURNAL, digest_of_step, line_of
from parity.case.recording import read_recording
from parity.case.recording_header import HEADER
from parity.core.digest import SEAL, seal_of


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

    def _sealed_anew(self, random):
        """Another header, or another line of the journal, whose seal fits: what it says has to be looked at."""
        folder = self.work / "one"
        if random.random() < 0.5:
            content = damaged_json(random, self.damaged.whole[HEADER], lambda one: {**one, SEAL: seal_of(one)})
            (folder / HEADER).write_bytes(content)
            return "recording.json: sealed anew"
        lines = self.damaged.whole[JOURNAL].splitlines()
        place = random.randrange(len(lines))
        told = damaged_tree(random, json.loads(lines[place]))
        told = {key: one for key, one in told.items() if key != "digest"} if isinstance(told, dict) else {"t": told}
        text = json.dumps(told)[:-1].encode()
        rows = [np.frombuffer(row[place], np.uint8) for row in self.rows.values()]
        lines[place] = line_of(text, digest_of_step(rows, text)).rstrip(b"\n")
        (folder / JOURNAL).write_bytes(b"\n".join(lines) + b"\n")
        return "steps.jsonl: sealed anew"

    def ask(self, random):
        if random.random() < 0.2:
            done = self._sealed_anew(random)
        else:
            done = self.damaged.damage(random, self.outside)
        try:
            code, _, _ = self.answered(["run", self.work / "one", "-k", "no such case", "-o", self.made / "run"])
            if code == 5 or random.random() < 0.1:
                if code == 5 and not done.endswith("anew") and self._rows() != self.rows:
                    fails("read as sound, and other bits stand in it")
                sides = ["one", "two"] if random.random() < 0.5 else ["two", "one"]
                code, out, _ = self.answered(["compare", *(self.work / one for one in sides)])
                if code == 0 and not done.endswith("anew") and self._meaning() != self.sound:
                    fails(f"alike though the recording means something else: {out}")
        finally:
            self.damaged.restore()
        return f"{done}: {code}"
