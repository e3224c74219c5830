"""The search itself, on answers that are made up: every place of the change, every place that cannot tell."""

from __future__ import annotations

import math
from itertools import product

import pytest

from parity.baseline.bisection import Answer, Suspects, next_release, suspects

RELEASES = tuple(f"1.{minor}" for minor in range(12))


def search(releases, first, untold):
    """Where it ends, and what was asked."""
    answers = {}
    while (release := next_release(releases, answers)) is not None:
        assert release not in answers
        place = releases.index(release)
        answers[release] = Answer.UNTOLD if place in untold else Answer.CHANGED if place >= first else Answer.SAME
    return suspects(releases, answers), answers


@pytest.mark.parametrize("count", range(2, 13))
def test_every_place_is_found_in_as_few_steps_as_halving_takes(count):
    releases = RELEASES[:count]
    for first in range(1, count):
        found, answers = search(releases, first, ())
        assert found == Suspects(releases[first - 1], (releases[first],))
        assert len(answers) <= math.ceil(math.log2(count - 1))


def test_where_some_cannot_tell_the_change_is_among_the_suspects_and_no_more_than_needed():
    count = 7
    for first, untold in product(range(1, count), product([False, True], repeat=count - 2)):
        closed = {place for place, is_closed in enumerate(untold, start=1) if is_closed}
        found, _ = search(RELEASES[:count], first, closed)
        last, end = RELEASES.index(found.last), RELEASES.index(found.releases[-1])
        assert last < first <= end
        assert set(range(last + 1, end)) <= closed
        assert found.releases == RELEASES[last + 1 : end + 1]


def test_two_releases_need_no_step():
    assert next_release(RELEASES[:2], {}) is None
    assert suspects(RELEASES[:2], {}) == Suspects("1.0", ("1.1",))
