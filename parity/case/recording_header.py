"""What a recording says of itself: `recording.json`, with a seal over all of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.core.digest import SEAL, seal_of
from parity.core.errors import ParityError
from parity.core.files import json_in, write_atomically
from parity.core.layout import check_shape

SCHEMA_VERSION, UNSEALED_VERSION = 3, 2
"""Of `recording.json`, and of those that can be read though nothing guards their header and journal."""

HEADER = "recording.json"
GRADIENTS = "gradients"
STATES = ("w", "m", "v", "vmax")


def read_header(folder: Path) -> dict[str, Any]:
    """The header of a recording; ParityError where it is none that a recorder wrote."""
    file = folder / HEADER
    try:
        told: dict[str, Any] = json_in(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParityError(f"recording {folder.name!r} has no {HEADER} (looked in {folder})") from None
    except (OSError, ValueError) as error:
        raise ParityError(f"{file}: not a readable recording ({error})") from None
    try:
        version = told["schema_version"]
        if version not in (SCHEMA_VERSION, UNSEALED_VERSION):
            hint = "; record it again" if isinstance(version, int) and version < SCHEMA_VERSION else ""
            allowed = f"{UNSEALED_VERSION}, {SCHEMA_VERSION}"
            raise ParityError(f"{file}: schema version {str(version)[:40]} cannot be read; allowed: {allowed}{hint}")
        if (version == SCHEMA_VERSION or SEAL in told) and told.get(SEAL) != seal_of(told):
            raise ParityError(f"{file}: altered since it was recorded (its seal does not fit); record it again")
        _check_header(told)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise ParityError(f"{file}: not a readable recording ({type(error).__name__}: {error})") from None
    return told


def write_header(folder: Path, told: Mapping[str, Any]) -> None:
    """Write what a recording says of itself, with its schema version and its seal, as a whole or not at all."""
    header = {"schema_version": SCHEMA_VERSION, **told}
    text = json.dumps({**header, SEAL: seal_of(header)}, indent=1, sort_keys=True)
    write_atomically(folder / HEADER, text + "\n")


def _check_header(told: Mapping[str, Any]) -> None:
    """KeyError, TypeError or ValueError where a value of it is of no kind that a recorder writes."""
    for one in told["parameters"]:
        name = one["name"]
        check_shape(one["shape"])
        if not isinstance(name, str) or not 0 <= one["kept"] <= math.prod(one["shape"]):
            raise ValueError(f"a parameter {str(name)[:40]!r} of which {str(one['kept'])[:40]!r} elements were kept")
        if type(one["group"]) is not int or not 0 <= one["group"] < 2**31:
            raise ValueError(f"a parameter {name[:40]!r} of group {str(one['group'])[:40]}")
    names = [one["name"] for one in told["parameters"]]
    if len(set(names)) < len(names) or not names:
        raise ValueError("parameters of one name, or none")
    if "w" not in told["quantities"] or not {*told["quantities"]} <= {*STATES}:
        raise ValueError(f"quantities {str(told['quantities'])[:40]}")
    if len(told["t"]) != len(names) or not all(type(one) is int and 0 <= one <= 2**53 for one in told["t"]):
        raise ValueError(f"t {str(told['t'])[:40]}")
    words = {name: told[name] for name in ("digest", "framework", "optimizer")}
    words |= {} if told["implementation"] is None else {"implementation": told["implementation"]}
    for name, value in words.items():
        if not isinstance(value, str) or not value:
            raise ValueError(f"{name} {str(value)[:40]!r} is no word")
    for name, least in {"elements": 1, "seed": 0, "every": 1, "first": 1}.items():
        value = told.get(name, least)
        if not (type(value) is int and value >= least) and (name, value) != ("elements", None):
            raise ValueError(f"{name} {str(value)[:40]!r}")
