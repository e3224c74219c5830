"""The same question has the same answer, byte for byte; another seed has another."""

from __future__ import annotations

import parity
from parity.engine.record import read_run

PAIR = ("numpy.adam.hat", "numpy.adam.outside")
FILES = ("run.json", "divergence.csv", "divergence.parquet", "report.md")


def test_two_runs_are_byte_identical_whatever_the_number_of_jobs(write_case, write_adam, tmp_path):
    cases = [
        write_case(name, dtypes=["float32", "bfloat16"], steps=steps) for name, steps in (("a", 9), ("b", 2), ("c", 5))
    ]
    plugin = write_adam()
    contents = []
    for folder, jobs in (("first", 1), ("second", 1), ("both", 2)):
        parity.run(cases, [*PAIR, plugin], output=tmp_path / folder, options=parity.Options(jobs=jobs, csv=True))
        contents.append({name: (tmp_path / folder / name).read_bytes() for name in FILES})
    assert contents[0] == contents[1] == contents[2]


def test_seeds_decide_the_inputs(run_small):
    cells = [run_small(*PAIR, output=str(place), seed=seed).cells[0] for place, seed in enumerate((7, 7, 8))]
    digests = [(cell.input_digest, cell.outcomes[0].digests, cell.key) for cell in cells]
    assert digests[0] == digests[1]
    assert all(same != other for same, other in zip(digests[0], digests[2], strict=True))


def test_a_case_without_a_seed_is_seeded(run_small):
    runs = [run_small(*PAIR, output=str(place), seed=None) for place in range(2)]
    assert runs[0] == runs[1]


def test_what_is_written_is_read_again(run_small, write_adam, tmp_path):
    """Infinite distances included."""
    nan = write_adam(after="if t == 3: w['bias'] = w['bias'] * np.float32('nan')")
    run = run_small(nan)
    assert any(distance.worst_max_abs.value == float("inf") for distance in run.cells[0].pairs[0].distances)
    assert read_run(tmp_path / "run") == run
