"""Square roots that several lanes of a run ask for at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from parity.explain.libraries import Libraries

LANES = 8


def test_lanes_that_ask_at_once_have_the_same_one():
    """One that nobody else knows of would never be ended."""
    together = threading.Barrier(LANES)

    def ask(libraries):
        together.wait(60)
        return libraries.of("torch.adam.forloop")

    with ThreadPoolExecutor(LANES) as threads:
        for _ in range(50):
            with Libraries() as libraries:
                found = {id(one) for one in threads.map(ask, [libraries] * LANES)}
                assert len(found) == 1
