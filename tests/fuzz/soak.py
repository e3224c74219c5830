"""``soak.py ROUNDS``: the catalogue over and over in one process; memory and open files stay as they were."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import tempfile
from pathlib import Path

import parity

ADAMS = ("numpy.adam.*", "torch.adam.f*")
"""What a run itself holds does not depend on which framework its workers have imported."""

GROWTH = 1 << 20
"""Bytes in use that a process may have more after the last round than after the second."""

KEPT = 64 << 20
"""And bytes of memory, with what the allocator cannot give back as something in use lies between."""


class Allocated(ctypes.Structure):
    """``struct mallinfo2`` (glibc 2.33)."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]  # fmt: skip


C = ctypes.CDLL(None)
C.mallinfo2.restype = Allocated


def in_use():
    """Bytes that were asked for and not given back: blocks of the C library, and small objects of Python."""
    gc.collect()
    told = C.mallinfo2()
    return told.uordblks + told.hblkhd, sys.getallocatedblocks()


def resident():
    """Bytes of memory that this process holds, once the free ones are given back, of which threads keep their own."""
    C.malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def opened():
    """Where every open file of this process leads, without the one that lists them."""
    return sorted(os.readlink(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd")
                  if os.path.exists(f"/proc/self/fd/{one}"))  # fmt: skip


def main():
    rounds = int(sys.argv[1])
    used, held, files = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            run = parity.run(implementations=ADAMS, output=folder)
            assert run.complete
        used.append(in_use())
        held.append(resident())
        files.append(opened())
        print(_told(used[-1], held[-1], files[-1]), flush=True)
    print(f"{rounds} rounds of {run.counts.cells} cells, {run.counts.pairs} pairs: "
          f"after the second {_told(used[1], held[1], files[1])}; "
          f"after the last {_told(used[-1], held[-1], files[-1])}")  # fmt: skip
    assert len(files[-1]) == len(files[1]), set(files[-1]) ^ set(files[1])
    assert used[-1][0] - used[1][0] < GROWTH
    assert used[-1][1] - used[1][1] < used[1][1] / 100
    assert held[-1] - held[1] < KEPT


def _told(used, held, files):
    return f"{used[0] / 1e6:.1f} MB and {used[1]:,} objects in use, {held / 1e6:.1f} MB held, {len(files)} open files"


if __name__ == "__main__":
    main()
