"""One canonical text for what differs in form alone: layer 1 of the cache compares what comes out of here.

Code, quotes and whatever looks like either stay as they are, and so does a text that asks about its own form
(translate, spell, count ...). In one that speaks of code, names or patterns no word, mark or number changes, in one
that speaks of spaces or patterns no space. `unicode` and `whitespace` change nothing a model would answer to and are
on; the others are safe for questions to an assistant, but not where the system prompt makes the user's text its
material ("translate what I say"), and are switched on by rule."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date

from mitmesh.caching.english import groups_thousands
from mitmesh.caching.literal import lines, pieces
from mitmesh.caching.spelling import american
from mitmesh.caching.subject import addressed, persona, professional
from mitmesh.caching.technical import talks_of_characters, talks_of_code, talks_of_spaces, talks_of_words

VERSION = 4
"""One more whenever some text comes out otherwise: answers kept before are then asked for anew."""
LONGEST = 32_768
"""Characters; a longer text is compared as it is."""
_PASSES = 6
"""Until nothing changes; a text that takes more is compared as it is."""
_ALWAYS = ("unicode", "whitespace")
_ENDS = ("", " ", "\n")
_LOOSE = ("  ", " \n", "\n\n\n", "\r\n")
_WIDE = re.compile(r"[\u00a0\u2000-\u200a\u202f\u3000]")
"""Spaces that are written as the one."""
_KEPT = "\ue000"
"""Stands for a piece that stays as it is."""


@dataclass(frozen=True, slots=True)
class Normalise:
    """Which differences do not count. All of them outside code and quotes only."""

    unicode: bool = True
    whitespace: bool = True
    markdown: bool = False
    politeness: bool = False
    persona: bool = False
    dates: bool = False
    thousands: bool = False
    spelling: bool = False

    @property
    def rephrases(self) -> bool:
        """Is any rule on besides the two that every text may be put through?"""
        return any(getattr(self, name) for name in _CHANGES if name not in _ALWAYS)


_PIECES = re.compile(
    r"(?m)```[\s\S]*?(?:```|\Z)|~~~[\s\S]*?(?:~~~|\Z)|`[^`\n]{1,1000}`"  # code
    r'|"[^"]*"|“[^”]{1,4000}”|«[^»]{1,4000}»|„[^“”]{1,4000}[“”]|(?<!\w)[\'‘][^\'’\n]{1,500}[\'’](?!\w)'
    r"|^[ \t]*>[^\n]*"
    r"|(?<=\n)(?: {2,}|\t)(?![-*+] |\d+\. )[^\n]*"
    r"|^[^\n]*(?:[{}\[\]=;\\|~^\t]|<(?![A-Z][A-Z_]{0,40}\d*>)|\w\(|\(\))[^\n]*$"  # lines like code
)
_FORM = re.compile(
    r"(?i)\b(?:translat|convert|format|spell|punctuat|markdown|proofread|gramma|rewrit|rephras|paraphras|correct|capital|"
    r"upper-?case|lower-?case|whitespace|indent|count|character|letter|words?\b|token|tone\b|polite|formal|wording|say\b|"
    r"british|american)"
)
"""Asks about form, which is then no mere form."""


def normalise(text: str, rules: Normalise = Normalise()) -> str:
    """The text of the last user turn as its canonical text. Idempotent, never raises, empty only where `text` is."""
    if len(text) > LONGEST or _KEPT in text or (not rules.rephrases and _tidy(text)):
        return text
    now = text
    for _ in range(_PASSES):
        before, now = now, _once(now, rules)
        if now == before:
            return now if now.strip() else text
    return text


def _tidy(text: str) -> bool:
    """Has `unicode` or `whitespace` nothing to do? Most texts are so, and this takes a hundredth of the time."""
    if not (text.isascii() or (unicodedata.is_normalized("NFC", text) and not _WIDE.search(text))):
        return False
    return not (
        text[:1] in _ENDS or text[-1:] in _ENDS or any(each in text for each in ("  ", " \n", "\n\n\n", "\r\n"))
    )


def _once(text: str, rules: Normalise) -> str:
    """One pass over the prose of a text."""
    spaced = talks_of_spaces(text)
    if rules.whitespace and not spaced:
        text = text.replace("\r\n", "\n")
    if text.count('"') % 2:  # which half is quoted?
        return text
    pieces: list[str] = []

    def keep(found: re.Match[str]) -> str:
        pieces.append(found[0])
        return _KEPT

    prose = _PIECES.sub(keep, text)
    plain = rules.rephrases and not _FORM.search(prose)
    kept = set(_AS_WRITTEN) if plain and ("`" in text or talks_of_code(text)) else set()
    if spaced:
        kept.update(_ALWAYS)
    elif talks_of_characters(text):
        kept.add("unicode")
    for name, change in _CHANGES.items():
        if getattr(rules, name) and (plain or name in _ALWAYS) and name not in kept:
            prose = change(prose)
    parts = prose.split(_KEPT)
    if len(parts) != len(pieces) + 1 or not prose.strip():
        return text
    return "".join(part + piece for part, piece in zip(parts, [*pieces, ""], strict=True))


def _composed(prose: str) -> str:
    """NFC; but for the one character it would make a backtick of."""
    return "\u1fef".join(unicodedata.normalize("NFC", part) for part in prose.split("\u1fef"))


_SPACES = re.compile(
    r"(?:(?<=[^\W\d_]{2})|(?<=[^\W\d_][.,;:!?])) {2,}"
    r"(?=(?:[^\W\d_]{2,}(?:['’-][^\W\d_]+)*|[AIa])[.,;:!?]{0,3}(?:\s|\Z))"
)


def _spaced(prose: str) -> str:
    """One space between words of prose, one empty line at most. Between signs, numbers and single letters (a board,
    Morse, columns) and in a file's name the number of spaces may mean something; indentation does, tabs too."""
    prose = _SPACES.sub(" ", re.sub(rf"(?<=\S){_WIDE.pattern}(?=\S)", " ", prose))
    prose = re.sub(r"(?<! ) (?=\n)|[ \u00a0]+\Z", "", prose)  # two at a line's end are Markdown's line break
    prose = re.sub(r"\n{3,}", "\n\n", prose).rstrip("\n").lstrip("\n")
    return prose if "\n" in prose or _KEPT in prose else prose.lstrip(" \u00a0")


_BOLD = re.compile(
    r"(?<![\w*/)])(?<![\d=)+-] )\*\*((?=[^\W\d_]{2})\w[^*_\n]{0,200}[^\W_][:.!?]?)\*\*(?![\w*/(]| [\d=(+-])"
)
_EMPHASIS = re.compile(
    r"(?<![\w*_/)])(?<![\d=)+-] )([*_])((?:[^\W\d_]{2,}[ ,'’-]+){1,20}[^\W\d_]{2,}[.!?]?)\1(?![\w*_/(]| [\d=(+-])"
)
_HEADING = re.compile(r"(?<![^\n])(?<![^\n]\n)#{1,6} +(?=[A-Z][\w ,:'&/?!.-]{0,120}(?:\n\n|\Z))")


def _unmarked(prose: str) -> str:
    """Without emphasis and headings. Beside a number it may be an operator, one word in *...* may be a pattern, what is
    in __...__ a name, a `# line` a comment."""
    return _HEADING.sub("", _EMPHASIS.sub(r"\2", _BOLD.sub(r"\1", prose)))


_GREETING = re.compile(
    r"(?i)\A\s*(?:hi|hello|hey|good (?:morning|afternoon|evening))(?: there)?[,!.]\s+"
    r"(?=(?:please|can|could|would|will|what|how|why|when|where|who|which|i|is|are|do|does)\b)"
)
_REQUEST = re.compile(
    r"(?i)\A\s*(?:can|could|would|will) you (?:please|kindly) (?=\w)|\A\s*would you mind please (?=\w)"
)
_PLEASE = re.compile(r"(?i)\A\s*(?:please,?|kindly) (?=\w)")
_THANKS = re.compile(
    r"(?i)(?:(?<=[.!?])\s+|\n\s*)(?:many )?(?:thanks|thank you)(?: very much| so much| a lot| in advance)?[.!]*\s*\Z"
    r"|,? please(?=[.?!]?\s*\Z)"
)


def _blunt(prose: str) -> str:
    """Without the polite words before and after. After a colon stands material, and what ends it may belong to it."""
    if ":" not in prose and _KEPT not in prose:
        shorter = _THANKS.sub("", prose)
        prose = shorter if len(shorter.split()) > 2 else prose
    greeted = _GREETING.match(prose)
    prose = prose[greeted.end()].upper() + prose[greeted.end() + 1 :] if greeted else prose
    asked = _REQUEST.match(prose)
    found = asked or _PLEASE.match(prose)
    if not found or len(prose[found.end() :].split()) < 2:
        return prose
    prose = prose[found.end() :]
    if asked and prose.count("?") == 1:
        prose = re.sub(r"\?\s*\Z", ".", prose)
    first = re.match(r"[a-z]+(?= )", prose)
    return prose[0].upper() + prose[1:] if first else prose


def _impersonal(prose: str) -> str:
    """Without a role that says no more than: know the subject. A prompt that is all persona stays, and so does a role
    that is asked about (how much do you earn?)."""
    role, rest = persona(prose)
    if addressed(rest):
        return prose
    if not professional(role) or _KEPT in role or len(rest.split()) < 2 or persona(rest)[0] or persona(f"{rest}\n.")[0]:
        return prose
    return rest


_MONTHS = [
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
]  # fmt: skip
_MONTH = "|".join(_MONTHS)
_WRITTEN = re.compile(
    rf"(?i)(?<![\w/.,-])(?:(?P<m>{_MONTH}) (?P<d>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<y>\d{{4}})"
    rf"|(?P<d2>\d{{1,2}})(?:st|nd|rd|th)? (?:of )?(?P<m2>{_MONTH}),? (?P<y2>\d{{4}}))(?![\w/-]|[.,]\d)"
)
_SLASHED = re.compile(r"(?<![\w/.,-])(\d{1,2})([/.])(\d{1,2})\2(\d{4})(?![\w/-]|[.,]\d)")


_VERSIONS = re.compile(
    r"(?i)\b(?:versions?|ver|v|releases?|released|builds?|tags?|tagged|branch|branches|files?|folders?|revisions?|patch|"
    r"patches|firmware|snapshots?|updates?|backups?)\b"
)


_NOTATION = re.compile(r"(?i)\b(?:iso|rfc|notations?|writ(?:e|ten|ing)|digits|read as|parse[ds]?|strings?|locales?)\b")


def _dated(prose: str) -> str:
    """2026-06-13 for a date that can be read in one way only; 06/05/2026 stays, what may be a version or a name, and
    one whose notation is spoken of."""
    if _VERSIONS.search(prose) or _NOTATION.search(prose):
        return prose

    def written(found: re.Match[str]) -> str:
        month = _MONTHS.index((found["m"] or found["m2"]).lower()) + 1
        return _iso(found["y"] or found["y2"], month, found["d"] or found["d2"]) or found[0]

    def slashed(found: re.Match[str]) -> str:
        one, other = int(found[1]), int(found[3])
        if one <= 12 and other <= 12 and one != other:
            return found[0]
        day, month = (one, other) if one > 12 or found[2] == "." else (other, one)
        return _iso(found[4], month, day) or found[0]

    return _SLASHED.sub(slashed, _WRITTEN.sub(written, prose))


def _iso(year: str, month: int, day: str | int) -> str:
    try:
        return date(int(year), month, int(day)).isoformat()
    except ValueError:
        return ""


_GROUPED = re.compile(r"(?<![^\s$€£¥])[1-9]\d{0,2}(?:,\d{3})+(?=(?:\.\d+)?%?(?:[.,;:?!]?(?:\s|\Z)))")
_DECIMAL_COMMA = re.compile(r"\d,(?!\d{3}(?!\d))\d|\d\.\d{3},|(?<!\d)0,\d")


def _ungrouped(prose: str) -> str:
    """1000 for 1,000 in plain English, unless a comma stands for something else somewhere in the text."""
    if _DECIMAL_COMMA.search(prose) or not groups_thousands(prose):
        return prose
    return _GROUPED.sub(lambda found: found[0].replace(",", ""), prose)


_WORD = re.compile(r"(?<![\w./\\@#$'’-])(?:[a-z]+|[A-Z][a-z]+)(?![\w/\\@'’(-]|\.\w)", re.ASCII)
_SENTENCE = re.compile(r"(?:\A|[.!?]\s|\n)\s{0,20}\Z")


def _american(prose: str) -> str:
    """American spelling of everyday words; with a capital inside a sentence it may be a name, and so may any word of a
    text with code in it. Not of a text about words, nor where a word stands in both spellings."""
    if talks_of_words(prose) or pieces(prose) or lines(prose) or _both(prose):
        return prose

    def word(found: re.Match[str]) -> str:
        begins = found.start() == 0 or _SENTENCE.search(prose[max(0, found.start() - 20) : found.start()])
        return american(found[0]) if found[0].islower() or begins else found[0]

    return _WORD.sub(word, prose)


def _both(prose: str) -> bool:
    words = set(re.findall(r"[a-z]+", prose.lower()))
    return any(american(each) != each and american(each) in words for each in words)


_CHANGES = {
    "unicode": _composed,
    "whitespace": _spaced,
    "markdown": _unmarked,
    "persona": _impersonal,
    "politeness": _blunt,
    "dates": _dated,
    "thousands": _ungrouped,
    "spelling": _american,
}
_AS_WRITTEN = frozenset(["markdown", "dates", "thousands", "spelling"])
"""What does nothing in a text that speaks of code."""
