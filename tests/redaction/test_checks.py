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


def test_entropy() -> None:
    """Bits per character: none for one character, one for two that alternate, eight for all bytes."""
    assert checks.entropy("") == checks.entropy("aaaa") == 0
    assert checks.entropy("abab") == 1
    assert checks.entropy("".join(map(chr, range(256)))) == 8


@pytest.mark.parametrize(
    "value", ["YOUR_API_KEY", "xxxxxxxx", "${TOKEN}", "{{ token }}", "<token>", "changeme", "aaaaaaaaab", "sk-..."]
)
def test_placeholders(value: str) -> None:
    """What stands for a secret in examples and templates is none."""
    assert checks.placeholder(value)


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=20, max_size=40))
def test_entropy_of_random_values_is_high(value: str) -> None:
    """entropy never exceeds the logarithm of the length, and a mixed value has letters and digits."""
    assert 0 <= checks.entropy(value) <= 5.4
    assert checks.mixed(value) == (any(c.isalpha() for c in value) and any(c.isdigit() for c in value))


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


TOKEN = "k3J9dLq0Zx7VbN2mR8tY"
HEX = "6dca6432e45d933e13650d1882bd5e69"
UUID = "832d2129-a846-4e27-99f4-7004b6ad53ef"


@pytest.mark.parametrize(
    ("before", "name", "value", "secret"),
    [
        ("my_", "token", TOKEN, True),
        ("auth", "Token", TOKEN, True),
        ("", "api_key", TOKEN, True),
        ("", "apiKey", HEX, True),
        ("client_", "secret", HEX, True),
        ("x-api-", "key", UUID, True),
        ("DB_", "PASSWORD", "Tr0ub4dor&3", True),
        ("", "password", "hunter2", True),
        ("API_", "KEY_2", TOKEN, True),
        # named otherwise
        ("public_", "key", TOKEN, False),
        ("csrf-", "token", TOKEN, False),
        ("cache_", "key", TOKEN, False),
        ("partition", "Key", HEX, False),
        ("", "key", HEX, False),
        ("", "key", UUID, False),
        ("mon", "key", TOKEN, False),
        # given something else
        ("", "token", "get_token(user)", False),
        ("", "token", "self.token2", False),
        ("", "secret", "my-app-secrets-v2", False),
        ("", "password", "required", False),
        ("", "password", "db_password", False),
        ("", "password", "${PASSWORD}", False),
        ("max_", "token", "128000", False),
        ("", "token", "env/cert2.p12", False),
        ("", "secret", "//tools.example/rfc6749", False),
    ],
)
def test_assigned(before: str, name: str, value: str, secret: bool) -> None:
    """A telling name and a value that only a secret has: both are needed."""
    assert checks.assigned(f"x = 1\n{before}", name, value) is secret
