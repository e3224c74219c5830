"""Digests of what a trace was made from."""

from __future__ import annotations

import numpy as np
import pytest

from parity.core.digest import DIGEST_CHARACTERS, InputDigest

ROWS = np.arange(12, dtype=np.uint32).reshape(3, 4)


def digest(*rows: tuple[np.ndarray, tuple[str, ...]]) -> str:
    made = InputDigest()
    for row, none in rows:
        made.add(row, none)
    return str(made)


FIRST = digest((ROWS[0], ()), (ROWS[1], ("a", "b")))

OTHERS = {
    "a bit": ((ROWS[0], ()), (ROWS[1] ^ np.uint32([0, 0, 0, 1]), ("a", "b"))),
    "the order": ((ROWS[1], ("a", "b")), (ROWS[0], ())),
    "a row more": ((ROWS[0], ()), (ROWS[1], ("a", "b")), (ROWS[2], ())),
    "a row less": ((ROWS[0], ()),),
    "a gradient that is there": ((ROWS[0], ()), (ROWS[1], ("a",))),
    "in another row": ((ROWS[0], ("a", "b")), (ROWS[1], ())),
}


def test_the_same_rows_have_the_same_digest():
    assert digest((ROWS[0].copy(), ()), (ROWS[1].copy(), ("a", "b"))) == FIRST
    assert len(FIRST) == DIGEST_CHARACTERS


@pytest.mark.parametrize("other", OTHERS)
def test_other_rows_have_another(other):
    assert digest(*OTHERS[other]) != FIRST
