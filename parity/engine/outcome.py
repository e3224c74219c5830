"""What becomes of a participant at the end of its cell: a few facts, and its trace where it is kept."""

from __future__ import annotations

import numpy as np

from parity.case.case import Case
from parity.comparison.distance import Distance, Reach, fold, reach_of
from parity.comparison.divergence import Formats, measure_standstill
from parity.comparison.trace import hyper_to_json, write_header
from parity.core.digest import digest_of
from parity.core.state import QUANTITIES
from parity.engine.convoy import Participant
from parity.engine.plan import Candidate
from parity.engine.protocol import PROGRESS
from parity.engine.result import Failure, Outcome
from parity.engine.window import Window
from parity.numerics.formats import Format, row_format, widest


def outcome_without_end(
    case: Case, candidate: Candidate, participant: Participant | None, failure: Failure | None
) -> Outcome:
    """The outcome of an implementation that failed, or never began."""
    moved = participant is not None and participant.moved
    return Outcome(candidate.name, hyper_to_json(case.hyper_for(candidate.defaults)), (), moved, 0, {}, (), failure)


def outcome_of(
    case: Case,
    participant: Participant,
    window: Window,
    initial: np.ndarray,
    format: Format,
) -> Outcome:
    """The outcome of an implementation that reached the last step. initial: (size,) bits of the weights."""
    last = window.row(case.steps)
    states = {quantity: participant.rows[quantity][last] for quantity in participant.quantities}
    formats = {quantity: participant.formats_of(quantity, case.layout(), format) for quantity in states}
    other = {
        quantity: {parameter.name: one.name for parameter, one in zip(case.layout().parameters, own, strict=True)
                   if one is not format}
        for quantity, own in formats.items()
    }  # fmt: skip
    values = {quantity: bits.view(widest(formats[quantity]).dtype) for quantity, bits in states.items()}
    return Outcome(
        name=participant.candidate.name,
        hyper=hyper_to_json(case.hyper_for(participant.candidate.defaults)),
        quantities=participant.quantities,
        moved=participant.moved,
        nonfinite=sum(int(np.count_nonzero(~np.isfinite(one))) for one in values.values()),
        digests={quantity: digest_of(bits) for quantity, bits in states.items()},
        reaches=_reaches(case, participant, values, formats, initial, format),
        failure=None,
        formats={quantity: own for quantity, own in other.items() if own},
    )


def _reaches(
    case: Case,
    participant: Participant,
    values: dict[str, np.ndarray],
    formats: dict[str, tuple[Format, ...]],
    initial: np.ndarray,
    format: Format,
) -> tuple[Reach, ...]:
    hyper = case.hyper_for(participant.candidate.defaults)
    distances: dict[str, Distance] = {}
    layout = case.layout()
    before = initial.view(row_format(layout, format).dtype)
    for quantity, last in values.items():
        own = Formats(formats[quantity], formats[quantity], format)
        fold(measure_standstill(quantity, before, last, layout, case.steps, hyper, own), distances)
    return tuple(map(reach_of, distances.values()))


def seal_trace(
    case: Case, participant: Participant, format: Format, input_digest: str, environment: dict[str, object]
) -> None:
    """Give the trace of an implementation that reached its end its header."""
    for surplus in (*(set(QUANTITIES) - set(participant.quantities)), PROGRESS):
        (participant.folder / f"{surplus}.npy").unlink()
    write_header(
        participant.folder,
        case=case.name,
        case_digest=case.digest(),
        input_digest=input_digest,
        implementation=participant.candidate.name,
        format=format,
        hyper=case.hyper_for(participant.candidate.defaults),
        layout=case.layout(),
        steps=case.steps,
        quantities=participant.quantities,
        environment=environment,
        formats=participant.formats,
    )
