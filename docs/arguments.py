"""How docstrings are shown on the page of the API: an argument a line, what is raised at the end.

In the code they are prose, ``name: what it is.``, one after the other.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

RAISED = r"(?<=[.:] )(?=(?:Raises |\w+Error\b|NothingCompared\b|NoChange\b)[^.:]* (?:for|where|with|unless) )"


class Arguments(griffe.Extension):
    """What `mkdocs.yml` names."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Every function, and every class by what it is made of."""
        if isinstance(obj, griffe.Class) and "NamedTuple" in map(str, obj.bases):
            obj.set_member("__init__", _constructor(obj))
        if obj.docstring is not None and (obj.is_function or obj.is_class):
            obj.docstring.value = listed(obj.docstring.value, _names(obj))


def _constructor(obj: griffe.Class) -> griffe.Function:
    """What makes a NamedTuple, whose fields are its arguments."""
    fields = [one for one in obj.members.values() if isinstance(one, griffe.Attribute)]
    kind = griffe.ParameterKind.positional_or_keyword
    asked = (griffe.Parameter(one.name, annotation=one.annotation, default=one.value, kind=kind) for one in fields)
    return griffe.Function("__init__", parameters=griffe.Parameters(griffe.Parameter("self", kind=kind), *asked))


def _names(obj: griffe.Object) -> list[str]:
    if isinstance(obj, griffe.Function):
        return [one.name for one in obj.parameters]
    return [name for name, one in obj.members.items() if one.is_attribute]


def listed(text: str, names: list[str]) -> str:
    """A docstring as Markdown; what follows an argument's first sentence stays with it."""
    sentence, _, rest = text.partition("\n\n")
    rest = "\n\n".join(" ".join(part.split()) for part in rest.split("\n\n"))
    name = rf"(?:{'|'.join(map(re.escape, names)) or '(?!)'})"
    rest = re.sub(rf"(?:(?<=\. )|(?<=\n)|^)({name}(?:, {name})*): ", r"\n\n- **\1**: ", rest)
    rest = re.sub(RAISED, "\n\n", rest)
    rest = re.sub(r"(?<=\. )(?=Source: )", "\n\n", rest)
    rest = re.sub(r" +(?=\n)", "", rest)
    lists = re.sub(r" *\n\n+(?=- )", "\n", rest.strip())
    # A list begins after an empty line, and its entries stand together.
    lists = re.sub(r"^(?!- )(.+)\n(?=- )", r"\1\n\n", lists, flags=re.MULTILINE)
    return f"{sentence}\n\n{lists}".strip()
