"""How much faster all metrics of one pair are than one check of NumPy or PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from parity.comparison.metrics import measure
from parity.numerics.ulp import ulp_distance

SIZE = 10_000_000
REPEATS = 5
TARGETS = {"np.testing.assert_array_max_ulp": 15.0, "torch.testing.assert_close": 5.0}

Row = tuple[str, float, float, bool]


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


def medians(tasks: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each task; they run in turn, so that a busy machine slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for repeat in range(REPEATS + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(taken)) for name, taken in seconds.items()}


def timings() -> dict[str, dict[str, float]]:
    """Median seconds by pair and task."""
    import torch

    found = {}
    for name, (actual, expected) in pairs().items():
        assert int(ulp_distance(actual, expected).max()) == 4
        tensors = torch.from_numpy(actual), torch.from_numpy(expected)
        found[name] = medians(
            {
                "measure": partial(measure, actual, expected),
                "np.testing.assert_array_max_ulp": partial(
                    np.testing.assert_array_max_ulp, actual, expected, maxulp=1 << 20
                ),
                "torch.testing.assert_close": partial(torch.testing.assert_close, *tensors, rtol=1e-3, atol=1e-3),
            }
        )
    return found


def rows(found: dict[str, dict[str, float]] | None = None) -> list[Row]:
    """(name, ratio, target, passed) of each comparison; the ratio is theirs over ours."""
    return [
        (f"all metrics against {rival}, {pair}", ratio, target, ratio >= target)
        for pair, seconds in (found or timings()).items()
        for rival, target in TARGETS.items()
        if (ratio := seconds[rival] / seconds["measure"])
    ]


def main() -> None:
    """Print the times and the ratios."""
    found = timings()
    for pair, seconds in found.items():
        for task, second in seconds.items():
            print(f"{task:35} {pair:15} {second * 1e3:9.1f} ms {second / SIZE * 1e9:7.2f} ns an element")
    for name, ratio, target, passed in rows(found):
        print(f"{name:65} {ratio:6.1f} x  target {target:4.0f} x  {'passed' if passed else 'FAILED'}")


if __name__ == "__main__":
    main()
