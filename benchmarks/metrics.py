"""What all metrics of a pair take beside reading it once, and beside one check of NumPy or PyTorch."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.measure import Figure, medians
from parity.comparison.metrics import measure
from parity.numerics.ulp import ulp_distance

SIZE = 10_000_000
ROUNDS = 5
READING_AIM = 4.0
RIVALS = {"np.testing.assert_array_max_ulp": 25.0, "torch.testing.assert_close": 12.0}
"""How many times as fast as these all metrics shall be."""


def pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Two float32 pairs (1, SIZE), normal numbers of equal sign: most differ by a few ULPs, or 0.1 % do."""
    random = np.random.default_rng(0)
    expected = random.standard_normal((1, SIZE), np.float32)
    expected[np.abs(expected) < 1e-6] = 1.0
    offset = random.integers(-4, 5, expected.shape, np.int32)
    rare = random.random(expected.shape, np.float32) < 1e-3
    return {
        "most differ": ((expected.view(np.int32) + offset).view(np.float32), expected),
        "0.1 % differ": ((expected.view(np.int32) + offset * rare).view(np.float32), expected),
    }


def figures(quick: bool = False) -> list[Figure]:
    """Ratios of median seconds; of both pairs the one at which the metrics look worse."""
    import torch

    reading: list[float] = []
    faster: dict[str, list[float]] = {name: [] for name in RIVALS}
    for actual, expected in pairs().values():
        if int(ulp_distance(actual, expected).max()) != 4:
            raise AssertionError("the pair is not what is to be measured")
        tensors = torch.from_numpy(actual), torch.from_numpy(expected)
        seconds = medians(
            {
                "metrics": partial(measure, actual, expected),
                "reading": lambda actual=actual, expected=expected: (actual.max(), expected.max()),
                "np.testing.assert_array_max_ulp": partial(
                    np.testing.assert_array_max_ulp, actual, expected, maxulp=1 << 20
                ),
                "torch.testing.assert_close": partial(torch.testing.assert_close, *tensors, rtol=1e-3, atol=1e-3),
            },
            ROUNDS,
        )
        reading.append(seconds["metrics"] / seconds["reading"])
        for name, ratios in faster.items():
            ratios.append(seconds[name] / seconds["metrics"])
    what = "all metrics of a pair, 10 million float32"
    return [
        Figure(f"{what}, against reading both arrays once (`numpy.max` of each)", max(reading), READING_AIM),
        *(
            Figure(f"{what}: times faster than `{name}`", min(faster[name]), aim, at_least=True)
            for name, aim in RIVALS.items()
        ),
    ]
