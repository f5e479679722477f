"""A secret given its value: `name = value`, where the name says what it is, and the value could be one. Pure."""

from __future__ import annotations

import re

from mitmesh.redaction.checks import mixed, password
from mitmesh.redaction.randomness import drawn, entropy

NAME_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-zñ]+|\d+")
"""The words of an identifier: `apiKey2` is api, Key and 2."""
_NAME = re.compile(r"[\w.-]{0,60}\Z")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_PASSWORDS = _set("password passwd pass passphrase passcode pwd pw passwort kennwort passe contraseña contrasena senha")
_SURE = _set("token secret credentials credential creds cred apikey") | _PASSWORDS
_UNSURE = _set("key auth login salt")
_QUALIFY = _set(
    "api secret access auth private encryption signing master client app service account shared admin user webhook "
    "license apikey root"
)
_HARMLESS = _set(
    "public pub csrf xsrf primary foreign sort partition idempotency cache page next continuation max min num total "
    "prompt completion input output monkey keyboard host dedup row bucket s3"
)
_BEHIND = _set("v base value prod production dev test staging live")
"""Words behind a telling one that say nothing more: `secret_key_base`, `API_KEY_PROD`."""
_RUN_TOGETHER = re.compile(r"([a-z]+?)(password|passwd|passwort|kennwort|passphrase|pwd|secret|token)")
"""`PGPASSWORD`, `authtoken`: names whose words nothing parts."""

_PATH = re.compile(r"(?:[A-Za-z]:\\|\.{0,2}/|~/)?[\w.+-]*(?:[/\\][\w.+-]+)+|[\w-]+(?:\.[\w-]+)*\.[A-Za-z]\w{1,4}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_WORDS = re.compile(r"_*[A-Za-z]+(?:[_.-]+[A-Za-z]+)*(?:[_.-]\d{1,4}){0,3}")
"""Words joined by signs, and a version: an identifier, no secret (`user-pass-2`, `db_password`, `jwt-1.2.3`)."""
_TAG = re.compile(r"![a-z]+")
"""What YAML writes before a value that is sealed or elsewhere: `!vault`, `!secret`."""
_NOTHING = _set("true false null none undefined nil")
_SAID = frozenset("=+~^%!@#$&*?_.-")
"""Signs in passwords that words seldom have."""
_DIGIT, _MIXED = re.compile(r"\d"), re.compile(r"[a-z][A-Z]|[A-Za-z]\d|\d[A-Za-z]")
_BRACKETS = frozenset("()[]{}:|")
"""Signs that code has around words."""
JUDGED = 100
"""Characters of a value that are looked at: what the first of them are, the rest is."""
_LETTERS = 16
"""Least length of a token that is all letters."""


def assigned(before: str, name: str, value: str, quoted: bool = False) -> bool:
    """Is `name = value` a secret given its value? `before` is the text before the name's telling word, `name` that
    word; both are read as one identifier (`aws.clientSecret`, `DB_PASSWORD_2`). `quoted`: the value is in quotes, and
    so nothing of code."""
    head = _NAME.search(before)
    parts = _words((head[0] if head else "") + name)
    if not parts or _HARMLESS & set(parts[-3:]) or (parts == ["pass"] and before.endswith("--- ")):
        return False  # the last is how Go's tests say that one passed
    last = parts[-1]
    if last in _SURE:
        return _looks_secret(value, sure=True, short=last in _PASSWORDS, quoted=quoted)
    if last in _UNSURE:
        sure = bool(_QUALIFY & set(parts[-4:-1])) or (last == "auth" and len(parts) > 1)
        return _looks_secret(value, sure=sure, short=False, quoted=quoted)
    return False


def _words(name: str) -> list[str]:
    """The words of a name, to the telling one."""
    parts = [part.lower() for part in NAME_PART.findall(name)]
    while parts and (parts[-1].isdigit() or parts[-1] in _BEHIND):
        parts.pop()
    if parts and parts[-1] not in _SURE and (joined := _RUN_TOGETHER.fullmatch(parts[-1])):
        parts[-1:] = joined.groups()
    return parts


def _looks_secret(value: str, *, sure: bool, short: bool, quoted: bool) -> bool:
    value = (value[:JUDGED].split() or [""])[0] if quoted else value[:JUDGED].strip("()[]")
    value = value.rstrip(".,;")
    if not password(value, quoted) or "://" in value or value.lower() in _NOTHING or _TAG.fullmatch(value):
        return False
    random = drawn(value)
    if not random and (_WORDS.fullmatch(value) or (_PATH.fullmatch(value) and "=" not in value)):
        return False
    return _a_password(value, random) if short else _a_token(value, random, sure)


def _a_password(value: str, random: bool) -> bool:
    """Some digit or sign beside letters, a mix of cases no word has, or letters that no word has."""
    if len(value) < 6 or entropy(value) < 2.3:
        return False
    odd = len(_SAID & set(value)) + bool(_DIGIT.search(value)) + bool(_MIXED.search(value))
    return random or odd > bool(_BRACKETS & set(value))


def _a_token(value: str, random: bool, sure: bool) -> bool:
    bits = entropy(value)
    if _UUID.fullmatch(value):
        return sure
    if value.isdigit() or len(value) < 10:
        return False
    if re.fullmatch(r"[0-9a-fA-F]+", value):
        return sure and len(value) >= 16 and bits >= 3
    if "_" in value and value.isidentifier() and not random:
        return False
    if not mixed(value):
        return sure and random and len(value) >= _LETTERS
    runs = max(len(run) for run in re.findall(r"[A-Za-z]+", value))
    return bits >= (3.0 if sure else 3.7) and (random or runs <= 12 or bits >= 4.2)
