"""How steps are batched, kept or ringed changes no number."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import parity
from parity.comparison.trace import read_trace

PAIR = ("numpy.adam.hat", "numpy.adam.outside")
PARAMETERS = [
    {"name": "kernel", "shape": [3, 4]},
    {"name": "none", "shape": [0, 2]},
    {"name": "bias", "shape": [5]},
]
ROW_BYTES = 17 * 4


def facts(run):
    """Everything a run found but its keys, which name whether traces were kept."""
    (cell,) = run.cells
    return run.verdicts, cell.pairs, cell.outcomes, cell.input_digest, cell.rows


@pytest.fixture
def run_pair(run_small):
    def run(output, **options):
        return run_small(*PAIR, output=output, steps=11, parameters=PARAMETERS, options=parity.Options(**options))

    return run


@pytest.mark.parametrize("steps_of_batch", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("overlaps", [True, False])
def test_numbers_do_not_depend_on_the_batch(run_pair, monkeypatch, tmp_path, steps_of_batch, overlaps):
    whole = run_pair("whole")
    monkeypatch.setattr("parity.engine.window.BATCH_BYTES", steps_of_batch * ROW_BYTES)
    monkeypatch.setattr("parity.engine.window.OVERLAP_BYTES", 1 << 20 if overlaps else 1)
    assert facts(run_pair("cut")) == facts(whole)
    tables = [pq.read_table(tmp_path / name / "divergence.parquet").to_pandas() for name in ("whole", "cut")]
    order = ["quantity", "parameter", "step"]
    left, right = (table.sort_values(order, ignore_index=True).astype(object) for table in tables)
    assert left.equals(right)


@pytest.fixture(scope="module")
def kept(tmp_path_factory, case_text):
    folder = tmp_path_factory.mktemp("kept")
    (folder / "small.toml").write_text(case_text(steps=11, parameters=PARAMETERS))
    run = parity.run([folder / "small.toml"], PAIR, output=folder / "run", options=parity.Options(keep_traces=True))
    return run, folder / "run"


def test_kept_traces_change_no_number(kept, run_pair):
    assert facts(run_pair("streamed")) == facts(kept[0])


def test_kept_traces_compared_again_give_the_same_numbers(kept):
    run, folder = kept
    traces = folder / "traces" / "small" / "float32"
    again = parity.compare(*(traces / name for name in PAIR))
    (pair,) = run.cells[0].pairs
    assert again.distances == pair.distances
    streamed = pq.read_table(folder / "divergence.parquet").to_pandas()
    assert again.frame().astype(object).equals(streamed.astype(object))


def test_a_trace_holds_unsigned_integers_from_the_initial_state_on_and_no_pickle(kept):
    _, folder = kept
    traces = folder / "traces" / "small" / "float32"
    weights = np.load(traces / "input" / "weights.npy", allow_pickle=False)
    for name in PAIR:
        trace = read_trace(traces / name)
        assert sorted(path.name for path in (traces / name).iterdir()) == [
            "m.npy",
            "trace.json",
            "v.npy",
            "w.npy",
        ]
        for quantity in ("w", "m", "v"):
            bits = np.load(traces / name / f"{quantity}.npy", mmap_mode="r", allow_pickle=False)
            assert bits.dtype == np.uint32
            assert bits.shape == (12, 17)
            assert np.array_equal(bits[0], weights[0] if quantity == "w" else np.zeros(17))
            assert trace.array(quantity).dtype == np.float32
        header = json.loads((traces / name / "trace.json").read_text())
        assert header["hyper"]["lr"] == (1e-3).hex()
        assert [len(digests) for digests in header["digests"].values()] == [12, 12, 12]


def test_the_trace_of_an_implementation_that_fails_leaves_nothing_behind(run_small, write_adam, tmp_path):
    crashing = write_adam("crashing", before="if t == 3: raise ValueError('planted')")
    run_small(crashing, write_adam(), options=parity.Options(keep_traces=True))
    traces = tmp_path / "run" / "traces" / "small" / "float32"
    assert sorted(path.name for path in traces.iterdir()) == ["input", "numpy.adam.outside", "user.plugin"]
