"""Whole traces of a sample of a cell that is too large for whole traces of everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from parity.case.case import Case
from parity.case.gradients import fill_start, fill_weights
from parity.case.sample import sample_of
from parity.comparison.trace import create_rows, write_header
from parity.engine.account import Explained
from parity.engine.convoy import Participant
from parity.engine.result import EXPLAINED, SAMPLED, CellResult
from parity.numerics.formats import Format, in_format, row_format, widest


class Sampling:
    """Keeps of every row what a case on a sample has of it; folder: one below it for each implementation.

    case: as `parity.case.sample.sampled` gives it.
    """

    def __init__(self, case: Case, folder: Path, format: Format) -> None:
        self.case, self.folder = case, folder
        self._format, self._layout = format, case.layout()
        self._stored = row_format(self._layout, format)
        self._rows: dict[tuple[str, str], np.ndarray] = {}
        w, m, v, vmax = np.zeros((4, self._layout.size), self._stored.unsigned)
        fill_weights(case, format, w)
        fill_start(case, format, {"m": m, "v": v, "vmax": vmax})
        self._first = {"w": w, "m": m, "v": v, "vmax": vmax}

    def keep(self, participant: Participant, rows: slice, batch: range) -> None:
        """Take note of the steps of a batch, which stand in some rows of a participant."""
        for quantity in participant.quantities:
            found = sample_of(participant.rows[quantity][rows], self.case)
            kept = self._of(participant, quantity)
            kept[batch[0] : batch[-1] + 1] = found

    def _of(self, participant: Participant, quantity: str) -> np.ndarray:
        place = participant.candidate.name, quantity
        if place not in self._rows:
            format = widest(participant.formats_of(quantity, self._layout, self._format))
            folder = self.folder / participant.candidate.name
            rows = create_rows(folder, quantity, self.case.steps + 1, self._layout, format)
            if quantity in self._first:
                first = in_format(self._first[quantity].view(self._stored.dtype), format)
                rows[0] = first.view(format.unsigned)
            self._rows[place] = rows
        return self._rows[place]

    def seal(self, participant: Participant, input_digest: str, environment: dict[str, object]) -> None:
        """Give the trace of an implementation that reached its end its header."""
        write_header(
            self.folder / participant.candidate.name,
            case=self.case.name,
            case_digest=self.case.digest(),
            input_digest=input_digest,
            implementation=participant.candidate.name,
            format=self._format,
            hyper=self.case.hyper_for(participant.candidate.defaults),
            layout=self._layout,
            steps=self.case.steps,
            quantities=participant.quantities,
            environment=environment,
            formats=participant.formats,
        )


def of_a_sample(explained: Explained, sample: Case, result: CellResult) -> Explained:
    """The same, saying that it is no more than a sample; what the whole shows to be identical is."""
    size = sample.layout().size
    told = f"explained on {size:,} of {result.elements:,} elements"
    same = {(one.actual, one.expected) for one in result.pairs if not any(each.differing for each in one.distances)}
    pairs = tuple(
        one
        if (one.actual, one.expected) in same
        else replace(
            one,
            answer=SAMPLED if one.answer in (EXPLAINED, "identical") else one.answer,
            sentence=f"{one.sentence.removesuffix('.')} ({told}).",
        )
        for one in explained.account.pairs
    )
    document = explained.document
    if document is not None:
        document = replace(document, reason="; ".join(filter(None, [told, document.reason])))
    return Explained(replace(explained.account, pairs=pairs, sampled=size), document)
