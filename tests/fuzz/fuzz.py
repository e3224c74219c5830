"""``make fuzz``: damaged inputs each from a seed; ``--kind KIND --seed SEED --inputs 1`` asks one again."""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

from subjects import KINDS

SHARES = {"trace": 4, "baseline": 4, "case": 3, "recording": 2, "command line": 2, "run": 2, "answer": 2, "map": 1}
"""Of the time: what is asked quickly is asked most."""


def ask(subject, seed):
    """One input; None, or how it failed."""
    try:
        subject.ask(Random(f"{subject.name} {seed}"))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return traceback.format_exc()
    return None


def shortened(failed):
    """The lines of a traceback that tell, those inside of an error's text as well."""
    lines = failed.replace("\\n", "\n").strip().splitlines()
    told = [f"{one.strip()}: {lines[at + 1].strip()}" for at, one in enumerate(lines[:-1]) if "/parity/" in one]
    return "\n".join([*told[-5:], *(one[:400] for one in lines[-4:])])


def ask_many(kind, asked, most, seconds):
    """Inputs of a kind from the seed asked for, until there are so many or the time is over; how many, how many failed.

    Each place at which one failed is told once.
    """
    room = Path(tempfile.mkdtemp(prefix="fuzz-"))
    told = {}
    failed, seed = 0, asked.seed
    try:
        subject = kind(room / kind.__name__)
        begun, worked = time.monotonic(), time.process_time()
        while seed - asked.seed < most and time.monotonic() - begun < seconds:
            if answer := ask(subject, seed):
                failed += 1
                place = shortened(answer)[-1500:].split("line ")[-1][:60]
                if told.setdefault(place, seed) == seed:
                    print(f"--- {kind.name} seed {seed}\n{shortened(answer)}", flush=True)
            seed += 1
    finally:
        shutil.rmtree(room, ignore_errors=True)
    took = f"{time.monotonic() - begun:.0f} s ({time.process_time() - worked:.1f} s of a core)"
    count = seed - asked.seed
    print(f"{kind.name}: seeds {asked.seed} to {seed - 1}, {count} inputs in {took}, {failed} failed", flush=True)
    return count, failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int)
    parser.add_argument("--fixed", nargs="*", default=(), metavar="KIND=INPUTS", help="so many of each, and no more")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("-j", "--jobs", type=int, default=1, help="kinds at a time")
    asked = parser.parse_args()
    fixed = {kind: int(count) for kind, _, count in (one.partition("=") for one in asked.fixed)}
    kinds = [kind for kind in KINDS if asked.kind in (None, kind.name)]
    shared = sum(SHARES[kind.name] for kind in kinds)
    with ProcessPoolExecutor(asked.jobs) as pool:
        jobs = [
            pool.submit(
                ask_many,
                kind,
                asked,
                fixed.get(kind.name, asked.inputs or math.inf),
                math.inf if fixed or asked.inputs else asked.jobs * asked.seconds * SHARES[kind.name] / shared,
            )
            for kind in sorted(kinds, key=lambda one: -SHARES[one.name])
        ]
        counts = [job.result() for job in jobs]
    total, failed = map(sum, zip(*counts, strict=True))
    print(f"{total} inputs, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
