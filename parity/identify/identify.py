"""Which Adam a target is: its answers to the probes, a bit-exact search, and what the numbers themselves say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from parity.adam.step import ArraySquareRoot
from parity.core.errors import ParityError
from parity.engine.plan import Candidate
from parity.engine.square_root import LibrarySquareRoot
from parity.identify.answer import LEFT_OPEN, LEFT_OUT, Answer
from parity.identify.probes import Observation
from parity.identify.probing import Probed, probe
from parity.implementations.registry import shipped_implementations


def identify(
    candidate: Candidate,
    dtypes: Sequence[str] = (),
    *,
    timeout: float | None = 300.0,
    hide_moments: bool = False,
) -> dict[str, Answer]:
    """Which Adam a target is, by dtype; all that it runs in where none is named.

    timeout: seconds the target may take for one probe. hide_moments: as if it showed its weights only. ParityError,
    one line, for a target that cannot be asked (see `parity.identify.probing.probe`).
    """
    probed = probe(candidate, list(dict.fromkeys(dtypes)) or candidate.dtypes, timeout, hide_moments=hide_moments)
    if not any(one.observations for one in probed.values()):
        reasons = [refused.reason for one in probed.values() for refused in one.refused]
        raise ParityError(f"{candidate.name}: answers no question: {reasons[0]}")
    with _square_root(candidate.target, timeout, asked=candidate.roots) as library:
        return {dtype: _answer(one, candidate.convention, library) for dtype, one in probed.items()}


def identify_observation(observation: Observation, implementation: str, timeout: float | None = 300.0) -> Answer:
    """Which Adam left a trace or a recording. implementation: its name, which may be one whose claim is known."""
    known = shipped_implementations().get(implementation)
    probed = Probed({observation.probe.name: observation})
    with _square_root(implementation, timeout) as library:
        return _answer(probed, None if known is None else known.convention, library)


@contextmanager
def _square_root(target: str, timeout: float | None, *, asked: bool = False) -> Iterator[ArraySquareRoot | None]:
    """The square root of a target's framework, where it can be asked."""
    known = shipped_implementations().get(target)
    if not asked and (known is None or known.square_root is None):
        yield None
        return
    with LibrarySquareRoot(target, timeout) as library:
        yield library


def _answer(probed: Probed, claim: str | None, library: ArraySquareRoot | None) -> Answer:
    left_out = {one.name: one.reason for one in probed.refused}
    residual: dict[str, Any] = {LEFT_OUT: left_out} if left_out else {}
    if probed.unsteady is not None:
        # What differs from run to run is no answer: nothing else may be read out of it.
        return Answer("unexplained", {}, None, "", (probed.unsteady,), residual)
    if not probed.observations:
        return Answer("unexplained", {}, None, "", (), residual)
    found = _explained(probed.observations, claim, library)
    return replace(found, residual={**found.residual, **residual})


def _explained(observations: Mapping[str, Observation], claim: str | None, library: ArraySquareRoot | None) -> Answer:
    from parity.identify.exact import search
    from parity.identify.fit import fit

    match = search(observations, library)
    found = fit(observations, claim)
    if match is None:
        return found
    left_open = {name: asdict(one) for name, one in match.left_open.items()}
    differing = sum(one.differing for one in match.left_open.values())
    # What the fit could not explain is nothing that is left: every bit was found.
    residual = {"elements": match.elements, "differing": differing}
    return replace(
        found,
        causes=() if found.verdict == "unexplained" else found.causes,
        verdict="explained" if left_open else "identified",
        arithmetic=asdict(match.twin.arithmetic),
        residual={**residual, LEFT_OPEN: left_open} if left_open else residual,
    )
