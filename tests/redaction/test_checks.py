from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.redaction import checks


@given(st.text("0123456789", min_size=1, max_size=18))
def test_luhn_has_one_check_digit(digits: str) -> None:
    """Of the ten digits that may follow, exactly one is right."""
    assert sum(checks.luhn(digits + str(check)) for check in range(10)) == 1


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ("GB82WEST12345698765432", True),
        ("gb82west12345698765432", True),
        ("DE89370400440532013000", True),
        ("NO9386011117947", True),
        ("MT84MALT011000012345MTLCAST001S", True),
        ("GB82WEST12345698765433", False),
        ("GB28WEST12345698765432", False),
        ("DE8937040044053201300", False),
        ("XX89370400440532013000", False),
    ],
)
def test_iban(value: str, valid: bool) -> None:
    """The country's length and the checksum decide."""
    assert checks.iban(value) is valid


@pytest.mark.parametrize(
    ("digits", "known"),
    [("4111111111111111", True), ("378282246310005", True), ("30569309025904", True), ("2223003122003222", True),
     ("1700000000000000", False), ("9400110200881234", False), ("12345678901234", False), ("411111111111", False)],
)  # fmt: skip
def test_card_networks(digits: str, known: bool) -> None:
    """Numbers begin as a network's do, at that network's length."""
    assert checks.card_network(digits) is known


@pytest.mark.parametrize(
    "value", ["YOUR_API_KEY", "xxxxxxxx", "${TOKEN}", "{{ token }}", "<token>", "changeme", "aaaaaaaaab", "sk-..."]
)
def test_placeholders(value: str) -> None:
    """What stands for a secret in examples and templates is none."""
    assert checks.placeholder(value)


@pytest.mark.parametrize(
    ("value", "made"),
    [("abc123", True), ("123456", False), ("getUserName", False), ("PqLxTzKwVnRbGdHs", True), ("password", False)],
)
def test_mixed(value: str, made: bool) -> None:
    """Letters and digits, or letters that no word has."""
    assert checks.mixed(value) is made


def test_jwt() -> None:
    """The first part must be a JOSE header in base64."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').decode().rstrip("=")
    assert checks.jwt(f"{head}.x.y")
    assert not checks.jwt("eyJub3QiOiJqb3NlIn0.x.y")
    assert not checks.jwt("eyJ!.x.y") and not checks.jwt("") and not checks.jwt("W10.x")


@pytest.mark.parametrize(
    ("plain", "secret"),
    [("admin:password", True), ("S!B\\*d$zDsb=", True), ("Hello, World!", False), ("https://example.com", False),
     ('{"alg":"HS256","k":1}', False), ("internationalized", False), ("src/app/main.py:12", False)],
)  # fmt: skip
def test_encoded(plain: str, secret: bool) -> None:
    """Base64 of a user and a password is a secret, of other text it is not."""
    assert checks.encoded(base64.b64encode(plain.encode()).decode()) is secret


@pytest.mark.parametrize(
    ("value", "quoted", "possible"),
    [("hunter2", False, True), ("pw", False, False), ("secret", False, False), ("$DB_PASSWORD", False, False),
     ("${DB_PASSWORD}", True, False), ("{{password}}", True, False), ("{self.password}", True, False),
     ("get_password(user)", False, False), ("get_password(user)", True, False), ("config.password", False, False),
     ("a(Xk9$vQ2!pLz7", False, True), ("qX7(kZ9v.LpW2-)", False, False), ("qX7(kZ9v.LpW2-)", True, True),
     ("//tools.example/rfc", False, False), ("%PASSWORD%", False, False), ("user=bob", False, False),
     ("xXxXkQ9vLp", False, True), ("xxxxKQ9vLp", False, False), ("%(password)s", True, False)],
)  # fmt: skip
def test_password(value: str, quoted: bool, possible: bool) -> None:
    """No variable, call, template or placeholder; what was drawn at random may look like one by chance."""
    assert checks.password(value, quoted) is possible


@pytest.mark.parametrize(
    ("before", "part"),
    [("part no ", True), ("SKU: ", True), ("order ", True), ("Order #", True), ("item number = ", True),
     ("model_no=", True), ("my partner is ", False), ("in order to verify ", False), ("record ", False),
     ("employee id ", False), ("ssn ", False), ("", False)],
)  # fmt: skip
def test_names_a_part(before: str, part: bool) -> None:
    """Goods have numbers too, and the word stands right before."""
    assert checks.names_a_part(before) is part
