"""What a user writes: case files, and maps from parameters to parameters."""

from __future__ import annotations

import json

from damage import damaged_bytes, damaged_tree
from rules import check_answer, limited, told
from subject import ADAMS, CASE, Subject, load_tree, record_into, selected, written

from parity.case.catalogue import load_case_file, shipped_cases
from parity.case.recording import read_recording
from parity.core.hyper import Hyper


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
