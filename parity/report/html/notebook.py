"""Which card shows which value in a notebook."""

from __future__ import annotations

from functools import singledispatch

from parity.adam.epsilon_conversion import Conversion
from parity.baseline.bisection import Bisected
from parity.baseline.check import Checked
from parity.baseline.drift import Drift
from parity.baseline.upgrade import ReleaseMatrix, Upgraded
from parity.case.case import Case
from parity.comparison.traces import Divergence
from parity.comparison.verdict import Verdict
from parity.engine.record import PairVerdict, Run
from parity.explain.explanation import Explanation
from parity.identify.answer import Answer
from parity.report.html import cards, drift_cards
from parity.report.html.card import Card, render_card
from parity.report.panels.certificate import Certificate


def show(value: object) -> str | None:
    """A value as HTML; None where what makes it is not installed, or nothing is known of its kind."""
    card = card_of(value)
    return None if card is None else render_card(card)


@singledispatch
def card_of(value: object) -> Card | None:
    """What is shown of a value; None where there is nothing but its plain text."""
    return None


card_of.register(Answer, cards.answer_card)
card_of.register(Case, cards.case_card)
card_of.register(Certificate, cards.certificate_card)
card_of.register(Conversion, cards.conversion_card)
card_of.register(Divergence, cards.divergence_card)
card_of.register(Explanation, cards.explanation_card)
card_of.register(PairVerdict, cards.pair_card)
card_of.register(Run, cards.run_card)
card_of.register(Verdict, cards.verdict_card)
card_of.register(Bisected, drift_cards.bisected_card)
card_of.register(Checked, drift_cards.checked_card)
card_of.register(Drift, drift_cards.drift_card)
card_of.register(ReleaseMatrix, drift_cards.releases_card)
card_of.register(Upgraded, drift_cards.upgraded_card)
