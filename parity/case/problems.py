"""What is wrong with a table a user wrote: one line for each problem, with what was allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from parity.core.errors import nearest


def problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line for each problem: key path, what was given, what was allowed, the nearest of it."""
    schema = _schema_of(model)
    lines: list[str] = []
    found = error.errors(include_url=False)
    for one in found:
        # pydantic counts only the good items of a list, and so also calls it too short for a bad one.
        inside = (other["loc"][: len(one["loc"])] for other in found if other is not one)
        if one["type"] == "too_short" and one["loc"] in inside:
            continue
        # A key that is misspelt is also missing; one line is enough.
        strangers = [other["loc"] for other in found if other["type"] == "extra_forbidden"]
        beside = [str(loc[-1]) for loc in strangers if loc[:-1] == one["loc"][:-1]]
        if one["type"] == "missing" and difflib.get_close_matches(str(one["loc"][-1]), beside, cutoff=0.5):
            continue
        line = _line(one, schema)
        if line not in lines:
            lines.append(line)
    return lines


@cache
def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Made once: it takes longer than all the rest of an answer."""
    return model.model_json_schema()


def _line(problem: Mapping[str, Any], schema: dict[str, Any]) -> str:
    location = problem["loc"]
    shown = _without_tags(location, schema)
    path = ".".join(str(part) for part in shown)
    match problem["type"]:
        case "extra_forbidden":
            inside = ".".join(str(part) for part in shown[:-1])
            key = str(location[-1])
            keys = _allowed(schema, location[:-1])
            return f"{inside + ': ' if inside else ''}unknown key {key!r}; {nearest(key, keys)}"
        case "missing":
            return f"{path}: this key is missing"
        case "literal_error":
            given = problem["input"]
            words = _words(schema, location, problem)
            return f"{path}: {given!r} is not allowed; {nearest(str(given), words)}"
        case "union_tag_invalid":
            given = problem["ctx"]["tag"]
            kinds = problem["ctx"]["expected_tags"].replace("'", "").split(", ")
            return f"{path}.kind: {given!r} is not allowed; {nearest(str(given), kinds)}"
        case "union_tag_not_found":
            kinds = _kinds(schema, location)
            return f"{path}.kind: this key is missing; allowed: {', '.join(sorted(kinds))}"
        case "value_error":
            told = str(problem["ctx"]["error"])
        case "case":
            told = problem["msg"]
        case _:
            told = f"{_given(problem['input'])} is not allowed: {_lower(problem['msg'])}"
    return f"{path}: {told}" if path else told


def _given(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _steps(schema: dict[str, Any], location: tuple[str | int, ...]) -> Iterator[tuple[str | int, list[Any]]]:
    """Every part of a location with the schema nodes it may lead to."""
    nodes = _open(schema, schema)
    for part in location:
        nodes = [opened for node in nodes for below in _below(node, part) for opened in _open(schema, below)]
        yield part, nodes


def _open(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _open(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[1]])
    alternatives = () if "discriminator" in node else (*node.get("anyOf", ()), *node.get("oneOf", ()))
    choices = [opened for one in alternatives for opened in _open(schema, one)]
    return choices or [node]


def _below(node: dict[str, Any], part: str | int) -> list[dict[str, Any]]:
    if _is_tag(part):
        return [node]
    if isinstance(part, int):
        return [node["items"]] if "items" in node else []
    if part in node.get("properties", {}):
        return [node["properties"][part]]
    if "discriminator" in node and part in node["discriminator"]["mapping"]:
        return [{"$ref": node["discriminator"]["mapping"][part]}]
    if isinstance(node.get("additionalProperties"), dict):
        return [node["additionalProperties"]]
    return []


def _is_tag(part: str | int) -> bool:
    """Whether a part of a location is no key: a key in brackets is not distinguished, and none of ours has any."""
    return isinstance(part, str) and part in ("[key]", "[list]", "[file]")


def _without_tags(location: tuple[str | int, ...], schema: dict[str, Any]) -> list[str | int]:
    """A location as the user sees it: pydantic also names the kind it chose, and says "[key]" and "[list]"."""
    shown: list[str | int] = []
    nodes = _open(schema, schema)
    for part, below in _steps(schema, location):
        chosen = any("discriminator" in node and part in node["discriminator"]["mapping"] for node in nodes)
        if not chosen and not _is_tag(part):
            shown.append(part)
        nodes = below or nodes
    return shown


def _nodes(schema: dict[str, Any], location: tuple[str | int, ...]) -> list[dict[str, Any]]:
    nodes = _open(schema, schema)
    for _, nodes in _steps(schema, location):  # noqa: B007
        pass
    return nodes


def _allowed(schema: dict[str, Any], location: tuple[str | int, ...]) -> list[str]:
    return [key for node in _nodes(schema, location) for key in node.get("properties", {})]


def _kinds(schema: dict[str, Any], location: tuple[str | int, ...]) -> list[str]:
    told = [node["discriminator"] for node in _nodes(schema, location) if "discriminator" in node]
    return [kind for discriminator in told for kind in discriminator["mapping"]]


def _words(schema: dict[str, Any], location: tuple[str | int, ...], problem: Mapping[str, Any]) -> list[str]:
    words = [word for node in _nodes(schema, location) for word in node.get("enum", ())]
    return words or problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
