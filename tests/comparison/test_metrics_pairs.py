"""Pairs that are measured together are what each pair is alone, place by place."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from parity.comparison import metrics
from parity.comparison.kernels import PIECE
from parity.comparison.metrics import Metrics, measure, measure_pairs
from parity.numerics.formats import FORMATS, from_bits

ROWS, COLUMNS = 3, PIECE + 5000
PLACES = [slice(0, 7), slice(7, 7), slice(7, 4000), slice(4000, COLUMNS)]
PAIRS = [(0, 1), (1, 0), (0, 2), (3, 2), (4, 0), (4, 4), (1, 3), (2, 0)]


def sides(format):
    """Two neighbours, the first again as a part of longer rows, one with NaN and inf, and bits at random."""
    draw = np.random.default_rng(3)
    with np.errstate(all="ignore"):
        first = (draw.standard_normal((ROWS, COLUMNS)) * 1e-3).astype(format.dtype)
    near = from_bits(first.view(format.unsigned) + draw.integers(0, 2, first.shape).astype(format.unsigned), format)
    unusual = near.copy()
    unusual[1, 5:9] = [np.nan, np.inf, -np.inf, 0.0]
    anything = from_bits(draw.integers(0, 1 << 62, first.shape, np.int64).astype(format.unsigned), format)
    wide = np.empty((ROWS, COLUMNS + 3), format.dtype)
    wide[:, 2:-1] = first
    return [first, near, wide[:, 2:-1], unusual, anything]


@pytest.mark.parametrize("threaded", [1, 1 << 40])
@pytest.mark.parametrize("name", FORMATS)
def test_together_as_alone(monkeypatch, name, threaded):
    given = sides(FORMATS[name])
    alone = [[measure(given[one][:, place], given[other][:, place]) for place in PLACES] for one, other in PAIRS]
    monkeypatch.setattr(metrics, "THREADED", threaded)
    together = measure_pairs(given, PAIRS, PLACES)
    assert len(together) == len(PAIRS)
    for pair, found, expected in zip(PAIRS, together, alone, strict=True):
        for place, one, other in zip(PLACES, found, expected, strict=True):
            for field in fields(Metrics):
                told = f"{field.name} of {pair} in {place}"
                np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), told)
    differing = {
        pair: sum(int(one.differing.sum()) for one in found) for pair, found in zip(PAIRS, together, strict=True)
    }
    assert differing[2, 0] == differing[0, 2] == differing[4, 4] == 0
    assert min(differing[pair] for pair in ((0, 1), (3, 2), (4, 0), (1, 3))) > 0


def test_nothing_to_measure():
    assert measure_pairs([], [], []) == []
