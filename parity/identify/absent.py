"""What becomes of a parameter at a step at which its gradient is None: in every known Adam, nothing."""

from __future__ import annotations

import numpy as np

from parity.identify.answer import Finding
from parity.identify.average import Average
from parity.identify.points import Points
from parity.identify.standing import changed
from parity.numerics.formats import Format


def absent(points: Points, format: Format) -> Finding | None:
    """What happens instead, at points without a gradient."""
    if not len(points):
        return None
    moved = changed(points.w0, points.w1)
    touched = moved | changed(points.m0, points.m1) | changed(points.v0, points.v1)
    if not touched.any():
        return None
    evidence = {"points": int(touched.sum()), "weights_moved": int(moved.sum())}
    for fresh, what in ((points.g, "a gradient of zero"), (points.late, "the last gradient")):
        m = Average(points.m0, points.m1, fresh, points.beta1, 1 - points.beta1, format)
        v = Average(points.v0, points.v1, fresh**2, points.beta2, 1 - points.beta2, format)
        shown = [one for one in (m, v) if not np.isnan(one.after).all()]
        if shown and not any(one.wrong.any() for one in shown):
            return Finding("none-gradient", f"None is taken as {what}", evidence)
    if not (touched & ~moved).any() and not np.isnan(points.m1).all():
        return Finding("none-gradient", "weights move at steps without a gradient, the moments do not", evidence)
    return Finding("none-gradient", "a parameter changes at steps at which its gradient is None", evidence)
