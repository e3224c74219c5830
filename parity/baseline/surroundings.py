"""Two environments, and what is not the same in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing about an environment, as it was and as it is."""

    what: str
    before: str
    after: str


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What differs between two environments of `parity.core.environment`; packages and variables singly."""
    left, right = dict(_told(before)), dict(_told(after))
    return tuple(
        Difference(what, left.get(what, ABSENT), right.get(what, ABSENT))
        for what in dict.fromkeys((*left, *right))
        if left.get(what, ABSENT) != right.get(what, ABSENT)
    )


def nearest_environment(
    known: Sequence[Sequence[Mapping[str, Any]]], here: Mapping[str, Any]
) -> tuple[int, tuple[Difference, ...]]:
    """Which of several has least that differs from this environment, the first of equals; and what does.

    known: at least one, each the environments of one baseline, of which the nearest counts.
    """
    ranked = [
        (min((differences(one, here) for one in environments), key=len), place)
        for place, environments in enumerate(known)
    ]
    found, place = min(ranked, key=lambda one: (len(one[0]), one[1]))
    return place, found


def _told(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    for name, value in sorted(environment.items()):
        match value:
            case Mapping():
                told += [(str(key), str(one)) for key, one in sorted(value.items())]
            case list() | tuple():
                told.append((name, " ".join(map(str, value))))
            case _:
                told.append((name, str(value)))
    return told
