"""Phone numbers beside other numbers: each whole and for itself, whatever stands next to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.redaction.phones import Phones

FIND = Phones(("US", "GB", "DE", "FR", "IN", "CA", "AU"))


def sure(text: str) -> list[str]:
    """What is found without a telling word."""
    return [text[start:end] for start, end, score in FIND(text) if score >= 0.5]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,+12125550123,42", ["+12125550123"]),
        ("1,212-555-0187,42", ["212-555-0187"]),
        ("A,(212) 555-0187,10001", ["(212) 555-0187"]),
        ("A,+1 212 555 0123,1732645000\nB,+1 212 555 0124,1", ["+1 212 555 0123", "+1 212 555 0124"]),
        ("+12125550123,+12125550124", ["+12125550123", "+12125550124"]),
        ("+1 212 555 0123 1732645000", ["+1 212 555 0123"]),
        ("212-555-0187 1732645000", ["212-555-0187"]),
        ("212-555-0187 212-555-0188", ["212-555-0187", "212-555-0188"]),
        ("5. 212-555-0187", ["212-555-0187"]),
        ("5. (212) 555-0187", ["(212) 555-0187"]),
        ("((212) 555-0187)", ["(212) 555-0187"]),
        ("(212-555-0187)", ["212-555-0187"]),
        ("+1 212 555 0123 4th floor", ["+1 212 555 0123"]),
        ("212-555-0187 ext 5", ["212-555-0187 ext 5"]),
        ("1:212-555-0187:2", ["212-555-0187"]),
        ("https://wa.me/12125550123", ["12125550123"]),
        ("/user/+12125550123", ["+12125550123"]),
        ("call me at 2125550187", ["2125550187"]),
        ("call function 2125550187", []),
        ("call me 1732645000 times", []),
        ("$212 555 0187", []),
        ("1,212,555,018", []),
        ("0.212-555-0187", []),
        ("id-212-555-0187", []),
        ("rows 345 678 9012 11 22 33", []),
    ],
)
def test_beside_other_numbers(text: str, found: list[str]) -> None:
    """Half a number is never found, nor two as one."""
    assert sure(text) == found


NUMBERS = ["+1 212 555 0123", "+12125550123", "212-555-0187", "(212) 555-0187", "+49 30 901820", "+44 20 7946 0958"]


@given(
    st.sampled_from(NUMBERS),
    st.sampled_from(["", "1,", "A,", "42;", "5. ", "(", '"', "x,1732645000,", "\n", "2) ", "tel:", "1\t"]),
    st.sampled_from(["", ",42", ",1732645000", ";1", ")", '"', "\n17", ", 1", ".", "\t99", ",,", ",2024-11-26"]),
)
def test_in_tables_and_lists(number: str, before: str, after: str) -> None:
    """A cell of a table, an item of a list: the number and nothing beside it."""
    assert sure(f"{before}{number}{after}") == [number]
