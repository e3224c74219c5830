"""What has to be installed for an implementation, found out without importing it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import operator
import re

_ALTERNATIVE = re.compile(r"(?P<module>\w+)(?:(?P<relation>>=|<)(?P<major>\d+))?")
_RELATIONS = {">=": operator.ge, "<": operator.lt}


def unmet(need: str) -> str:
    """Why a need is not met, empty where it is.

    need: modules, any of which will do, parted by ``|``; each as ``keras``, ``keras>=3`` or ``keras<3``, where the
    number is held against the first one of the release that is installed.
    """
    looks = [_look(alternative) for alternative in need.split("|")]
    if any(met for met, _ in looks):
        return ""
    instead = ", ".join(found for _, found in looks if found)
    return f"{need.replace('|', ' or ')} is not installed" + (f" ({instead} is)" if instead else "")


def _look(alternative: str) -> tuple[bool, str]:
    """Whether it is installed, and the release that is installed instead."""
    parts = _ALTERNATIVE.fullmatch(alternative)
    if parts is None:
        raise ValueError(f"a need is 'module', 'module>=3' or 'module<3', not {alternative!r}")
    module = parts["module"]
    if importlib.util.find_spec(module) is None:
        return False, ""
    if parts["relation"] is None:
        return True, ""
    release = importlib.metadata.version(module)
    met = _RELATIONS[parts["relation"]](int(release.partition(".")[0]), int(parts["major"]))
    return met, f"{module} {release}"
