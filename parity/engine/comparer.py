"""A process that measures: ``python -m parity.engine.comparer``; large rows are spread over several of them.

NumPy hands the interpreter's lock over at every call, so threads measure hardly faster than one;
processes that map the same files do. Requests and answers are JSON lines, as a worker's:

``hello`` -> ``{"ok": true, "protocol": 1, "environment": {}}``
``measure``: ``dtype``, ``actual`` and ``expected`` (array files), ``rows`` and ``places`` (start and stop;
    a place is that of a parameter) -> ``{"ok": true, "metrics": [one for each place]}``
``quit`` -> the process ends
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np

from parity.comparison.metrics import Metrics, measure
from parity.engine.protocol import PROTOCOL
from parity.numerics.formats import format_named

Message = dict[str, Any]


def main() -> None:
    """Serve requests until ``quit`` or the end of standard input."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            message = json.loads(line)
            if message["op"] == "quit":
                return
            answers.write(json.dumps(_answer(message)) + "\n")
            answers.flush()


def _answer(message: Message) -> Message:
    if message["op"] == "hello":
        return {"ok": True, "protocol": PROTOCOL, "environment": {}}
    format = format_named(message["dtype"])
    rows = slice(*message["rows"])
    actual, expected = (
        _mapped(message[side], os.stat(message[side]).st_ino)[rows].view(format.dtype)
        for side in ("actual", "expected")
    )
    places = [slice(*place) for place in message["places"]]
    return {"ok": True, "metrics": [encode_metrics(measure(actual[:, one], expected[:, one])) for one in places]}


@lru_cache(maxsize=24)
def _mapped(path: str, inode: int) -> np.ndarray:
    """An array file (of that inode, not an earlier one), mapped once so that its pages stay."""
    rows: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    return rows


def encode_metrics(metrics: Metrics) -> Message:
    """Every field with its dtype; JSON keeps each float and integer exactly."""
    arrays = {field.name: getattr(metrics, field.name) for field in fields(Metrics)}
    return {name: [array.dtype.str, array.tolist()] for name, array in arrays.items()}


def decode_metrics(encoded: Message) -> Metrics:
    """The inverse of encode_metrics."""
    return Metrics(**{name: np.array(values, dtype) for name, (dtype, values) in encoded.items()})


if __name__ == "__main__":
    main()
