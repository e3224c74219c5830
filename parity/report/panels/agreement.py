"""Whether a document agrees with itself: what was altered by hand mostly does not."""

from __future__ import annotations

from collections import Counter

from parity.baseline.document import Document
from parity.baseline.drift import Status
from parity.report.panels.documents import Held, HeldMatrix, HeldSearch, ReadDocument


def disagreement(document: ReadDocument) -> str:
    """Where a document contradicts itself; empty where it does not."""
    # Holdings of a matrix are looked up by its order, so that comes first.
    told = _of_content(document)
    return told or next(filter(None, map(_of_entries, document.holdings)), "")


def _of_content(document: ReadDocument) -> str:
    match document.content:
        case Held(before=before, after=after):
            sides = document.kind is Document.UPGRADE
            return "" if (before is not None) is (after is not None) is sides else "its sides are not there"
        case HeldMatrix(order=order, releases=releases, compared=compared):
            if sorted(order) != sorted(releases):
                return "order and releases name other releases"
            same = compared == sum(held.compared for held in document.holdings)
            return "" if same else "compared is not the sum of its releases"
        case HeldSearch() as search:
            return _of_search(search)


def _of_search(search: HeldSearch) -> str:
    told = {search.last_same, *search.suspects, *(one.release for one in search.decisions)}
    if not told <= {*search.releases}:
        return "it tells of a release that it does not search"
    first = search.suspects[0] if len(search.suspects) == 1 else None
    return "" if search.first_changed == first else "first_changed is not the one suspect"


def _of_entries(held: Held) -> str:
    counted = Counter(one.status for one in held.entries)
    if {status: count for status, count in held.counts.items() if count} != counted:
        return "counts are not those of its entries"
    if held.compared != sum(one.compared for one in held.entries):
        return "compared is not the sum of its entries"
    if any((one.change is None) is (one.status is Status.CHANGED) for one in held.entries):
        return "an entry that changed does not say how, or one that did not does"
    if len({(one.case, one.dtype, one.implementation) for one in held.entries}) != len(held.entries):
        return "an entry is there twice"
    return ""
