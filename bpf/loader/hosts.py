"""Names of LLM hosts in rules/hosts.yaml and rules/local/hosts.yaml, and the addresses behind them.

The system's Python has no YAML, and we do not run the project's packages as root. Only the lines of `match:` are read,
in the two forms that the files use; anything else after `match:` is an error, not a host that is passed over.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path

from loader import RedirectError
from loader.settings import Address

_MATCH = re.compile(r"^\s*(?:-\s+)?match\s*:\s*(.*)$")
_ITEM = re.compile(r"""^\s*-\s*(?:"([^"]*)"|'([^']*)'|([^\s"'#\[\]{},]+))\s*(?:#.*)?$""")
_WORD = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^\s"'#\[\]{},]+))\s*(,|$)""")
_COMMENT = re.compile(r"(?:^|\s)#[^\"']*$")


def patterns(text: str, file: str = "hosts.yaml") -> list[str]:
    """All that `match:` lists. Raises RedirectError that names the line."""
    found: list[str] = []
    lines: Iterator[tuple[int, str | None]] = iter(enumerate(text.splitlines(), 1))
    block = False
    for number, line in lines:
        assert line is not None
        if block and (item := _ITEM.match(line)):
            found.append(next(group for group in item.groups() if group is not None))
            continue
        if block and (not line.strip() or line.lstrip().startswith("#")):
            continue
        block = False
        if line.lstrip().startswith("#") or not (match := _MATCH.match(line)):
            continue
        rest = _COMMENT.sub("", match[1]).strip()
        if not rest:
            block = True
            continue
        while rest.startswith("[") and not rest.endswith("]"):
            number, more = next(lines, (number, None))
            if more is None:
                raise RedirectError(f"{file}:{number}: this list does not end")
            rest += " " + _COMMENT.sub("", more).strip()
        found += _flow(rest, file, number)
    return found


def _flow(text: str, file: str, line: int) -> list[str]:
    if not (text.startswith("[") and text.endswith("]")):
        raise RedirectError(f"{file}:{line}: after `match:` a list is read, [a, b] or one item a line")
    words, at, inner = [], 0, text[1:-1].strip().rstrip(",")
    while at < len(inner):
        word = _WORD.match(inner, at)
        if not word:
            raise RedirectError(f"{file}:{line}: this list cannot be read without YAML; quote its items")
        words.append(next(group for group in word.groups()[:3] if group is not None))
        at = word.end()
    return words


def read(rules: Path) -> list[str]:
    """The patterns of a rules folder with its local/. Raises RedirectError."""
    found = []
    for path in (rules / "hosts.yaml", rules / "local" / "hosts.yaml"):
        try:
            found += patterns(path.read_text("utf-8"), str(path))
        except FileNotFoundError:
            if "local" not in path.parts[-2]:
                raise RedirectError(f"there is no {path}: give the rules folder with --rules") from None
        except (OSError, UnicodeError) as error:
            raise RedirectError(f"{path} cannot be read ({type(error).__name__})") from None
    return found


class Names:
    """Which names are LLM hosts, and which of them can be resolved beforehand."""

    def __init__(self, listed: Iterable[str]) -> None:
        names, addresses = set(), set()
        for text in listed:
            host = _host(text)
            try:
                addresses.add(ip_address(host.strip("[]")))
            except ValueError:
                names.add(host.rstrip(".").lower())
        self.addresses: set[Address] = addresses
        self.plain = sorted(name for name in names if "*" not in name and "/" not in name)
        self.wild = sorted(name for name in names if "*" in name)
        self._regex = re.compile("|".join(map(_regex, [*self.plain, *self.wild])) or r"(?!)")

    def match(self, name: str) -> bool:
        """Is this an LLM host's name?"""
        return bool(self._regex.fullmatch(name.rstrip(".").lower()))


def _host(text: str) -> str:
    bare, _, port = text.rpartition(":")
    return bare if bare and (port.isdigit() or port == "*") and (":" not in bare or bare.endswith("]")) else text


def _regex(pattern: str) -> str:
    head, rest = (r"(?:[^.]+\.)*", pattern[3:]) if pattern.startswith("**.") else ("", pattern)
    return f"(?:{head}{re.escape(rest).replace(re.escape('*'), '[^.]*')})"


def resolve(names: Iterable[str]) -> set[Address]:
    """The addresses that the machine's resolver knows now; a name without any has none."""
    found: set[Address] = set()
    for name in names:
        try:
            answers = socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)
        except OSError:
            continue
        found |= {ip_address(answer[4][0].partition("%")[0]) for answer in answers}  # type: ignore[union-attr]
    return found
