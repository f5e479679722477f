"""Phone numbers: by how they are written, and by Google's libphonenumber where that is not enough."""

from __future__ import annotations

import re
from collections.abc import Iterator

import phonenumbers
from phonenumbers import NumberParseException

_CANDIDATE = re.compile(
    r"(?<![\w$€£/])(?<!\d[.,:-])(?<!\w-)(\+?[\d(](?:[ \u00a0().\-/]{0,3}\d){6,16})(?:\s?(?:x|ext\.?)\s?\d{1,6})?"
    r"(?!\w|[-.,:/]\d|%)"
)
_DATE = re.compile(
    r"(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:0?[1-9]|[12]\d|3[01])(?!\d)|(?:0?[1-9]|[12]\d|3[01])[-./ ]"
    r"(?:0?[1-9]|[12]\d|3[01])[-./ ](?:19|20)\d\d(?!\d)|(?:(?:19|20)\d\d[ -]+)+(?:19|20)\d\d$"
)
_NANP = re.compile(r"(?:1[ .-])?\(?[2-9]\d\d\)?[ .-]{0,2}[2-9]\d\d[ .-]\d{4}")
_OTHER = re.compile(r"\d{3}-\d{2}-\d{4}|97[89][ -][\d -]+|\d{1,3}(?:\.\d{1,3}){3}")  # SSN, ISBN, IPv4

_SLASHED = re.compile(r"0\d{1,5} ?/ ?\d+")


class Phones:
    """Finds phone numbers; `regions` are the countries whose numbers are known without a leading +."""

    def __init__(self, regions: tuple[str, ...]) -> None:
        self.regions = regions

    def __call__(self, text: str) -> Iterator[tuple[int, int, float]]:
        """(start, end, score) of each candidate."""
        for match in _CANDIDATE.finditer(text):
            score = self.score(match[1])
            if score:
                yield match.start(), match.end(), score

    def score(self, number: str) -> float:
        """How surely this is a phone number; 0 for what is something else. Under 0.5 a word near it must say so."""
        digits = re.sub(r"\D", "", number)
        if not 7 <= len(digits) <= 15 or len(set(digits)) < 3:
            return 0
        if number.startswith("+"):
            return self._international(number, separated=len(digits) + 1 < len(number))
        if (
            _DATE.match(number)
            or _OTHER.fullmatch(number)
            or ("/" in number and not re.fullmatch(r"0\d{1,5} ?/ ?\d+", number))
        ):
            return 0
        if len(digits) == len(number):
            return 0.2  # as many ids and timestamps look
        return self._separated(number, digits)

    def _separated(self, number: str, digits: str) -> float:
        groups = re.findall(r"\d+", number)
        dots = number.count(".")
        if dots and (dots < 2 or " " in number or any(len(group) > 4 for group in groups)):
            return 0  # decimals, coordinates
        if set(digits) <= {"0", "1"} or (len(groups) > 4 and max(map(len, groups)) < 2):
            return 0  # binary; loose digits
        if [len(group) for group in groups] in ([5, 4], [4] * len(groups)):
            return 0.25  # a ZIP code; code points, as hex dumps have them
        if groups[0].startswith("00"):
            return self._international("+" + digits[2:], separated=True) if len(groups) < 6 else 0
        if _NANP.fullmatch(number):
            return 0.6
        if re.match(r"\(\d{1,5}\)", number) and not re.match(r"\((?:19|20)\d\d\)", number):
            return 0.55
        if digits[0] == "0" and 9 <= len(digits) <= 12 and 2 <= len(groups[0]) <= 5:
            return 0.6 if len(groups) < 6 and self._national(digits) else 0.5 if 2 < len(groups) < 6 else 0.35
        return 0.25

    def _international(self, number: str, *, separated: bool) -> float:
        try:
            parsed = phonenumbers.parse(number, None)
        except NumberParseException:
            return 0.25
        if phonenumbers.is_valid_number(parsed):
            return 0.9
        return 0.6 if separated and len(number) > 8 else 0.4 if phonenumbers.is_possible_number(parsed) else 0.25

    def _national(self, digits: str) -> bool:
        for region in self.regions:
            try:
                if phonenumbers.is_valid_number(phonenumbers.parse(digits, region)):
                    return True
            except NumberParseException:
                continue
        return False
