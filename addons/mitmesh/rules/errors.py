"""RulesError: what is wrong with a rules file, where, and what to do; never a value that may be a secret."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from pydantic import ValidationError

    from mitmesh.rules.tree import Node


class RulesError(Exception):
    """The rules cannot be used; the message names file, line and field, and what to do."""


_SHOWN = frozenset({"literal_error", "enum", "greater_than_equal", "less_than_equal"})
"""Errors that show what was found; fields that may hold a secret never fail with one of these."""

_WORDS = {
    "extra_forbidden": "unknown field",
    "missing": "is required",
    "model_type": "must be a mapping of fields",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
    "string_type": "must be text; put it in quotes",
    "bool_type": "must be true or false",
    "too_short": "must not be empty",
}


def from_validation(error: ValidationError, root: Node, fields: Collection[str]) -> RulesError:
    """The first of pydantic's complaints, in the words and with the places of the files it came from.

    `fields` are the names of all fields there are, to guess what a misspelt one was to be."""
    first = error.errors(include_url=False)[0]
    node, rest = root.follow(first["loc"])
    kind: str = first["type"]
    # Keys and list items resolve to a node of their own; what is left over is a missing field's name.
    where = node.where("".join(f".{part}" for part in rest if isinstance(part, str) and part != "[key]"))
    text = sentence(first)
    if kind == "extra_forbidden":
        wrong = str(first["loc"][-1])  # perhaps a field of another place
        guess = difflib.get_close_matches(wrong, [name for name in fields if name != wrong], 1)
        text += f"; did you mean {guess[0]}?" if guess else "; docs/rules.md lists the fields"
    elif kind in _SHOWN:
        text += f"; found {str(first['input'])[:60]!r}"
    return RulesError(f"{where}: {text}")


def sentence(error: Any) -> str:
    """One of pydantic's complaints in plain words, without the field's name."""
    if error["type"] in _WORDS:
        return _WORDS[error["type"]]
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] in ("literal_error", "enum"):
        return f"must be one of {str(error['ctx']['expected']).replace("'", '')}"
    message: str = error["msg"].removeprefix("Input ").removeprefix("String ").removeprefix("List ")
    return "must " + message.removeprefix("should ") if message.startswith("should ") else message.lower()
