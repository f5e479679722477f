"""Checks that tell a real value from what only looks like one: checksums, entropy, telling names. Pure functions."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter

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


def numbered(before: str) -> bool:
    """Does what stands right before a number say that it counts something: `id`, `record`, `"contact_id": `?"""
    return _NUMBERED.search(before) is not None


def entropy(value: str) -> float:
    """Shannon entropy in bits per character."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values()) if size else 0.0


_WORDY = re.compile(
    r"(?i)change_?me|replace_?me|placeholder|redacted|(?<![a-z])(?:your|my|the|some|insert|put|add|enter)[_-]|dummy|"
    r"goes_?here|x{4,}|\*{3,}|\.{3}|<[^>]*>|\$\{|\{\{|\$\(|%\(|01234567|abcdefgh"
)


def placeholder(value: str) -> bool:
    """Does it stand for a value instead of being one: `YOUR_KEY`, `xxxx`, `${TOKEN}`, one character all over?"""
    if _WORDY.search(value):
        return True
    most = Counter(value.lower()).most_common(1)[0][1]
    return most * 10 > len(value) * 6 or re.search(r"([A-Za-z*#.?_-])\1{6}", value) is not None


def mixed(value: str) -> bool:
    """Are there digits and letters in it, as in what a machine made?"""
    return any(each.isdigit() for each in value) and any(each.isalpha() for each in value)


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
    r"[A-Za-z_]\w*(?:(?:\.|::|->)[A-Za-z_]\w*)+(?:\(.*)?|[A-Za-z_][\w.]*\(.*|\$[A-Za-z_{(].*|%[A-Za-z_]+%|&[A-Za-z_]\w*"
    r"|process\.env.*|[A-Za-z_]\w*=[^=].*|os\.environ.*"
)
_PATH = re.compile(r"(?:[A-Za-z]:\\|\.{0,2}/|~/)?[\w.+-]*(?:[/\\][\w.+-]+)+|[\w-]+(?:\.[\w-]+)*\.[A-Za-z]\w{1,4}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
NAME_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-zñ]+|\d+")
"""The words of an identifier: `apiKey2` is api, Key and 2."""
_NAME = re.compile(r"[\w.-]{0,60}\Z")

_EXAMPLES = frozenset({"pass", "password", "passwd", "pwd", "secret", "token", "key", "abc", "xyz", "123", "foo"})


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_PASSWORDS = _set("password passwd pass passphrase passcode pwd passwort kennwort passe contraseña contrasena senha")
_SURE = _set("token secret credentials credential creds cred") | _PASSWORDS
_UNSURE = _set("key auth login salt")
_QUALIFY = _set(
    "api secret access auth private encryption signing master client app service account shared admin user webhook "
    "license apikey root"
)
_HARMLESS = _set(
    "public pub csrf xsrf primary foreign sort partition idempotency cache page next continuation max min num total "
    "prompt completion input output monkey keyboard host dedup row bucket s3"
)


def password(value: str) -> bool:
    """Could it be a password somebody uses: no reference to a variable, no placeholder?"""
    if len(value) < 3 or value.lower() in _EXAMPLES or value.startswith("//"):
        return False
    return not placeholder(value) and not _REFERENCE.fullmatch(value)


def assigned(before: str, name: str, value: str) -> bool:
    """Is `name = value` a secret given its value? `before` is the text before the name's telling word, `name` that
    word; both are read as one identifier (`aws.clientSecret`, `DB_PASSWORD_2`)."""
    head = _NAME.search(before)
    parts = [part.lower() for part in NAME_PART.findall((head[0] if head else "") + name)]
    while parts and (parts[-1].isdigit() or parts[-1] == "v"):
        parts.pop()
    if not parts or _HARMLESS & set(parts[-3:]):
        return False
    last = parts[-1]
    if last == "apikey" or last in _SURE:
        return _looks_secret(value, sure=True, short=last in _PASSWORDS)
    if last in _UNSURE:
        return _looks_secret(value, sure=bool(_QUALIFY & set(parts[-4:-1])), short=False)
    return False


def _looks_secret(value: str, *, sure: bool, short: bool) -> bool:
    value = value.rstrip(".,;")
    if not password(value) or (value.isdigit() and not short) or value.lower() in ("true", "false", "null", "none"):
        return False
    bits = entropy(value)
    if short:  # a password: some digit or sign beside letters, or a mix of cases no word has
        odd = sum((any(c.isdigit() for c in value), any(not c.isalnum() for c in value), _strange_case(value)))
        return len(value) >= 6 and bits >= 2.3 and odd > 0 and not _is_word(value) and not _PATH.fullmatch(value)
    if _UUID.fullmatch(value):
        return sure
    if not mixed(value) or (_PATH.fullmatch(value) and "=" not in value) or len(value) < 10:
        return False
    if re.fullmatch(r"[0-9a-fA-F]+", value):
        return sure and len(value) >= 16 and bits >= 3
    runs = max(len(run) for run in re.findall(r"[A-Za-z]+", value))
    strewn = sure and len(re.findall(r"\d+", value)) > 2  # digits in three places: no name has that
    return bits >= (3.0 if sure else 3.7) and (runs <= 12 or bits >= 4.2 or strewn) and not _is_word(value)


def _strange_case(value: str) -> bool:
    return bool(re.search(r"[a-z][A-Z]", value)) and not value.isalpha()


def _is_word(value: str) -> bool:
    """Words joined by signs, one number at most: an identifier, no secret (`user-pass-2`, `db_password`)."""
    return bool(re.fullmatch(r"_*[A-Za-z]+(?:[_.-]+[A-Za-z]+)*(?:[_.-]\d{1,4})?", value))
