"""What a prompt is about: the words without the role it begins with and without marks of layout."""

from __future__ import annotations

import re

PERSONA = re.compile(
    r"\s*(?:you are|you're|act as|imagine you are|pretend (?:to be|you are)|as)\s+(?:an?|the|my)\s+"
    r"(?P<role>[^.!?\n:;]{2,100})[.!\n]\s*(?=\S)",
    re.IGNORECASE,
)
_PROFESSION = re.compile(
    r"(?:[\w/-]+ ){0,5}(?:engineer|architect|analyst|developer|programmer|consultant|scientist|expert|specialist|"
    r"assistant|administrator|professional|researcher|reviewer|manager)",
    re.IGNORECASE,
)
_LIMITS = re.compile(r"(?i)\b(?:not|never|without|non|junior|beginner|novice|grumpy|sarcastic|funny|rude|bad|evil)\b")
_TITLE = r"#{1,6} +(?=[A-Z][^\n]*(?:\n[ \t]*\n|\n?\Z))"
_LINE_MARKS = re.compile(rf"(?m)^[ \t]*(?:{_TITLE}|[-*][ \t]+)")
_PLUS = re.compile(r"(?m)^[ \t]*\+")
_RULE = re.compile(r"(?m)^(?=[^\n]*\|)(?=[^\n]*--)[ \t|:-]{3,}$")
_STRONG = re.compile(r"(?<![\w*/\d=+-])(?<![\d=+-] )\*\*(?=[^\W_]{2})([^*_\n]{1,200}?)(?<=[^\W_]|[:.!?])\*\*(?![\w*/])")


def persona(text: str) -> tuple[str, str]:
    """The role a prompt gives the model ("senior tax lawyer") and the rest. A prompt that is all persona has none."""
    found = PERSONA.match(text)
    return (found["role"].strip().lower(), text[found.end() :]) if found else ("", text)


def professional(role: str) -> bool:
    """Does a role say no more than: know the subject? A pirate or a teacher of small children is asked for another
    answer."""
    return bool(_PROFESSION.fullmatch(role)) and not _LIMITS.search(role)


_ADDRESS = re.compile(r"(?i)\b(?:you|your|yours|yourself|yourselves|u|ur)\b")
_NO_ADDRESS = re.compile(
    r"(?i)\bthank you\b|\b(?:do|would) you (?:recommend|suggest|advise)\b|\b"
    r"(?:can|could|would|will) you (?:please |kindly )?"
    r"(?:explain|tell|show|help|give|list|write|summari[sz]e|describe|review|recommend|suggest)\b"
)


def addressed(text: str) -> bool:
    """Is the one who answers asked about: how much do you earn? Then the role counts, whatever it is."""
    return bool(_ADDRESS.search(_NO_ADDRESS.sub(" ", text)))


def plain(text: str) -> str:
    """Without headings', lists', emphasis' and tables' marks. What may be more stays: __init__, `# a comment`, a diff's
    lines, `> file`, a pipe that is in no table."""
    table = _RULE.sub("", text)
    rest = _STRONG.sub(r"\1", table if _PLUS.search(table) else _LINE_MARKS.sub("", table))
    return rest.replace("|", "\n") if table != text and rest.count("|") > 3 else rest


FRAME = re.compile(rf"(?m)^{_TITLE}[^\n]*$|^\*\*[^*\n]{{1,60}}:?\*\*:?[^\n]*$")
"""A heading, or a label in bold with what it says."""


def subject(text: str) -> str:
    """What to embed; never empty where `text` is not."""
    role, rest = persona(text)
    text = rest if professional(role) else text
    body = FRAME.sub("", text)
    return " ".join(plain(body if len(body.split()) > 3 else text).split()) or text
