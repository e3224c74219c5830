"""The words of a command line that asks the same again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from parity.baseline.place import Place


def selecting(
    cases: Sequence[Path | str], implementations: Sequence[str], dtypes: Iterable[str], keyword: str
) -> tuple[str, ...]:
    """What is selected, as every command takes it."""
    chosen = ("-k", keyword) if keyword else ()
    return (*map(str, cases), *repeated("-i", implementations), *repeated("-d", dtypes), *chosen)


def placing(places: Collection[Place]) -> Iterator[str]:
    """Both sides of an upgrade."""
    for place in places:
        yield from repeated(place.flag, place.pins)
        yield from repeated(f"{place.flag}-python", filter(None, [place.python]))
        yield from repeated(f"{place.flag}-baseline", [str(place.baseline)] if place.baseline is not None else [])
    yield from repeated("--with", dict.fromkeys(pin for place in places for pin in place.beside))


def repeated(flag: str, values: Iterable[str]) -> tuple[str, ...]:
    """An option once for each of its values."""
    return tuple(word for value in values for word in (flag, value))
