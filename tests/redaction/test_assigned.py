from __future__ import annotations

import pytest

from mitmesh.redaction.assigned import assigned

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
        ("secret_key_", "base", HEX, True),
        ("API_KEY_", "PROD", TOKEN, True),
        ("PG", "PASSWORD", TOKEN, True),
        ("auth", "token", TOKEN, True),
        ("REDISCLI_", "AUTH", TOKEN, True),
        ("my ", "pw", TOKEN, True),
        # named otherwise
        ("csrf", "token", TOKEN, False),
        ("", "auth", "a8f3e2c1b4d5", False),
        ("--- ", "PASS", "TestReader/case#01", False),
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
        ("", "token", "https://x.example/a1b2c3", False),
        ("", "token", "jjwt-jackson-0.11.2", False),
        ("refresh_", "token", "oauth2_refresh_retries", False),
        ("", "password", "(optional)", False),
        ("", "password", "required|min:8|confirmed", False),
        ("", "password", "changeme_please", False),
        ("api_", "key", "your-api-key-here", False),
        ("api_", "key", "ProductionApiKeyOfOurs", False),
        # letters alone, signs, slashes
        ("", "password", "VeSGusBPOzClJfvSvnKd", True),
        ("api_", "key", "lMwUCGoLylGzhxAONFgApcPDQEJMbSak", True),
        ("", "token", "rwcdjrfqftnbgzhbfsllgozoihbeskst", True),
        ("SECRET_ACCESS_", "KEY", "wJalrXUtnF/K7MDENGbPxRfi/CYzq93Lk0aTmQ8s", True),
        ("", "secret", "//tools.example/rfc6749", False),
    ],
)
def test_assigned(before: str, name: str, value: str, secret: bool) -> None:
    """A telling name and a value that only a secret has: both are needed."""
    assert assigned(f"x = 1\n{before}", name, value) is secret


@pytest.mark.parametrize("value", ["user(Kx9!qZ)", "k=Xq9!vZ7$p", "OW3=4B^{$INr[(0k"])
def test_in_quotes_nothing_is_code(value: str) -> None:
    """What could be a call or another assignment is a password in quotes, where it looks like one."""
    assert assigned("", "password", value, quoted=True)


def test_words_in_quotes() -> None:
    """Of several words the first one is judged."""
    assert not assigned("", "password", "Enter 8 characters or more!", quoted=True)
    assert assigned("", "token", f"{TOKEN} (rotated 2024)", quoted=True)
