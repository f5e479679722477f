"""What the gate compares of a prompt, read once: its facts (numbers, names, code ...) and its words."""

# ruff: noqa: E501  tables of words and patterns, not prose
from __future__ import annotations

import re
import unicodedata
import zlib
from dataclasses import dataclass
from functools import lru_cache

from mitmesh.caching import asking, code, english, literal, relations, technical, written
from mitmesh.caching.lexicon import (
    FUNCTION,
    NAMES,
    NEGATIONS,
    PERSONS,
    PREPOSITIONS,
    QUANTIFIERS,
    THIRD,
    TIMES,
    canonical,
    stem,
    word_set,
)  # fmt: skip
from mitmesh.caching.spelling import american
from mitmesh.caching.subject import FRAME, addressed, persona, plain

LONGEST = 4_096
"""Characters; the embedder's 256 tokens are rarely more than 1,500."""

LONGEST_WORD = 256
"""Characters without a space between; of more, some pattern below would take long."""

_QUOTED = re.compile(r'"([^"\n]{1,500})"|“([^”\n]{1,500})”|«([^»\n]{1,500})»|(?<!\w)\'([^\'\n]{1,500})\'(?!\w)')
_SYMBOLIC = re.compile(r"[^\w\s.,:;?!'’()-]|_")
_PLACEHOLDER = re.compile(r"<([A-Z][A-Z_]*?)_?(\d*)>")
_IDENTIFIER = re.compile(
    r"https?://\S+|(?<!\w)--?[a-zA-Z][\w-]*|(?:[\w.~-]*/)+[\w.-]+\w|/\w+|[A-Za-z]\w*(?:[.:]\w+)+(?:\(\))?|\w+\(\)|\w*_\w+|"
    r"(?<!\w)[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*|\b[A-Za-z]+(?:\+\+|#)|[#@]\w+|(?<![\w$€£])[A-Za-z]+-?\d[\w-]*|\b[a-f0-9]{7,}\b"
)
_MAYBE_IDENTIFIER = re.compile(r"[/_:#@+\d-]|\(\)|\.\w|[a-z][A-Z]|\b[a-f]{7}")
"""Where it finds nothing, neither does the one above, which takes longer."""
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w)])[-−])?(?P<money>[$€£¥])?\s?(?P<digits>\d[\d.,:/]*)(?P<unit>\s?(?:%|°\s?[CFK]?|\b(?:basis points?|[A-Za-zµ]+(?:/[a-z]+)?))|[A-Za-zµ]+)?"
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?(?:-[^\W\d_]+)*")
_CARDINALS = {
    word: str(n)
    for n, word in enumerate(
        [
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ],
        2,
    )
} | {
    "zero": "0",
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
}
_CARDINAL = re.compile(rf"(?i)\b(?:{'|'.join(_CARDINALS)})\b")
_WRITTEN = frozenset(
    [
        "first",
        "second",
        "third",
        "fourth",
        "fifth",
        "sixth",
        "seventh",
        "eighth",
        "ninth",
        "tenth",
        "hundred",
        "thousand",
        "million",
        "billion",
        "dozen",
        "half",
        "quarter",
        "once",
        "twice",
        "double",
        "triple",
    ]
)
_UNITS = {
    "percent": "%", "basispoint": "bps", "basispoints": "bps", "bp": "bps", "kilometers": "km", "kilometres": "km",
    "kilometer": "km", "kilometre": "km", "hours": "h", "hour": "h", "minutes": "min", "minute": "min", "mins": "min",
    "secs": "s", "seconds": "s", "second": "s", "sec": "s", "kilograms": "kg", "kilogram": "kg", "days": "day",
    "weeks": "week", "months": "month", "years": "year", "dollars": "$", "dollar": "$", "usd": "$", "euros": "€", "euro": "€",
    "eur": "€", "pounds": "pound", "gbp": "£", "miles": "mile", "meters": "metre", "meter": "metre", "metres": "metre",
}  # fmt: skip
_SPACED = frozenset(
    [
        "km",
        "kg",
        "g",
        "mg",
        "lb",
        "lbs",
        "oz",
        "mm",
        "cm",
        "ft",
        "mph",
        "kmh",
        "ms",
        "s",
        "min",
        "h",
        "kb",
        "mb",
        "gb",
        "tb",
        "kib",
        "mib",
        "gib",
        "bps",
        "rps",
        "w",
        "kw",
        "kwh",
        "v",
        "hz",
        "khz",
        "mhz",
        "ghz",
        "c",
        "f",
        "k",
        "m",
        "b",
    ]
)
"""Units that stand for themselves after a space."""
_STOPWORDS = {
    "de": "der die das und ist nicht wie ich ein eine mein meine kann auf für mit von zu wo warum",
    "fr": "le la les et est pas comment je un une mon ma puis sur pour avec des du où pourquoi mot",
    "es": "el los las y es cómo como puedo mi una para con por qué dónde contraseña restablezco",
    "it": "il lo gli e è come posso mio mia una per con che dove perché",
    "pt": "o os as e é como posso meu minha uma para com que onde senha não",
    "nl": "de het en is niet hoe ik een mijn kan op voor met van waar wachtwoord",
}
_LANGUAGES = {name: frozenset(words.split()) for name, words in _STOPWORDS.items()}
_ANY_LANGUAGE = frozenset().union(*_LANGUAGES.values())
_ENGLISH = word_set(
    "the and what how which where when why who your with from that this these those does should would could their our "
    "have has not you there please into about between without explain write list show give tell make it now"
)
"""Words of no other language."""
_CAN = frozenset(
    [
        "can",
        "could",
        "may",
        "might",
        "is",
        "are",
        "was",
        "were",
        "do",
        "does",
        "did",
        "has",
        "have",
        "will",
        "would",
        "should",
        "must",
    ]
)
_MANNER = re.compile(r"(?i)(?<!would )(?<!'d )\blike (?:an?|the|i|i'm|my|you|we|he|she|it)\b")
_ASKING = frozenset(["tell", "explain", "describe", "show", "give", "know", "say", "mean", "means", "meaning"])
_UNNAMED = FUNCTION | NAMES
_BETWEEN = frozenset(["and", "or", "vs", "versus", "than", "to", "with", "from"])
_QUESTIONS = frozenset(["why", "when", "where", "who", "whom", "whose", "which", "how"])


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt's facts by kind (equal or no hit), and its words in order."""

    facts: dict[str, object]
    headed: int  # how many of its steps are of a heading in front
    english: bool  # is it surely English? In other languages a small word may be a `not` that nobody here knows
    role: str
    addressed: bool  # is the one who answers asked about?
    words: tuple[str, ...]  # content words, canonical, in order
    said: frozenset[str]  # content words by stem, as said: no word for another that means the same
    spoken: tuple[str, ...]  # every word in order, before any has another form
    tokens: tuple[str, ...]  # all words of the prose in order, content words canonical
    seen: frozenset[str]  # every word as written, in lower case
    names: frozenset[str]  # words with capitals where a sentence does not ask for them
    question: str
    persons: tuple[int, ...]  # of PERSONS, in order
    numbers: tuple[tuple[str, str], ...]  # (unit, value) in order
    frame: frozenset[str]  # words of headings and labels
    rows: tuple[str, ...]  # its lines, where it has several
    technical: bool  # has code in it or speaks of it, and has words of:
    two_ways: tuple[str, ...]  # words that are also spelt otherwise, in order
    named: frozenset[str]  # likely names in code, as written
    written: frozenset[str]  # every word, as written and in lower case
    shouted: frozenset[str]  # words in capitals
    wording: tuple[str, ...]  # what words it has, where words are what it is about
    steps: tuple[relations.Step, ...]  # its content words with the small words before them


@lru_cache(maxsize=4096)
def read(text: str) -> Reading | None:
    """None where there is nothing to compare or too much."""
    if not text.strip() or len(text) > LONGEST or max(map(len, text.split())) > LONGEST_WORD:
        return None
    text = unicodedata.normalize("NFC", text).replace("’", "'")
    role, rest = persona(text)
    prose, pieces, fences = code.split(rest)
    lines = literal.lines(code.unfenced(rest))
    frame = _CARDINAL.sub(" ", _IDENTIFIER.sub(" ", " ".join(found[0] for found in FRAME.finditer(prose))))
    headed = len(relations.steps(heading[0])) if (heading := FRAME.match(prose)) else 0
    quoted = [(found[0][0], next(filter(None, found.groups()), "")) for found in _QUOTED.finditer(prose)]
    prose = plain(_QUOTED.sub(lambda found: _mark(found[0][1:-1]).strip(), prose))
    placeholders, prose = _placeholders(prose)
    literals = literal.pieces(prose)
    exact = bool(pieces or lines or literals or any(_SYMBOLIC.search(each) for _, each in quoted))
    plainly, prose = prose, asking.phrased(prose)
    identifiers: list[str] = []

    def named(found: re.Match[str]) -> str:
        if _plainish(found[0]):
            return found[0]
        identifiers.append(found[0].rstrip(".,;:?!)"))
        return _mark(identifiers[-1])

    bare = _IDENTIFIER.sub(named, prose) if _MAYBE_IDENTIFIER.search(prose) else prose
    bare = _CARDINAL.sub(lambda found: _CARDINALS[found[0].lower()], bare)
    numbers, bare = _numbers(bare, "," in bare and english.groups_thousands(plainly))
    counted = asking.plain(bare)
    bare = counted.replace(relations.NUMBER, "")
    raw = _WORD.findall(bare)
    words = [word for found in raw for word in _parts(found.lower())]
    two_ways = written.two_ways(words[1:] if words[1:2] and words[1] in FUNCTION else words)
    wording = _wording(words)
    words += [_mark(piece).strip() for piece in pieces]
    tokens = tuple(each if each in FUNCTION or each in PREPOSITIONS else canonical(each) for each in words)
    content = tuple(
        canonical(each) for each in words if each not in FUNCTION and "'" not in each and each not in _WRITTEN
    ) + tuple(canonical(each) for each in fences if each in NAMES)
    said = frozenset(stem(american(each)) for each in words if each not in FUNCTION and "'" not in each)
    framed = frozenset(
        each for word in _WORD.findall(frame) for part in _parts(word.lower()) for each in (part, stem(part))
    )
    facts: dict[str, object] = {
        "code": pieces, "lines": lines, "literals": literals, "quotes": [each if exact else each[1] for each in quoted], "placeholders": placeholders, "identifiers": list(dict.fromkeys(identifiers)),
        "numbers": _by_unit(numbers), "written": [each for each in words if each in _WRITTEN],
        "negation": sum(each in NEGATIONS or each.endswith("n't") for each in words),
        "names": sorted({stem(each) for each in (*words, *fences) if each in NAMES}),
        "quantifiers": sorted(each for each in words if each in QUANTIFIERS),
        "times": sorted(each for each in words if each in TIMES),
        "language": _language(bare, words),
        "persons": list(dict.fromkeys(PERSONS[each] for each in words if PERSONS.get(each) in THIRD)),
        "case": written.units(plainly), "letters": written.letters(plainly), "capitals": written.capitals(plainly),
        "material": written.material(text), "polite": written.polite(plainly),
        "asked": written.asked(prose), "manner": len(_MANNER.findall(plainly)) if "like" in words else 0,
    }  # fmt: skip
    return Reading(
        facts=facts,
        headed=headed,
        english=not (facts["language"] or _ENGLISH.isdisjoint(words)),
        role=role,
        addressed=addressed(rest),
        words=content,
        said=said,
        spoken=tuple(plainly.lower().split()),
        tokens=tokens,
        seen=frozenset((*words, *fences, *map(stem, words))),
        names=_capitalised(bare) - framed,
        question=next((each for each in words if each in _QUESTIONS), "can" if words[:1] and words[0] in _CAN else ""),
        persons=tuple(PERSONS[each] for each in words if each in PERSONS),
        numbers=tuple(numbers),
        frame=frozenset(canonical(part) for word in _WORD.findall(frame) for part in _parts(word.lower())),
        rows=tuple(each for line in prose.splitlines() if (each := line.strip())) if "\n" in prose else (),
        technical=bool(two_ways) and (exact or technical.talks_of_code(plainly)),
        two_ways=two_ways,
        named=technical.named(bare, words, _UNNAMED),
        written=frozenset((*raw, *words)),
        shouted=frozenset(each for each in raw if len(each) > 1 and each.isupper()),
        wording=wording,
        steps=relations.steps(counted),
    )


def _wording(words: list[str]) -> tuple[str, ...]:
    """The words that are not to be exchanged: all in order where a text speaks of words, or has two beside each other
    that mean the same (quick or fast)."""
    compared = any(
        between in _BETWEEN and one != other and canonical(one) == canonical(other)
        for one, between, other in zip(words, words[1:], words[2:], strict=False)
    )
    if not compared and not technical.are_words_about_words(words):
        return ()
    return tuple(each for each in words if each not in FUNCTION and each not in _ASKING)


def _mark(value: str) -> str:
    """A word of letters that stands for what is compared as a fact, so that its place among the words counts too."""
    return f" {technical.MARK}" + zlib.crc32(value.encode()).to_bytes(4, "big").hex().translate(_LETTERS) + " "


_LETTERS = str.maketrans("0123456789", "ghijklmnop")


def _plainish(word: str) -> bool:
    """Looks like an identifier and is an everyday word: and/or, Q3-like stays."""
    return bool(re.fullmatch(r"[A-Za-z]+/[A-Za-z]+|e\.g|i\.e|U\.S|[ap]\.m", word))


def _parts(word: str) -> list[str]:
    """A word with hyphens is its parts, unless it means something as one."""
    if word.endswith("'s"):
        word = word[:-2]
    if "-" in word and canonical(word) == stem(word):
        return word.split("-")
    return [word]


def _placeholders(prose: str) -> tuple[list[tuple[str, str]], str]:
    """Those of a text, in order, each with its number: it stands for the same value in both calls (see key.py), so who
    is which counts."""
    return _PLACEHOLDER.findall(prose), _PLACEHOLDER.sub(lambda each: _mark(f"{each[1]} {each[2]}").strip(), prose)


def _numbers(prose: str, grouped: bool) -> tuple[list[tuple[str, str]], str]:
    """(unit, value) in order, for 5 kg and 3 lb are not 3 lb and 5 kg; and the prose with a sign in their place.
    `grouped`: commas are of thousands."""
    found: list[tuple[str, str]] = []

    def take(match: re.Match[str]) -> str:
        unit = (match["unit"] or "").replace(" ", "")
        low = unit.lower()
        known = _UNITS.get(low) or _UNITS.get(stem(low), "")
        short = low in _SPACED or (0 < len(unit) <= 4 and not match["unit"].startswith(" "))
        value = (match["sign"] or "") + _value(
            match["digits"], measured=bool(match["money"] or known or short), grouped=grouped
        )
        if known or unit.startswith(("%", "°")) or short:
            kind, rest = known or (unit if len(unit) <= 2 else low), ""
        else:
            kind, rest = "", f" {match['unit'] or ''} "
        if match["money"]:
            value, kind = value + kind, match["money"]
        found.append((kind, value))
        return f" {relations.NUMBER} {rest}"

    bare = _NUMBER.sub(take, prose)
    return found, bare


def _by_unit(numbers: list[tuple[str, str]]) -> dict[str, list[str]]:
    """The values of each unit, in order."""
    found: dict[str, list[str]] = {}
    for unit, value in numbers:
        found.setdefault(unit, []).append(value)
    return found


def _value(digits: str, *, measured: bool, grouped: bool) -> str:
    """1,000 is 1000 where commas are `grouped` so, and 2.0 is 2 where something is measured; 1.000 may be a thousand,
    and what is no plain number (a date, a time, a version) stays as it is."""
    digits = digits.rstrip(".,:/")
    if grouped and re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", digits):
        digits = digits.replace(",", "")
    if measured and re.fullmatch(r"\d+\.\d+", digits) and not re.fullmatch(r"\d{1,3}\.\d{3}|00.*", digits):
        digits = digits.rstrip("0").rstrip(".") if digits.endswith((".0", "00")) else digits
    return digits


def _language(prose: str, words: list[str]) -> str:
    """Scripts that occur and, for Latin, the language whose small words are most; "" for English or unknown."""
    scripts = set() if prose.isascii() else {_script(each) for each in set(prose) if each.isalpha()} - {"LATIN"}
    small = [word for word in words if word in _ANY_LANGUAGE]
    if len(small) < 2:
        return " ".join(sorted(scripts))
    counts = {name: sum(word in known for word in small) for name, known in _LANGUAGES.items()}
    best = max(counts, key=lambda name: counts[name])
    english = sum(word in FUNCTION for word in words)
    foreign = best if counts[best] >= 2 and counts[best] > english else ""
    return " ".join([foreign, *sorted(scripts)]).strip()


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    name = unicodedata.name(character, "")
    return "CJK" if name.startswith(("CJK", "HIRAGANA", "KATAKANA")) else name.partition(" ")[0]


def _capitalised(prose: str) -> frozenset[str]:
    """Words with a capital that does not begin a sentence, unless most have one (a title, shouting)."""
    found = list(re.finditer(r"[^\W\d_]+", prose))
    capital = [each for each in found if each[0][0].isupper() and each[0] != "I"]
    if not found or len(capital) * 5 > len(found) * 3:
        return frozenset()
    begins = re.compile(r"(?:^|[.!?:\n*(\[]|[-–] )\s*$")
    return frozenset(
        stem(each[0].lower()) for each in capital if (each[0].isupper() and len(each[0]) > 1)
        or (not begins.search(prose, max(0, each.start() - 5), each.start()) and each.start() > 0)
    )  # fmt: skip
