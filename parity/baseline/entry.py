"""One implementation on one case in one dtype, as a baseline keeps it: digests of all steps, the bits of a few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.adam.twin import Twin
from parity.baseline.predicted import Foreign, predict
from parity.comparison.trace import Trace
from parity.core.digest import digest_of
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.explain.inputs import Inputs
from parity.explain.standing import Standing
from parity.numerics.formats import to_bits

STEP_CHARACTERS = 8
"""Of the digest of a step: enough to find the step; the whole is digested in full."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept of a trace.

    steps: of the case. digests: by quantity, the digest of all steps, then the first characters of each row's. twin,
    hyper: the from-scratch Adam that predicts the kept rows; known: it equals the trace bit for bit, step by step.
    gaps: by quantity, (kept steps, size), kept bits less predicted ones, modulo the width of the dtype. kept_digest:
    of the kept rows themselves. environment: of the process that made the trace.
    """

    case: str
    dtype: str
    implementation: str
    case_digest: str
    input_digest: str
    steps: int
    hyper: Hyper
    digests: Mapping[str, tuple[str, ...]]
    twin: Twin | Foreign
    known: bool
    gaps: Mapping[str, np.ndarray]
    kept_digest: str
    environment: Mapping[str, Any]

    @property
    def place(self) -> tuple[str, str, str]:
        """Case, dtype and implementation: what an entry is found by."""
        return self.case, self.dtype, self.implementation


def kept_steps(steps: int) -> tuple[int, ...]:
    """Steps whose bits are kept: the first, the powers of two, the last."""
    return tuple(sorted({2**power for power in range(steps.bit_length()) if 2**power <= steps} | {steps}))


def entry_of(trace: Trace, standing: Standing, inputs: Inputs) -> Entry:
    """What is to be kept of a trace, as it is taken for."""
    steps = kept_steps(trace.steps)
    rows = kept_rows(trace, steps)
    twin = standing.adam.twin
    said = predict(twin, trace.hyper, inputs, steps)
    return Entry(
        case=trace.case,
        dtype=trace.format.name,
        implementation=trace.implementation,
        case_digest=trace.case_digest,
        input_digest=trace.input_digest,
        steps=trace.steps,
        hyper=trace.hyper,
        digests=shortened(trace),
        twin=twin,
        # A twin of moments that are wide of their own accord is none of what was asked.
        known=standing.known and standing.trace.hyper == trace.hyper,
        gaps={name: bits - said[name] for name, bits in rows.items()},
        kept_digest=_digest(rows),
        environment=trace.environment,
    )


def shortened(trace: Trace) -> dict[str, tuple[str, ...]]:
    """The digests of a trace as an entry has them."""
    return {
        name: (digest_of("".join(rows).encode()), *(row[:STEP_CHARACTERS] for row in rows))
        for name, rows in trace.digests.items()
    }


def kept_rows(trace: Trace, steps: Sequence[int]) -> dict[str, np.ndarray]:
    """The bits of those rows of a trace, (len(steps), size), by quantity."""
    return {name: to_bits(trace.array(name)[list(steps)]) for name in trace.quantities}


def restore(entry: Entry, inputs: Inputs) -> dict[str, np.ndarray]:
    """The kept bits, (kept steps, size), by quantity.

    ParityError where they cannot be made again, as this parity's from-scratch Adam predicts other ones, or none.
    """
    if isinstance(entry.twin, Foreign):
        raise ParityError(f"{_named(entry)}, they were saved by a parity that knows other forms of Adam")
    said = predict(entry.twin, entry.hyper, inputs, kept_steps(entry.steps))
    rows = {name: gap + said[name] for name, gap in entry.gaps.items()}
    if _digest(rows) != entry.kept_digest:
        raise ParityError(f"{_named(entry)}, they were saved by a parity whose from-scratch Adam computes otherwise")
    return rows


def _named(entry: Entry) -> str:
    return f"{entry.case} in {entry.dtype}, {entry.implementation}: the kept bits cannot be restored"


def _digest(rows: Mapping[str, np.ndarray]) -> str:
    return digest_of(b"".join(np.ascontiguousarray(rows[name]).tobytes() for name in sorted(rows)))
