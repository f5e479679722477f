"""Checks that tell a real value from what only looks like one: checksums, entropy, telling names. Pure functions."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter

from mitmesh.redaction.randomness import drawn, entropy

IBAN_LENGTHS = {
    code: int(length)
    for length, codes in {
        "15": "NO", "16": "BE", "18": "DK FI FO GL NL SD FK", "19": "MK SI", "20": "AT BA EE KZ LT LU MN XK",
        "21": "CH HR LI LV", "22": "BG BH CR DE GB GE IE ME RS VA", "23": "AE GI IL IQ OM SO TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG", "25": "LY PT ST", "26": "IS TR", "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HN HU LB NI PL SV", "29": "BR EG PS QA UA", "30": "JO KW MU YE", "31": "MT SC",
        "32": "LC", "33": "RU",
    }.items()
    for code in codes.split()
}  # fmt: skip
"""Length of an IBAN by country, as SWIFT's IBAN registry has them."""


def luhn(digits: str) -> bool:
    """ISO/IEC 7812's check digit; `digits` are digits alone."""
    odd = sum(int(each) for each in digits[-1::-2])
    even = sum((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)[int(each)] for each in digits[-2::-2])
    return (odd + even) % 10 == 0


def iban(value: str) -> bool:
    """ISO 13616: the country's length and the remainder 1 modulo 97; `value` has no spaces."""
    value = value.upper()
    if len(value) != IBAN_LENGTHS.get(value[:2]):
        return False
    return int("".join(str(int(each, 36)) for each in value[4:] + value[:4])) % 97 == 1


def card_network(digits: str) -> bool:
    """Does a known card network begin so, at this length? (ISO/IEC 7812 issuer ranges as the networks publish them)"""
    four, size = int(digits[:4]), len(digits)
    if size == 16:
        return (
            digits[0] == "4" or 5100 <= four <= 5599 or 2221 <= four <= 2720 or 3528 <= four <= 3589
            or digits[:4] == "6011" or 6440 <= four <= 6599 or digits[:2] in ("62", "81") or digits[:2] in ("50", "60")
            or 5600 <= four <= 5899 or 6300 <= four <= 6399 or 6700 <= four <= 6799 or 2200 <= four <= 2204
        )  # fmt: skip
    if size == 15:
        return digits[:2] in ("34", "37") or digits[:4] in ("2131", "1800")
    return size == 14 and (digits[:2] in ("36", "38", "39") or 3000 <= four <= 3059)


_NUMBERED = re.compile(
    r"(?:(?i:(?:\b|_)(?:ids?|ticket|order|record|case|ref|build|invoice|post|group|serial|advisory))|[a-z]I[dD])"
    r"\W{0,4}\Z"
)


_PARTS = re.compile(
    r"(?i)\b(?:part|sku|item|model|catalog(?:ue)?|article|product|order|invoice|serial|lot|batch|p/n)"
    r"(?:[ _-]?(?:no|nr|num|number|code|id))?\b[.:#=\s]{0,4}\Z"
)


def names_a_part(before: str) -> bool:
    """Does what stands right before a number say that it is one of goods: `part no `, `SKU: `, `order `?"""
    return _PARTS.search(before) is not None


def numbered(before: str) -> bool:
    """Does what stands right before a number say that it counts something: `id`, `record`, `"contact_id": `?"""
    return _NUMBERED.search(before) is not None


_WORDY = re.compile(
    r"(?i)change_?me|replace_?me|placeholder|redacted|(?<![a-z])(?:your|my|the|some|insert|put|add|enter)[_-]|dummy|"
    r"goes_?here|(?-i:x{4,}|X{4,})|\*{3,}|\.{3}|<[^>]*>|\A\$[{(]|\$\{\w|%\(\w+\)s|\{\{[^{}]*\}\}|\{[a-z_][\w.]{0,60}(?:\(\))?(?:[:!]\w{1,9})?\}|"
    r"01234567|abcdefgh"
)


def placeholder(value: str) -> bool:
    """Does it stand for a value instead of being one: `YOUR_KEY`, `xxxx`, `${TOKEN}`, one character all over?"""
    if _WORDY.search(value):
        return True
    most = Counter(value.lower()).most_common(1)[0][1]
    return most * 10 > len(value) * 6 or re.search(r"([A-Za-z*#.?_-])\1{6}", value) is not None


_DIGIT, _LETTER = re.compile(r"\d"), re.compile(r"[^\W\d_]")


def mixed(value: str) -> bool:
    """Are there digits and letters in it, or letters drawn at random, as in what a machine made?"""
    return bool(_DIGIT.search(value) and _LETTER.search(value)) or drawn(value)


def jwt(value: str) -> bool:
    """Is its first part the JSON header of a JOSE object?"""
    head = value.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return False
    return isinstance(header, dict) and bool(header.keys() & {"alg", "typ", "enc", "kid"})


_USER_PASSWORD = re.compile(r"[\w.@+-]{2,60}:(?!//)[^\s{}\"'<>]{4,100}")


def encoded(value: str) -> bool:
    """Is it the base64 of `user:password`, or of what only a password looks like? Bytes that happen to decode to
    printable ASCII are rare: of sixteen random characters seven in a million do."""
    if len(value) % 4:
        return False
    try:
        text = base64.b64decode(value, validate=True).decode("ascii")
    except ValueError:
        return False
    if not text.isprintable() or " " in text:
        return False
    signs = sum(not (each.isalnum() or each in "/:._-,@+") for each in text)
    return bool(_USER_PASSWORD.fullmatch(text)) or (
        signs > 2 and not set(text) & set("{}<>()[]\"'") and entropy(text) > 3
    )


_REFERENCE = re.compile(
    r"[A-Za-z_]\w*(?:(?:\.|::|->)[A-Za-z_]\w*)+(?:\(.*)?|\$[A-Za-z_{(].*|%[A-Za-z_]+%|&[A-Za-z_]\w*"
    r"|process\.env.*|[A-Za-z_]\w*=[\w.]+|os\.environ.*|//.*"
)
_CALL = re.compile(r"[A-Za-z_][\w.]*[(\[][\w.,:=*+()\[\]-]*")
_EXAMPLES = frozenset({"pass", "password", "passwd", "pwd", "secret", "token", "key", "abc", "xyz", "123", "foo"})


def password(value: str, quoted: bool = False) -> bool:
    """Could it be a password somebody uses: no reference to a variable, no call, no placeholder? What looks drawn at
    random is no reference; in quotes neither, where nothing says it is a template's."""
    if len(value) < 3 or value.lower() in _EXAMPLES or placeholder(value):
        return False
    if _CALL.fullmatch(value):
        return quoted and drawn(value)
    return not _REFERENCE.fullmatch(value) or drawn(value)
