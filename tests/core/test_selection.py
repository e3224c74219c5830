"""``-k``: words, and, or, not, parentheses."""

from __future__ import annotations

import pytest

from parity.core.errors import UsageError
from parity.core.selection import matcher

NAMES = ("epsilon", "long", "tiny", "weight-decay-l2", "epsilon[eps=1e-10]")


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        ("", NAMES),
        ("  ", NAMES),
        ("epsilon", ("epsilon", "epsilon[eps=1e-10]")),
        ("EPSILON", ("epsilon", "epsilon[eps=1e-10]")),
        ("epsilon or long", ("epsilon", "long", "epsilon[eps=1e-10]")),
        ("epsilon and not eps=", ("epsilon",)),
        ("not epsilon and not long", ("tiny", "weight-decay-l2")),
        ("not (epsilon or long)", ("tiny", "weight-decay-l2")),
        ("long or tiny and epsilon", ("long",)),
        ("(long or tiny) and t", ("tiny",)),
        ("not not long", ("long",)),
        ("l2", ("weight-decay-l2",)),
        ("nothing", ()),
    ],
)
def test_an_expression_selects(expression, selected):
    assert tuple(filter(matcher(expression), NAMES)) == selected


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("and", "a word is expected before 'and'"),
        ("long and", "a word is expected before its end"),
        ("long or or tiny", "a word is expected before 'or'"),
        ("not", "a word is expected before its end"),
        ("(long", "a closing ')' is missing"),
        ("()", "a word is expected before ')'"),
        ("long)", "')' is not expected here; allowed: words, and, or, not, ( )"),
        ("long tiny", "'tiny' is not expected here; allowed: words, and, or, not, ( )"),
    ],
)
def test_an_expression_that_cannot_be_read_is_one_line(expression, told):
    with pytest.raises(UsageError) as caught:
        matcher(expression)
    assert str(caught.value) == f"-k {expression!r}: {told}"
