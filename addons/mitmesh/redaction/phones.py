"""Phone numbers: by how they are written, and by Google's libphonenumber where that is not enough."""

from __future__ import annotations

import re
from collections.abc import Iterator

import phonenumbers
from phonenumbers import NumberParseException

from mitmesh.redaction import checks

_RUN = re.compile(r"(?<!\w)\+?[\d(](?:[ ().\-/]{0,3}\d){6,}+")
"""Digits with at most three signs between two: as a whole a number, or numbers in a row."""
_EXTENSION = re.compile(r"\s?(?:x|ext\.?)\s?\d{1,6}(?!\w)")
_ALONE = re.compile(r"\+?\(?[2-9]\d\d\)?[ .-]{0,2}[2-9]\d\d[.-]\d{4}")
_WORDS = re.compile(r"\S+")
_ASKED = re.compile(
    r"(?i)\b(?:call|text|ring|reach|dial|phone|message|whatsapp)\s(?:me|us|him|her|them|back)\b[^\d\n]{0,20}\Z"
)
"""What is said before a number without signs that can be nothing else."""
_CHAT = re.compile(r"(?i)\bwa\.me/\Z")
_CLOCK = re.compile(r"1\d{9}|1\d{12}")
"""Seconds or milliseconds since 1970; no number of any country is written so without its +."""
_DATE = re.compile(
    r"(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:0?[1-9]|[12]\d|3[01])(?!\d)|(?:0?[1-9]|[12]\d|3[01])[-./ ]"
    r"(?:0?[1-9]|[12]\d|3[01])[-./ ](?:19|20)\d\d(?!\d)|(?:(?:19|20)\d\d[ -]+)+(?:19|20)\d\d$"
)
_NANP = re.compile(r"(?:1[ .-])?\(?[2-9]\d\d\)?[ .-]{0,2}[2-9]\d\d[ .-]\d{4}")
_OTHER = re.compile(r"\d{3}-\d{2}-\d{4}|97[89][ -][\d -]+|\d{1,3}(?:\.\d{1,3}){3}")  # SSN, ISBN, IPv4

_SLASHED = re.compile(r"0\d{1,5} ?/ ?\d+")


_SURE = 0.5
_MOST = 15
"""Digits of the longest number there is (E.164)."""
_LOCAL = 8
"""Digits of the longest number that is dialled within a town."""


def _alone(run: str) -> Iterator[tuple[int, int]]:
    """Places of numbers in a run whose form tells that they are numbers of their own: `5. 212-555-0187 1732645000`."""
    words = [word.span() for word in _WORDS.finditer(run)]
    taken = 0
    for index, (start, _) in enumerate(words):
        for _, end in words[index : index + 2]:
            if start >= taken and _ALONE.fullmatch(run, start, end):
                yield start, end
                taken = end


def _is_letter(char: str) -> bool:
    return char.isalnum() or char == "_"


class Phones:
    """Finds phone numbers; `regions` are the countries whose numbers are known without a leading +."""

    def __init__(self, regions: tuple[str, ...]) -> None:
        self.regions = regions

    def __call__(self, text: str) -> Iterator[tuple[int, int, float]]:
        """(start, end, score) of each candidate: never a part of a number, never two as one."""
        for run in _RUN.finditer(text):
            start, end = run.start() + len(run[0]) - len(run[0].lstrip("(")), run.end()
            start -= text[start - 1 : start] == "(" and text.find(")", start, end) > 0
            after = _EXTENSION.match(text, end)
            if not after and _is_letter(text[end : end + 1]):  # `+1 212 555 0123 4th`
                end = start + len(text[start:end].rpartition(" ")[0].rstrip(" ().-/"))
            found = list(self._within(text, start, end))
            if found and after and found[-1][1] == end:
                found[-1] = (found[-1][0], after.end(), found[-1][2])
            yield from found

    def _within(self, text: str, start: int, end: int) -> Iterator[tuple[int, int, float]]:
        """The numbers of one run: itself, or those in it that stand for themselves."""
        number = text[start:end]
        before, after = text[max(0, start - 40) : start], text[end : end + 2]
        if number.startswith("+"):
            end = start + self._whole(number)
            if (score := self.score(text[start:end])) and not after.startswith("%"):
                yield start, end, score
            return
        if before[-1:] in ("$", "€", "£") or after.startswith("%") or re.search(r"\w-\Z", before):
            return
        score = self.score(number)
        if number.isdecimal():
            score = self._bare(number, score, before)
        part = bool(re.search(r"\d[.,:-]\Z", before) or re.match(r"[,:]\d", after))
        if score and score < _SURE and not part:
            part = before[-1:] == "/"
        if score >= _SURE and not re.search(r"\d[.-]\Z|/\Z", before.removesuffix("wa.me/")):
            yield start, end, score
        elif rest := list(_alone(number)):
            yield from ((start + left, start + right, 0.6) for left, right in rest)
        elif score and not part:
            yield start, end, score

    def _whole(self, number: str) -> int:
        """Where a number that begins with its country's code ends: another may follow (`+1 212 555 0123 17`)."""
        ends = [found.end() for found in re.finditer(r"\d+", number)]
        for end in reversed(ends[1:]):
            if (
                sum(map(str.isdigit, number[:end])) <= _MOST
                and self._international(number[:end], separated=False) > _SURE
            ):
                return end
        return len(number)

    def _bare(self, number: str, score: float, before: str) -> float:
        """The score of digits without signs, by what is said right before them."""
        if _CHAT.search(before):
            return max(0.6, self._international("+" + number, separated=True))
        if _CLOCK.fullmatch(number) or checks.numbered(before):
            return 0
        return 0.6 if score and len(number) > _LOCAL and _ASKED.search(before) else score

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
