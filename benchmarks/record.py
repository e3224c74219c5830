"""What recording adds to the steps of a small classifier of digits, which has no time to hide it in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import Figure, medians

STEPS, ROUNDS, BATCH = 50, 40, 64
SAMPLE_AIM, WHOLE_AIM = 1.1, 1.5


def figures(quick: bool = False) -> list[Figure]:
    """Ratios of median seconds of a step, recorded over not recorded, in turns."""
    import parity

    with tempfile.TemporaryDirectory(prefix="parity-bench-") as folder, ExitStack() as stack:
        tasks = {}
        for name, options in (("plain", None), ("sample", {"elements": 64}), ("whole", {})):
            optimizer, model, train = _classifier()
            if options is not None:
                stack.enter_context(parity.record(Path(folder) / name, optimizer, model=model, **options))
            tasks[name] = train
        seconds = medians(tasks, ROUNDS)
    what = "a step of a torch classifier of digits that is recorded"
    return [
        Figure(f"{what}, 64 elements of every tensor, over one that is not", seconds["sample"] / seconds["plain"],
               SAMPLE_AIM),
        Figure(f"{what}, everything, over one that is not", seconds["whole"] / seconds["plain"], WHOLE_AIM),
    ]  # fmt: skip


def _classifier() -> tuple[object, object, Callable[[], object]]:
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(BATCH, 64), torch.randint(0, 10, (BATCH,))

    def train() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    return optimizer, model, train
