"""``soak.py ROUNDS``: the catalogue over and over in one process; memory and open files stay as they were."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from pathlib import Path

import parity

ADAMS = ("numpy.adam.*", "torch.adam.f*")
"""What a run itself holds does not depend on which framework its workers have imported."""

GROWTH = 24 << 20
"""Bytes that a process may have more after the last round than after the second: of the allocator, not of ours."""


def resident():
    """Bytes of memory that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def opened():
    """Where every open file of this process leads, without the one that lists them."""
    return sorted(os.readlink(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd")
                  if os.path.exists(f"/proc/self/fd/{one}"))  # fmt: skip


def main():
    rounds = int(sys.argv[1])
    held, files = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            run = parity.run(implementations=ADAMS, output=folder)
            assert run.complete
        held.append(resident())
        files.append(opened())
        print(f"{held[-1] / 1e6:.1f} MB, {len(files[-1])} open files", flush=True)
    print(f"{rounds} rounds of {run.counts.cells} cells, {run.counts.pairs} pairs: "
          f"{held[1] / 1e6:.1f} MB after the second, {held[-1] / 1e6:.1f} MB after the last; "
          f"{len(files[1])} and {len(files[-1])} open files")  # fmt: skip
    assert len(files[-1]) == len(files[1]), set(files[-1]) ^ set(files[1])
    assert held[-1] - held[1] < GROWTH


if __name__ == "__main__":
    main()
