"""What is read is what was written, bit for bit; everything else is refused in one line."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from parity.adam.twins import TWINS
from parity.api.baselines import save_baseline
from parity.baseline.drift import Status, drift
from parity.baseline.entry import kept_steps, restore
from parity.baseline.predicted import Foreign, twin_from_json, twin_to_json
from parity.baseline.store import INDEX, baselines_in, check_files, pack, read_baseline, unpack, write_baseline
from parity.case.catalogue import load_case_file, shipped_cases
from parity.core.errors import NothingCompared, ParityError
from parity.explain.inputs import Inputs
from parity.numerics.formats import FORMATS, format_named

ADAMS = ("numpy.adam.hat", "numpy.adam.outside")
CASES = [shipped_cases() / name for name in ("constant.toml", "none-gradients.toml", "twins.toml")]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a baseline of two from-scratch Adams on three cases; not to be written."""
    baseline, failed = save_baseline(tmp_path_factory.mktemp("saved"), CASES, ADAMS)
    assert failed == ()
    return baseline.folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(saved, tmp_path / "baselines" / saved.name)


def entries(folder):
    baseline = read_baseline(folder)
    return [entry for cell in baseline.cells for entry in baseline.entries(*cell).values()]


def test_the_steps_that_are_kept():
    assert kept_steps(1) == (1,)
    assert kept_steps(2) == (1, 2)
    assert kept_steps(32) == (1, 2, 4, 8, 16, 32)
    assert kept_steps(2100) == (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 2100)


@pytest.mark.parametrize(("name", "dtype"), [(name, dtype) for name, claims in TWINS.items() for dtype in claims])
def test_every_twin_comes_back_from_json(name, dtype):
    twin = TWINS[name][dtype]
    assert twin_from_json(json.loads(json.dumps(twin_to_json(twin)))) == twin


@pytest.mark.parametrize(("name", "dtype"), [(name, dtype) for name, claims in TWINS.items() for dtype in claims])
def test_the_blanks_in_a_form_do_not_matter(name, dtype):
    """A baseline that is kept outlives the layout of a program."""
    twin = TWINS[name][dtype]
    told = twin_to_json(twin)
    told["arithmetic"] = {
        key: value.replace(" ", "\n  ") if isinstance(value, str) and " = " in value else value
        for key, value in told["arithmetic"].items()
    }
    assert told != twin_to_json(twin)
    assert twin_from_json(told) == twin


def test_a_form_that_only_another_parity_knows(saved):
    """The digests speak all the same, and what cannot be told is said; nothing of it is lost where it is written."""
    entry = next(one for one in entries(saved) if one.implementation == "numpy.adam.hat" and one.dtype == "float32")
    case = next(case for path in CASES for case in load_case_file(path) if case.name == entry.case)
    inputs, environment = Inputs(case, format_named("float32")), dict(entry.environment)
    told = twin_to_json(entry.twin)
    told["arithmetic"] |= {"update": "w = w - something_new(m)"}
    foreign = twin_from_json(told)
    assert foreign == Foreign(told)
    (back,) = unpack(pack([replace(entry, twin=foreign)], [environment]), entry.case, entry.dtype, [environment])
    assert back.twin == foreign
    assert drift(back, entry, inputs).status is Status.IDENTICAL
    other = next(one for one in entries(saved) if one.place == (*entry.place[:2], "numpy.adam.outside"))
    changed = drift(back, replace(other, implementation=entry.implementation), inputs)
    assert changed.status is Status.CHANGED
    assert "nothing can be said of its size" in changed.detail
    assert "knows other forms of Adam" in changed.detail
    assert not changed.change.explained
    with pytest.raises(ParityError, match="knows other forms of Adam"):
        restore(back, inputs)


def test_a_baseline_is_read_as_it_was_written(saved):
    found = entries(saved)
    steps = {case.name: case.steps for path in CASES for case in load_case_file(path)}
    dtypes = {case.name: case.dtypes for path in CASES for case in load_case_file(path)}
    assert {entry.place for entry in found} == {(c, d, a) for c in steps for d in dtypes[c] for a in ADAMS}
    for entry in found:
        assert entry.known
        assert set(entry.digests) == set(entry.gaps) == {"w", "m", "v"}
        assert all(len(rows) == steps[entry.case] + 2 for rows in entry.digests.values())
        # A from-scratch Adam is what it is predicted to be.
        assert not any(gap.any() for gap in entry.gaps.values())


def test_packing_keeps_every_bit_of_every_gap(saved):
    entry = entries(saved)[0]
    generator = np.random.default_rng(7)
    noise = {
        name: generator.integers(0, np.iinfo(gap.dtype).max, gap.shape, gap.dtype, endpoint=True)
        for name, gap in entry.gaps.items()
    }
    changed = replace(entry, gaps=noise, known=False)
    (back,) = unpack(pack([changed], [dict(entry.environment)]), entry.case, entry.dtype, [dict(entry.environment)])
    assert back.gaps.keys() == noise.keys()
    assert all(np.array_equal(back.gaps[name], noise[name]) for name in noise)
    assert (back.digests, back.twin, back.hyper, back.known) == (changed.digests, entry.twin, entry.hyper, False)


def test_bits_that_another_parity_predicted_are_not_restored_wrongly(saved):
    entry = next(one for one in entries(saved) if one.implementation == "numpy.adam.hat" and one.dtype == "float32")
    case = next(case for path in CASES for case in load_case_file(path) if case.name == entry.case)
    inputs = Inputs(case, format_named("float32"))
    assert restore(entry, inputs)["w"].shape == (len(kept_steps(case.steps)), case.layout().size)
    other = replace(entry, twin=TWINS["numpy.adam.outside"]["float32"])
    with pytest.raises(ParityError, match="cannot be restored"):
        restore(other, inputs)


def _refused(folder):
    """What is said of a baseline that is read; empty where nothing is."""
    try:
        check_files(read_baseline(folder))
    except ParityError as error:
        return str(error)
    return ""


def test_any_flipped_bit_is_found(copy):
    """1,000 of them, each alone, in every file; and every bit of the first 16 bytes of each."""
    files = sorted(copy.iterdir())
    assert len(files) == 1 + len(read_baseline(copy).cells)
    generator = random.Random(20261123)
    sizes = [path.stat().st_size for path in files]
    flips = [(path, bit) for path in files for bit in range(8 * min(16, path.stat().st_size))]
    for path in generator.choices(files, sizes, k=1000):
        flips.append((path, generator.randrange(8 * path.stat().st_size)))
    missed = []
    for path, bit in flips:
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        told = _refused(copy)
        path.write_bytes(content)
        if "\n" in told or str(copy) not in told:
            missed.append((path.name, bit, told))
    assert missed == []
    check_files(read_baseline(copy))


def test_a_truncated_file_a_missing_one_and_a_newer_schema(copy):
    cell = next(path for path in sorted(copy.iterdir()) if path.name != INDEX)
    content = cell.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        cell.write_bytes(content[:length])
        with pytest.raises(ParityError, match=r"\.xz: truncated or altered"):
            check_files(read_baseline(copy))
    cell.unlink()
    with pytest.raises(ParityError, match=r"\.xz: missing, though baseline\.json lists it"):
        check_files(read_baseline(copy))
    cell.write_bytes(content)
    told = json.loads((copy / INDEX).read_text())
    (copy / INDEX).write_text(json.dumps({**told, "schema": 1}))
    with pytest.raises(
        ParityError, match=r"schema 1, of an older parity .*; make it again with 'parity baseline save'$"
    ):
        read_baseline(copy)
    (copy / INDEX).write_text(json.dumps({**told, "schema": 3}))
    with pytest.raises(ParityError, match="schema 3 is newer than this parity, which reads 2"):
        read_baseline(copy)
    (copy / INDEX).write_text("")
    with pytest.raises(ParityError, match=r"baseline\.json: truncated or altered"):
        read_baseline(copy)
    (copy / INDEX).unlink()
    with pytest.raises(ParityError, match="no baseline here"):
        baselines_in(copy.parent)


def test_without_an_entry_nothing_is_written(tmp_path):
    with pytest.raises(NothingCompared, match="nothing was recorded"):
        write_baseline(tmp_path / "new", [()])
    assert not (tmp_path / "new").exists()


FULL = """
import resource, sys
from pathlib import Path
from parity.baseline.store import read_baseline, write_baseline
from parity.core.errors import ParityError
old = read_baseline(Path(sys.argv[1]))
from dataclasses import replace
cells = [tuple(replace(one, known=False) for one in old.entries(*cell).values()) for cell in old.cells]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    write_baseline(old.folder.parent, cells, old)
except ParityError as error:
    print(error)
    sys.exit(4)
"""


@pytest.mark.parametrize("full", ["at once", "in the last file"])
def test_no_room_on_the_disk_leaves_the_old_one_as_it_was(copy, full):
    """The kernel refuses to let any file grow beyond so many bytes, as a full disk would."""
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    largest = max(len(content) for name, content in before.items() if name != INDEX)
    room = 0 if full == "at once" else len(before[INDEX]) - 1
    assert room == 0 or largest < room
    ended = subprocess.run([sys.executable, "-c", FULL, copy, str(room)], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (4, "")
    assert "cannot be written (File too large); what was there stays" in ended.stdout
    assert ended.stdout.count("\n") == 1
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


WRITING = """
import sys
from dataclasses import replace
from pathlib import Path
from parity.baseline.store import read_baseline, write_baseline
folder = Path(sys.argv[1])
print("ready", flush=True)
turn = False
while True:
    old = read_baseline(folder)
    cells = [tuple(replace(one, known=turn) for one in old.entries(*cell).values()) for cell in old.cells]
    write_baseline(folder.parent, cells, old)
    turn = not turn
"""


@pytest.mark.thorough
def test_a_kill_at_any_moment_leaves_one_whole_baseline(copy):
    """A process that saves without end, killed 12 times; what it leaves is whole, and is one or the other."""
    reference = [(entry.place, entry.digests) for entry in entries(copy)]
    generator = random.Random(4)
    for _ in range(12):
        process = subprocess.Popen([sys.executable, "-c", WRITING, copy], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(generator.uniform(0, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        baseline = read_baseline(copy)
        check_files(baseline)
        assert [(entry.place, entry.digests) for entry in entries(copy)] == reference
    write_baseline(copy.parent, [tuple(baseline.entries(*cell).values()) for cell in baseline.cells], baseline)
    assert len(list(copy.iterdir())) == 1 + len(baseline.cells), "leftovers of the killed are swept"


def test_all_formats_are_kept(saved):
    assert {entry.dtype for entry in entries(saved)} == set(FORMATS)
