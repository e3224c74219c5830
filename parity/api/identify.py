"""Which Adam a target is, asked by its name."""

from __future__ import annotations

from collections.abc import Iterable

from parity.explain.explain import candidate_of
from parity.identify.answer import Answer
from parity.identify.identify import identify as identify_candidate
from parity.numerics.formats import FORMATS, format_named


def identify(
    target: str, dtypes: Iterable[str] = (), *, timeout: float | None = 300.0, hide_moments: bool = False
) -> dict[str, Answer]:
    """Ask a target the questions of `parity identify`, and say which Adam it is, by dtype.

    target: a name, or a plug-in ('module:attribute', 'file.py:attribute'). dtypes: the widest first whatever the
    order; all that it runs in where none is named. timeout: seconds the target may take for one question, None for
    ever. hide_moments: look at the weights only. ParityError for a bad name or dtype, or where no question has an
    answer.
    """
    candidate = candidate_of(target, timeout)
    wanted = {format_named(dtype).name for dtype in dtypes} or set(candidate.dtypes)
    ordered = [dtype for dtype in FORMATS if dtype in wanted]
    return identify_candidate(candidate, ordered, timeout=timeout, hide_moments=hide_moments)
