from __future__ import annotations

import time

import pytest

from mitmesh.redaction import personal
from mitmesh.redaction.phones import Phones

REGIONS = ("US", "GB", "DE", "FR")
SURE = 0.5


def spans(find: object, text: str, least: float = SURE) -> list[str]:
    assert callable(find)
    return [text[start:end] for start, end, score in find(text) if score >= least]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("alice@example.com", ["alice@example.com"]),
        ("<a@b.example>, c_d@e.co.uk.", ["a@b.example", "c_d@e.co.uk"]),
        ("mailto:bob+x@sub.example.org?subject=a", ["bob+x@sub.example.org"]),
        ('{"email":"x@corp.internal"}', ["x@corp.internal"]),
        ("bob%40example.com", ["bob%40example.com"]),
        ("jürgen@müller.de 张三@example.cn。", ["jürgen@müller.de", "张三@example.cn"]),
        ("line\\nbob@example.com", ["bob@example.com"]),
        ("bob@example.com.Please", ["bob@example.com"]),
        ("o'neil@example.ie", ["o'neil@example.ie"]),
        ("git@github.com:org/repo.git", []),
        ("icon@2x.png a@b user@localhost @app.route react@18.2.0", []),
        ("postgres://u:pw@db.example.com/x", []),
    ],
)
def test_emails(text: str, found: list[str]) -> None:
    """Addresses with a real or an inside domain, whole, wherever they stand; no code."""
    assert spans(personal.emails, text) == found


ANN = "ann@example.com"
SHAPES = [
    "Ann.Lee+tag@sub.example.co.uk", "a_b-c@ex-ample.org", "ANN@EXAMPLE.COM", "ann@example.museum",
    "1234567@example.com", "x@y.io", "ann.lee@example.travel", "ann%40example.com", "ann@xn--bcher-kva.example.com",
    "ann@bücher.de", "jörg@example.de", "ann..lee@example.com", "ann-@example.com", "ann@example.co",
    '"ann lee"@example.com',
    '"ann.o\'neil"@example.com', "ann@[192.0.2.7]", "ann@[IPv6:2001:db8::7]", "a@b.c.d.example.com", "ann'@example.com",
]  # fmt: skip
AROUND = [
    "<{}>", "mailto:{}?subject=x", '"Ann" <{}>', "({})", "{}.", "to:{};", "https://{}/", "user={}&x", "{}\\n", "'{}'",
    "`{}`", "{}'s", "*{}*", "|{}|", "{}/home", "smtp://{}", "{}:25", "x\t{}\tx", "E-Mail:{}", "{}>", "-{}", "{}-",
    "a/{}", "x={}", '{{"e":"{}"}}', "{},", "[{}]", "«{}»", "{}!", "{}…",
]  # fmt: skip
NONE = [
    "@example.com", "ann@", "ann@localhost", "v1.2@3.4", "npm i @scope/pkg@1.2.3", '{"a": "x"}@y', 'f("x")@[1, 2]',
    "m@[300.1.1.1]", "a@[b]", '"x"@y', "x@[::g]",
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_emails(shape: str) -> None:
    """Whatever an address looks like, all of it is found."""
    assert spans(personal.emails, f"write to {shape} today") == [shape]


@pytest.mark.parametrize("around", AROUND)
def test_emails_wherever_they_stand(around: str) -> None:
    """And whatever stands around it is not taken along."""
    assert spans(personal.emails, around.format(ANN)) == [ANN]


@pytest.mark.parametrize("text", NONE)
def test_no_emails(text: str) -> None:
    """Not everything with an @ is one."""
    assert spans(personal.emails, text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4111 1111 1111 1111", ["4111 1111 1111 1111"]),
        ("4111-1111-1111-1111.", ["4111-1111-1111-1111"]),
        ("5555555555554444", ["5555555555554444"]),
        ("3782 822463 10005", ["3782 822463 10005"]),
        ("4111111111111112 1700000000000 0000000000000000", []),
        ("41111 11111 111111", []),
        ("4532.0151.1283.0366", ["4532.0151.1283.0366"]),
        ("n=4.111111111111111e15, 4.111111111111111E+15", ["4.111111111111111e15", "4.111111111111111E+15"]),
        ("4111111111111111.0", ["4111111111111111.0"]),
        ("4.111111111111112e15 4111111111111112.0 1.234567890123456e10 4111111111111111.5", []),
        ("a4111111111111111f 0.4111111111111111", []),
    ],
)
def test_cards(text: str, found: list[str]) -> None:
    """A network's number with a valid check digit, in the groups cards have."""
    assert spans(personal.cards, text) == found


def test_ibans() -> None:
    """In one piece, in groups, in small letters, not with words that follow."""
    text = "GB82 WEST 1234 5698 7654 32 please, gb82west12345698765432; DE89370400440532013000x DE12345678901234567890"
    assert spans(personal.ibans, text) == ["GB82 WEST 1234 5698 7654 32", "gb82west12345698765432"]


def test_social_security() -> None:
    """By form with dashes; doubtful without; never what is not issued."""
    text = "123-45-6789 123456789 000-12-3456 666-12-3456 912-12-3456 123-00-4567 123-45-0000 123-45-6789-1"
    assert spans(personal.social_security, text) == ["123-45-6789"]
    assert spans(personal.social_security, "123456789", 0.1) == ["123456789"]
    for goods in ("part no 078-05-1120", "SKU: 078-05-1120", "order #078-05-1120"):
        assert spans(personal.social_security, goods) == []
    for person in ("my number is 078-05-1120", "record 078-05-1120", "id 078-05-1120", "the order of Ann, 078-05-1120"):
        assert spans(personal.social_security, person) == ["078-05-1120"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from 203.0.113.7:443 to 10.1.2.3", ["203.0.113.7", "10.1.2.3"]),
        ("http://8.8.8.8/x ssh root@203.0.113.9", ["8.8.8.8", "203.0.113.9"]),
        ("2001:db8::8a2e:370:7334 fe80::1", ["2001:db8::8a2e:370:7334", "fe80::1"]),
        ("127.0.0.1 0.0.0.0 255.255.255.0 ::1 :: 10.0.0.0/8", []),
        ("v203.0.113.7 version 203.0.113.7 Chrome/203.0.113.7 x==203.0.113.7 a-203.0.113.7.tar.gz", []),
        ("1.2.3.4 300.1.1.1 01.02.03.04 1.3.6.1.4.1.311", []),
        ("a::b std::vector dead::beef 12:30:45 de:ad:be:ef:00:11", []),
    ],
)
def test_net_addresses(text: str, found: list[str]) -> None:
    """Addresses of hosts; no versions, times, hardware addresses, namespaces or the machine's own."""
    assert sorted(spans(personal.net_addresses, text)) == sorted(found)


def test_domains() -> None:
    """Hosts of URLs and www names surely, bare names doubtfully, names of files and code never."""
    text = "https://u@shop.example.com:8080/a http://localhost/ www.Firm.de main.py"
    assert spans(personal.domains, text) == ["shop.example.com", "www.Firm.de"]
    assert spans(personal.domains, "see acme.com, Shop.Example.ORG. Or acme.de") == ["acme.com", "Shop.Example.ORG"]
    assert "acme.de" in spans(personal.domains, "see acme.de", 0.1)
    assert spans(personal.domains, "see main.py README.txt", 0.1) == []


@pytest.mark.parametrize(
    ("number", "sure"),
    [
        ("+1 415 555 0123", True), ("+442079460958", True), ("+49 (0)30 901820", True), ("(415) 555-0123", True),
        ("415-555-0123", True), ("415.555.0123", True), ("1-800-555-0199 ext. 12", True), ("001-253-366-9781", True),
        ("07700 900123", True), ("030/12345678", True), ("01 23 45 67 89", True), ("0494 92 82 32", True),
        ("4155550123", False), ("1700000000", False), ("12 345 678", False), ("02110-1301", False),
        ("0045 0302 0341", False),
        ("2024-01-15 10", False), ("15.01.2024", False), ("978-3-16-148410-0", False), ("123-45-6789", False),
        ("52.520008 13.404954", False), ("3.14159265", False), ("01010101 11001100", False), ("1.2.3.4567", False),
    ],
)  # fmt: skip
def test_phones(number: str, sure: bool) -> None:
    """By how they are written; what may as well be an id needs a word near it."""
    found = spans(Phones(REGIONS), f"x {number} y")
    assert found == ([number] if sure else [])


@pytest.mark.parametrize(
    "unit", ["1", "1 ", "@", "a@", "a.", "1.", "::", "1:", "(1)", "GB82 ", "://a.", "www.", "+1-", "%40x."]
)
def test_no_text_takes_long(unit: str) -> None:
    """4,000 characters, the longest piece there is, made to hurt: well under a second for all kinds together."""
    text = unit * (4_000 // len(unit))
    began = time.process_time()
    for kind in personal.kinds(REGIONS):
        list(kind.find(text))
    assert time.process_time() - began < 0.8
