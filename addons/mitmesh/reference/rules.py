"""docs/rules.md, made from the models of rules/."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAliasType, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mitmesh.rules import FILES

_INTRO = """# The rules files

Made from the code by `python -m mitmesh.reference`; a test keeps it true. `rules/*.yaml` is what is shipped,
`rules/local/*.yaml` overlays it: mappings merge field by field; of lists local entries come first, and an entry with
the same `id` replaces the shipped one. A changed file is in force within a second or two. A file with a mistake is one
line in the log that names file, line and field; the rules before it stay in force, and at start mitmesh does not run.
Unknown fields are mistakes. Patterns that begin with `*` need quotes in YAML.
"""


def rules_markdown() -> str:
    """The reference of all rules files as Markdown."""
    parts = [_INTRO]
    for name, model in FILES.items():
        parts.append(f"## rules/{name}.yaml\n\n{_about(model)}\n\n{_table(model)}")
        seen: set[type[BaseModel]] = {model}
        nested = _nested(model, seen)
        parts += [f"### {inner.__name__}\n\n{_about(inner)}\n\n{_table(inner)}" for inner in nested]
    return "\n".join(parts)


def _about(model: type[BaseModel]) -> str:
    text = " ".join((model.__doc__ or "").split())
    text = text.partition(".yaml: ")[2] or text
    return text[:1].upper() + text[1:]


def _table(model: type[BaseModel]) -> str:
    rows = ["| field | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, info in model.model_fields.items():
        cells = (f"`{name}`", _type(info.annotation) + _bounds(info), _default(info), info.description or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value: Any = info.default
    if value is PydanticUndefined:
        value = info.default_factory() if info.default_factory else None  # type: ignore[call-arg] # ours take none
    if value is None or isinstance(value, BaseModel) or value in ([], {}):
        return "–"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _bounds(info: FieldInfo) -> str:
    least = [f"at least {bound.ge}" for bound in info.metadata if isinstance(bound, Ge)]
    most = [f"at most {bound.le}" for bound in info.metadata if isinstance(bound, Le)]
    return "".join(f", {text}" for text in least + most)


def _type(kind: Any) -> str:
    """A type as a person who writes YAML would say it."""
    kind = _bare(kind)
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(_type(arg) for arg in args if arg is not NoneType)
    if origin is Literal:
        return ", ".join(f"`{arg}`" for arg in args)
    if origin is list:
        return f"list of {_type(args[0])}"
    if origin is dict:
        return f"mapping of name to {_type(args[1])}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{member.value}`" for member in kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", date: "date (YYYY-MM-DD)"}
    return plain[kind]


def _bare(kind: Any) -> Any:
    """A type without its alias and its checks."""
    while True:
        if isinstance(kind, TypeAliasType):
            kind = kind.__value__
        elif get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        else:
            return kind


def _nested(kind: Any, seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """The models that a model's fields are made of, each once, in order."""
    for info in kind.model_fields.values():
        for model in _models(info.annotation):
            if model not in seen:
                seen.add(model)
                yield model
                yield from _nested(model, seen)


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    kind = _bare(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for arg in get_args(kind):
        yield from _models(arg)
