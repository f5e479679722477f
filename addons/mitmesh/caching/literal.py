"""What stands in prose and is none: lines and expressions of code that nobody marked, symbols, paths, emoji. All of it
is compared as written; a space, a slash or a dash may make another program of it."""

from __future__ import annotations

import re
from collections.abc import Callable

from mitmesh.caching.code import HERE

_CODE_LINE = re.compile(
    r"\s+\S|[^\n]*(?:[^.?!\s] {2,}\S|[{}\[\]=;\\|~^\t`]|\w\()|[+-]\S|@@|\.?/|[$>%+] |[a-z_][\w.-]*:(?:\s|$)|"
    r"(?:if|elif|else|for|while|try|except|finally|with|case|switch|do|return|import|from|begin|end|then|fi|done|esac|"
    r"raise|pass|yield|break|continue|echo|export|SELECT|FROM|WHERE|SET)\b[^\n.?]*$"
)
_DEFINED = re.compile(r"(?:async )?def |class \w+[(:]|lambda\b")
_SQL = re.compile(
    r"\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|DROP|FROM|WHERE|JOIN|ORDER BY|GROUP BY)\b[^\n]*"
    r"|\b[Ss]elect [^\n]{1,200}? from [^\n]*|\b(?:[Ii]nsert into|[Dd]elete from|[Uu]pdate \S{1,64} set) [^\n]*"
)
_OPEN = re.compile(r"(?<=\w)[(\[]|[{\[]|<(?=[a-zA-Z/!])")
_CLOSES = {"(": ")", "[": "]", "{": "}", "<": ">"}
_SPACE = re.compile(r"\s")
_ENDS = re.compile(r"(?<=[\w)\]}\"'>/]|[^\x00-\x7f])[.,:?!]+$")
_PROSE = re.compile(
    r"(?!(?:\w-)+\w$)[^\W\d_]+(?:['’.-][^\W\d_]+)*['’]?"  # a word, e.g. and U.S. too; O-O is none
    rf"|{HERE}(?:'?s)?"
    r"|(?:and/or|either/or|(?:he|him|his)/hers?|s?he/he|yes/no|pros/cons|input/output)"
    r"|[-−]?[$€£¥]?\d[\d.,:/]*(?:%|°?[A-Za-zµ]{1,2}|°|[a-zµ]{3,4})?(?:-[a-z]+)*"  # a number with its unit
    r"|[–—…,]"
)
_PLAIN = re.compile(
    r"(?:[A-Za-z]+(?:['-][A-Za-z]{2,})*(?:[,.?!]*\s+(?=[A-Z])|[,.]*(?:\s+|\Z)))*(?:[A-Za-z]+[?!]+\s*)?\Z"
)
"""Most texts have none, and this takes a tenth of the time."""
_MORE = re.compile(r"(?<![\w+])\+(?=\d[\d.,]*\s?(?:%|bps\b|basis points?\b|percent))")
"""The sign of a growth, which may be left out."""
_TABLE = re.compile(r"(?m)^[ \t]*\|[ \t|:-]*--[ \t|:-]*$")
_GREETINGS = frozenset(["hi", "hello", "hey", "thanks", "please", "sorry"])


def lines(text: str) -> list[str]:
    """Of a text of several lines those from the first that looks like code to the last, and what else is in their
    paragraphs but for the text's first line; without spaces at their ends. A Python function that begins a line is left
    to code.py, unless more lines belong to it."""
    if "\n" not in (text := text.strip("\n")):
        return []
    every = [line.rstrip() for line in text.splitlines()]
    table = bool(_TABLE.search(text))
    marked = [n for n, line in enumerate(every) if _CODE_LINE.match(line) and not (table and line[0] == "|")]
    if not any(line[:1].isspace() for line in every):
        marked = [n for n in marked if not _DEFINED.match(every[n])]
    if not marked:
        return []
    first, last = marked[0], marked[-1]
    while first > 1 and every[first - 1]:
        first -= 1
    while last + 1 < len(every) and every[last + 1]:
        last += 1
    return [line for line in every[first : last + 1] if line]


def pieces(prose: str) -> list[str]:
    """All in a line that is no word, number or punctuation, in order of its first place; of a lone symbol also what is
    beside it. Without the punctuation that ends a sentence."""
    if _PLAIN.match(prose) and not _SQL.search(prose):
        return []
    found: list[str] = []

    def take(piece: str) -> str:
        found.append(_ENDS.sub("", piece.strip()))
        return " "

    for line in _SQL.sub(lambda sql: take(sql[0]), _MORE.sub("", prose)).splitlines():
        rest = _expressions(line, take)
        words = rest.split()
        found += (_ended(piece, n, words) for n, piece in enumerate(words) if not _is_prose(piece, n, words))
        found += (
            " ".join(words[max(0, n - 1) : n + 2])
            for n, piece in enumerate(words)
            if piece.isascii() and not any(map(str.isalnum, piece)) and not _is_prose(piece, n, words)
        )
    return list(dict.fromkeys(found))


def _expressions(line: str, take: Callable[[str], str]) -> str:
    """What is left of a line when calls, brackets and tags are taken from it, each with what touches it."""
    left, at = [], 0
    while opened := _OPEN.search(line, at):
        start = max(line.rfind(" ", at, opened.start()), line.rfind("\t", at, opened.start()), at - 1) + 1
        one, depth, end = opened[0], 0, opened.start()
        while end < len(line):
            depth += (line[end] == one) - (line[end] == _CLOSES[one])
            end += 1
            if not depth:
                break
        touching = _SPACE.search(line, end)
        end = touching.start() if touching else len(line)
        left.append(line[at:start])
        left.append(take(line[start:end]))
        at = end
    return "".join([*left, line[at:]])


def _goes_on(place: int, words: list[str]) -> bool:
    """Does the sentence go on after this word, so that a mark of question or exclamation belongs to it?"""
    return place + 1 < len(words) and words[place + 1][0].islower()


def _ended(piece: str, place: int, words: list[str]) -> str:
    return piece if piece[-1] in "?!" and _goes_on(place, words) else _ENDS.sub("", piece)


def _is_prose(piece: str, place: int, words: list[str]) -> bool:
    """A word, a number, or punctuation: with a mark of question or exclamation only where a sentence may end."""
    core = piece.lstrip("(\"'“‘«").rstrip(")\"'”’»").rstrip(".,:;?!").rstrip(")\"'”’»")
    if piece in ("?", "!"):
        return place + 1 == len(words)
    if piece[-1] in "?!" and _goes_on(place, words) and core.lower() not in _GREETINGS:
        return False
    return bool(_PROSE.fullmatch(core))
