"""A person's values, however they are spelled: a phone's or card's number is one with and without its spaces."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

_NUMBER = 5
"""Digits; a value that has so many is a number, in which nothing but letters and digits counts."""


def value_hash(hashed: Callable[[bytes, str], str], value: str) -> str:
    """The keyed hash under which a person's value is found again."""
    return hashed(b"cache value", _bare(value, number=_is_number(value)))


def mentions(text: str, value: str) -> bool:
    """Does the text have the value in it, in any spelling of case, spaces and (in numbers) signs between?"""
    if _is_number(value) and _bare(value, number=True) in _bare(text, number=True):
        return True
    return _plain(value) in _plain(text)


def same(one: str, other: str) -> bool:
    """Are they one name?"""
    return _plain(one) == _plain(other)


def _is_number(value: str) -> bool:
    return "@" not in value and sum(char.isdigit() for char in value) >= _NUMBER


def _bare(text: str, *, number: bool) -> str:
    plain = _plain(text)
    return "".join(char for char in plain if char.isalnum()) if number else plain


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
