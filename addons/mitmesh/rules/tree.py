"""One YAML file as a tree that knows the line of everything in it, and the overlay of one such tree on another."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from mitmesh.rules.errors import RulesError

_LARGEST_FILE = 2**20
_MOST_NODES = 50_000
_DEEPEST = 20
_TAG = "tag:yaml.org,2002:"


@dataclass(slots=True, frozen=True)
class Node:
    """A mapping, list or scalar of a rules file, and where it stands."""

    value: dict[str, Node] | list[Node] | str | int | bool | None
    file: str
    line: int
    field: str = ""

    def where(self, more: str = "") -> str:
        """`rules/hosts.yaml:12: hosts[3].status`, as far as known."""
        field = (self.field + more).lstrip(".")
        return f"{self.file}:{self.line}: {field}" if field else f"{self.file}:{self.line}"

    def follow(self, path: Sequence[str | int]) -> tuple[Node, Sequence[str | int]]:
        """The deepest node on a path, and what of the path is left over."""
        node = self
        for index, part in enumerate(path):
            value = node.value
            if isinstance(value, dict) and part in value:
                node = value[str(part)]
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                node = value[part]
            else:
                return node, path[index:]
        return node, ()

    def plain(self) -> Any:
        """The value alone, as json.dumps takes it."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def read(name: str, raw: bytes) -> Node:
    """A rules file as a tree; `name` is how messages call it. An empty file is an empty mapping.

    Raises RulesError for what is no YAML mapping, or larger, deeper or more than rules can be.
    """
    if len(raw) > _LARGEST_FILE:
        raise RulesError(f"{name}: is larger than {_LARGEST_FILE} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RulesError(f"{name}:{raw.count(b'\n', 0, error.start) + 1}: is not UTF-8") from None
    try:
        root = YAML(typ="safe", pure=True).compose(io.StringIO(text))
    except MarkedYAMLError as error:
        raise RulesError(_syntax(name, error)) from None
    except (YAMLError, ValueError):
        raise RulesError(f"{name}: holds characters that YAML does not allow") from None
    except RecursionError:
        raise RulesError(f"{name}: is nested too deep") from None
    if root is None or (isinstance(root, ScalarNode) and root.tag == f"{_TAG}null"):
        return Node({}, name, 1)
    if not isinstance(root, MappingNode):
        raise RulesError(f"{name}:{root.start_mark.line + 1}: must be a mapping of fields")
    tree = _Builder(name).node(root, root.start_mark.line + 1, "", 0)
    assert isinstance(tree.value, dict)
    # `hosts:` with every entry commented out means what it says: none.
    return Node({key: node for key, node in tree.value.items() if node.value is not None}, name, tree.line)


def _syntax(name: str, error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"{name}:{mark.line + 1}" if mark else name
    problem = str(error.problem)
    if "undefined alias" in problem:
        return f'{place}: put patterns that begin with `*` in quotes ("*.example.com")'
    if "another document" in problem:
        return f"{place}: `---` begins a second document; a rules file is one"
    # The parser's own words may quote the file, and a file may hold what no log should.
    return f"{place}: is not YAML here: check indentation, quotes, brackets and colons"


class _Builder:
    """Turns ruamel's nodes into ours. Aliases may repeat a part, so what counts is the expanded size."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._left = _MOST_NODES

    def node(self, node: Any, line: int, field: str, depth: int) -> Node:
        self._left -= 1
        if self._left < 0:
            raise RulesError(f"{self._file}: has more than {_MOST_NODES} entries")
        if depth > _DEEPEST:
            raise RulesError(f"{self._file}:{line}: is nested too deep")
        if isinstance(node, MappingNode):
            return Node(self._mapping(node, field, depth), self._file, line, field)
        if isinstance(node, SequenceNode):
            return Node(self._list(node, field, depth), self._file, line, field)
        return Node(self._scalar(node, line, field), self._file, line, field)

    def _mapping(self, node: Any, field: str, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                raise RulesError(f"{self._file}:{line}: a field's name must be a word")
            name = self._text(key, line)
            path = f"{field}.{name}" if field else name
            if name in found:
                raise RulesError(f"{self._file}:{line}: {path}: is given twice; keep one")
            found[name] = self.node(value, line, path, depth + 1)
        return found

    def _list(self, node: Any, field: str, depth: int) -> list[Node]:
        items: list[Node] = []
        ids: set[str] = set()
        for index, value in enumerate(node.value):
            item = self.node(value, value.start_mark.line + 1, f"{field}[{index}]", depth + 1)
            name = identifier(item)
            if name is not None and name in ids:
                raise RulesError(f"{item.where('.id')}: the id {name[:60]!r} is given twice; ids are unique in a list")
            if name is not None:
                ids.add(name)
            items.append(item)
        return items

    def _scalar(self, node: Any, line: int, field: str) -> str | int | bool | None:
        text = self._text(node, line)
        kind = str(node.tag).removeprefix(_TAG)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            try:
                return int(text, 0)
            except ValueError:
                return text
        if kind not in ("str", "float", "timestamp"):
            raise RulesError(f"{self._file}:{line}: {field}: YAML tags such as `!x` are not used here")
        return text  # numbers with a point are prices, kept to the digit; dates are read by their field

    def _text(self, node: Any, line: int) -> str:
        text = str(node.value)
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise RulesError(f"{self._file}:{line}: holds half of a surrogate pair")
        return text


def identifier(node: Node) -> str | None:
    """The `id` of a list's entry, where it has one."""
    if isinstance(node.value, dict) and "id" in node.value:
        value = node.value["id"].value
        return value if isinstance(value, str) else None
    return None


def overlay(base: Node, local: Node) -> Node:
    """`local` over `base`: mappings merge deep; of lists local's entries come first, and an entry with the same id
    replaces the base's; anything else is replaced."""
    if isinstance(base.value, dict) and isinstance(local.value, dict):
        merged = dict(base.value)
        for key, node in local.value.items():
            merged[key] = overlay(base.value[key], node) if key in base.value else node
        return Node(merged, local.file, local.line, local.field)
    if isinstance(base.value, list) and isinstance(local.value, list):
        replaced = {identifier(node) for node in local.value} - {None}
        kept = [node for node in base.value if identifier(node) not in replaced]
        return Node(local.value + kept, local.file, local.line, local.field)
    return local


def read_bytes(path: Path, name: str) -> bytes:
    """A file's bytes, at most one more than is allowed; RulesError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise RulesError(f"{name}: cannot be read: {error.strerror}") from None
