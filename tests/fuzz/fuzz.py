"""``make fuzz``: damaged inputs each from a seed; ``--kind KIND --seed SEED --inputs 1`` asks one again."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int)
    parser.add_argument("--fixed", nargs="*", default=(), metavar="KIND=INPUTS", help="so many of each, and no more")
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    room = Path(tempfile.mkdtemp(prefix="fuzz-"))
    failures = Counter()
    total = 0
    try:
        fixed = {kind: int(count) for kind, _, count in (one.partition("=") for one in asked.fixed)}
        kinds = [kind for kind in KINDS if asked.kind in (None, kind.name)]
        shared = sum(SHARES[kind.name] for kind in kinds)
        for kind in kinds:
            subject = kind(room / kind.__name__)
            begun, worked, count, seed = time.monotonic(), time.process_time(), 0, asked.seed
            told = {}
            most, limit = fixed.get(kind.name, asked.inputs or 1 << 60), asked.seconds * SHARES[kind.name] / shared
            while count < most and (fixed or asked.inputs or time.monotonic() - begun < limit):
                failed = ask(subject, seed)
                if failed:
                    place = shortened(failed)[-1500:].split("line ")[-1][:60]
                    if place not in told:
                        told[place] = seed
                        print(f"--- {kind.name} seed {seed}\n{shortened(failed)}", flush=True)
                    failures[kind.name] += 1
                count, seed = count + 1, seed + 1
            total += count
            print(f"{kind.name}: seeds {asked.seed} to {seed - 1}, {count} inputs in {time.monotonic() - begun:.0f} s "
                f"({time.process_time() - worked:.1f} s of a core), "
                  f"{failures[kind.name]} failed", flush=True)  # fmt: skip
    finally:
        shutil.rmtree(room, ignore_errors=True)
    print(f"{total} inputs, {sum(failures.values())} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
