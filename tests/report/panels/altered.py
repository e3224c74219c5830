"""Runs in which one thing is altered, for the tests of what a certificate makes of it."""

from __future__ import annotations

from dataclasses import replace

from parity.engine.power import Power

SAME = ("user.two", "user.one")
NEAR = ("user.one", "numpy.adam.outside")
OTHER = ("numpy.adam.hat", "numpy.adam.outside")
NEVER = ("user.one", "numpy.adam.hat")
CELL = ("small", "float32")


def changed(run, change, pair=None, cell=CELL):
    """The run with one thing of one cell, or of one of its pairs, changed: a function from value to value."""
    cells = []
    for one in run.cells:
        if (one.case, one.dtype) != cell:
            cells.append(one)
        elif pair is None:
            cells.append(change(one))
        else:
            pairs = tuple(change(each) if (each.actual, each.expected) == pair else each for each in one.pairs)
            cells.append(replace(one, pairs=pairs))
    return replace(run, cells=tuple(cells))


def judged(run, pair, cell=CELL, **fields):
    """The run with another verdict on a pair in one cell."""
    return replace(
        run,
        verdicts=tuple(
            replace(one, verdict=replace(one.verdict, **fields))
            if (one.case, one.dtype, one.actual, one.expected) == (*cell, *pair)
            else one
            for one in run.verdicts
        ),
    )


def of_side(name, **fields):
    """Changes the outcome of an implementation."""
    return lambda cell: replace(
        cell, outcomes=tuple(replace(one, **fields) if one.name == name else one for one in cell.outcomes)
    )


def of_why(pair, **fields):
    """Changes why a pair differs; without fields nothing was explained."""
    return lambda cell: replace(
        cell,
        account=replace(
            cell.account,
            pairs=tuple(
                replace(one, **fields) if (one.actual, one.expected) == pair else one
                for one in cell.account.pairs
                if fields or (one.actual, one.expected) != pair
            ),
        ),
    )


def of_weights(**fields):
    """Changes the distance of w."""
    return lambda pair: replace(
        pair,
        distances=tuple(replace(one, **fields) if one.quantity == "w" else one for one in pair.distances),
    )


def power(run, **fields):
    """The run with the power of the budget that holds the pair of the paper in one cell."""
    return replace(run, powers=(Power(*CELL, "operations", 1, holds=(NEAR,), **fields),))


def unexplained(run):
    return changed(run, of_why(NEAR))


def nothing(quantity):
    """Changes the distance of one quantity to one of which no element was compared."""
    return lambda pair: replace(pair, distances=tuple(one for one in pair.distances if one.quantity != quantity))
